"""BFCL v4 (Patil et al. 2025) as one open catalogue and tasks: the policy must find a function before it calls it.

Read are the categories with Python functions. In the single-turn ones every record offers a few functions; those of
the categories with gold calls together make the open catalogue. The functions have no code behind them: calls are
checked (rewards/ast_rules.py), not run. Java and JavaScript are left out. Dialogues, which run: bfcl_dialogues.py.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envs.datasets.bfcl_files import BfclFiles, conversation
from envs.datasets.merged import MergedTools
from envs.executors.arguments import invalid_arguments
from envs.types import AllowedCall, AnswerCheck, Task, ToolCall
from retriever.catalogue import Catalogue
from retriever.readers.place import Place
from retriever.tools import ToolDoc

WITH_GOLD_CALLS = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
)
NO_CALL = ("irrelevance", "live_irrelevance")  # none of the functions of its record can help
SOME_CALL = ("live_relevance",)  # any call of one of them is right
AGENTIC = {  # searching the web, remembering: the methods that may be used, and an answer
    "web_search": ("web_search",),
    "memory": ("memory_kv", "memory_vector", "memory_rec_sum"),  # three ways to remember, one at a time
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BfclRecord:
    """One test record."""

    task: Task
    category: str
    offered: tuple[str, ...]  # ids of the functions that the record itself offers


@dataclass(frozen=True, slots=True, kw_only=True)
class Bfcl:
    """The records of every category, and their functions."""

    records: Mapping[str, tuple[BfclRecord, ...]]  # by category
    functions: Catalogue  # all that some record offers
    catalogue: Catalogue  # the open one: those of the categories with gold calls

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the open catalogue: those with gold calls.

        In it, a record whose own functions cannot help may find others that can: such records are tasks only beside
        the functions that they offer.
        """
        return tuple(record.task for category in WITH_GOLD_CALLS for record in self.records[category])

    def counts(self) -> dict[str, dict[str, int]]:
        """By category: records, gold calls, and records of which no gold call could be made (see `read_bfcl`)."""
        return {
            category: {
                "records": len(records),
                "gold_calls": sum(len(record.task.allowed_calls or ()) for record in records),
                "not_concrete": sum(
                    bool(record.task.allowed_calls) and record.task.gold_calls is None for record in records
                ),
            }
            for category, records in self.records.items()
        }


def read_bfcl(files: BfclFiles) -> Bfcl:
    """Read every record of the Python categories, the stateful dialogues aside. Raises UserError or DataError.

    Equal functions are one tool, "bfcl/NAME"; where records describe a function of the same name differently, the
    later tool's id ends in "~" and the record's id. A task's `allowed_calls` are what the record lists as right; its
    `gold_calls` are the first values that also fit the function's schema, and None where no values do.
    """
    functions = MergedTools()
    records: dict[str, tuple[BfclRecord, ...]] = {}
    for category in (*WITH_GOLD_CALLS, *NO_CALL, *SOME_CALL):
        answers = files.answers(category)
        records[category] = tuple(
            _record(entry, category, answers, functions, place) for place, entry in _places(files, category)
        )
    for category, classes in AGENTIC.items():
        path = files.place(files.file_of(category))
        offered = tuple(
            functions.tool(function, Place(path=path, prefix="bfcl", variant=name, line=number)).id
            for name in classes
            for number, function in files.functions(name)
        )
        answers = files.answers(category)
        records[category] = tuple(
            _agentic(entry, category, answers, offered, place) for place, entry in _places(files, category)
        )
    everything = Catalogue.of(functions.tools)
    opened = {tool_id for category in WITH_GOLD_CALLS for record in records[category] for tool_id in record.offered}
    return Bfcl(records=records, functions=everything, catalogue=everything.restricted_to(opened))


def _places(files: BfclFiles, category: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    path = files.place(files.file_of(category))
    for number, entry in files.records(category):
        place = Place(path=path, prefix="bfcl", variant=str(entry.get("id", "")), line=number)
        if not isinstance(entry.get("id"), str) or not isinstance(entry.get("question"), list):
            raise place.bad('expected an "id" and a "question"')
        yield place, entry


def _record(
    entry: dict[str, Any], category: str, answers: Mapping[str, list[Any]], functions: MergedTools, place: Place
) -> BfclRecord:
    offered = entry.get("function")
    if not isinstance(offered, list):
        raise place.at("function").bad("expected a list of functions")
    by_name: dict[str, ToolDoc] = {}
    for number, function in enumerate(offered):
        tool = functions.tool(function, place.at("function", number))
        by_name.setdefault(function["name"], tool)
    allowed: tuple[AllowedCall, ...] | None = () if category in NO_CALL else None
    gold: tuple[ToolCall, ...] | None = None
    if category in WITH_GOLD_CALLS:
        allowed = tuple(_allowed_call(call, by_name, place) for call in answers.get(entry["id"], ()))
        if not allowed:
            raise place.bad("no possible answer for this record; download the wheel again")
        tools = {tool.id: tool for tool in by_name.values()}
        calls = [concrete(call, tools[call.name]) for call in allowed]
        gold = tuple(call for call in calls if call is not None) if None not in calls else None
    task = Task(
        id=entry["id"],
        instruction=_asked(entry, place),
        split="test",
        gold_tools=tuple(dict.fromkeys(call.name for call in allowed)) if allowed else None,
        gold_calls=gold,
        allowed_calls=allowed,
        tags=(category,),
    )
    return BfclRecord(task=task, category=category, offered=tuple(tool.id for tool in by_name.values()))


def _agentic(
    entry: dict[str, Any], category: str, answers: Mapping[str, list[Any]], offered: tuple[str, ...], place: Place
) -> BfclRecord:
    """The answer is right where one of those listed stands in it as words of their own."""
    known = [re.escape(text).replace(r"\ ", r"\s+") for text in answers.get(entry["id"], ())]
    if not known:
        raise place.bad("no possible answer for this record; download the wheel again")
    task = Task(
        id=entry["id"],
        instruction=_asked(entry, place),
        split="test",
        gold_answer=rf"(?i)(?<!\w)({'|'.join(known)})(?!\w)",
        answer_check=AnswerCheck.REGEX,
        tags=(category,),
    )
    return BfclRecord(task=task, category=category, offered=offered)


def _asked(entry: dict[str, Any], place: Place) -> str:
    assert place.line is not None
    if len(entry["question"]) != 1:
        raise place.at("question").bad(f"{len(entry['question'])} turns in a single-turn category")
    return conversation(entry["question"][0], path=place.path, line=place.line)


def _allowed_call(call: Any, by_name: Mapping[str, ToolDoc], place: Place) -> AllowedCall:
    if not isinstance(call, dict) or len(call) != 1:
        raise place.bad(f"expected a possible answer {{name: {{parameter: [value, …]}}}}, got {str(call)[:80]}")
    ((name, arguments),) = call.items()
    if name not in by_name or not isinstance(arguments, dict):
        raise place.bad(f"a possible answer calls {name!r}, which the record does not offer")
    return AllowedCall(name=by_name[name].id, arguments=arguments)


def concrete(gold: AllowedCall, tool: ToolDoc) -> ToolCall | None:
    """The call with the first values allowed that fit the schema of `tool`; None where there is no such call.

    An optional parameter whose first value allowed is "" is left out.
    """
    required = tool.parameters.get("required", ())
    properties = tool.parameters.get("properties", {})
    arguments = {}
    for name, values in gold.arguments.items():
        schema = properties.get(name, {})
        made = [value if value == "" else _made(value, schema) for value in values]
        if chosen := _first(made, schema, optional=name not in required):
            arguments[name] = chosen[0]
        elif "" not in values:
            return None
    # A parameter that the schema does not know makes the whole not fit.
    return None if invalid_arguments(tool.parameters, arguments) else ToolCall(name=tool.id, arguments=arguments)


def _first(values: list[Any], schema: Mapping[str, Any], *, optional: bool) -> list[Any]:
    """The first value that fits the schema, in a list; none where the parameter is left out or no value fits."""
    if optional and "" in values[:1]:
        return []
    stated = [value for value in values if value != ""] or values
    whole = {"type": "object", "properties": {"x": schema}}
    return [value for value in stated if invalid_arguments(whole, {"x": value}) is None][:1]


def _made(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value as a call holds it: an object, alone or in a list, is listed with all right values of each key."""
    if isinstance(value, list):
        return [_made_object(item, schema.get("items", {})) if isinstance(item, dict) else item for item in value]
    return _made_object(value, schema) if isinstance(value, dict) else value


def _made_object(value: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    properties, made = schema.get("properties", {}), {}
    for key, values in value.items():
        if chosen := _first(values, properties.get(key, {}), optional="" in values):
            made[key] = chosen[0]
    return made
