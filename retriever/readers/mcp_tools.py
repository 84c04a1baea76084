"""The result of an MCP server's `tools/list`, saved as JSON: camelCase as on the wire, or snake_case as SDKs name it.

Anthropic's tool definitions have the same fields. The pages of a long list are files of their own, or lines of one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from retriever.readers.place import Place, as_object, listed, published_version, tool_at
from retriever.readers.schema_dialects import object_schema
from retriever.tools import ToolDoc

WHAT = "an MCP server's tools/list result (.json)"

_SCHEMA_FIELDS = ("inputSchema", "input_schema")


def recognises(document: Any, place: Place) -> bool:
    """Whether something that `document` lists has an input schema."""
    found = (entry for _, entry in entries([(place, document)]) if isinstance(entry, dict))
    return any(entry.keys() & {*_SCHEMA_FIELDS} for entry in found)


def entries(documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """Every tool with its place; a whole JSON-RPC response is looked into."""
    for place, document in documents:
        if isinstance(document, dict) and "result" in document:
            document, place = document["result"], place.at("result")
        yield from listed(document, place, "tools")


def tool(entry: Any, place: Place) -> ToolDoc:
    """The tool of one definition; a title comes before its description. Raises DataError."""
    entry = as_object(entry, place)
    field = next((field for field in _SCHEMA_FIELDS if field in entry), None)
    if field is None:
        raise place.bad("inputSchema is missing; a tool without arguments has {}")
    annotations = entry.get("annotations")
    title = entry.get("title") or (annotations.get("title") if isinstance(annotations, dict) else None)
    description = entry.get("description")
    if isinstance(title, str) and isinstance(description or "", str):
        description = f"{title}\n{description or ''}"
    return tool_at(
        place,
        name=entry.get("name"),
        description=description,
        parameters=object_schema(entry[field], place.at(field)),
        origin="mcp",
        version=published_version(entry),
    )
