"""A user's own tasks: one JSON object per line, checked against the catalogue. Their tools: `Catalogue.load`.

{"id": "t1", "instruction": "…", "split": "train", "gold_tools": ["weather.now"], "tags": ["single"],
 "gold_calls": [{"name": "weather.now", "arguments": {"city": "Oslo"}}], "gold_answer": "4 °C"}
"""

from pathlib import Path
from typing import Any

import jsonschema

from envs.types import Task, ToolCall
from retriever.base.errors import DataError, UserError
from retriever.base.files import read_jsonl
from retriever.base.nearest import did_you_mean
from retriever.catalogue import Catalogue

_FIELDS = ("id", "instruction", "split", "gold_tools", "gold_calls", "gold_answer", "tags", "expert_queries")


def read_tasks(path: str | Path, catalogue: Catalogue) -> tuple[Task, ...]:
    """The tasks of a .jsonl or .jsonl.gz file, in order. Raises DataError with file, line and field, or UserError.

    A gold call names its tool by id, or by a name that only one tool has. Without `gold_tools`, the tools of the gold
    calls are the gold tools; an empty list says the same as leaving the field out.
    """
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    by_name = _ids_by_name(catalogue)
    for number, entry in read_jsonl(path, what="tasks"):
        task = _Line(entry, path=path, number=number, catalogue=catalogue, by_name=by_name).task()
        if task.id in lines:
            problem = f"{task.id!r} is already the id of line {lines[task.id]}; rename or drop one of the two"
            raise DataError(problem, path=path, line=number, field="id")
        lines[task.id] = number
        tasks.append(task)
    if not tasks:
        raise UserError(f"tasks {path} holds no task; give one JSON object per line, with an id and an instruction")
    return tuple(tasks)


class _Line:
    """One line on its way to a task."""

    def __init__(
        self,
        entry: dict[str, Any],
        *,
        path: str | Path,
        number: int,
        catalogue: Catalogue,
        by_name: dict[str, list[str]],
    ) -> None:
        self._entry, self._path, self._number = entry, path, number
        self._catalogue, self._by_name = catalogue, by_name

    def task(self) -> Task:
        for key in self._entry:
            if key not in _FIELDS:
                raise self._bad(f"unknown field{did_you_mean(key, _FIELDS)}; a task has {', '.join(_FIELDS)}", key)
        calls = self._gold_calls()
        tools = self._gold_tools()
        if calls is not None:
            called = tuple(dict.fromkeys(call.name for call in calls))
            if tools is None:
                tools = called
            elif missing := [tool_id for tool_id in called if tool_id not in tools]:
                raise self._bad(f"calls {missing[0]!r}, which is not among gold_tools; add it there", "gold_calls")
        return Task(
            id=self._name("id"),
            instruction=self._text("instruction"),
            split=self._name("split") if "split" in self._entry else "train",
            gold_tools=tools,
            gold_calls=calls,
            gold_answer=self._text("gold_answer") if self._entry.get("gold_answer") is not None else None,
            tags=self._strings("tags"),
            expert_queries=self._strings("expert_queries"),
        )

    def _bad(self, message: str, field: str) -> DataError:
        return DataError(message, path=self._path, line=self._number, field=field)

    def _text(self, field: str) -> str:
        if field not in self._entry:
            raise self._bad("missing; every task has an id and an instruction", field)
        value = self._entry[field]
        if not isinstance(value, str) or not value.strip():
            raise self._bad(f"expected a text, got {value!r}; put it in quotes, and leave none empty", field)
        return value

    def _name(self, field: str) -> str:
        value = self._text(field)
        if not value.isprintable():
            raise self._bad(f"{value!r} holds control characters; give a printable name", field)
        return value

    def _strings(self, field: str) -> tuple[str, ...]:
        value = self._entry.get(field)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(f"expected a list of strings, got {value!r}", field)
        return tuple(value)

    def _gold_tools(self) -> tuple[str, ...] | None:
        ids = tuple(dict.fromkeys(self._strings("gold_tools")))
        for tool_id in ids:
            if tool_id not in self._catalogue:
                raise self._unknown(tool_id, "gold_tools")
        return ids or None

    def _gold_calls(self) -> tuple[ToolCall, ...] | None:
        value = self._entry.get("gold_calls")
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._bad(f'expected a list of {{"name": …, "arguments": {{…}}}}, got {value!r}', "gold_calls")
        return tuple(self._gold_call(place, call) for place, call in enumerate(value)) or None

    def _gold_call(self, place: int, call: Any) -> ToolCall:
        field = f"gold_calls[{place}]"
        if not isinstance(call, dict) or call.keys() - {"name", "arguments"}:
            raise self._bad(f'expected {{"name": …, "arguments": {{…}}}} and nothing else, got {call!r}', field)
        name, arguments = call.get("name"), call.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise self._bad(f'"name" must be a string and "arguments" an object, got {call!r}', field)
        tool_id = self._resolve(name, field)
        schema = jsonschema.Draft202012Validator(dict(self._catalogue[tool_id].parameters))
        error = jsonschema.exceptions.best_match(schema.iter_errors(arguments))
        if error is not None:
            raise self._bad(
                f"the arguments do not fit the schema of {tool_id!r}: {error.message}; mend one of the two", field
            )
        return ToolCall(name=tool_id, arguments=arguments)

    def _resolve(self, name: str, field: str) -> str:
        if name in self._catalogue:
            return name
        ids = self._by_name.get(name, [])
        if len(ids) > 1:
            raise self._bad(f"{len(ids)} tools are called {name!r}; give one of the ids {', '.join(ids[:5])}", field)
        if not ids:
            raise self._unknown(name, field)
        return ids[0]

    def _unknown(self, tool_id: str, field: str) -> DataError:
        hint = did_you_mean(tool_id, (tool.id for tool in self._catalogue))
        count = len(self._catalogue)
        return self._bad(
            f"no tool {tool_id!r}{hint} among the {count} of the catalogue; mend the id or add the tool", field
        )


def _ids_by_name(catalogue: Catalogue) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for tool in catalogue:
        ids.setdefault(tool.name, []).append(tool.id)
    return ids
