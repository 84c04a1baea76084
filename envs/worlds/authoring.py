"""How a tool of the embedded world is written: a typed function, samplers for its arguments, ways to ask for it.

Nothing is drawn or worded here; `composing` does that. The needs are fragments, so that one wording serves alone, as
the first step of a chain and as its second step, where "the result" stands in for one of its values.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from envs.worlds.draws import Draw
from envs.worlds.kinds import Kind
from retriever.tools import ToolDoc

MOST_ITEMS = 100  # of a list argument
MOST_CHARACTERS = 400  # of a text argument
LARGEST_NUMBER = 10**15  # in absolute value; no function below may take long on what passes here

_QUERY = re.compile(r"\[([^\[\]]+)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_NOUNS = ("the", "a", "an")
_CLAUSES = ("whether", "how", "which", "what", "when", "where")


class NeedKind(StrEnum):
    """The grammar of a need, which decides the frames that it fits."""

    NOUN = "noun"  # "the [greatest common divisor] of {a} and {b}"
    CLAUSE = "clause"  # "whether {n} [is prime]"
    ORDER = "order"  # "sort {values} [from largest to smallest]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One wording of a need. `text` has a slot for every parameter; `query` is what a good searcher would type."""

    kind: NeedKind
    text: str
    query: str
    slots: tuple[str, ...]


@cache
def parse_need(written: str) -> Need:
    """Read a written need; its one bracketed phrase becomes the query. The first word tells the grammar."""
    found = _QUERY.findall(written)
    assert len(found) == 1, f"{written!r} needs exactly one [phrase]"
    first = written.replace("[", "").split()[0]
    kind = NeedKind.NOUN if first in _NOUNS else NeedKind.CLAUSE if first in _CLAUSES else NeedKind.ORDER
    return Need(kind=kind, text=_QUERY.sub(r"\1", written), query=found[0], slots=tuple(_SLOT.findall(written)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldTool:
    """One function with everything needed to make tasks of it."""

    function: Callable[..., Any]  # its one-sentence docstring is the tool's description
    draw: Mapping[str, Draw]  # a sampler for each parameter
    needs: tuple[str, ...]  # at least 3: the wordings seen in training
    unseen: tuple[str, ...]  # at least 2: other wordings, never seen in training

    @property
    def name(self) -> str:
        """What a policy calls."""
        return self.function.__name__

    def doc(self, domain: str) -> ToolDoc:
        """The catalogue entry."""
        description = inspect.getdoc(self.function)
        assert description is not None, f"{self.name} has no docstring"
        hints = parameter_types(self.function)
        return ToolDoc(
            id=f"{domain}.{self.name}",
            name=self.name,
            description=description,
            parameters={
                "type": "object",
                "properties": {name: json_type(hint) for name, hint in hints.items()},
                "required": list(hints),
            },
            origin="python",
            tags=(domain,),
        )


@cache
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(function, include_extras=True)


@cache
def parameter_types(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Parameter name to annotation, in the order of the signature."""
    hints = _hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters}


@cache
def parameter_kinds(function: Callable[..., Any]) -> Mapping[str, Kind | None]:
    """Parameter name to kind; None for a plain type: a setting."""
    return {name: kind_of(hint) for name, hint in parameter_types(function).items()}


def result_kind(function: Callable[..., Any]) -> Kind:
    """What the function returns."""
    kind = kind_of(_hints(function)["return"])
    assert kind is not None, f"{function.__name__} must say what kind of value it returns"
    return kind


def kind_of(hint: Any) -> Kind | None:
    """The kind that an annotation carries, if any."""
    if get_origin(hint) is not Annotated:
        return None
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Kind)), None)


def plain_type(hint: Any) -> Any:
    """The Python type below an annotation: int, float, str or a list of one of them."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


_JSON_NAMES: Mapping[Any, str] = {int: "integer", float: "number", str: "string"}


def json_type(hint: Any) -> dict[str, Any]:
    """The JSON schema of one parameter."""
    plain = plain_type(hint)
    if get_origin(plain) is list:
        return {"type": "array", "items": json_type(get_args(plain)[0])}
    return {"type": _JSON_NAMES[plain]}


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` if it has the annotated type and a bounded size. Raises TypeError or ValueError."""
    plain = plain_type(hint)
    if get_origin(plain) is list:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} must be a list")
        if len(value) > MOST_ITEMS:
            raise ValueError(f"{name} has more than {MOST_ITEMS} items")
        return [checked(f"each item of {name}", item, get_args(plain)[0]) for item in value]
    if plain is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string")
        if len(value) > MOST_CHARACTERS:
            raise ValueError(f"{name} has more than {MOST_CHARACTERS} characters")
        return value
    if isinstance(value, bool) or not isinstance(value, int if plain is int else int | float):
        raise TypeError(f"{name} must be {'a whole number' if plain is int else 'a number'}")
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise ValueError(f"{name} is too large")
    return value


def within(value: float, low: float, high: float, what: str) -> None:
    """Raise ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{what} must be from {low} to {high}")


def filled(values: list[Any], what: str = "the list", *, least: int = 1) -> None:
    """Raise ValueError when a list has fewer than `least` items."""
    if len(values) < least:
        raise ValueError(f"{what} needs at least {least} item{'s' if least > 1 else ''}")


def settled(value: Any) -> Any:
    """A result as a next call would get it: floats rounded to 4 decimals, whole floats as integers, in lists too.

    Raises ValueError for an infinity or a NaN.
    """
    if isinstance(value, list | tuple):
        return [settled(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("the result is not a finite number")
        rounded = round(value, 4)
        return int(rounded) if rounded.is_integer() else rounded
    return value
