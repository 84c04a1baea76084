"""A catalogue's own entries (retriever/entries.py), among files of other formats. They keep their ids."""

from collections.abc import Iterable, Iterator
from typing import Any

from retriever.base.errors import DataError
from retriever.entries import parse_tool
from retriever.readers.place import Place, as_object, listed
from retriever.tools import ToolDoc

WHAT = "our own tools.jsonl"


def recognises(document: Any, place: Place) -> bool:
    """Whether something in `document` has an id and a name, and is no tool of another format's."""
    found = (entry for _, entry in entries([(place, document)]) if isinstance(entry, dict))
    return any({"id", "name"} <= entry.keys() and entry.get("type") != "function" for entry in found)


def entries(documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """Every entry with its place."""
    for place, document in documents:
        yield from listed(document, place)


def tool(entry: Any, place: Place) -> ToolDoc:
    """The tool of one entry. Raises DataError."""
    try:
        return parse_tool(as_object(entry, place), path=place.path, line=place.line)
    except DataError as error:
        raise (place.at(error.field) if error.field else place).bad(error.message) from None
