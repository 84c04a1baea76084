"""Arguments drawn by a seed so that they fit a tool's JSON schema: what a task made from the tool will ask for.

What the schema shows (a constant, an enumeration, examples, a default) or tells ("e.g. A7") is drawn from; else a
value of its type. What a schema says beyond that (a pattern, an unknown format) is not made up: such a tool needs
examples, or a teacher.
"""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from envs.executors.arguments import invalid_arguments
from envs.worlds.vocabulary import WORDS

_OPTIONAL = 0.3  # of a parameter that may be left out
_TRIES = 8
_DEPTH = 6
_TOLD = re.compile(r"(?:e\.g\.|for example|such as)[,:]?\s+([^;()\n]{1,80}?)(?:[;()\n]|\.\s|\.?$)", re.IGNORECASE)

_FORMATS: Mapping[str, Callable[[Random], str]] = {
    "date": lambda random: f"20{random.randint(0, 29):02}-{random.randint(1, 12):02}-{random.randint(1, 28):02}",
    "time": lambda random: f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}Z",
    "date-time": lambda random: f"{_FORMATS['date'](random)}T{_FORMATS['time'](random)}",
    "email": lambda random: f"{random.choice(WORDS)}@{random.choice(WORDS)}.example",
    "uri": lambda random: f"https://{random.choice(WORDS)}.example/{random.choice(WORDS)}",
    "ipv4": lambda random: ".".join(str(random.randint(1, 254)) for _ in range(4)),
    "uuid": lambda random: "-".join(f"{random.getrandbits(4 * n):0{n}x}" for n in (8, 4, 4, 4, 12)),
}


class Undrawable(Exception):
    """A schema that says more than can be made up."""


def draw_arguments(parameters: Mapping[str, Any], random: Random) -> dict[str, Any] | None:
    """Arguments that fit `parameters`, all required ones and some of the others; None where none can be made up."""
    for _ in range(_TRIES):
        try:
            drawn = _drawn({"type": "object", **parameters}, random, _DEPTH)
        except Undrawable:
            continue  # it may have been an optional parameter
        if isinstance(drawn, dict) and invalid_arguments(parameters, drawn) is None:
            return drawn
    return None


def _drawn(schema: Any, random: Random, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        raise Undrawable
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return random.choice(list(schema["enum"]))
    if isinstance(schema.get("examples"), list) and schema["examples"]:
        return random.choice(schema["examples"])
    if told := _told_examples(schema):
        return random.choice(told)
    for shown in ("example", "default"):
        if schema.get(shown) is not None:
            return schema[shown]
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            return _first_drawable(schema[several], random, depth)
    kinds = schema.get("type")
    kinds = [kind for kind in kinds if kind != "null"] if isinstance(kinds, list) else [kinds]
    draw = _KINDS.get(str(kinds[0])) if kinds else None
    if draw is None or "pattern" in schema or "$ref" in schema or "allOf" in schema:
        raise Undrawable
    return draw(schema, random, depth)


def _told_examples(schema: Mapping[str, Any]) -> list[Any]:
    """Values that a description names: "the order's number, e.g. A7 or B2"."""
    found = _TOLD.search(str(schema.get("description", "")))
    texts = [text.strip(" '\"`") for text in re.split(r",| or ", found[1])] if found else []
    if schema.get("type") in ("integer", "number"):
        read = int if schema["type"] == "integer" else float
        return [read(text) for text in texts if re.fullmatch(r"-?\d+" if read is int else r"-?\d+(\.\d+)?", text)]
    return [text for text in texts if text] if schema.get("type") == "string" else []


def _first_drawable(schemas: Any, random: Random, depth: int) -> Any:
    for schema in schemas:
        try:
            return _drawn(schema, random, depth - 1)
        except Undrawable:
            continue
    raise Undrawable


def _string(schema: Mapping[str, Any], random: Random, depth: int) -> str:
    if "format" in schema:
        made = _FORMATS.get(schema["format"])
        if made is None:
            raise Undrawable
        return made(random)
    words = random.choice(WORDS)
    while len(words) < schema.get("minLength", 0):
        words += " " + random.choice(WORDS)
    return words[: schema.get("maxLength", len(words))].strip()


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 1 if high is None or high >= 1 else high - 100
    return low, low + 99 if high is None else high


def _integer(schema: Mapping[str, Any], random: Random, depth: int) -> int:
    low, high = _bounds(schema)
    step = int(schema.get("multipleOf", 1)) or 1
    return step * random.randint(-int(-low // step), max(-int(-low // step), int(high // step)))


def _number(schema: Mapping[str, Any], random: Random, depth: int) -> float:
    if "multipleOf" in schema:
        raise Undrawable
    low, high = _bounds(schema)
    return round(random.uniform(low, high), 1)


def _boolean(schema: Mapping[str, Any], random: Random, depth: int) -> bool:
    return random.random() < 0.5


def _array(schema: Mapping[str, Any], random: Random, depth: int) -> list[Any]:
    fewest = schema.get("minItems", 1)
    count = random.randint(fewest, max(fewest, min(schema.get("maxItems", fewest + 2), fewest + 2)))
    return [_drawn(schema.get("items"), random, depth - 1) for _ in range(count)]


def _object(schema: Mapping[str, Any], random: Random, depth: int) -> dict[str, Any]:
    required = schema.get("required") or ()
    return {
        name: _drawn(inner, random, depth - 1)
        for name, inner in (schema.get("properties") or {}).items()
        if name in required or random.random() < _OPTIONAL
    }


_KINDS: Mapping[str, Callable[[Mapping[str, Any], Random, int], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
}
