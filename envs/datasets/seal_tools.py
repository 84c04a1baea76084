"""Seal-Tools (Wu et al. 2024, arXiv 2405.08355): about 4,000 made-up tools of many fields, and tasks with gold calls.

Reads a folder as published, `Seal-Tools_Dataset`: tool.jsonl, and of train, dev, test_in_domain and test_out_domain
what is there. No tool runs.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envs.datasets.merged import DataSet, MergedTools
from envs.executors.arguments import invalid_arguments
from envs.types import Task, ToolCall
from retriever.base.errors import UserError
from retriever.base.files import read_jsonl
from retriever.catalogue import Catalogue
from retriever.readers.place import Place
from retriever.tools import ToolDoc

SPLITS = {"train": "train", "dev": "dev", "test_in_domain": "test", "test_out_domain": "test"}  # file → split


def read_seal_tools(folder: str | Path) -> DataSet:
    """Read Seal-Tools' folder. Raises UserError or DataError.

    A task's first tag is its file and difficulty, "dev-easy". Values are published as text where the schema has
    numbers, and read as what the schema says. A call that takes the response of another ("API_call_0") is not
    concrete, and some values fit no schema: such tasks keep their gold tools alone, and are counted.
    """
    root = Path(folder).expanduser()
    if not (root / "tool.jsonl").is_file():
        raise UserError(f"no tool.jsonl in {root}; give the folder Seal-Tools_Dataset of fairyshine/Seal-Tools")
    by_name = dict(_tools(root / "tool.jsonl"))
    tasks: list[Task] = []
    left_out = Counter[str]()
    for name, split in SPLITS.items():
        path = root / f"{name}.jsonl"
        if path.is_file():
            tasks += _tasks(path, split, by_name, left_out)
    if not tasks:
        raise UserError(f"no task in {root}; there should be {', '.join(f'{name}.jsonl' for name in SPLITS)}")
    return DataSet(catalogue=Catalogue.of(by_name.values()), tasks=tuple(tasks), left_out=left_out)


def _tools(path: Path) -> Iterator[tuple[str, ToolDoc]]:
    tools = MergedTools()
    for line, entry in read_jsonl(path, what="Seal-Tools"):
        place = Place(path=path, prefix=str(entry.get("field", "")).partition("/")[0] or "seal-tools", line=line)
        properties, required = entry.get("parameters"), entry.get("required", [])
        if not isinstance(properties, dict):
            raise place.at("parameters").bad("expected an object of parameters")
        function = {
            "name": entry.get("api_name"),
            "description": entry.get("api_description"),
            "parameters": {"type": "object", "properties": properties, "required": required},
        }
        yield str(entry.get("api_name")), tools.tool(function, place)


def _tasks(path: Path, split: str, by_name: Mapping[str, ToolDoc], left_out: Counter[str]) -> Iterator[Task]:
    for line, entry in read_jsonl(path, what="Seal-Tools"):
        place = Place(path=path, prefix="", line=line)
        if not isinstance(entry.get("id"), str) or not isinstance(entry.get("query"), str):
            raise place.bad('expected an "id" and a "query"')
        calling = entry.get("calling")
        if not isinstance(calling, list) or not all(isinstance(call, dict) for call in calling):
            raise place.at("calling").bad("expected a list of calls")
        calls = [_call(call, by_name, place) for call in calling]
        problem = _problem(calls)
        left_out[problem or ""] += 1
        yield Task(
            id=entry["id"],
            instruction=entry["query"],
            split=split,
            gold_tools=tuple(dict.fromkeys(call.name for _, call in calls)) or None,
            gold_calls=tuple(call for _, call in calls) if problem is None else None,
            tags=(entry["id"].rpartition("-")[0],),
        )
    left_out.pop("", None)


def _call(call: dict[str, Any], by_name: Mapping[str, ToolDoc], place: Place) -> tuple[ToolDoc, ToolCall]:
    name, arguments = call.get("api"), call.get("parameters")
    if (tool := by_name.get(str(name))) is None or not isinstance(arguments, dict):
        raise place.at("calling").bad(f"calls {name!r}, which is no tool of tool.jsonl, or without parameters")
    properties = tool.parameters.get("properties", {})
    read = {key: _as_typed(value, properties.get(key, {})) for key, value in arguments.items()}
    return tool, ToolCall(name=tool.id, arguments=read)


def _as_typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value of text as the number, boolean, list or object that the schema asks for."""
    if not isinstance(value, str) or schema.get("type", "string") == "string":
        return value
    try:
        return json.loads(value.lower() if schema["type"] == "boolean" else value)
    except ValueError:
        return value


def _problem(calls: list[tuple[ToolDoc, ToolCall]]) -> str | None:
    """Why the calls are not concrete."""
    for tool, call in calls:
        if "API_call_" in json.dumps(call.arguments):
            return "a call takes the response of another"
        if invalid_arguments(tool.parameters, call.arguments):
            return "gold calls that do not fit their schema"
    return None
