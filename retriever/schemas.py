"""Is a tool's `parameters` a JSON schema that calls can be checked against? Says what is wrong; checks no call."""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
from referencing.jsonschema import DRAFT202012

from retriever.base.canonical import canonical_json

_ANNOTATIONS = {"description": str, "title": str, "$comment": str, "enum": list, "examples": list}
_NAMED_SCHEMAS = ("properties", "$defs", "definitions", "dependentSchemas")  # the names in them may be anything


def parameters_problem(parameters: Mapping[str, Any]) -> str | None:
    """One sentence on what is wrong with `parameters`, with the remedy; None when nothing is.

    Sound means: an object schema of JSON Schema 2020-12 whose every reference resolves inside itself.
    """
    kind = parameters.get("type")
    if kind != "object":
        return f'"type" is {kind!r}; arguments are named, so the schema must say "type": "object"'
    try:
        return _schema_problem(parameters) or _reference_problem(parameters)
    except (RecursionError, OverflowError) as error:  # OverflowError: a pattern's a{99999999999}
        return f"too deep or too large to be checked ({error}); nest less, repeat less in patterns"


def _schema_problem(parameters: Mapping[str, Any]) -> str | None:
    if not _is_schema(canonical_json(_skeleton(parameters))):
        try:
            jsonschema.Draft202012Validator.check_schema(parameters)
        except jsonschema.SchemaError as error:
            place = "/".join(str(part) for part in error.absolute_path) or "the schema itself"
            return f"not a JSON schema: {place}: {error.message}; see JSON Schema 2020-12"
    return None


@functools.lru_cache(maxsize=4096)
def _is_schema(skeleton: str) -> bool:
    """One check costs 1.4 ms; a large catalogue has few different skeletons."""
    validator = jsonschema.Draft202012Validator
    return bool(
        validator(validator.META_SCHEMA, format_checker=validator.FORMAT_CHECKER).is_valid(json.loads(skeleton))
    )


def _skeleton(schema: Any) -> Any:
    """`schema` without what cannot make it invalid, so that equal shapes are checked once."""
    if isinstance(schema, list):
        return [_skeleton(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("default", "const") or isinstance(value, _ANNOTATIONS.get(key, ())):
            continue
        if (
            key == "required"
            and isinstance(value, list)
            and len({name for name in value if isinstance(name, str)}) == len(value)
        ):
            continue  # different names
        if key in _NAMED_SCHEMAS and isinstance(value, Mapping):
            shapes = {canonical_json(shape): shape for shape in map(_skeleton, value.values())}
            kept[key] = {str(number): shapes[text] for number, text in enumerate(sorted(shapes))}
        elif key == "patternProperties" and isinstance(value, Mapping):
            kept[key] = {pattern: _skeleton(child) for pattern, child in value.items()}
        else:
            kept[key] = _skeleton(value)
    return kept


def _reference_problem(parameters: Mapping[str, Any]) -> str | None:
    references = list(_references(parameters))
    if not references:
        return None
    root = DRAFT202012.create_resource(dict(parameters))
    resolver = referencing.Registry().with_resource("", root).resolver()
    for reference in references:
        try:
            resolver.lookup(reference)
        except (referencing.exceptions.Unresolvable, ValueError):  # ValueError: a name where a list has numbers
            return f'"$ref": {reference!r} leads nowhere inside this schema; put the definition under "$defs"'
    return None


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)
