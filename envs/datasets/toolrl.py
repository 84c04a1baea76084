"""ToolRL's supervised format (Qian et al. 2025, arXiv 2504.13958): tools and a dialogue in, thoughts and calls out.

A JSON list of {"instruction", "input", "output"}. The tools stand in the instruction as text, their types in the
spellings of Python and JSON; none says which parameters it requires, so none is. A record that goes on with a dialogue
is left out, for an episode begins with its one instruction; thoughts are not read.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.datasets.merged import DataSet, MergedTools
from envs.executors.arguments import invalid_arguments
from envs.types import Task, ToolCall
from retriever.base.files import read_json
from retriever.catalogue import Catalogue
from retriever.readers.place import Place
from retriever.readers.schema_dialects import in_2020_12
from retriever.tools import ToolDoc

_TOOL = re.compile(r"^\d+\. Name: (.*?)\nDescription: (.*?)\nParameters: (.*?)$", re.MULTILINE | re.DOTALL)
_ASKED = re.compile(r"\s*\*\*Dialogue Records History\*\*\s*<user>(.*?)</user>\s*", re.DOTALL)
_CALLS = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_JSON_TYPES = frozenset({"object", "array", "number", "integer", "string", "boolean", "null"})


def read_toolrl(path: str | Path) -> DataSet:
    """Read a file of ToolRL's supervised examples. Raises UserError or DataError.

    `gold_calls` are the calls of the output, none where it answers at once; they are left out, and counted, where one
    does not fit the tool's schema. `gold_tools` are the tools called.
    """
    place = Place(path=Path(path).expanduser(), prefix="toolrl")
    content = read_json(place.path, what="ToolRL examples")
    if not isinstance(content, list):
        raise place.bad(f"expected a list of examples, got {type(content).__name__}")
    tools, left_out = MergedTools(), Counter[str]()
    tasks = []
    for number, entry in enumerate(content):
        spot = Place(path=place.path, prefix="toolrl", variant=str(number), field=f"[{number}]")
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(field), str) for field in ("instruction", "input", "output")
        ):
            raise spot.bad('expected an object of the texts "instruction", "input" and "output"')
        offered = {name: tools.tool(function, spot) for name, function in _functions(entry["instruction"], spot)}
        asked = _ASKED.fullmatch(entry["input"])
        if asked is None or "</user>" in asked[1]:
            left_out["goes on with a dialogue"] += 1
            continue
        task = _task(f"toolrl/{number}", asked[1].strip(), _calls(entry["output"], spot), offered, left_out)
        tasks += [task] if task is not None else []
    return DataSet(catalogue=Catalogue.of(tools.tools), tasks=tuple(tasks), left_out=left_out)


def _functions(instruction: str, place: Place) -> list[tuple[str, dict[str, Any]]]:
    """The tools of an instruction, by name, as OpenAI functions."""
    functions = []
    for name, description, text in _TOOL.findall(instruction):
        try:
            published = json.loads(text)
        except ValueError as error:
            raise place.at("instruction").bad(f"the parameters of {name!r} are not JSON ({error})") from None
        properties = {key: _schema(value) for key, value in published.items()}
        parameters = {"type": "object", "properties": properties}
        functions.append((name, {"name": name, "description": description, "parameters": parameters}))
    if not functions:
        raise place.at("instruction").bad(
            'no tool in it; each is a line "1. Name: …", then "Description:", "Parameters:"'
        )
    return functions


def _schema(published: Any) -> dict[str, Any]:
    """One parameter: "List[int]", "str, optional" and the like; what no JSON type names may be anything.

    An empty default says nothing: every parameter has one.
    """
    if not isinstance(published, dict):
        return {}
    schema: dict[str, Any] = {}
    if (kind := _type(published.get("type"))) is not None:
        schema["type"] = kind
    if isinstance(published.get("description"), str):
        schema["description"] = published["description"]
    if published.get("default") not in (None, ""):
        schema["default"] = published["default"]
    return schema


def _type(published: Any) -> str | list[str] | None:
    if isinstance(published, list):
        kinds = [_type(one) for one in published]
        return [kind for kind in kinds if isinstance(kind, str)] if None not in kinds else None
    if not isinstance(published, str):
        return None
    kind = in_2020_12({"type": re.split(r"[\[,]", published)[0].strip()}).get("type")
    return kind if kind in _JSON_TYPES else None


def _calls(output: str, place: Place) -> list[ToolCall]:
    """The calls of an output, by the names that it uses."""
    calls = []
    for line in (line for block in _CALLS.findall(output) for line in block.splitlines()):
        try:
            call = json.loads(line)
        except ValueError:
            call = None
        if not isinstance(call, dict) or not isinstance(call.get("parameters"), dict):
            raise place.at("output").bad(
                f'expected a call {{"name": …, "parameters": {{…}}}} a line, got {line[:80]!r}'
            )
        calls.append(ToolCall(name=str(call.get("name")), arguments=call["parameters"]))
    return calls


def _task(
    id: str, asked: str, named: list[ToolCall], offered: Mapping[str, ToolDoc], left_out: Counter[str]
) -> Task | None:
    if any(call.name not in offered for call in named):
        left_out["calls a tool that is not offered"] += 1
        return None
    calls = tuple(ToolCall(name=offered[call.name].id, arguments=call.arguments) for call in named)
    # The file's own types are not always those of its calls.
    fits = all(invalid_arguments(offered[call.name].parameters, call.arguments) is None for call in named)
    if not fits:
        left_out["gold calls that do not fit their schema"] += 1
    return Task(
        id=id,
        instruction=asked,
        gold_tools=tuple(dict.fromkeys(call.name for call in calls)) or None,
        gold_calls=calls if fits else None,
        tags=("calls" if calls else "answers",),
    )
