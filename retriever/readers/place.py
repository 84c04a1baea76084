"""Where in a user's files something stands, and how what stands there becomes a tool."""

import hashlib
import json
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retriever.base.errors import DataError
from retriever.entries import parse_tool
from retriever.tools import ToolDoc

_NAME_CHARS = 64  # what OpenAI's and most other servers accept


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A spot in a file, for error messages, and the first part of the ids of the tools that are found there."""

    path: Path
    prefix: str  # ids are prefix/name; also the tag of tools that have no other
    variant: str = ""  # where tools of one file share a name: what tells this one's id apart, behind a "~"
    line: int | None = None
    field: str = ""  # "tools[3].name"; "" for the whole file or line

    def at(self, *steps: str | int) -> "Place":
        """The spot further in: `place.at("tools", 3)`."""
        field = self.field
        for step in steps:
            field += f"[{step}]" if isinstance(step, int) else f".{step}" if field else step
        return replace(self, field=field)

    def bad(self, message: str) -> DataError:
        """What to raise about this spot."""
        return DataError(message, path=self.path, line=self.line, field=self.field or None)

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.path}{line}{f' {self.field}' if self.field else ''}"


def listed(document: Any, place: Place, *keys: str) -> Iterator[tuple[Place, Any]]:
    """What a document lists, with places: the items of a list, or of the list under one of `keys`, or itself alone."""
    for key in keys:
        if isinstance(document, dict) and isinstance(document.get(key), list):
            document, place = document[key], place.at(key)
    if not isinstance(document, list):
        yield place, document
        return
    for number, item in enumerate(document):
        yield place.at(number), item


def as_object(value: Any, place: Place) -> dict[str, Any]:
    """`value` when it is a JSON object; DataError when not."""
    if not isinstance(value, dict):
        raise place.bad(f"expected an object, got {shortly(value)}")
    return value


def tool_at(
    place: Place,
    *,
    name: Any,
    description: Any,
    parameters: dict[str, Any],
    origin: str,
    version: str = "1",
    call_as: str | None = None,
    tags: Sequence[str] = (),
) -> ToolDoc:
    """The tool of a spot: its id is prefix/name, it is called by `call_as` or else by its name, spelled callably.

    It is tagged with `tags`, or else with the prefix. Raises DataError when it would be no sound entry of a catalogue.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise place.at("name").bad(f"expected a printable name, got {shortly(name)}; give the tool one")
    if not isinstance(description or "", str):
        raise place.at("description").bad(f"expected a text, got {shortly(description)}; put it in quotes")
    entry = {
        "id": f"{place.prefix}/{name}{place.variant and '~' + place.variant}",
        "name": callable_name(call_as or name),
        "description": (description or "").strip(),
        "parameters": parameters,
        "origin": origin,
        "version": version,
        "tags": list(tags) or [place.prefix],
    }
    try:
        return parse_tool(entry, path=place.path, line=place.line)
    except DataError as error:
        raise place.bad(f"its {error.field}: {error.message}") from None


def published_version(definition: Any) -> str:
    """The version of a tool whose format gives it none: a changed `definition`, bytes or JSON, is another one. Twelve
    hex digits of a SHA-256.
    """
    if not isinstance(definition, bytes):
        # not canonical_json: what no tool is made of may hold anything
        definition = json.dumps(definition, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(definition).hexdigest()[:12]


def callable_name(name: str) -> str:
    """`name` as a model can call it: letters, digits, "_" and "-", at most 64; "_" for any other character."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_NAME_CHARS]


def shortly(value: Any) -> str:
    """`value` for an error message: a document may be long."""
    return reprlib.repr(value)
