"""BFCL's AST rules (Patil et al. 2025): whether calls are right, given every right value of each argument.

The rules, as the leaderboard's checker of Python categories applies them: the same tool; every required parameter; none
outside the schema or the list; the type exactly, but an integer for a number; a value of the list, strings compared
without case and without spaces and `,./-_*^`. Several calls match in any order, optimally where the leaderboard's
checker is greedy. A schema here is JSON Schema, in which a parameter without a type stands for BFCL's "any": a string.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from envs.types import AllowedCall, ToolCall
from retriever.base.canonical import same_json

Schemas = Callable[[str], Mapping[str, Any]]  # tool id → its parameters, as a JSON schema


class AstReason(StrEnum):
    """What the rules found."""

    RIGHT = "right"
    WRONG_COUNT = "wrong_count"
    WRONG_TOOL = "wrong_tool"
    MISSING_REQUIRED = "missing_required"
    MISSING_OPTIONAL = "missing_optional"  # a parameter that the schema makes optional, but not the list
    UNEXPECTED_PARAMETER = "unexpected_parameter"
    WRONG_TYPE = "wrong_type"
    WRONG_VALUE = "wrong_value"
    NO_MATCH = "no_match"  # several calls, and no way to give each gold call its own


@dataclass(frozen=True, slots=True, kw_only=True)
class AstVerdict:
    """Whether the calls are right, and why not."""

    reason: AstReason
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing was found wrong."""
        return self.reason is AstReason.RIGHT


_RIGHT = AstVerdict(reason=AstReason.RIGHT)
_PYTHON: dict[object, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def ast_verdict(made: Sequence[ToolCall], allowed: Sequence[AllowedCall], schemas: Schemas) -> AstVerdict:
    """The calls that were made against those that are right, each once and in any order. Nothing allowed: no call is.

    `schemas` is asked for the tools of `allowed` alone.
    """
    if len(made) != len(allowed):
        return _wrong(AstReason.WRONG_COUNT, f"{len(made)} calls, not {len(allowed)}")
    if len(allowed) == 1:
        return _call_verdict(made[0], allowed[0], schemas(allowed[0].name))
    verdicts = [[_call_verdict(call, gold, schemas(gold.name)) for call in made] for gold in allowed]
    right = np.array([[float(verdict.right) for verdict in row] for row in verdicts]).reshape(len(allowed), len(made))
    rows, columns = linear_sum_assignment(right, maximize=True)
    for row, column in zip(rows, columns, strict=True):
        if not right[row, column]:
            return _wrong(AstReason.NO_MATCH, f"no call of its own for {allowed[row].name!r}, gold call {row + 1}")
    return _RIGHT


def call_allowed(made: ToolCall, gold: AllowedCall) -> bool:
    """Whether a call is among those allowed, by its values alone: what a schema says of types is not looked at."""
    given = all(
        name in gold.arguments and _among(value, gold.arguments[name]) for name, value in made.arguments.items()
    )
    return (
        made.name == gold.name
        and given
        and all(name in made.arguments or "" in values for name, values in gold.arguments.items())
    )


def _among(value: Any, allowed: Sequence[Any]) -> bool:
    if isinstance(value, dict):
        return any(_same_object(value, one) for one in allowed)
    if isinstance(value, list):
        plain = [_plain_items(one) for one in allowed if isinstance(one, list | str)]
        return _plain_items(value) in plain or any(_same_objects(value, one) for one in allowed)
    if isinstance(value, str):
        return _plain(value) in [_plain(one) for one in allowed if isinstance(one, str)]
    return any(same_json(value, one) for one in allowed)


def _wrong(reason: AstReason, detail: str) -> AstVerdict:
    return AstVerdict(reason=reason, detail=detail)


def _call_verdict(made: ToolCall, gold: AllowedCall, schema: Mapping[str, Any]) -> AstVerdict:
    if made.name != gold.name:
        return _wrong(AstReason.WRONG_TOOL, f"{made.name!r}, not {gold.name!r}")
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in made.arguments:
            return _wrong(AstReason.MISSING_REQUIRED, f"{name!r} is required")
    for name, value in made.arguments.items():
        if name not in properties or name not in gold.arguments:
            return _wrong(AstReason.UNEXPECTED_PARAMETER, f"{name!r} is not asked for")
        reason = _value_reason(value, gold.arguments[name], properties[name])
        if reason is not AstReason.RIGHT:
            return _wrong(reason, f"{name!r}={value!r}, not one of {gold.arguments[name]!r}"[:400])
    for name, values in gold.arguments.items():
        if name not in made.arguments and "" not in values:
            return _wrong(AstReason.MISSING_OPTIONAL, f"{name!r} may not be left out")
    return _RIGHT


def _value_reason(value: Any, allowed: Sequence[Any], schema: Any) -> AstReason:
    kind = _kind(schema)
    if kind is float and type(value) is int:
        value = _as_float(value)
    listed = _listed_type(allowed)
    # What is listed may be of another type than the schema's, "5 + x" for a number: a value of that type is compared
    # as it is.
    as_listed = listed is not None and listed is not kind
    if type(value) is not kind:
        if listed is None or type(value) is not listed:
            return AstReason.WRONG_TYPE
        as_listed = True
    elif isinstance(value, list) and "items" in schema:
        inner = _kind(schema["items"])
        if not any(_items_fit(value, one, inner) for one in allowed):
            return AstReason.WRONG_TYPE
    return AstReason.RIGHT if _listed(value, allowed, schema, as_listed=as_listed) else AstReason.WRONG_VALUE


def _listed(value: Any, allowed: Sequence[Any], schema: Any, *, as_listed: bool) -> bool:
    """Whether a value of the right type is one of those allowed. Equality is Python's: 1 equals true and 1.0."""
    if as_listed:
        return value in allowed
    if isinstance(value, dict):
        return any(_same_object(value, one) for one in allowed)
    if isinstance(value, list):
        if "items" in schema and _kind(schema["items"]) is dict:
            return any(_same_objects(value, one) for one in allowed)
        return _plain_items(value) in [_plain_items(one) for one in allowed if isinstance(one, list | str)]
    if isinstance(value, str):
        return _plain(value) in [_plain(one) for one in allowed if isinstance(one, str)]
    return value in allowed


def _kind(schema: Any) -> type:
    """The Python type that a parameter's values have."""
    name = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(name, list):
        name = next((one for one in name if one != "null"), None)
    return _PYTHON.get(name, str)


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:  # a policy may write any number of digits
        return value


def _listed_type(allowed: Sequence[Any]) -> type | None:
    """The type of the first value that is listed."""
    return next((type(one) for one in allowed if one != ""), None)


def _items_fit(value: list[Any], one: Any, kind: type) -> bool:
    """Whether every item has the type of the schema, or that of the first item of the list allowed.

    That is stricter than for a value alone: among numbers an integer needs one listed first.
    """
    if not isinstance(one, list):  # "": the parameter may be left out, and says nothing of items
        return True
    listed = _listed_type(one)
    return all(type(item) is kind or (listed is not None and type(item) is listed) for item in value)


def _same_object(value: Any, one: Any) -> bool:
    """`one`: each key with the list of its right values; "" among them: may be left out. One level deep."""
    if not isinstance(one, dict) or not isinstance(value, dict):
        return False
    if any(
        key not in one or _folded(item) not in [_folded(right) for right in one[key]] for key, item in value.items()
    ):
        return False
    return all(key in value or "" in right for key, right in one.items())


def _same_objects(value: list[Any], one: Any) -> bool:
    """In the order of the list. An optional parameter's "" stands for no objects."""
    if not isinstance(one, list | str) or len(value) != len(one):
        return False
    return all(_same_object(item, right) for item, right in zip(value, one, strict=True))


def _plain_items(one: list[Any] | str) -> list[Any]:
    """Of an optional parameter's "", no items."""
    return [_folded(item) for item in one]


def _folded(item: Any) -> Any:
    return _plain(item) if isinstance(item, str) else item


def _plain(text: str) -> str:
    """What is left of a string to be compared."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')
