"""The catalogue: the versioned set of tools that is searched, and its JSONL form. Not an index: see search.py."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from retriever.base.canonical import canonical_json, content_hash
from retriever.base.errors import DataError, UserError
from retriever.base.files import read_jsonl, write_atomically
from retriever.base.nearest import did_you_mean, nearest
from retriever.documents import DocumentTemplate
from retriever.schemas import parameters_problem
from retriever.tools import ToolDoc

_FIELDS = ("id", "name", "description", "parameters", "origin", "version", "tags")
_REQUIRED = ("id", "name", "description")
_NO_PARAMETERS = {"type": "object", "properties": {}}


class Catalogue:
    """An immutable, ordered set of tools, unique by id. Safe to share between threads, cheap to pickle.

    The order is the order of insertion; searches break ties by it.
    """

    __slots__ = ("_hash", "_positions", "_tools", "_version")

    def __init__(self, tools: Iterable[ToolDoc], *, version: int = 1) -> None:
        self._tools = tuple(tools)
        self._version = version
        self._positions = {tool.id: position for position, tool in enumerate(self._tools)}
        self._hash: str | None = None
        if len(self._positions) < len(self._tools):
            seen: set[str] = set()
            twice = next(tool.id for tool in self._tools if tool.id in seen or seen.add(tool.id))  # type: ignore[func-returns-value]
            raise UserError(f"tool id {twice!r} is given twice; an id names one tool: rename or drop one of the two")

    @classmethod
    def of(cls, tools: Iterable[ToolDoc], *, version: int = 1) -> Self:
        """The catalogue of `tools`. Raises UserError when two have the same id."""
        return cls(tools, version=version)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a .jsonl or .jsonl.gz file of entries. Raises DataError with file, line and field, or UserError."""
        lines: dict[str, int] = {}
        tools: list[ToolDoc] = []
        for line, entry in read_jsonl(path, what="catalogue"):
            tool = _tool(entry, path=path, line=line)
            if tool.id in lines:
                problem = f"{tool.id!r} is already the id of line {lines[tool.id]}; rename or drop one of the two"
                raise DataError(problem, path=path, line=line, field="id")
            lines[tool.id] = line
            tools.append(tool)
        if not tools:
            raise UserError(f"catalogue {path} holds no tool; give one JSON object per line, see README")
        return cls(tools)

    def save(self, path: str | Path) -> None:
        """Write one JSON object per line, atomically; compressed when the name ends in .gz."""
        text = "".join(json.dumps(tool.to_dict(), ensure_ascii=False) + "\n" for tool in self._tools)
        target = Path(path).expanduser()
        write_atomically(target, gzip.compress(text.encode(), mtime=0) if target.suffix == ".gz" else text)

    @property
    def tools(self) -> tuple[ToolDoc, ...]:
        """All entries, in order."""
        return self._tools

    @property
    def version(self) -> int:
        """Counts the changes of a catalogue that lives on; a loaded one starts at 1."""
        return self._version

    @property
    def content_hash(self) -> str:
        """SHA-256, hex, over the entries in their order: equal hashes, equal searches."""
        if self._hash is None:
            self._hash = content_hash([tool.to_dict() for tool in self._tools])
        return self._hash

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[ToolDoc]:
        return iter(self._tools)

    def __contains__(self, tool_id: object) -> bool:
        return tool_id in self._positions

    def __getitem__(self, tool_id: str) -> ToolDoc:
        """The tool with this id; KeyError when there is none."""
        return self._tools[self._positions[tool_id]]

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} tools, version {self._version})"

    def position(self, tool_id: str) -> int:
        """0-based place in the order; KeyError when there is no such tool."""
        return self._positions[tool_id]

    def nearest_id(self, tool_id: str) -> str | None:
        """The id most like `tool_id`, for error messages."""
        return nearest(tool_id, self._positions)

    def restricted_to(self, ids: Iterable[str]) -> "Catalogue":
        """The catalogue of these tools only, in this catalogue's order. Raises UserError for an unknown id."""
        wanted = set(ids)
        for tool_id in sorted(wanted - self._positions.keys()):
            hint = did_you_mean(tool_id, self._positions)
            raise UserError(f"no tool {tool_id!r}{hint} among the {len(self)} of the catalogue; check the id")
        return Catalogue((tool for tool in self._tools if tool.id in wanted), version=self._version)

    def documents(self, template: DocumentTemplate) -> list[str]:
        """The text of each tool that is searched, in order."""
        return [template.render(tool) for tool in self._tools]


def _tool(entry: dict[str, Any], *, path: str | Path, line: int) -> ToolDoc:
    """The entry of one line. Raises DataError."""

    def bad(message: str, field: str) -> DataError:
        return DataError(message, path=path, line=line, field=field)

    for key in entry:
        if key not in _FIELDS:
            raise bad(f"unknown field{did_you_mean(key, _FIELDS)}; an entry has {', '.join(_FIELDS)}", key)
    for key in _REQUIRED:
        if key not in entry:
            raise bad("missing; every entry has an id, a name and a description", key)
    for key in ("id", "name", "description", "origin", "version"):
        value = entry.get(key, "-")
        if not isinstance(value, str):
            raise bad(f"expected a string, got {value!r}; put it in quotes", key)
        if key != "description" and (not value.strip() or not value.isprintable()):
            raise bad(f"{value!r} is empty or holds control characters; give a printable name", key)
    tags = entry.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise bad(f"expected a list of strings, got {tags!r}", "tags")
    parameters = entry.get("parameters", _NO_PARAMETERS)
    if not isinstance(parameters, dict):
        raise bad(
            f"expected a JSON schema, got {parameters!r}; a tool without arguments leaves the field out", "parameters"
        )
    try:
        canonical_json(entry).encode()
    except ValueError:
        raise bad(
            "holds NaN, an infinity or half a surrogate pair, which JSON cannot carry; mend the value", "parameters"
        ) from None
    if problem := parameters_problem(parameters):
        raise bad(problem, "parameters")
    return ToolDoc(
        id=entry["id"],
        name=entry["name"],
        description=entry["description"],
        parameters=parameters,
        origin=entry.get("origin", "python"),
        version=entry.get("version", "1"),
        tags=tuple(tags),
    )
