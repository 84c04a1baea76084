"""Type hints as JSON schema: what a caller may give for a parameter that is hinted so."""

import collections
import dataclasses
import enum
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number", types.NoneType: "null"}
_LISTS = frozenset(
    {list, set, frozenset, collections.deque, collections.abc.Collection, collections.abc.Iterable}
    | {collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Set}
)
_MAPPINGS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})

_Inside = tuple[type, ...]  # the classes whose fields are being described


def hint_schema(hint: Any, inside: _Inside = ()) -> dict[str, Any]:
    """The schema of `hint`; {} where anything goes. A class inside itself is any object, there.

    Raises TypeError for a hint that no JSON value can meet, such as bytes, a callable or an ordinary class.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(hint_schema(arguments[0], inside), arguments[1:])
    if origin in (Required, NotRequired):
        return hint_schema(arguments[0], inside)
    if origin is Literal:
        return _one_of(value.value if isinstance(value, enum.Enum) else value for value in arguments)
    if origin in (Union, types.UnionType):
        return _union([hint_schema(argument, inside) for argument in arguments])
    if isinstance(hint, TypeVar) or hint in (Any, object, inspect.Parameter.empty):
        return {}
    if hint is None or hint in _SCALARS:
        return {"type": _SCALARS[hint or types.NoneType]}
    container = origin or hint
    if container in _LISTS:
        return {"type": "array", **({"items": hint_schema(arguments[0], inside)} if arguments else {})}
    if container is tuple:
        return _tuple(arguments, inside)
    if container in _MAPPINGS:
        values = hint_schema(arguments[1], inside) if arguments else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if isinstance(container, type):
        return _of_class(container, inside)
    raise TypeError(f"{inspect.formatannotation(hint)} is nothing that JSON can carry")


def _annotated(schema: dict[str, Any], notes: Iterable[Any]) -> dict[str, Any]:
    """With the first description among the notes: a text, or what has one, such as pydantic's Field."""
    texts = (note if isinstance(note, str) else getattr(note, "description", None) for note in notes)
    description = next((text for text in texts if isinstance(text, str)), None)
    return schema if description is None else {**schema, "description": description}


def _one_of(values: Iterable[Any]) -> dict[str, Any]:
    listed = list(values)
    kinds = {type(value) for value in listed}
    if not kinds <= _SCALARS.keys():
        raise TypeError(f"{listed!r} are not all values that JSON can carry")
    return {**({"type": _SCALARS[kinds.pop()]} if len(kinds) == 1 else {}), "enum": listed}


def _union(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    if {} in schemas:
        return {}
    different = [schema for place, schema in enumerate(schemas) if schema not in schemas[:place]]
    if all(schema.keys() == {"type"} for schema in different):
        return {"type": [schema["type"] for schema in different]}
    return {"anyOf": different}


def _tuple(arguments: tuple[Any, ...], inside: _Inside) -> dict[str, Any]:
    if not arguments:
        return {"type": "array"}
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": hint_schema(arguments[0], inside)}
    items = [hint_schema(argument, inside) for argument in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _of_class(cls: type, inside: _Inside) -> dict[str, Any]:
    if issubclass(cls, enum.Enum):
        values = [member.value for member in cls]
        return _one_of(values if {type(value) for value in values} <= _SCALARS.keys() else cls.__members__)
    if cls in inside:
        return {"type": "object"}
    if dataclasses.is_dataclass(cls):
        given = [field for field in dataclasses.fields(cls) if field.init]
        needed = [
            field.name
            for field in given
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        return _object(cls, [field.name for field in given], needed, inside)
    if is_typeddict(cls):
        hints = get_type_hints(cls, include_extras=True)
        # postponed annotations hide NotRequired from __required_keys__
        keys = cls.__required_keys__  # type: ignore[attr-defined]
        needed = [name for name in hints if name in keys and get_origin(hints[name]) is not NotRequired]
        return _object(cls, list(hints), needed, inside)
    raise TypeError(f"{cls.__qualname__} is nothing that JSON can carry")


def _object(cls: type, names: list[str], required: list[str], inside: _Inside) -> dict[str, Any]:
    hints: Mapping[str, Any] = get_type_hints(cls, include_extras=True)
    properties = {name: hint_schema(hints[name], (*inside, cls)) for name in names}
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}
