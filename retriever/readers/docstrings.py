"""What a docstring says of a function and of its parameters, in the styles of Google, NumPy and reST (Sphinx).

Descriptions only: types, returns, errors and examples are passed over.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_PARAMETERS = frozenset({"args", "arguments", "parameters", "params", "keyword arguments", "other parameters"})
_PASSED_OVER = frozenset(
    {"attributes", "example", "examples", "note", "notes", "raises", "references", "return", "returns", "see also"}
    | {"todo", "warning", "warnings", "warns", "yield", "yields"}
)
_UNDERLINE = re.compile(r"-{3,}\s*$")
_FIELD = re.compile(r"[:@](?P<kind>[a-z]+)(?:\s+(?P<what>[^:]+))?:(?P<text>.*)")  # :param int count: how many
_FIELD_KINDS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})
_GOOGLE_ITEM = re.compile(r"\*{0,2}(?P<names>\w+)\s*(?:\(.*?\))?\s*:(?P<text>.*)")  # count (int): how many
_NUMPY_ITEM = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?(?P<text>)$")  # count, limit : int


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """A docstring, taken apart."""

    description: str  # the prose, without sections
    parameters: Mapping[str, str]  # name → description, for the parameters that have one


def parse_docstring(text: str | None) -> Docstring:
    """Never fails: what is in no known style is prose."""
    lines = inspect.cleandoc(text or "").splitlines()
    prose: list[str] = []
    parameters: dict[str, str] = {}
    at = 0
    while at < len(lines):
        heading = lines[at].strip().lower()
        if _is_numpy_heading(lines, at):
            end = _next(at + 2, lines, lambda line: _is_numpy_heading(lines, line))
            if heading in _PARAMETERS:
                parameters.update(_items(lines[at + 2 : end], _NUMPY_ITEM))
        elif heading.endswith(":") and heading[:-1] in _PARAMETERS | _PASSED_OVER:
            end = _next(at + 1, lines, lambda line: bool(lines[line][:1].strip()))
            if heading[:-1] in _PARAMETERS:
                parameters.update(_items(lines[at + 1 : end], _GOOGLE_ITEM))
        elif field := _FIELD.match(lines[at]):
            end = _next(at + 1, lines, lambda line: not lines[line].strip() or bool(_FIELD.match(lines[line])))
            if field["kind"] in _FIELD_KINDS and field["what"]:
                parameters[field["what"].split()[-1]] = _joined([field["text"], *lines[at + 1 : end]])
        else:
            prose.append(lines[at].rstrip())
            end = at + 1
        at = end
    described = {name: description for name, description in parameters.items() if description}
    return Docstring(description=re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip(), parameters=described)


def _is_numpy_heading(lines: Sequence[str], at: int) -> bool:
    known = lines[at].strip().lower() in _PARAMETERS | _PASSED_OVER
    return known and at + 1 < len(lines) and bool(_UNDERLINE.match(lines[at + 1]))


def _next(start: int, lines: Sequence[str], ends: Callable[[int], bool]) -> int:
    return next((line for line in range(start, len(lines)) if ends(line)), len(lines))


def _items(section: Sequence[str], item: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(name, description) of each parameter: the least indented lines begin one, the others go on with it."""
    filled = [line for line in section if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in filled), default=0)
    names: list[str] = []
    texts: list[str] = []
    for line in filled:
        begun = None if line[margin].isspace() else item.match(line.strip())
        if begun:
            yield from ((name, _joined(texts)) for name in names)
            names, texts = re.findall(r"\w+", begun["names"]), [begun["text"]]
        else:
            texts.append(line)
    yield from ((name, _joined(texts)) for name in names)


def _joined(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())
