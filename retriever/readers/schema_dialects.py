"""Other spellings of JSON Schema, brought to 2020-12: older drafts, OpenAPI 3.0, BFCL's names of types.

What is wrong in 2020-12 and in all of these stays as it is, to be refused by `parameters_problem`.
"""

from collections.abc import Callable
from typing import Any

from retriever.entries import NO_PARAMETERS
from retriever.readers.place import Place, shortly

# BFCL writes the types of Python, Java and JavaScript; None: anything goes. Upper and lower case alike.
_TYPES: dict[str, str | None] = {
    **dict.fromkeys(("dict", "hashmap", "hashtable", "map"), "object"),
    **dict.fromkeys(("list", "tuple", "set", "arraylist", "queue", "stack"), "array"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("int", "long", "short", "byte", "bigint"), "integer"),
    **dict.fromkeys(("str", "char"), "string"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("none",), "null"),
    **{name: name for name in ("object", "array", "number", "integer", "string", "boolean", "null")},
    "any": None,
}
_NOT_FOR_CALLERS = frozenset({"$schema", "discriminator", "xml", "externalDocs"})

_ONE_SCHEMA = frozenset(
    """additionalItems additionalProperties contains else if items not propertyNames then
    unevaluatedItems unevaluatedProperties""".split()
)
_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})  # "items" may be a list before 2020-12
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def object_schema(schema: Any, place: Place) -> dict[str, Any]:
    """What is published as a tool's parameters, as an object schema of 2020-12; null and {} are no parameters.

    Raises DataError when it is no JSON object.
    """
    if schema is None or schema == {}:
        return NO_PARAMETERS
    if not isinstance(schema, dict):
        raise place.bad(f"expected a JSON schema, got {shortly(schema)}; a tool without arguments leaves it out")
    return {"type": "object", **rewritten(schema, in_2020_12)}


def rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """`schema` with `change` applied to it and to every schema in it, inner ones first.

    Values that are data (default, enum, examples) and the names of properties are not schemas.
    """
    if not isinstance(schema, dict):
        return schema
    inner: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS and isinstance(value, dict):
            inner[key] = {name: rewritten(child, change) for name, child in value.items()}
        elif key in _SCHEMAS and isinstance(value, list):
            inner[key] = [rewritten(child, change) for child in value]
        elif key in _ONE_SCHEMA:
            inner[key] = rewritten(value, change)
        else:
            inner[key] = value
    return change(inner)


def in_2020_12(schema: dict[str, Any]) -> dict[str, Any]:
    """One schema, its inner ones already done, in the words of 2020-12."""
    new = {key: value for key, value in schema.items() if key not in _NOT_FOR_CALLERS and not key.startswith("x-")}
    if (kind := _type(new.pop("type", None))) is not None:
        new = {"type": kind, **new}
    if isinstance(new.get("items"), list):
        new["prefixItems"] = new.pop("items")
        if "additionalItems" in new:
            new["items"] = new.pop("additionalItems")
    for limit, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(new.get(limit), bool):
            excludes = new.pop(limit)
            if excludes and bound in new:
                new[limit] = new.pop(bound)
    if "example" in new:
        example = new.pop("example")
        new.setdefault("examples", [example])
    if new.pop("nullable", False) is True and isinstance(new.get("type"), str):
        new["type"] = [new["type"], "null"]
        if isinstance(new.get("enum"), list) and None not in new["enum"]:
            new["enum"] = [*new["enum"], None]
    return new


def _type(published: Any) -> Any:
    """A type by JSON Schema's name, or several; None where anything goes; what is no type's name as it is."""
    if isinstance(published, str):
        return _TYPES.get(published.lower(), published)
    if isinstance(published, list):
        names = [_type(name) for name in published]
        return None if None in names else [name for place, name in enumerate(names) if name not in names[:place]]
    return published
