"""A user's own tasks: one JSON object per line, checked against the catalogue. Their tools: `Catalogue.load`.

{"id": "t1", "instruction": "…", "split": "train", "gold_tools": ["weather.now"], "tags": ["single"],
 "gold_calls": [{"name": "weather.now", "arguments": {"city": "Oslo"}}], "gold_answer": "4 °C"}

Further fields: "answer_check", how an answer is held against gold_answer (text, exact, number, set, regex, json);
"checker", the dotted path of a Python function (answer, task) → bool that decides instead; "allowed_calls", like
gold_calls with a list of right values for each argument, "" among them where it may be left out; "offered_tools", ids
of the tools that its searches show, where it is not to be the whole catalogue; "initial_state", by origin what stateful
tools begin with; "requests", what a dialogue's user asks in turn, the instruction first:
[{"text": "…", "new_tools": ids of tools that are there from now on, "gold_calls": as above, "gold_replies": what these
say, "gold_state": what they leave, by origin}].
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from envs.checkers import load_checker
from envs.patterns import pattern_problem
from envs.types import AllowedCall, AnswerCheck, Request, Task, ToolCall
from retriever.base.errors import DataError, UserError
from retriever.base.files import read_jsonl, write_lines
from retriever.base.nearest import did_you_mean
from retriever.catalogue import Catalogue

_FIELDS = (
    *("id", "instruction", "split", "gold_tools", "gold_calls", "gold_answer", "allowed_calls"),
    *("answer_check", "checker", "tags", "offered_tools", "expert_queries", "requests", "initial_state"),
)
_REQUEST_FIELDS = ("text", "new_tools", "gold_calls", "gold_replies", "gold_state")

_NUMBER_WITHIN = re.compile(r"[+-]?[\d,.]+(e[+-]?\d+)?(\s*±\s*[\d.]+(e[+-]?\d+)?)?", re.IGNORECASE)


def read_tasks(path: str | Path, catalogue: Catalogue, *, checkers: Sequence[str] = ()) -> tuple[Task, ...]:
    """The tasks of a .jsonl or .jsonl.gz file, in order. Raises DataError with file, line and field, or UserError.

    A gold call names its tool by id, or by a name that only one tool has. Without `gold_tools`, the tools of the gold
    or else the allowed calls are the gold tools; an empty list says the same as leaving the field out, but for
    allowed_calls: there it says that no call is right. A checker is taken from the modules `checkers` alone, which are
    imported, and so RUN: a file of tasks may be anybody's.
    """
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    by_name = _ids_by_name(catalogue)
    for number, entry in read_jsonl(path, what="tasks"):
        line = _Line(entry, path=path, number=number, catalogue=catalogue, by_name=by_name, checkers=checkers)
        task = line.task()
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
        checkers: Sequence[str],
    ) -> None:
        self._entry, self._path, self._number = entry, path, number
        self._catalogue, self._by_name, self._checkers = catalogue, by_name, checkers

    def task(self) -> Task:
        for key in self._entry:
            if key not in _FIELDS:
                raise self._bad(f"unknown field{did_you_mean(key, _FIELDS)}; a task has {', '.join(_FIELDS)}", key)
        requests, allowed = self._requests(), self._allowed_calls()
        calls = tuple(call for one in requests for call in one.gold_calls) or None if requests else self._gold_calls()
        tools = self._gold_tools()
        new = {tool.id for request in requests for tool in request.new_tools}  # not there when tools are selected
        for field, made in (("gold_calls", calls), ("allowed_calls", allowed)):
            called = tuple(dict.fromkeys(call.name for call in made or () if call.name not in new))
            if tools is None:
                tools = called or None
            elif missing := [tool_id for tool_id in called if tool_id not in tools]:
                raise self._bad(f"calls {missing[0]!r}, which is not among gold_tools; add it there", field)
        return Task(
            id=self._name("id"),
            instruction=self._text("instruction"),
            split=self._name("split") if "split" in self._entry else "train",
            gold_tools=tools,
            gold_calls=calls,
            gold_answer=self._text("gold_answer") if self._entry.get("gold_answer") is not None else None,
            allowed_calls=allowed,
            answer_check=self._answer_check(),
            checker=self._checker(),
            tags=self._strings("tags"),
            offered_tools=self._offered_tools(tools or ()),
            expert_queries=self._strings("expert_queries"),
            requests=requests,
            initial_state=self._object(self._entry, "initial_state") or {},
        )

    def _requests(self) -> tuple[Request, ...]:
        value = self._entry.get("requests")
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise self._bad(f"expected a list of requests, the instruction first, got {value!r}", "requests")
        if self._entry.get("gold_calls"):
            raise self._bad("a dialogue's gold calls stand with its requests; move them there", "gold_calls")
        found = tuple(self._request(f"requests[{place}]", entry) for place, entry in enumerate(value))
        if found[0].text != self._text("instruction"):
            raise self._bad("the first text is not the instruction; make the two equal", "requests[0].text")
        return found

    def _request(self, field: str, entry: Any) -> Request:
        if not isinstance(entry, dict) or entry.keys() - set(_REQUEST_FIELDS):
            raise self._bad(f"expected an object with {', '.join(_REQUEST_FIELDS)}, got {entry!r}"[:200], field)
        text, calls = entry.get("text"), entry.get("gold_calls", [])
        if not isinstance(text, str) or not text.strip():
            raise self._bad(f"expected a text, got {text!r}; say what the user asks", f"{field}.text")
        if not isinstance(calls, list):
            raise self._bad(f"expected a list of calls, got {calls!r}", f"{field}.gold_calls")
        new = self._strings_of(entry, "new_tools", f"{field}.new_tools")
        for tool_id in new:
            if tool_id not in self._catalogue:
                raise self._unknown(tool_id, f"{field}.new_tools")
        return Request(
            text=text,
            new_tools=tuple(self._catalogue[tool_id] for tool_id in new),
            gold_calls=tuple(self._gold_call(f"{field}.gold_calls[{place}]", call) for place, call in enumerate(calls)),
            gold_replies=self._strings_of(entry, "gold_replies", f"{field}.gold_replies"),
            gold_state=self._object(entry, "gold_state", f"{field}.gold_state"),
        )

    def _object(self, entry: dict[str, Any], key: str, field: str = "") -> dict[str, Any] | None:
        value = entry.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._bad(f"expected an object, got {value!r}"[:200], field or key)
        return value

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
        return self._strings_of(self._entry, field, field)

    def _strings_of(self, entry: dict[str, Any], key: str, field: str) -> tuple[str, ...]:
        value = entry.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(f"expected a list of strings, got {value!r}", field)
        return tuple(value)

    def _offered_tools(self, gold: Sequence[str]) -> tuple[str, ...]:
        offered = tuple(dict.fromkeys(self._strings("offered_tools")))
        for tool_id in offered:
            if tool_id not in self._catalogue:
                raise self._unknown(tool_id, "offered_tools")
        if offered and (missing := [tool_id for tool_id in gold if tool_id not in offered]):
            raise self._bad(f"the gold tool {missing[0]!r} is not among them; offer it, or none", "offered_tools")
        return offered

    def _gold_tools(self) -> tuple[str, ...] | None:
        ids = tuple(dict.fromkeys(self._strings("gold_tools")))
        for tool_id in ids:
            if tool_id not in self._catalogue:
                raise self._unknown(tool_id, "gold_tools")
        return ids or None

    def _answer_check(self) -> AnswerCheck:
        value = self._entry.get("answer_check", AnswerCheck.TEXT.value)
        if value not in list(AnswerCheck):
            known = [check.value for check in AnswerCheck]
            hint = did_you_mean(str(value), known)
            raise self._bad(f"no answer check {value!r}{hint}; give one of {', '.join(known)}", "answer_check")
        gold = self._entry.get("gold_answer")
        if "answer_check" in self._entry and gold is None:
            raise self._bad("there is no gold_answer to hold an answer against; add it", "answer_check")
        if isinstance(gold, str) and (problem := _gold_problem(gold, AnswerCheck(value))):
            raise self._bad(problem, "gold_answer")
        return AnswerCheck(value)

    def _checker(self) -> str | None:
        if self._entry.get("checker") is None:
            return None
        path = self._name("checker")
        module = path.rpartition(".")[0]
        if module not in self._checkers:
            raise self._bad(
                f"{path!r} would run code of {module or 'nowhere'}; if you trust it, name the module: "
                f"world.checkers=[{module}]",
                "checker",
            )
        try:
            load_checker(path)
        except UserError as error:
            raise self._bad(str(error), "checker") from None
        return path

    def _gold_calls(self) -> tuple[ToolCall, ...] | None:
        value = self._entry.get("gold_calls")
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._bad(f'expected a list of {{"name": …, "arguments": {{…}}}}, got {value!r}', "gold_calls")
        return tuple(self._gold_call(f"gold_calls[{place}]", call) for place, call in enumerate(value)) or None

    def _gold_call(self, field: str, call: Any) -> ToolCall:
        tool_id, arguments = self._call(call, field)
        schema = jsonschema.Draft202012Validator(dict(self._catalogue[tool_id].parameters))
        error = jsonschema.exceptions.best_match(schema.iter_errors(arguments))
        if error is not None:
            raise self._bad(
                f"the arguments do not fit the schema of {tool_id!r}: {error.message}; mend one of the two", field
            )
        return ToolCall(name=tool_id, arguments=arguments)

    def _allowed_calls(self) -> tuple[AllowedCall, ...] | None:
        value = self._entry.get("allowed_calls")
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._bad(f'expected a list of {{"name": …, "arguments": {{…}}}}, got {value!r}', "allowed_calls")
        return tuple(self._allowed_call(f"allowed_calls[{place}]", call) for place, call in enumerate(value))

    def _allowed_call(self, field: str, call: Any) -> AllowedCall:
        tool_id, arguments = self._call(call, field)
        for name, values in arguments.items():
            if not isinstance(values, list):
                raise self._bad(f"expected a list of all right values of {name!r}, got {values!r}", field)
            for one in values:
                for inner in one if isinstance(one, list) else [one]:
                    if isinstance(inner, dict) and not all(isinstance(right, list) for right in inner.values()):
                        raise self._bad(f"an object among the values of {name!r} lists those of each key", field)
        return AllowedCall(name=tool_id, arguments=arguments)

    def _call(self, call: Any, field: str) -> tuple[str, dict[str, Any]]:
        """The id of the tool, and the arguments."""
        if not isinstance(call, dict) or call.keys() - {"name", "arguments"}:
            raise self._bad(f'expected {{"name": …, "arguments": {{…}}}} and nothing else, got {call!r}', field)
        name, arguments = call.get("name"), call.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise self._bad(f'"name" must be a string and "arguments" an object, got {call!r}', field)
        return self._resolve(name, field), arguments

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


def write_tasks(path: str | Path, tasks: Iterable[Task]) -> None:
    """Write what `read_tasks` reads, a line at a time and atomically; compressed when the name ends in .gz."""
    write_lines(Path(path).expanduser(), (json.dumps(_entry(task), ensure_ascii=False) for task in tasks))


def _entry(task: Task) -> dict[str, Any]:
    """The JSON form of a task, without what is not known of it."""
    entry: dict[str, Any] = {"id": task.id, "instruction": task.instruction, "split": task.split}
    for field in ("gold_tools", "tags", "offered_tools", "expert_queries"):
        if value := getattr(task, field):
            entry[field] = list(value)
    if task.gold_calls is not None and not task.requests:
        entry["gold_calls"] = _call_entries(task.gold_calls)
    if task.allowed_calls is not None:
        entry["allowed_calls"] = _call_entries(task.allowed_calls)
    if task.requests:
        entry["requests"] = [_request_entry(request) for request in task.requests]
    if task.initial_state:
        entry["initial_state"] = dict(task.initial_state)
    for field in ("gold_answer", "checker"):
        if (value := getattr(task, field)) is not None:
            entry[field] = value
    if task.gold_answer is not None and task.answer_check is not AnswerCheck.TEXT:
        entry["answer_check"] = task.answer_check.value
    return entry


def _request_entry(request: Request) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "text": request.text,
        "new_tools": [tool.id for tool in request.new_tools],
        "gold_calls": _call_entries(request.gold_calls),
        "gold_replies": list(request.gold_replies),
        "gold_state": request.gold_state,
    }
    return {key: value for key, value in entry.items() if value or key == "text"}


def _call_entries(calls: Sequence[ToolCall | AllowedCall]) -> list[dict[str, Any]]:
    return [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]


def _gold_problem(gold: str, check: AnswerCheck) -> str | None:
    """What makes a gold answer one that no answer could match by `check`; None when nothing does."""
    if check is AnswerCheck.REGEX:
        return pattern_problem(gold)
    if check is AnswerCheck.JSON:
        try:
            json.loads(gold)
        except (ValueError, RecursionError) as error:
            return f"{gold!r} is not JSON ({error}); quote its strings"
    if check is AnswerCheck.NUMBER and not _NUMBER_WITHIN.fullmatch(gold.strip()):
        return f'{gold!r} is no number; give "3.14", or "3.14 ± 0.01"'
    return None


def _ids_by_name(catalogue: Catalogue) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for tool in catalogue:
        ids.setdefault(tool.name, []).append(tool.id)
    return ids
