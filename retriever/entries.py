"""Our own form of a tool: one JSON object, a line of a catalogue's file. Others' forms: readers/."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any

from retriever.base.bad_entries import OnBad, refuse
from retriever.base.canonical import canonical_json
from retriever.base.errors import DataError
from retriever.base.files import read_jsonl
from retriever.base.nearest import did_you_mean
from retriever.packed import PackedObject
from retriever.schemas import parameters_problem
from retriever.tools import ToolDoc

NO_PARAMETERS = {"type": "object", "properties": {}}

_FIELDS = ("id", "name", "description", "parameters", "origin", "version", "tags")
_REQUIRED = ("id", "name", "description")


def read_entries(path: str | Path, *, on_bad: OnBad = refuse) -> Iterator[ToolDoc]:
    """The tools of a .jsonl or .jsonl.gz file, in order, none twice; light enough that a million fit in memory.

    Raises UserError (no such file) or DataError (a file that breaks off); `on_bad` is told of each bad line.
    """
    lines: dict[str, int] = {}
    for line, entry in read_jsonl(path, what="catalogue", on_bad=on_bad):
        try:
            tool = parse_tool(entry, path=path, line=line)
            if tool.id in lines:
                problem = f"{tool.id!r} is already the id of line {lines[tool.id]}; rename or drop one of the two"
                raise DataError(problem, path=path, line=line, field="id")
        except DataError as error:
            on_bad(error)
            continue
        lines[tool.id] = line
        yield light(tool)


def light(tool: ToolDoc) -> ToolDoc:
    """The same tool, sharing with others what is often the same, its parameters as text."""
    return replace(
        tool,
        parameters=_packed(json.dumps(tool.parameters, separators=(",", ":"), ensure_ascii=False)),
        origin=intern(tool.origin),
        version=intern(tool.version),
        tags=_shared(tool.tags),
    )


def entry_json(tool: ToolDoc) -> str:
    """`tool.to_dict()` as JSON, without reading parameters that are kept as JSON."""
    first = json.dumps({"id": tool.id, "name": tool.name, "description": tool.description}, ensure_ascii=False)
    last = json.dumps({"origin": tool.origin, "version": tool.version, "tags": tool.tags}, ensure_ascii=False)
    return f'{first[:-1]}, "parameters": {parameters_json(tool)}, {last[1:]}'


def parameters_json(tool: ToolDoc) -> str:
    """The parameters of `tool` as JSON."""
    parameters = tool.parameters
    if isinstance(parameters, PackedObject):
        return parameters.text
    return json.dumps(dict(parameters), ensure_ascii=False)


@lru_cache(maxsize=4096)
def _packed(text: str) -> PackedObject:
    return PackedObject(text)


@lru_cache(maxsize=4096)
def _shared(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tags


def parse_tool(entry: dict[str, Any], *, path: str | Path, line: int | None) -> ToolDoc:
    """The tool of one line of a catalogue, as parsed from JSON. Raises DataError."""

    def bad(message: str, field: str) -> DataError:
        return DataError(message, path=path, line=line, field=field)

    for key in entry:
        if key not in _FIELDS:
            raise bad(f"unknown field{did_you_mean(key, _FIELDS)}; an entry has {', '.join(_FIELDS)}", key)
    for key in _REQUIRED:
        if key not in entry:
            raise bad("missing; every entry has an id, a name and a description", key)
    for key in ("id", "name", "description", "origin", "version"):
        value = entry.get(key, "-")
        if not isinstance(value, str):
            raise bad(f"expected a string, got {value!r}; put it in quotes", key)
        if key != "description" and (not value.strip() or not value.isprintable()):
            raise bad(f"{value!r} is empty or holds control characters; give a printable name", key)
    tags = entry.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise bad(f"expected a list of strings, got {tags!r}", "tags")
    parameters = entry.get("parameters", NO_PARAMETERS)
    if not isinstance(parameters, dict):
        raise bad(
            f"expected a JSON schema, got {parameters!r}; a tool without arguments leaves the field out", "parameters"
        )
    try:
        canonical_json(entry).encode()
    except ValueError:
        raise bad(
            "holds NaN, an infinity or half a surrogate pair, which JSON cannot carry; mend the value", "parameters"
        ) from None
    except RecursionError:
        raise bad("is nested too deeply to be read; nest less", "parameters") from None
    if problem := parameters_problem(parameters):
        raise bad(problem, "parameters")
    return ToolDoc(
        id=entry["id"],
        name=entry["name"],
        description=entry["description"],
        parameters=parameters,
        origin=entry.get("origin", "python"),
        version=entry.get("version", "1"),
        tags=tuple(tags),
    )
