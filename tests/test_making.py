"""Tasks made from tools: every gold call was executed, no two are the same, and held-out tools stay held out."""

import asyncio
import time
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.executors.arguments import invalid_arguments
from envs.making.arguments import draw_arguments
from envs.making.drafts import TemplateWriter
from envs.making.make import MadeTasks, MakingConfig, make_tasks
from envs.making.teacher import _requests
from envs.worlds.embedded import EmbeddedWorld
from retriever.base.errors import InfraError, UserError
from retriever.catalogue import Catalogue
from retriever.tools import ToolDoc
from tests.support import functions_executor

COUNTED: list[str] = []


def tool(name: str, description: str = "Do it. Well.", **properties: Any) -> ToolDoc:
    return ToolDoc(
        id=f"t/{name}",
        name=name,
        description=description,
        parameters={"type": "object", "properties": properties, "required": [*properties]},
    )


def run_tool(name: str, arguments: Mapping[str, Any]) -> str:
    if name == "t/fails":
        raise ValueError("never")
    if name == "t/silent":
        return " \n"
    if name == "t/counts":
        COUNTED.append(name)
        return str(len(COUNTED))
    if name == "t/long":
        return "x" * 300
    if name == "t/object":
        return "<object object at 0x7f9ace26c900>"
    if name == "t/none":
        return "null"
    if name == "t/clock":
        return time.strftime("%H:%M:%S")
    return f"{name} {sorted(arguments.items())}"


def made(*tools: ToolDoc, **settings: Any) -> MadeTasks:
    config = MakingConfig(**{"unseen_share": 0.0, "apart_s": 0.0, **settings})
    executor = functions_executor(run_tool, observation_chars=1000)
    return asyncio.run(make_tasks(Catalogue.of(tools), executor, TemplateWriter(), config))


def counts(found: MadeTasks) -> dict[str, int]:
    return {reason: left.count for reason, left in found.left_out.items()}


def test_a_task_asks_for_a_call_that_was_made() -> None:
    found = made(tool("add", "Add a number. Fast.", by={"type": "integer", "examples": [7]}), held_out_share=0.0)
    (task,) = found.tasks
    assert counts(found) == {}
    assert (task.id, task.split, task.gold_tools, task.tags) == ("t/add#1", "train", ("t/add",), ("single",))
    assert task.gold_calls is not None
    assert task.gold_calls[0].arguments == {"by": 7}
    assert task.gold_answer == "t/add [('by', 7)]"
    assert "dd a number" in task.instruction
    assert "y 7" in task.instruction


def test_what_fails_says_nothing_or_cannot_be_asked_for_is_left_out() -> None:
    unknown = tool("unknown", x={"type": "string", "pattern": "^[A-Z]{3}$"})
    found = made(tool("fails"), tool("silent"), unknown, per_tool=1)
    assert found.tasks == ()
    assert found.left_out["the call ended as tool_error"].example == "t/fails: error: never"
    assert counts(found) == {
        "the call ended as tool_error": 1,
        "the call said nothing": 1,
        "nothing could be written for the tool": 1,
    }


def test_a_reply_that_changes_or_is_long_is_no_gold_answer() -> None:
    tools = [tool(name, f"Do {name}.") for name in ("counts", "long", "object", "clock", "none")]
    found = made(*tools, per_tool=1, apart_s=1.1)
    assert [(task.gold_answer, task.gold_calls is not None) for task in found.tasks] == [(None, True)] * 4
    assert counts(found) == {"the call said nothing": 1}


def test_the_first_sentence_is_what_is_asked() -> None:
    found = made(
        tool("a", "Convert a length, e.g. metres. Slow."), tool("b", "Visit St. Petersburg now. Or not."), per_tool=1
    )
    assert ["Slow" in task.instruction or "Or not" in task.instruction for task in found.tasks] == [False, False]
    assert "onvert a length, e.g. metres" in found.tasks[0].instruction
    assert "isit St. Petersburg now" in found.tasks[1].instruction


def test_tools_are_held_out_as_a_whole_and_a_seed_makes_the_same_tasks() -> None:
    tools = [tool(f"n{number}", x={"type": "integer"}) for number in range(20)]
    found = made(*tools, unseen_share=0.25, per_tool=5, seed=3)
    splits: dict[str, set[str]] = {}
    for task in found.tasks:
        assert task.gold_tools is not None
        splits.setdefault(task.gold_tools[0], set()).add("test" if task.split == "test" else "trained")
    assert sorted(map(sorted, splits.values())) == [["test"]] * 5 + [["trained"]] * 15
    assert {task.split for task in found.tasks} == {"train", "held_out", "test"}
    assert found == made(*tools, unseen_share=0.25, per_tool=5, seed=3)
    assert found.tasks != made(*tools, unseen_share=0.25, per_tool=5, seed=4).tasks
    calls = [(task.gold_tools, str(task.gold_calls)) for task in found.tasks]
    assert len({*calls}) == len(calls)


def test_what_the_machine_fails_at_is_told_and_the_rest_is_kept() -> None:
    executor = functions_executor(run_tool, timeout_s=5)

    async def broken(*_: Any, **__: Any) -> Any:
        raise InfraError("no workers")

    executor._backends["python"].run = broken  # type: ignore[method-assign]
    config = MakingConfig(unseen_share=0, per_tool=1, apart_s=0)
    found = asyncio.run(make_tasks(Catalogue.of([tool("add")]), executor, TemplateWriter(), config))
    assert (found.tasks, counts(found)) == ((), {"the call ended as infra_error": 1})
    assert found.left_out["the call ended as infra_error"].example == "t/add: error: no workers"


def test_no_two_tasks_ask_the_same() -> None:
    found = made(tool("one"), tool("two"), per_tool=1, seed=1, unseen_share=0.5)
    assert len(found.tasks) + counts(found).get("the same instruction was written before", 0) == 2
    assert len({task.instruction for task in found.tasks}) == len(found.tasks)
    same = [made(tool("one"), tool("two"), per_tool=1, seed=seed) for seed in range(20)]
    assert {len(one.tasks) for one in same} == {1, 2}  # of three frames, the two may draw the same


def test_a_teachers_reply_is_read_with_care() -> None:
    reply = '<think>[{"instruction": "no", "arguments": {}}]</think> Sure: ["x", {"instruction": "Add 7", '
    reply += '"arguments": {"by": 7}}, {"instruction": "", "arguments": {}}, {"instruction": "a"}, 3, '
    reply += '{"instruction": "half \\ud800", "arguments": {}}, {"instruction": "b", "arguments": {"x": NaN}}] [1]'
    assert [*_requests(reply)] == [("Add 7", {"by": 7})]
    assert [*_requests("no list [")] == []


@given(st.integers(0, 2**32))
def test_what_is_drawn_fits_the_schema(seed: int) -> None:
    random = Random(seed)
    schema = {
        "type": "object",
        "required": ["n", "s", "d", "l", "o", "u", "h"],
        "properties": {
            "n": {"type": "integer", "minimum": -5, "maximum": 5, "multipleOf": 2},
            "s": {"type": "string", "minLength": 12, "maxLength": 20},
            "d": {"type": "string", "format": "date"},
            "l": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
            "o": {"type": "object", "properties": {"f": {"type": "number", "maximum": 0}}, "required": ["f"]},
            "u": {"anyOf": [{"type": "string", "pattern": "x"}, {"type": ["null", "boolean"]}]},
            "h": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "x": {"type": "string", "pattern": "never"},
        },
    }
    drawn = draw_arguments(schema, random)
    assert drawn is not None  # the optional one that cannot be made up is left out again
    assert invalid_arguments(schema, drawn) is None


@pytest.mark.parametrize(
    ("kind", "description", "values"),
    [
        ("string", "the order's number, e.g. A7", {"A7"}),
        ("string", "A city (for example: 'Oslo' or Rome).", {"Oslo", "Rome"}),
        ("integer", "how many, such as 3, 12 or many", {3, 12}),
        ("number", "a rate e.g. 0.5", {0.5}),
    ],
)
def test_what_a_description_names_is_drawn(kind: str, description: str, values: set[Any]) -> None:
    schema = {"properties": {"x": {"type": kind, "description": description}}, "required": ["x"]}
    drawn = [draw_arguments(schema, Random(seed)) for seed in range(30)]
    assert {arguments["x"] for arguments in drawn if arguments} == values


def test_nearly_every_tool_of_the_world_can_be_asked_for() -> None:
    world = EmbeddedWorld.build(0)
    drawn = [draw_arguments(tool.parameters, Random(1)) for tool in world.tools]
    assert sum(arguments is not None for arguments in drawn) >= 0.95 * len(drawn)


@pytest.mark.parametrize("wrong", [{"per_tool": 0}, {"unseen_share": 1.0}, {"held_out_share": -0.1}])
def test_settings_that_make_nothing_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=name):
        MakingConfig(**wrong)
