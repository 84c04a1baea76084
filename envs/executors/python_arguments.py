"""The arguments of a call, which are JSON's, as the hints of a Python function want them.

The reverse of `retriever/readers/hints.py`: where a schema was made from an enumeration, a dataclass, a set or a tuple,
the function gets one. Runs in the process of a call, so it imports what a worker has anyway.
"""

import collections.abc
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

_PLAIN = (str, int, float, bool, dict, list, Any, "str", "int", "float", "bool", "dict", "list", "Any")
_SCALARS = (str, int, float, bool, NoneType)
_BUILT = (set, frozenset, tuple, collections.deque)
_UNFIT = (TypeError, ValueError, KeyError)


def fitted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """By name; an argument stays as it is where its hint cannot be met."""
    written = getattr(function, "__annotations__", {})
    fit = dict(arguments)
    if all(written.get(name, Any) in _PLAIN for name in arguments):
        return fit
    hints = get_type_hints(function, include_extras=True)
    for name in hints.keys() & arguments.keys():
        with suppress(*_UNFIT):
            fit[name] = _built(hints[name], arguments[name])
    return fit


def _built(hint: Any, value: Any) -> Any:
    """Raises one of `_UNFIT` where `value` is nothing for `hint`."""
    origin, inner = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind in (Annotated, Required, NotRequired):
        return _built(inner[0], value)
    if kind in (Union, UnionType):
        return _first(inner, value)
    if kind in _SCALARS:
        return _checked(value, (int, float) if kind is float else kind)
    if hasattr(kind, "__members__"):  # an enumeration: by value, or by name where JSON has no such value
        return kind(value) if value in [member.value for member in kind] else kind[value]
    if hasattr(kind, "__dataclass_fields__"):
        return kind(**_fields(kind, value))
    if is_typeddict(kind):
        return _fields(kind, value)
    if not isinstance(kind, type):
        return value
    if issubclass(kind, (list, *_BUILT)) or (issubclass(kind, collections.abc.Collection) and isinstance(value, list)):
        return _collection(kind, inner, _checked(value, list))
    if issubclass(kind, Mapping):
        return {key: _built(inner[1], item) if inner else item for key, item in _checked(value, dict).items()}
    return value


def _first(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        with suppress(*_UNFIT):
            return _built(hint, value)
    raise TypeError(f"{value!r} fits none of {hints}")


def _fields(kind: Any, value: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: _built(hints[name], item) for name, item in _checked(value, dict).items()}


def _collection(kind: type, inner: tuple[Any, ...], value: list[Any]) -> Any:
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        return tuple(_built(hint, item) for hint, item in zip(inner, value, strict=True))
    items = [_built(inner[0], item) if inner else item for item in value]
    wanted: Any = set if kind in (collections.abc.Set, collections.abc.MutableSet) else kind
    return wanted(items) if wanted in _BUILT else items


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value
