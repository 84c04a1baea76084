"""OpenAI's function JSON, as Chat Completions and as the Responses API write it, bare functions, and BFCL's records.

A document is a function, a list of them, or a request with its "tools" or "functions". The Berkeley Function-Calling
Leaderboard's files (Patil et al. 2025) hold a question and its functions on each line, and name types as Python and
Java do; its questions are not read.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from retriever.readers.place import Place, as_object, listed, shortly, tool_at
from retriever.readers.schema_dialects import object_schema
from retriever.tools import ToolDoc

WHAT = "OpenAI functions or BFCL's records (.json, .jsonl)"


def recognises(document: Any, place: Place) -> bool:
    """Whether there is a function in `document`."""
    found = (entry for _, entry in entries([(place, document)]) if isinstance(entry, dict))
    return any(entry.get("type") == "function" or {"name", "parameters"} <= entry.keys() for entry in found)


def entries(documents: Iterable[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """Every function with its place.

    BFCL asks many questions of one function: equal ones come once. Where two records describe a function of the same
    name differently, the id of the later one ends in that record's.
    """
    described: dict[str, set[str]] = {}
    for place, document in documents:
        for spot, item in listed(document, place, "tools", "functions"):
            if not isinstance(item, dict) or "function" not in item or item.get("type") == "function":
                yield spot, item
                continue
            for inner, function in listed(item["function"], spot.at("function")):
                name = function.get("name") if isinstance(function, dict) else None
                text = json.dumps(function, sort_keys=True)
                known = described.setdefault(str(name), set())
                if text not in known:
                    yield (replace(inner, variant=str(item.get("id", ""))) if known else inner), function
                    known.add(text)


def tool(entry: Any, place: Place) -> ToolDoc:
    """The tool of one function. Raises DataError."""
    function, spot = as_object(entry, place), place
    if (kind := function.get("type", "function")) != "function":
        raise place.bad(f"a tool of type {shortly(kind)} is no function; leave it out")
    if "function" in function:
        spot = place.at("function")
        function = as_object(function["function"], spot)
    return tool_at(
        spot,
        name=function.get("name"),
        description=function.get("description"),
        parameters=object_schema(function.get("parameters"), spot.at("parameters")),
        origin="python",
    )
