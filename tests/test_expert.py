"""The scripted expert: it solves every task in every form of an episode, and its mistakes are the ones it announces."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from envs.config import EnvConfig
from envs.dialects import DIALECTS, SEARCH, SEARCH_SCHEMA, SELECT, tool_json
from envs.types import StopReason, Task, ToolCall
from envs.view import ToolView
from retriever.base.errors import UserError
from retriever.tools import Candidate, ToolDoc
from rewards.config import ExecutionWeights, RetrievalWeights
from rewards.parts import execution_reward, retrieval_reward
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.renderer import Renderer
from rollout.types import Sampling, TaskRollouts
from tests.support import MadeUpWorld, collector
from train.nano.curriculum import NANO_ENV, tokenizer_texts
from train.nano.model import train_tokenizer

WORLD = MadeUpWorld(12)


@cache
def renderer(dialect: str) -> Renderer:
    return Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS[dialect])


def play(env: EnvConfig, world: MadeUpWorld = WORLD, **style: Any) -> list[TaskRollouts]:
    expert = Expert(world.tasks, world.tools, env=env, **style)
    plays = collector(
        world,
        renderer(env.dialect),
        ScriptedEngine(renderer(env.dialect), expert),
        env,
        RolloutConfig(max_context=8192),
    )
    return asyncio.run(plays.collect(world.tasks, GroupPlan(group_size=1), sampling=Sampling(), seed=0))


@pytest.mark.parametrize("dialect", ["qwen3", "paper"])
@pytest.mark.parametrize("context", ["fresh", "append"])
@pytest.mark.parametrize(
    "rules",
    [
        {"aliases": "off"},
        {"aliases": "names", "candidate_line": "{label}. {description}"},
        {"aliases": "names_and_parameters", "shuffle_candidates": True},
        {"candidate_line": "- {description} [{name}]"},
    ],
    ids=["plain", "names", "names and parameters", "no labels"],
)
def test_it_earns_everything_in_every_form_of_an_episode(dialect: Any, context: Any, rules: dict[str, Any]) -> None:
    for rollouts in play(EnvConfig(dialect=dialect, context=context, **rules)):
        (start,), (whole,) = rollouts.retrieval, rollouts.executions
        assert retrieval_reward(start, RetrievalWeights()).parts == dict.fromkeys(
            ("format", "recall", "ndcg", "precision", "conversion"), 1.0
        )
        assert execution_reward(whole, ExecutionWeights()).total == 1.0
        assert [search.query for search in start.searches] == list(rollouts.task.expert_queries)


def test_skill_is_the_share_of_tasks_that_it_plays_well() -> None:
    world = MadeUpWorld(40)

    def careful(skill: float) -> set[str]:
        return {
            rollouts.task.id
            for rollouts in play(NANO_ENV, world, skill=skill)
            if set(rollouts.retrieval[0].selection or ()) <= set(rollouts.task.gold_tools or ())
        }

    some, more = careful(0.3), careful(0.7)
    assert careful(0.0) == set()
    assert 4 <= len(some) <= 20
    assert some < more  # it depends on the task alone
    assert careful(1.0) == {task.id for task in world.tasks}


def test_a_mediocre_teacher_searches_once_and_selects_needless_tools() -> None:
    for rollouts in play(NANO_ENV, skill=0.0):
        (trajectory,) = rollouts.retrieval
        assert [search.query for search in trajectory.searches] == list(rollouts.task.expert_queries[:1])
        assert trajectory.selection is not None
        assert set(trajectory.selection) - set(rollouts.task.gold_tools or ())
        assert retrieval_reward(trajectory, RetrievalWeights()).parts["format"] == 1.0


def test_clutter_is_practice_for_choosing_at_call_time() -> None:
    firsts = set()
    for rollouts in play(NANO_ENV, clutter=True):
        (start,), (whole,) = rollouts.retrieval, rollouts.executions
        gold = set(rollouts.task.gold_tools or ())
        assert start.selection is not None
        assert gold < set(start.selection)
        firsts.add(start.selection[0] in gold)
        assert execution_reward(whole, ExecutionWeights()).total == 1.0
    assert firsts == {True, False}  # in any order


def test_it_plays_alike_every_time() -> None:
    def said(rollouts: Sequence[TaskRollouts]) -> list[str]:
        return [turn.text for r in rollouts for t in (*r.retrieval, *r.executions) for turn in t.turns]

    assert said(play(NANO_ENV, skill=0.5, clutter=True)) == said(play(NANO_ENV, skill=0.5, clutter=True))


# ---- what it says, message by message

ADD = ToolDoc(
    id="add",
    name="add",
    description="Adds  two\nnumbers.",  # in a candidate line blanks are single; in a schema they are not
    parameters={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
)
TASK = Task(
    id="t",
    instruction="4 + 5?",
    gold_tools=("add",),
    gold_calls=(ToolCall(name="add", arguments={"a": 4, "b": 5}),),
    gold_answer="9",
    expert_queries=("sum",),
)


def say(*, task: Task = TASK, system: str = "Rules.", results: Sequence[str] = ()) -> ToolCall | str:
    expert = Expert([task], {"add": ADD}, env=EnvConfig())
    told = [("user", f"<tool_response>\n{text}\n</tool_response>") for text in results]
    said = expert([("system", system), ("user", task.instruction), *told], 0)
    return said.answer or said.calls[0]


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


SCHEMAS = tool_json(SEARCH_SCHEMA) + "\n"
SHOWN = {"name": "zorvek", "description": "Adds two numbers.", "parameters": {"properties": {"p": {}, "q": {}}}}


def test_it_searches_then_selects_what_the_lines_show() -> None:
    assert say(system=SCHEMAS) == call(SEARCH, query=" sum")
    found = "A. sub: Subtracts.\nB. zorvek: Adds two numbers."
    assert say(system=SCHEMAS, results=[found]) == call(SELECT, names=["B"])


def test_what_it_cannot_find_it_replaces() -> None:
    assert say(results=["A. sub: Subtracts.\nB. mul: Multiplies."]) == call(SELECT, names=["A"])
    assert say(results=["nothing found"]) == call(SELECT, names=["none"])


def test_a_task_without_queries_is_searched_by_its_instruction() -> None:
    task = replace(TASK, expert_queries=())
    assert say(task=task) == call(SEARCH, query=" 4 + 5?")
    assert say(task=task, results=["C. add: Adds two numbers."]) == call(SELECT, names=["C"])


def test_it_knows_a_tool_whose_description_is_cut() -> None:
    env = EnvConfig(description_chars=6, candidate_line="{label}. {description}")
    assert ToolView(env, seed=0).line(ADD) == "A. Adds…"
    told = [("user", "<tool_response>\nA. Subtra…\nB. Adds…\n</tool_response>")]
    said = Expert([TASK], {"add": ADD}, env=env)([("system", "Rules."), ("user", TASK.instruction), *told], 0)
    assert said.calls == (call(SELECT, names=["B"]),)


def test_it_knows_an_instruction_that_a_tokenizer_composed() -> None:
    apart, composed = "Cafe\u0301?", "Caf\u00e9?"
    expert = Expert([replace(TASK, instruction=apart)], {"add": ADD}, env=EnvConfig())
    assert expert([("system", ""), ("user", composed)], 0).calls == (call(SEARCH, query=" sum"),)


def test_one_instruction_for_two_golds_is_refused() -> None:
    other = replace(TASK, id="other", gold_answer="10")
    with pytest.raises(UserError, match="'.*' and 'other' have the same instruction and not the same gold"):
        Expert([TASK, other], {"add": ADD}, env=EnvConfig())
    Expert([TASK, replace(TASK, id="same")], {"add": ADD}, env=EnvConfig())


def test_it_calls_by_the_names_that_it_is_shown_and_answers() -> None:
    system = SCHEMAS + tool_json(SHOWN)
    assert say(system=system) == call("zorvek", p=4, q=5)
    assert say(system=system, results=["9"]) == "9"
    assert say(system=system, task=replace(TASK, gold_answer=None), results=["9, said the tool"]) == "9, said the tool"


def test_in_one_context_execution_begins_where_schemas_are_shown() -> None:
    handover = f"Solve it.\n{tool_json(SHOWN)}"
    assert say(system=SCHEMAS, results=["B. zorvek: Adds two numbers.", handover]) == call("zorvek", p=4, q=5)
    assert say(system=SCHEMAS, results=["B. zorvek: Adds two numbers.", handover, "9"]) == "9"


def test_with_the_wrong_tools_it_calls_none() -> None:
    other = {**SHOWN, "description": "Subtracts."}
    assert say(system=tool_json(other)) == "9"


def test_a_gold_tool_described_over_several_lines_is_found() -> None:
    """The whole way: descriptions of a user's own catalogue are not as tidy as ours."""

    async def search(query: str, k: int) -> Sequence[Candidate]:
        return [Candidate(tool=ADD, score=1.0, rank=1)]

    plays = Collector(
        engine=ScriptedEngine(renderer("qwen3"), Expert([TASK], {"add": ADD}, env=EnvConfig())),
        renderer=renderer("qwen3"),
        search=search,
        executor=None,
        env=EnvConfig(),
        rollout=RolloutConfig(),
    )
    plan = GroupPlan(group_size=1, gate="closed")
    (rollouts,) = asyncio.run(plays.collect([TASK], plan, sampling=Sampling(), seed=0))
    assert (rollouts.retrieval[0].stop, rollouts.retrieval[0].selection) == (StopReason.SELECTED, ("add",))
