"""`$ref`s of an OpenAPI document: followed where a value is needed, carried along under `$defs` in a schema."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from retriever.readers.place import Place
from retriever.readers.schema_dialects import rewritten


def resolved(value: Any, document: Mapping[str, Any], place: Place) -> Any:
    """`value`, or what it refers to. Raises DataError for a reference out of the document, to nowhere or to itself."""
    followed: set[str] = set()
    while isinstance(value, dict) and isinstance(value.get("$ref"), str):
        reference = value["$ref"]
        if reference in followed:
            raise place.bad(f'"$ref": {reference!r} comes back to itself; mend the document')
        followed.add(reference)
        value = _target(reference, document, place)
    return value


def with_definitions(schema: dict[str, Any], document: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """`schema` with all it refers to, directly or not, under its "$defs", circles included. Raises DataError."""
    names: dict[str, str] = {}  # reference → name under "$defs"
    waiting: deque[str] = deque()

    def carried(part: dict[str, Any]) -> dict[str, Any]:
        reference = part.get("$ref")
        if not isinstance(reference, str):
            return part
        if reference not in names:
            names[reference] = _new_name(reference, set(names.values()))
            waiting.append(reference)
        return {**part, "$ref": f"#/$defs/{names[reference]}"}

    whole: dict[str, Any] = rewritten(schema, carried)
    definitions: dict[str, Any] = {}
    while waiting:
        reference = waiting.popleft()
        definitions[names[reference]] = rewritten(_target(reference, document, place), carried)
    return {**whole, "$defs": definitions} if definitions else whole


def flattened(schema: Any, document: Mapping[str, Any], place: Place) -> tuple[dict[str, Any], set[str]] | None:
    """(properties, names of the required) of a plain object, parts of an allOf merged; None of anything else."""
    return _flattened(schema, document, place, {})


_Flat = tuple[dict[str, Any], set[str]] | None


def _flattened(schema: Any, document: Mapping[str, Any], place: Place, known: dict[int, _Flat]) -> _Flat:
    """`known`: of schemas, by identity: one that many refer to is looked at once."""
    schema = resolved(schema, document, place)
    if id(schema) not in known:
        known[id(schema)] = _merged(schema, document, place, known)
    return known[id(schema)]


def _merged(schema: Any, document: Mapping[str, Any], place: Place, known: dict[int, _Flat]) -> _Flat:
    if not isinstance(schema, dict) or schema.get("type", "object") != "object" or schema.keys() & {"anyOf", "oneOf"}:
        return None
    if not schema.keys() & {"properties", "required", "allOf"}:
        return None
    parts, own = schema.get("allOf", []), schema.get("properties", {})
    names = schema.get("required", [])
    if not isinstance(parts, list) or not isinstance(own, dict) or not _are_names(names):
        return None
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for part in [_flattened(part, document, place, known) for part in parts]:
        if part is None:
            return None
        properties |= part[0]
        required |= part[1]
    return properties | own, required | set(names)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _target(reference: str, document: Mapping[str, Any], place: Place) -> Any:
    """The value that a reference points to."""
    if not reference.startswith("#/"):
        raise place.bad(f'"$ref": {reference!r} leaves the document; bundle what it refers to into one file')
    value: Any = document
    for step in reference[2:].split("/"):
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        else:
            raise place.bad(f'"$ref": {reference!r} leads nowhere in the document; mend it')
    return value


def _new_name(reference: str, taken: set[str]) -> str:
    name = unique = re.sub(r"[^A-Za-z0-9_.-]", "_", reference.rsplit("/", 1)[-1])
    number = 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique
