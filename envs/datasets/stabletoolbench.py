"""StableToolBench's solvable queries (Guo et al. 2024, arXiv 2403.07714) as a catalogue and tasks.

Reads a folder as published: `test_instruction/G*.json` and `test_query_ids/G*.json`. It reads no cached responses and
runs no server. Test queries only: never train on a group that you report.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from envs.types import Task
from retriever.base.errors import DataError, UserError
from retriever.base.files import read_json
from retriever.catalogue import Catalogue
from retriever.tools import ToolDoc

GROUPS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")

_NAME_CHARS = 64  # ToolBench keeps the last 64 characters of a function name
_TYPES = {"NUMBER": "number", "INTEGER": "integer", "BOOLEAN": "boolean", "ARRAY": "array", "OBJECT": "object"}
_RESERVED = frozenset({"from", "class", "return", "false", "true", "id", "and", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class StableToolBench:
    """All documented APIs of the groups found, and the groups' solvable queries."""

    catalogue: Catalogue
    groups: Mapping[str, tuple[Task, ...]]  # by the file's name: "G1_instruction" …

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of every group."""
        return tuple(task for tasks in self.groups.values() for task in tasks)


def read_stabletoolbench(folder: str | Path, *, given: bool = False) -> StableToolBench:
    """Read a StableToolBench folder, or the `solvable_queries` folder in it. Raises UserError or DataError.

    `given`: each task offers the APIs of its query's own list alone, ToolBench's setting with an API list; else all.

    A tool's id is `category/tool/api` as published (`parse_tool_id` undoes it). Its name is ToolBench's function name;
    where two APIs would share one, the later gets a number, for a policy calls by name.
    """
    root = _root(Path(folder).expanduser())
    tools: dict[str, ToolDoc] = {}
    names: set[str] = set()
    groups: dict[str, tuple[Task, ...]] = {}
    for group in GROUPS:
        path = root / "test_instruction" / f"{group}.json"
        if not path.is_file():
            continue
        solvable = {str(query_id) for query_id in read_json(root / "test_query_ids" / path.name, what="query ids")}
        tasks: list[Task] = []
        for query in _queries(path):
            if str(query["query_id"]) not in solvable:
                continue
            for api in query["api_list"]:
                tool_id = _tool_id(api)
                if tool_id not in tools:
                    tools[tool_id] = _tool(api, tool_id=tool_id, names=names)
            task = _task(query, group=group, path=path)
            offered = tuple(dict.fromkeys(map(_tool_id, query["api_list"]))) if given else ()
            tasks.append(replace(task, offered_tools=offered))
        groups[group] = tuple(tasks)
    return StableToolBench(catalogue=Catalogue.of(tools.values()), groups=groups)


def parse_tool_id(tool_id: str) -> tuple[str, str, str]:
    """(category, tool, API), each as published: what a virtual API server and MirrorAPI are asked with."""
    category, tool, api = (unquote(part) for part in tool_id.split("/"))
    return category, tool, api


def standardize(name: str) -> str:
    """ToolBench's spelling of a name: lower case, `_` for what is no letter or digit, `get_` before a digit."""
    plain = re.sub(r"[^\u4e00-\u9fa5a-zA-Z0-9]+", "_", name).lower().strip("_")
    return f"get_{plain}" if plain[:1].isdigit() else plain


def identifier(name: str) -> str:
    """ToolBench's spelling of an API or a parameter: standardised, and no reserved word."""
    plain = standardize(name)
    return f"is_{plain}" if plain in _RESERVED else plain


def _root(folder: Path) -> Path:
    for root in (folder, folder / "solvable_queries"):
        if any((root / "test_instruction" / f"{group}.json").is_file() for group in GROUPS):
            return root
    raise UserError(f"no test_instruction/G*.json in {folder}; give StableToolBench's solvable_queries folder")


def _queries(path: Path) -> Iterator[dict[str, Any]]:
    """The queries of one file, their shape checked."""
    content = read_json(path, what="StableToolBench queries")
    if not isinstance(content, list):
        raise DataError(f"expected a list of queries, got {type(content).__name__}", path=path)
    for number, query in enumerate(content):
        for field, kind in (("query", str), ("query_id", (int, str)), ("api_list", list), ("relevant APIs", list)):
            if not isinstance(query, dict) or not isinstance(query.get(field), kind):
                raise DataError(
                    "missing or of another kind than published; fetch the file again",
                    path=path,
                    field=f"[{number}].{field}",
                )
        for place, api in enumerate(query["api_list"]):
            for field in ("category_name", "tool_name", "api_name", "api_description"):
                if not isinstance(api, dict) or not isinstance(api.get(field), str):
                    at = f"[{number}].api_list[{place}].{field}"
                    raise DataError("missing, or not a string; fetch the file again", path=path, field=at)
            for field in ("required_parameters", "optional_parameters"):
                listed = api.get(field, [])
                if not isinstance(listed, list) or not all(
                    isinstance(one, dict) and isinstance(one.get("name"), str) for one in listed
                ):
                    at = f"[{number}].api_list[{place}].{field}"
                    raise DataError("expected a list of named parameters; fetch the file again", path=path, field=at)
        yield query


def _task(query: Mapping[str, Any], *, group: str, path: Path) -> Task:
    ids = {(api["tool_name"], api["api_name"]): _tool_id(api) for api in query["api_list"]}
    gold: list[str] = []
    for pair in query["relevant APIs"]:
        tool_id = (
            ids.get(tuple(pair)) if isinstance(pair, list) and all(isinstance(part, str) for part in pair) else None
        )
        if tool_id is None:
            problem = f"query {query['query_id']}: {pair!r} is not in the query's api_list; fetch the file again"
            raise DataError(problem, path=path, field="relevant APIs")
        gold.append(tool_id)
    return Task(
        id=f"{group}/{query['query_id']}",
        instruction=query["query"],
        split="test",
        gold_tools=tuple(dict.fromkeys(gold)) or None,  # three queries name an API twice
        tags=(group,),
    )


def _tool_id(api: Mapping[str, Any]) -> str:
    parts = (api[field] for field in ("category_name", "tool_name", "api_name"))
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _tool(api: Mapping[str, Any], *, tool_id: str, names: set[str]) -> ToolDoc:
    name = _unique(f"{identifier(api['api_name'])}_for_{standardize(api['tool_name'])}"[-_NAME_CHARS:], names)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in ("required_parameters", "optional_parameters"):
        for parameter in api.get(field) or ():
            key = identifier(parameter["name"])
            if key in properties:
                continue  # two APIs list a parameter twice
            properties[key] = _schema(parameter)
            if field == "required_parameters":
                required.append(key)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    return ToolDoc(
        id=tool_id,
        name=name,
        description=api["api_description"].strip(),
        parameters=parameters,
        origin="simulator",
        tags=(api["category_name"],),
    )


def _unique(name: str, names: set[str]) -> str:
    candidate, number = name, 1
    while candidate in names:
        number += 1
        suffix = f"_{number}"
        candidate = name[-(_NAME_CHARS - len(suffix)) :] + suffix
    names.add(candidate)
    return candidate


def _schema(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """ToolBench's "default" is an example value, not what a server fills in."""
    schema: dict[str, Any] = {"type": _TYPES.get(str(parameter.get("type", "")).upper(), "string")}
    if parameter.get("description"):
        schema["description"] = parameter["description"]
    if (example := parameter.get("default")) not in (None, ""):
        schema["examples"] = [example]
    return schema
