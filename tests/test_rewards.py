"""Rewards: every part by hand, and a policy that selects everything it saw earns less than one that chooses."""

import asyncio
import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log2
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import load_run_config
from envs.dialects import DIALECTS, SELECT
from envs.types import (
    Observation,
    Phase,
    PolicyMessage,
    SearchRecord,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    ToolStatus,
)
from envs.worlds.world import build_world
from retriever.base.canonical import canonical_json
from retriever.base.errors import UserError
from retriever.batching import BatchedSearch
from retriever.build import build_retriever
from rewards.answers import answer_holds
from rewards.calls import call_match
from rewards.config import ExecutionWeights, RetrievalWeights
from rewards.parts import UNSCORABLE, execution_reward, retrieval_reward
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import Script, ScriptedEngine
from rollout.expert import Expert
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, Sampling, TaskRollouts, Trajectory, Turn
from tests.support import MadeUpWorld, collector
from train.nano.curriculum import NANO_ENV, tokenizer_texts
from train.nano.model import train_tokenizer


def made(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


ADD, ROOT = made("add", a=4, b=5), made("root", x=9)
TASK = Task(id="t", instruction="root of 4 + 5", gold_tools=("add", "root"), gold_calls=(ADD, ROOT), gold_answer="3")
NOTHING_KNOWN = Task(id="u", instruction="do something")


def turn(phase: Phase, observation: Observation) -> Turn:
    return Turn(
        phase=phase,
        context=0,
        prompt_ids=(),
        completion=Completion(ids=(), logprobs=(), finish=FinishReason.STOP, policy_version=0),
        text="",
        message=PolicyMessage(answer="what it said does not matter here"),
        observation=observation,
    )


def searched(*tool_ids: str) -> Turn:
    record = SearchRecord(query="q", tool_ids=tool_ids)
    return turn(Phase.RETRIEVAL, Observation(texts=("…",), searches=(record,)))


def called(call: ToolCall, status: ToolStatus = ToolStatus.OK) -> Turn:
    result = ToolResult(call=call, status=status, text="…")
    return turn(Phase.EXECUTION, Observation(texts=("…",), results=(result,)))


def malformed(phase: Phase) -> Turn:
    return turn(phase, Observation(texts=("error: …",), format_error="…"))


def retrieved(
    *turns: Turn, selection: tuple[str, ...] | None, stop: StopReason = StopReason.SELECTED, task: Task = TASK
) -> Trajectory:
    return Trajectory(id="t/0", task=task, turns=turns, stop=stop, selection=selection)


def executed(*turns: Turn, answer: str | None, stop: StopReason = StopReason.ANSWERED, task: Task = TASK) -> Trajectory:
    return Trajectory(
        id="t/x0", parent_id="t/0", task=task, turns=turns, stop=stop, selection=("add", "root"), answer=answer
    )


# ---- retrieval

# Standard NDCG@5 with two gold tools: one of them at rank 2, and both at ranks 2 and 3.
IDEAL = 1 / log2(2) + 1 / log2(3)
NDCG_SECOND = (1 / log2(3)) / IDEAL
NDCG_SECOND_AND_THIRD = (1 / log2(3) + 1 / log2(4)) / IDEAL


@pytest.mark.parametrize(
    ("trajectory", "parts"),
    [
        pytest.param(
            retrieved(searched("add", "sub"), searched("root", "pow"), selection=("root", "add")),
            {"format": 1, "recall": 1, "ndcg": 1, "precision": 1, "conversion": 1},
            id="perfect",
        ),
        pytest.param(
            retrieved(searched("sub", "add", "root"), selection=("sub", "add", "root")),
            {"format": 1, "recall": 1, "ndcg": NDCG_SECOND_AND_THIRD, "precision": 2 / 3, "conversion": 1},
            id="a needless tool first",
        ),
        pytest.param(
            retrieved(searched("add", "sub", "root"), selection=("sub", "add")),
            {"format": 1, "recall": 1 / 2, "ndcg": NDCG_SECOND, "precision": 1 / 2, "conversion": 1 / 2},
            id="surfaced both, kept one",
        ),
        pytest.param(
            retrieved(searched("add", "sub"), selection=("sub", "add")),
            {"format": 1, "recall": 1 / 2, "ndcg": NDCG_SECOND, "precision": 1 / 2, "conversion": 1},
            id="surfaced one, kept it",
        ),
        pytest.param(
            retrieved(searched("sub"), selection=("sub",)),
            {"format": 1, "recall": 0, "ndcg": 0, "precision": 0, "conversion": 0},
            id="surfaced none",
        ),
        pytest.param(
            retrieved(searched("add", "root"), selection=None, stop=StopReason.INVALID_SELECTION),
            {"format": 0, "recall": 0, "ndcg": 0, "precision": 0, "conversion": 0},
            id="invalid selection",
        ),
        pytest.param(
            retrieved(malformed(Phase.RETRIEVAL), searched("add", "root"), selection=("add", "root")),
            {"format": 0, "recall": 1, "ndcg": 1, "precision": 1, "conversion": 1},
            id="malformed once",
        ),
        pytest.param(
            retrieved(searched("add", "root"), selection=None, stop=StopReason.LENGTH),
            {"format": 0, "recall": 0, "ndcg": 0, "precision": 0, "conversion": 0},
            id="cut off",
        ),
        pytest.param(
            retrieved(searched("add", "root"), searched("root"), selection=("add", "root"), task=NOTHING_KNOWN),
            {"format": 1, "recall": None, "ndcg": None, "precision": None, "conversion": None},
            id="gold unknown",
        ),
        pytest.param(
            retrieved(searched("add"), selection=("add",), task=replace(TASK, gold_tools=())),
            {"format": 1, "recall": None, "ndcg": None, "precision": None, "conversion": None},
            id="gold empty",
        ),
        pytest.param(
            # Execution went wrong in every way; searching and selecting did not.
            replace(
                retrieved(searched("add", "root"), malformed(Phase.EXECUTION), selection=("add", "root")),
                parent_id="t/0",
                stop=StopReason.LENGTH,
            ),
            {"format": 1, "recall": 1, "ndcg": 1, "precision": 1, "conversion": 1},
            id="execution is another phase",
        ),
    ],
)
def test_retrieval_parts(trajectory: Trajectory, parts: Mapping[str, float | None]) -> None:
    reward = retrieval_reward(trajectory, RetrievalWeights())
    assert reward.parts == pytest.approx(parts)
    weights = {"format": 0.1, "recall": 0.55, "ndcg": 0.1, "precision": 0.25, "conversion": 0.0}
    scored = {name: value for name, value in parts.items() if value is not None}
    total = sum(weights[name] * value for name, value in scored.items()) / sum(weights[name] for name in scored)
    assert reward.total == pytest.approx(total)


def test_a_retrieval_total_by_hand() -> None:
    one_of_two = retrieved(searched("add", "sub", "root"), selection=("sub", "add"))
    # 0.1·1 + 0.55·0.5 + 0.1·0.386853 + 0.25·0.5
    assert retrieval_reward(one_of_two, RetrievalWeights()).total == pytest.approx(0.5386853, abs=1e-6)
    # The paper's three parts at other weights: (1·1 + 2·0.5 + 1·0.5) / 4
    weights = RetrievalWeights(format=1, recall=2, ndcg=0, precision=0, conversion=1)
    assert retrieval_reward(one_of_two, weights).total == 0.625


def test_a_part_of_no_weight_is_shown_and_not_counted() -> None:
    found = retrieval_reward(
        retrieved(searched("add"), selection=("add",)),
        RetrievalWeights(format=0, recall=1, ndcg=0, precision=0, conversion=0),
    )
    assert (found.total, found.parts["precision"]) == (0.5, 1.0)


def test_where_no_weighted_part_applies_there_is_no_reward() -> None:
    weights = RetrievalWeights(format=0)
    reward = retrieval_reward(retrieved(searched("add"), selection=("add",), task=NOTHING_KNOWN), weights)
    assert (reward.total, reward.parts["format"]) == (None, 1.0)


def test_our_failures_are_unscorable() -> None:
    broken = retrieved(searched("add"), selection=None, stop=StopReason.INFRA_FAILURE)
    assert retrieval_reward(broken, RetrievalWeights()) is UNSCORABLE
    later = replace(executed(searched("add", "root"), answer=None), stop=StopReason.INFRA_FAILURE)
    assert execution_reward(later, ExecutionWeights()) is UNSCORABLE
    assert retrieval_reward(later, RetrievalWeights()).total == 1.0  # its retrieval phase was sound


# ---- execution


@pytest.mark.parametrize(
    ("trajectory", "parts"),
    [
        pytest.param(
            executed(searched("add", "root"), called(ADD), called(ROOT), answer="3.0"),
            {"format": 1, "grounding": 1, "call_match": 1, "answer": 1},
            id="perfect",
        ),
        pytest.param(
            executed(answer="3"),
            # No call at all: nothing is grounded, nothing matches; the guess counts only as an answer.
            {"format": 1, "grounding": 0, "call_match": 0, "answer": 1},
            id="guessed",
        ),
        pytest.param(
            executed(
                called(ADD, ToolStatus.TOOL_ERROR),
                called(ROOT, ToolStatus.TIMEOUT),
                called(made("root", x="9"), ToolStatus.INVALID_ARGUMENTS),
                called(made("pow", x=9), ToolStatus.NOT_IN_TOOLSET),
                answer="no idea",
            ),
            # names {add, root, root, pow} ∩ {add, root}: J = 2/4; add matches with 1 + 2, root with 1 + 1; of 1 + 3 + 2
            {"format": 1, "grounding": 2 / 4, "call_match": (0.5 + 3 + 2) / 6, "answer": 0},
            id="half grounded",
        ),
        pytest.param(
            executed(malformed(Phase.EXECUTION), called(ADD), answer="3"),
            # J = 1/2; add matches with 1 + 2; of 1 + 3 + 2
            {"format": 0, "grounding": 1, "call_match": (0.5 + 3) / 6, "answer": 1},
            id="malformed once",
        ),
        pytest.param(
            executed(malformed(Phase.RETRIEVAL), called(ADD), called(ROOT), answer="3"),
            {"format": 1, "grounding": 1, "call_match": 1, "answer": 1},
            id="retrieval is another phase",
        ),
        pytest.param(
            executed(called(ADD), called(ROOT), answer=None, stop=StopReason.TURN_LIMIT),
            {"format": 0, "grounding": 1, "call_match": 1, "answer": 0},
            id="never answered",
        ),
        pytest.param(
            executed(searched("add"), answer=None, stop=StopReason.CONTEXT_FULL),
            {"format": 0, "grounding": 0, "call_match": 0, "answer": 0},
            id="schemas did not fit",
        ),
        pytest.param(
            executed(called(ADD), answer="x", task=NOTHING_KNOWN),
            {"format": 1, "grounding": 1, "call_match": None, "answer": None},
            id="nothing known",
        ),
        pytest.param(
            executed(answer="x", task=replace(NOTHING_KNOWN, gold_calls=(), gold_answer="X")),
            {"format": 1, "grounding": 0, "call_match": 1, "answer": 1},
            id="no call needed",
        ),
    ],
)
def test_execution_parts(trajectory: Trajectory, parts: Mapping[str, float | None]) -> None:
    reward = execution_reward(trajectory, ExecutionWeights())
    assert {name: reward.parts[name] for name in parts} == pytest.approx(parts)
    weights = {"format": 0.2, "grounding": 0.1, "call_match": 0.3, "answer": 0.4}
    scored = {name: value for name, value in parts.items() if value is not None}
    total = sum(weights[name] * value for name, value in scored.items()) / sum(weights[name] for name in scored)
    assert reward.total == pytest.approx(total)


def test_an_execution_total_by_hand() -> None:
    trajectory = executed(called(ADD), called(made("root", x="9"), ToolStatus.INVALID_ARGUMENTS), answer="3")
    # 0.2·1 + 0.1·1/2 + 0.3·(1 + 3 + 1)/6 + 0.4·1
    assert execution_reward(trajectory, ExecutionWeights()).total == pytest.approx(0.9)
    paper = ExecutionWeights(format=0.4, grounding=0, call_match=0, answer=0.6)
    assert execution_reward(trajectory, paper).total == 1.0
    # Without gold only format and grounding are left: (0.2·1 + 0.1·1/2) / 0.3
    unknown = replace(trajectory, task=NOTHING_KNOWN)
    assert execution_reward(unknown, ExecutionWeights()).total == pytest.approx(5 / 6)


@pytest.mark.parametrize("weights", [{"format": -1}, dict.fromkeys(("format", "grounding", "call_match", "answer"), 0)])
def test_weights_are_checked(weights: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"reward\.execution"):
        ExecutionWeights(**weights)


# ---- call_match


F, G = "f", "g"


@pytest.mark.parametrize(
    ("calls", "gold", "score"),
    [
        ([], [made(F)], 0),
        ([], [], 1),
        ([made(F)], [], 0),
        ([made(F)], [made(F)], 1),
        ([made(F, a=1)], [made(F, a=1)], 1),  # (1 + 1 + 1) / 3
        ([made(G, a=1)], [made(F, a=1)], 0),
        ([made(F, a=2)], [made(F, a=1)], 2 / 3),  # the value is wrong
        ([made(F, b=1)], [made(F, a=1)], 1 / 3),  # the parameter is another: J = 0
        ([made(F)], [made(F, a=1)], 1 / 3),
        ([made(F, a=1, b=2)], [made(F, a=1)], (1 + 1 / 2 + 1) / 3),
        ([made(F, a=1), made(G)], [made(F, a=1)], (1 / 2 + 1 + 1) / 3),  # a needless call
        ([made(F, a=1), made(F, a=1)], [made(F, a=1)], (1 / 2 + 1 + 1) / 3),  # twice is a needless call too
        ([made(F)], [made(F), made(F)], (1 / 2 + 1) / 3),
        ([made(G, b=1), made(F, a=1)], [made(F, a=1), made(G, b=1)], 1),  # in any order
        ([made(F, a=2.0)], [made(F, a=2)], 1),
        ([made(F, a=True)], [made(F, a=1)], 2 / 3),
        ([made(F, a="1")], [made(F, a=1)], 2 / 3),
        ([made(F, a={"y": 2, "x": [1, None]})], [made(F, a={"x": [1, None], "y": 2})], 1),
        ([made(F, a=[2, 1])], [made(F, a=[1, 2])], 2 / 3),
    ],
)
def test_call_match(calls: list[ToolCall], gold: list[ToolCall], score: float) -> None:
    assert call_match(calls, gold) == pytest.approx(score)


def test_calls_are_matched_optimally() -> None:
    gold = [made(F, a=1, b=2), made(F, a=1, b=2, c=3)]
    calls = [made(F, a=1, b=2, c=3), made(F, a=9, b=2)]
    # Greedy in gold's order: 2/3 + 2 for the first call, then 2/3 + 1 for what is left: (1 + 13/3) / 8.
    # Optimal: the second call for the first gold one, 1 + 1, and the first for the second, 1 + 3: (1 + 6) / 8.
    assert call_match(calls, gold) == pytest.approx(7 / 8)
    assert call_match(calls[::-1], gold[::-1]) == pytest.approx(7 / 8)


CALLS = st.lists(
    st.builds(
        ToolCall, name=st.sampled_from("fgh"), arguments=st.dictionaries(st.sampled_from("abc"), st.integers(0, 2))
    ),
    max_size=4,
)


@given(CALLS, CALLS)
def test_the_gold_calls_in_any_order_and_only_they_earn_all(calls: list[ToolCall], gold: list[ToolCall]) -> None:
    score = call_match(calls, gold)
    assert 0 <= score <= 1
    assert (score > 1 - 1e-9) is (spelled(calls) == spelled(gold))
    assert call_match(calls[::-1], gold) == pytest.approx(score)


def spelled(calls: list[ToolCall]) -> list[str]:
    return sorted(canonical_json([call.name, dict(call.arguments)]) for call in calls)


# ---- answers


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3", "3"),
        (" 3 ", "3"),
        ("3.", "3"),
        ("3.0", "3"),
        ("+3", "3"),
        ("1e3", "1000"),
        ("1000.0005", "1000"),  # five parts in ten million
        ("0.333333333", "0.3333333333333333"),
        ("-0.5", "-.5"),
        ("0", "0.0"),
        ("1.0e-7", "1e-07"),
        ("007", "007"),
        ("12e45678", "12E45678"),
        ("0E123456", "0e123456"),
        ("Tuesday", "tuesday"),
        ("TUESDAY.", "Tuesday"),
        ("a  b\n c", "A b C"),
        ("ＡＢＣ１", "abc1"),  # full width
        ("Straße", "STRASSE"),
        ("2024-02-29", "2024-02-29"),
        ("[1, 2]", "[1,  2]"),
        ("d41d8cd98f00b204e9800998ecf8427e", "D41D8CD98F00B204E9800998ECF8427E"),
        ("12345678901234567890", "12345678901234567890"),
        ("…", "…"),
    ],
)
def test_answers_that_hold(answer: str, gold: str) -> None:
    assert answer_holds(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (None, "3"),
        ("", "3"),
        (" \n", "3"),
        ("", ""),  # an empty answer never scores
        (" ", " "),
        (None, ""),
        ("4", "3"),
        ("-3", "3"),
        ("the answer is 3", "3"),
        ("3 apples", "3"),
        ("1000.01", "1000"),
        ("10000001", "10000000"),  # integers are exact: one off is wrong, however large
        ("7", "007"),
        ("007", "7"),
        ("0012", "12.0"),
        ("12345678901234567891", "12345678901234567890"),
        ("1234567890123456", "1234567890123457"),
        ("99e99999", "12e45678"),  # hashes that read as infinite
        ("0e654321", "0e123456"),  # and as zero
        ("0", "0e123456"),
        ("nan", "3"),
        ("inf", "1e999"),
        ("true", "1"),
        ("[1, 2]", "[2, 1]"),
        ("1/2", "0.5"),
        (".", ""),
    ],
)
def test_answers_that_do_not_hold(answer: str | None, gold: str) -> None:
    assert not answer_holds(answer, gold)


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_answer_can_be_judged(answer: str, gold: str) -> None:
    assert answer_holds(answer, answer) is bool(answer.strip())
    assert answer_holds(answer, gold) in (True, False)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_holds_as_python_prints_it(number: float) -> None:
    assert answer_holds(f" {number}.", repr(number))


# ---- what the rewards want


def hoarding(expert: Script, *, at_most: int) -> Script:
    """Searches as the expert does, then selects everything that it saw, but no more than `at_most`."""

    def script(messages: Sequence[tuple[str, str]], seed: int) -> PolicyMessage:
        message = expert(messages, seed)
        if message.calls and message.calls[0].name == SELECT:
            labels = [label for _, text in messages for label in re.findall(r"^([A-Z]+)\. ", text, re.MULTILINE)]
            message = PolicyMessage(calls=(made(SELECT, names=list(dict.fromkeys(labels))[:at_most]),))
        return message

    return script


class TestInTheEmbeddedWorld:
    """What scripts earn with searching and selecting there, by the quickstart's config."""

    config = load_run_config("quickstart", ["retriever.kind=bm25"])

    @pytest.fixture(scope="class")
    def earned(self) -> Callable[[float, Callable[[Script], Script]], float]:
        """Of an expert's skill, and of what becomes of its script, the mean reward of 150 tasks."""
        world = build_world(self.config.world)
        tasks = world.tasks("train", 150, 5)
        tools = {tool.id: tool for tool in world.catalogue}
        renderer = Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS["qwen3"])
        search = BatchedSearch(build_retriever(self.config.retriever, world.catalogue)).search

        def play(skill: float, changed: Callable[[Script], Script]) -> float:
            script = changed(Expert(tasks, tools, env=self.config.env, skill=skill))
            plays = Collector(
                engine=ScriptedEngine(renderer, script),
                renderer=renderer,
                search=search,
                executor=None,
                env=self.config.env,
                rollout=RolloutConfig(max_context=8192),
            )
            plan = GroupPlan(group_size=1, gate="closed")
            rollouts = asyncio.run(plays.collect(tasks, plan, sampling=Sampling(), seed=0))
            rewards = [retrieval_reward(found.retrieval[0], self.config.reward.retrieval).total for found in rollouts]
            return mean(reward or 0.0 for reward in rewards)

        return play

    def test_selecting_everything_earns_less_than_the_expert_of_the_cold_start(
        self, earned: Callable[[float, Callable[[Script], Script]], float]
    ) -> None:
        skill, most = self.config.sft.expert_skill, self.config.env.max_selected
        chosen = earned(skill, lambda script: script)
        assert chosen > earned(skill, lambda script: hoarding(script, at_most=most)) + 0.02

    def test_the_more_of_a_search_is_selected_unread_the_less_it_earns(
        self, earned: Callable[[float, Callable[[Script], Script]], float]
    ) -> None:
        """Trusting ranks takes no skill; a cold start that does no more must not gain by taking all it may."""
        sizes = (1, 2, 3, self.config.env.max_selected)
        rewards = [earned(0.0, functools.partial(hoarding, at_most=size)) for size in sizes]
        assert all(fewer > more for fewer, more in itertools.pairwise(rewards)), rewards


def test_selecting_everything_earns_less_than_choosing() -> None:
    world = MadeUpWorld(20)
    renderer = Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS["qwen3"])
    expert = Expert(world.tasks, world.tools, env=NANO_ENV)
    scripts: dict[str, Script] = {
        "chooses": expert,
        "takes what it may": hoarding(expert, at_most=NANO_ENV.max_selected),
        "takes everything": hoarding(expert, at_most=99),
    }

    def play(script: Script) -> list[TaskRollouts]:
        plays = collector(world, renderer, ScriptedEngine(renderer, script), NANO_ENV)
        return asyncio.run(plays.collect(world.tasks, GroupPlan(group_size=1), sampling=Sampling(), seed=0))

    earned: dict[str, list[float]] = {}
    for name, script in scripts.items():
        rewards = [retrieval_reward(rollouts.retrieval[0], RetrievalWeights()) for rollouts in play(script)]
        earned[name] = [reward.total for reward in rewards if reward.total is not None]
        assert len(earned[name]) == len(world.tasks)
        if name == "takes what it may":
            recalls = [reward.parts["recall"] or 0.0 for reward in rewards]
            assert mean(recalls) > 0.6  # it does surface and hold the gold tools: only precision tells it apart
    assert earned["chooses"] == [1.0] * len(world.tasks)
    for chosen, some, everything in zip(*earned.values(), strict=True):
        assert chosen > some + 0.05
        assert some >= everything
