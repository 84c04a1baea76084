"""ToolBench's training trajectories (Qin et al. 2023, arXiv 2307.16789) as a catalogue and tasks.

Reads `toolllama_G123_dfs_train.json` and its like, a list of conversations too long to be read at once. Each query
comes several times, once for every step of one path; the longest tells what the path was. ChatGPT, which took it, went
wrong on the way now and then, so that its calls are no gold calls and its answer no gold answer: the tools that
answered it are taken for the gold tools. Queries that ended in giving up, or without such a tool, are left out.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from envs.datasets.json_stream import stream_list
from envs.datasets.merged import DataSet, MergedTools
from envs.types import Task
from retriever.base.canonical import content_hash
from retriever.catalogue import Catalogue
from retriever.readers.place import Place

_APIS = "you have access to the following APIs:"
_ACTION = re.compile(r"Action:\s*(.*?)\s*\nAction Input:\s*(.*)", re.DOTALL)
_FINISH = "Finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """What is kept of a query: the longest conversation so far."""

    turns: int
    called: tuple[str, ...]  # ids of tools that answered without an error
    answered: bool


def read_toolbench_training(path: str | Path) -> DataSet:
    """Read a file of trajectories, an item at a time. Raises UserError or DataError.

    A task's id is made of its query; the files name none.
    """
    path = Path(path).expanduser()
    tools, paths = MergedTools(), dict[str, _Path]()
    offered_by_text = lru_cache(maxsize=1024)(_functions)  # the steps of one path repeat the same system message
    for number, entry in stream_list(path, what="ToolBench's training file"):
        place = Place(path=path, prefix="toolbench", variant=str(number), field=f"[{number}]")
        conversation = _conversation(entry, place)
        query = _said(conversation, "user")
        try:
            functions = offered_by_text(_said(conversation, "system"))
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise place.at("conversations").bad(f"its list of APIs cannot be read ({error})") from None
        offered = {function["name"]: tools.tool(function, place).id for function in functions}
        if query not in paths or len(conversation) >= paths[query].turns:
            paths[query] = _path(conversation, offered)
    left_out = Counter[str]()
    tasks = []
    for query, found in paths.items():
        if problem := "gave up" if not found.answered else "no tool answered" if not found.called else None:
            left_out[problem] += 1
            continue
        id = f"toolbench/{content_hash(query)[:16]}"
        tasks.append(Task(id=id, instruction=query, gold_tools=found.called, tags=("toolllama",)))
    return DataSet(catalogue=Catalogue.of(tools.tools), tasks=tuple(tasks), left_out=left_out)


def _conversation(entry: Any, place: Place) -> list[Mapping[str, str]]:
    conversation = entry.get("conversations") if isinstance(entry, dict) else None
    if not isinstance(conversation, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in conversation
    ):
        raise place.at("conversations").bad('expected a list of turns with a "from" and a "value" each')
    if [turn["from"] for turn in conversation[:2]] != ["system", "user"]:
        raise place.at("conversations").bad("expected a system's turn, then a user's")
    return conversation


def _said(conversation: list[Mapping[str, str]], who: str) -> str:
    """What the system or the user says first; of the user's, the query alone."""
    text = next(turn["value"] for turn in conversation if turn["from"] == who)
    return text.strip().removesuffix("Begin!").strip() if who == "user" else text


def _functions(system: str) -> tuple[dict[str, Any], ...]:
    """The APIs that a system message lists as Python would print them. Raises ValueError or SyntaxError."""
    _, found, listed = system.rpartition(_APIS)
    functions = ast.literal_eval(listed.strip()) if found else None
    if not isinstance(functions, list) or not all(isinstance(function, dict) for function in functions):
        raise ValueError(f"no list behind {_APIS!r}")
    return tuple(_function(function) for function in functions if function.get("name") != _FINISH)


def _function(published: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON Schema does not know: "optional" lists the parameters that "required" does not."""
    parameters = dict(published["parameters"]) if isinstance(published.get("parameters"), dict) else {}
    parameters.pop("optional", None)
    properties = {key: _schema(value) for key, value in parameters.get("properties", {}).items()}
    return {**published, "parameters": {**parameters, "properties": properties}}


def _schema(published: Any) -> Any:
    """An example goes by "example_value" there."""
    if not isinstance(published, dict) or "example_value" not in published:
        return published
    return {
        **{key: value for key, value in published.items() if key != "example_value"},
        "examples": [published["example_value"]],
    }


def _path(conversation: list[Mapping[str, str]], offered: Mapping[str, str]) -> _Path:
    called: list[str] = []
    answered = False
    for turn, following in zip(conversation, [*conversation[1:], {}], strict=True):
        if turn["from"] != "assistant" or (action := _ACTION.search(turn["value"])) is None:
            continue
        name, arguments = action[1], action[2]
        if name == _FINISH:
            answered = "give_answer" in arguments
        elif name in offered and following.get("from") == "function" and _succeeded(following["value"]):
            called.append(offered[name])
    return _Path(turns=len(conversation), called=tuple(dict.fromkeys(called)), answered=answered)


def _succeeded(text: str) -> bool:
    """Whether a function's reply, {"error": "", "response": …}, is no error. A reply cut off in its middle is none."""
    try:
        reply = json.loads(text)
    except ValueError:
        return text.replace(" ", "").startswith('{"error":"",')
    return isinstance(reply, dict) and not reply.get("error")
