"""Argument provenance: can what a call says be traced to something that the policy was told?

A value counts once for each of its leaves: the items of lists, the values of objects. Of them
- true, false, null and strings without a letter or digit are free: they say too little to be made up;
- a number is traced when it stands in a source, however it is written: 1000, "1,000", "1000.0", "one" to "twelve";
- a string is traced when it is such a number, or when all its words stand in one source, in whatever case and order;
- anything is traced that the parameter's schema gives as its default, constant or one of its choices.
Sources are the instruction and what tools have answered so far. Errors are no source: they repeat what was asked.
Not traced, though right: what follows from a source by thinking (a date written otherwise, a translation, a sum).
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from envs.types import ToolCall
from retriever.base.canonical import same_json

_NUMBER = re.compile(r"(?<![\w.])[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?")
_WORD = re.compile(r"[^\W_]+")
_SPELLED = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """How many leaves of a call's arguments there are, and how many could be traced."""

    leaves: int
    traced: int


def provenance(call: ToolCall, sources: Sequence[str], parameters: Mapping[str, Any]) -> Traced:
    """Of one call. `sources`: texts; `parameters`: the tool's JSON schema, {} where it is not known."""
    known = [_read(source) for source in sources]
    properties = parameters.get("properties", {})
    traced = [
        given or _stands_in(leaf, known)
        for name, value in call.arguments.items()
        for leaf, given in _leaves(value, properties.get(name, {}))
    ]
    return Traced(leaves=len(traced), traced=sum(traced))


def traced_share(parts: Iterable[Traced]) -> float | None:
    """The share of all leaves that could be traced, in [0, 1]; None without any."""
    counted = list(parts)
    leaves = sum(part.leaves for part in counted)
    return sum(part.traced for part in counted) / leaves if leaves else None


@dataclass(frozen=True, slots=True)
class _Source:
    words: frozenset[str]
    numbers: tuple[float, ...]


@lru_cache(maxsize=1024)
def _read(source: str) -> _Source:
    text = _normalised(source)
    words = frozenset(_WORD.findall(text))
    numbers = {float(number) for number, word in enumerate(_SPELLED) if word in words}
    for written in _NUMBER.findall(text):
        # "100,200" is one number or two, "-5" may be a dash and 5.
        readings = [written, *written.split(","), written.lstrip("+-")]
        numbers |= {number for reading in readings if (number := _number(reading)) is not None}
    return _Source(words=words, numbers=tuple(numbers))


def _leaves(value: Any, schema: Any) -> Iterator[tuple[Any, bool]]:
    """Each leaf, and whether the schema itself gives it. A list or object that the schema gives is one."""
    schema = schema if isinstance(schema, Mapping) else {}
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not _WORD.search(value)):
        return
    if _given(value, schema):
        yield value, True
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, schema.get("items", {}))
    elif isinstance(value, Mapping):
        properties = schema.get("properties", {})
        for key, item in value.items():
            yield from _leaves(item, properties.get(key, {}))
    else:
        yield value, False


def _given(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether the schema itself says this value."""
    said = [schema[key] for key in ("default", "const") if key in schema]
    choices = schema.get("enum")
    return any(same_json(value, one) for one in [*said, *(choices if isinstance(choices, list) else [])])


def _stands_in(leaf: Any, sources: Sequence[_Source]) -> bool:
    number = _number(_normalised(leaf)) if isinstance(leaf, str) else _finite(leaf)
    numbers = (one for source in sources for one in source.numbers)
    if number is not None and any(math.isclose(number, one, rel_tol=1e-9) for one in numbers):
        return True
    if not isinstance(leaf, str):
        return False
    words = set(_WORD.findall(_normalised(leaf)))
    return any(words <= source.words for source in sources)


def _number(text: str) -> float | None:
    try:
        return _finite(float(text.replace(",", "")))
    except ValueError:
        return None


def _finite(number: int | float) -> float | None:
    try:
        return float(number) if math.isfinite(number) else None
    except OverflowError:  # an integer beyond floats
        return None


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
