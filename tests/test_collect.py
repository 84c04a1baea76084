"""Collecting: who passes the gate, who executes, what is retried, and what every member of a group shares."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from envs.config import EnvConfig
from envs.dialects import DIALECTS, SEARCH, SELECT
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import Phase, PolicyMessage, SearchRecord, StopReason, Task, ToolCall
from retriever.base.errors import InfraError
from retriever.tools import Candidate, ToolDoc
from rewards.config import RewardConfig
from rollout.collect import Collector, may_execute, refuse_losses
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.renderer import Renderer
from rollout.types import Completion, FinishReason, Sampling, TaskRollouts, Trajectory
from tests.support import functions_executor
from train.nano.curriculum import tokenizer_texts
from train.nano.model import train_tokenizer
from train.objectives import decoupled_groups
from train.rollout_metrics import tool_metrics

NAMES = ("add", "root", "sub", "mul", "div")
TOOLS = {
    name: ToolDoc(
        id=name,
        name=name,
        description=f"Does {name}.",
        parameters={"type": "object", "properties": {"x": {"type": "integer"}}},
    )
    for name in NAMES
}
TASK = Task(
    id="t",
    instruction="What is the root of the sum?",
    gold_tools=("add", "root"),
    gold_calls=(ToolCall(name="add", arguments={"x": 1}), ToolCall(name="root", arguments={"x": 2})),
    gold_answer="3",
)
BOTH, HALF = ("A", "B"), ("A", "C")  # labels: add and root; add and sub


@cache
def renderer(dialect: str = "qwen3") -> Renderer:
    return Renderer(train_tokenizer(tokenizer_texts(seed=1, count=60)), DIALECTS[dialect])


def call(name: str, **arguments: Any) -> PolicyMessage:
    return PolicyMessage(calls=(ToolCall(name=name, arguments=arguments),))


def finding(labels: Sequence[str]) -> list[PolicyMessage]:
    return [call(SEARCH, query="x"), call(SELECT, names=list(labels))]


ACTING = [call("add", x=1), call("root", x=2), PolicyMessage(answer="3")]


class Cast:
    """An engine that speaks by role: every session has its lines. It may fail, hang or be cut off on request."""

    def __init__(
        self,
        *selections: Sequence[str],  # of the task "t", one for each of its episodes
        lines: Mapping[str, list[PolicyMessage]] | None = None,
        dialect: str = "qwen3",
    ) -> None:
        self.policy_version = 4
        self.lines = {f"t/{index}/r": finding(labels) for index, labels in enumerate(selections)}
        self.lines |= lines or {}
        self.failures: Counter[str] = Counter()  # session → how many more of its turns fail
        self.hanging: set[str] = set()
        self.cut_off: dict[str, int] = {}  # session → the turn, from 0, that reaches the limit
        self.without_end = False  # as where a stop string ends every turn
        self.requests: list[GenerationRequest] = []
        self.open: Counter[str] = Counter()  # session → turns so far
        self.slow_s = 0.0  # seconds of each turn
        self.at_once = self.most_at_once = 0  # turns
        self._renderer = renderer(dialect)

    async def generate(self, request: GenerationRequest) -> Completion:
        session = request.session
        turn = self.open[session]
        self.open[session] += 1
        self.requests.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.slow_s)
        self.at_once -= 1
        if self.failures[session]:
            self.failures[session] -= 1
            raise InfraError(f"the worker of {session} died")
        if session in self.hanging:
            await asyncio.sleep(60)
        ids = self._renderer.completion_ids(self.lines.get(session, ACTING)[turn])
        finish = FinishReason.STOP
        if self.without_end:
            ids = ids[:-1]
        if self.cut_off.get(session) == turn:
            ids, finish = ids[:-1], FinishReason.LENGTH
        return Completion(ids=ids, logprobs=(-0.5,) * len(ids), finish=finish, policy_version=self.policy_version)

    def close_session(self, session: str) -> None:
        self.open.pop(session, None)


async def search(query: str, k: int) -> Sequence[Candidate]:
    return [Candidate(tool=tool, score=-rank, rank=rank) for rank, tool in enumerate(list(TOOLS.values())[:k], start=1)]


EXECUTOR = functions_executor(lambda name, arguments: f"{name} of {arguments['x']}", observation_chars=100)
LIMITS = RolloutConfig(max_new_tokens=32)


def collect(
    engine: Cast,
    plan: GroupPlan,
    *,
    tasks: Sequence[Task] = (TASK,),
    env: EnvConfig | None = None,
    limits: RolloutConfig = LIMITS,
    search: Any = search,
    executor: Any = EXECUTOR,
    seed: int = 0,
) -> list[TaskRollouts]:
    env = env or EnvConfig()
    collector = Collector(
        engine=engine, renderer=renderer(env.dialect), search=search, executor=executor, env=env, rollout=limits
    )
    sampling = Sampling(max_new_tokens=limits.max_new_tokens)
    rollouts = asyncio.run(collector.collect(tasks, plan, sampling=sampling, seed=seed))
    assert not engine.open, "every session is closed"
    return rollouts


def parents(rollouts: TaskRollouts) -> list[str | None]:
    return [execution.parent_id for execution in rollouts.executions]


def test_a_call_is_counted_by_how_it_ended_and_what_served_it() -> None:
    rollouts = collect(Cast(BOTH, HALF), GroupPlan(group_size=2, gate="off"))
    metrics = tool_metrics(rollouts)
    calls = [result for trajectory in rollouts[0].executions for result in trajectory.results]
    assert metrics.pop("time/tool_call_s") >= 0
    assert metrics.pop("tools/calls") == len(calls) > 0
    # HALF has no root: its second call is refused, and runs nowhere
    assert metrics == {"tools/ok": 0.75, "tools/not_in_toolset": 0.25, "tools/from_live": 1.0}
    assert tool_metrics([replace(rollouts[0], executions=())]) == {"tools/calls": 0.0}


# ---- the gate


@pytest.mark.parametrize(
    ("selections", "survivors"),
    [
        ([HALF, HALF, HALF], []),
        ([HALF, BOTH, HALF], ["t/1"]),
        ([BOTH, ("B", "A"), ("A", "B", "C")], ["t/0", "t/1", "t/2"]),
    ],
    ids=["none", "one", "all"],
)
def test_each_survivor_executes_once(selections: list[Sequence[str]], survivors: list[str]) -> None:
    (rollouts,) = collect(Cast(*selections), GroupPlan(group_size=3))
    assert [trajectory.id for trajectory in rollouts.retrieval] == ["t/0", "t/1", "t/2"]
    assert all(trajectory.stop is StopReason.SELECTED for trajectory in rollouts.retrieval)
    assert parents(rollouts) == survivors
    assert [execution.id for execution in rollouts.executions] == [f"t/x{parent[2:]}" for parent in survivors]
    for execution in rollouts.executions:
        assert (execution.stop, execution.answer, execution.executed) == (StopReason.ANSWERED, "3", True)
        assert [result.text for result in execution.results] == ["add of 1", "root of 2"]


def test_an_execution_goes_on_from_its_own_retrieval() -> None:
    (rollouts,) = collect(Cast(BOTH, ("B", "A", "D")), GroupPlan(group_size=2))
    for start, whole in zip(rollouts.retrieval, rollouts.executions, strict=True):
        assert whole.turns[:2] == start.turns
        assert whole.selection == start.selection
        assert [turn.phase for turn in whole.turns[2:]] == [Phase.EXECUTION] * 3
        assert [turn.context for turn in whole.turns] == [0, 0, 1, 1, 1]
        assert not start.executed
    assert rollouts.retrieval[1].selection == ("root", "add", "mul")


@pytest.mark.parametrize("context", ["fresh", "append"])
def test_a_message_that_a_stop_string_ended_is_closed_in_its_context(context: Any) -> None:
    usual, stopped = Cast(BOTH), Cast(BOTH)
    stopped.without_end = True
    env = EnvConfig(context=context)
    (expected,) = collect(usual, GroupPlan(group_size=1), env=env)
    (rollouts,) = collect(stopped, GroupPlan(group_size=1), env=env)
    assert [request.ids for request in stopped.requests] == [request.ids for request in usual.requests]
    turns = rollouts.executions[0].turns
    assert len(turns) == 5
    for turn, closed in zip(turns, expected.executions[0].turns, strict=True):
        assert turn.completion.ids == closed.completion.ids[:-1]  # nobody sampled the token
        opening = closed.prompt_ids[0] == renderer().start_id  # of a context
        assert turn.prompt_ids == (*(() if opening else [renderer().end_id]), *closed.prompt_ids)


@pytest.mark.parametrize(
    ("selections", "wanted"),
    [
        ([HALF] * 5, []),
        ([HALF, HALF, BOTH, HALF, HALF], ["t/2"] * 5),
        ([BOTH, HALF, ("B", "A"), HALF, HALF], ["t/0", "t/2", "t/0", "t/2", "t/0"]),
        # Two of the same toolset are one; the first of them plays on.
        ([("A", "B", "C"), BOTH, BOTH, ("A", "B", "C"), BOTH], ["t/0", "t/1", "t/0", "t/1", "t/0"]),
        ([BOTH] * 5, ["t/0"] * 5),
    ],
    ids=["none", "one", "two", "repeated", "all alike"],
)
def test_refill_executes_g_times_round_robin(selections: list[Sequence[str]], wanted: list[str]) -> None:
    engine = Cast(*selections)
    (rollouts,) = collect(engine, GroupPlan(group_size=5, execution_group="refill"))
    assert parents(rollouts) == wanted
    assert [execution.id for execution in rollouts.executions] == [f"t/x{index}" for index in range(len(wanted))]
    # Executions of one toolset are samples of their own: every turn has its own seed.
    assert len({request.seed for request in engine.requests}) == len(engine.requests)


def test_the_gate_may_be_off_or_closed() -> None:
    selections = (BOTH, HALF, ("Z",))
    (off,) = collect(Cast(*selections), GroupPlan(group_size=3, gate="off"))
    assert parents(off) == ["t/0", "t/1"]  # an invalid selection never executes
    assert off.retrieval[2].stop is StopReason.INVALID_SELECTION
    (closed,) = collect(Cast(*selections), GroupPlan(group_size=3, gate="closed"), executor=None)
    assert closed.executions == ()
    assert [trajectory.stop for trajectory in closed.retrieval[:2]] == [StopReason.SELECTED] * 2


@pytest.mark.parametrize("gold", [None, ()])
def test_without_gold_tools_the_gate_is_open(gold: Any) -> None:
    (rollouts,) = collect(Cast(BOTH, HALF), GroupPlan(group_size=2), tasks=[replace(TASK, gold_tools=gold)])
    assert parents(rollouts) == ["t/0", "t/1"]


def test_hidden_tools_are_not_found() -> None:
    def found(**plan: Any) -> list[str]:
        env = EnvConfig(candidates_per_search=2)
        (rollouts,) = collect(Cast(HALF), GroupPlan(group_size=1, **plan), env=env)
        return list(rollouts.retrieval[0].searches[0].tool_ids)

    assert found() == ["add", "root"]
    assert found(hidden=frozenset({"add", "sub"})) == ["root", "mul"]  # as many as asked for, were there more


def test_a_task_may_offer_some_tools_alone() -> None:
    asked: list[int] = []

    async def counted(query: str, k: int) -> Sequence[Candidate]:
        asked.append(k)
        names = [f"other{number}" for number in range(100)] + list(NAMES)
        tools = [replace(TOOLS["add"], id=name, name=name) for name in names]
        return [Candidate(tool=tool, score=0.0, rank=rank) for rank, tool in enumerate(tools[:k], start=1)]

    def found(*offered: str, k: int = 2) -> list[tuple[str, ...]]:
        env, task = EnvConfig(candidates_per_search=k), replace(TASK, offered_tools=offered)
        (rollouts,) = collect(Cast(HALF), GroupPlan(group_size=1), tasks=[task], env=env, search=counted)
        return [rollouts.retrieval[0].searches[0].tool_ids]

    assert found() == [("other0", "other1")]
    assert found("div", "root", "sub") == [("root", "sub")]
    assert asked == [2, 64, 512]
    assert found("add", k=4) == [("add",)]
    assert found("nowhere") == [()]  # all was looked through


def test_who_may_execute() -> None:
    selected = Trajectory(id="t/0", task=TASK, turns=(), stop=StopReason.SELECTED, selection=("root", "x", "add"))
    assert may_execute(selected, GroupPlan())
    assert not may_execute(selected, GroupPlan(gate="closed"))
    assert not may_execute(replace(selected, selection=("add",)), GroupPlan())
    assert may_execute(replace(selected, selection=("add",)), GroupPlan(gate="off"))
    assert not may_execute(replace(selected, selection=None), GroupPlan(gate="off"))


# ---- our failures


def test_an_episode_that_we_broke_is_played_again() -> None:
    engine = Cast(BOTH, BOTH)
    engine.failures.update(["t/0/r", "t/x1"])  # once each; infra_retries is 1
    (rollouts,) = collect(engine, GroupPlan(group_size=2))
    (unbroken,) = collect(Cast(BOTH, BOTH), GroupPlan(group_size=2))
    assert timeless(rollouts) == timeless(unbroken)
    assert len({request.seed for request in engine.requests if request.session == "t/0/r"}) == 2  # two turns, not three


def test_what_stays_broken_takes_its_group_out_of_training() -> None:
    engine = Cast(BOTH, HALF, BOTH, BOTH, lines={"t/x0": [PolicyMessage(answer="4")]})
    engine.failures.update({"t/2/r": 2, "t/x3": 2})
    (rollouts,) = collect(engine, GroupPlan(group_size=4))
    broken, lost = rollouts.retrieval[2], rollouts.executions[1]
    assert (broken.stop, broken.failure, broken.turns) == (StopReason.INFRA_FAILURE, "the worker of t/2/r died", ())
    assert (lost.stop, lost.failure, lost.parent_id) == (StopReason.INFRA_FAILURE, "the worker of t/x3 died", "t/3")
    assert parents(rollouts) == ["t/0", "t/3"]
    retrieval, execution = decoupled_groups(rollouts, RewardConfig())
    assert (retrieval.lost, execution.lost) == ("t/2: the worker of t/2/r died", "t/x3: the worker of t/x3 died")
    assert retrieval.segments() == execution.segments() == []
    assert [row.reward.total is None for row in retrieval.rows] == [False, False, True, False]  # the others' is known


def test_search_and_tools_may_fail_us_too() -> None:
    async def unreachable(query: str, k: int) -> Sequence[Candidate]:
        raise InfraError("the retriever refused the connection")

    (rollouts,) = collect(Cast(BOTH), GroupPlan(group_size=1), search=unreachable)
    assert rollouts.retrieval[0].failure == "the retriever refused the connection"

    class Gone(Stateless):
        async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
            raise InfraError("the tool server is gone")

    gone = RoutedExecutor({"python": Gone()}, CallLimits(infra_retries=1))
    (rollouts,) = collect(Cast(BOTH), GroupPlan(group_size=1), executor=gone)
    assert rollouts.executions[0].failure == "add: error: the tool server is gone"
    assert rollouts.executions[0].selection == ("add", "root")  # the retrieval phase itself was sound


@pytest.mark.parametrize(
    ("retries", "failures", "stop", "turns"),
    [
        (0, 0, StopReason.SELECTED, 2),
        (0, 1, StopReason.INFRA_FAILURE, 1),
        (3, 3, StopReason.SELECTED, 3 + 2),
        (3, 4, StopReason.INFRA_FAILURE, 4),
        (3, 9, StopReason.INFRA_FAILURE, 4),
    ],
)
def test_retries_are_counted(retries: int, failures: int, stop: StopReason, turns: int) -> None:
    engine = Cast(BOTH)
    engine.failures["t/0/r"] = failures
    limits = replace(LIMITS, infra_retries=retries)
    (rollouts,) = collect(engine, GroupPlan(group_size=1, gate="closed"), limits=limits)
    assert (rollouts.retrieval[0].stop, len(engine.requests)) == (stop, turns)


def test_our_bugs_are_no_episodes() -> None:
    with pytest.raises(IndexError):  # a session without lines for its turn
        collect(Cast(lines={"t/0/r": []}), GroupPlan(group_size=1))


def test_an_episode_that_outlives_its_time_is_an_infra_failure() -> None:
    engine = Cast(BOTH, BOTH)
    engine.hanging = {"t/1/r", "t/x0"}
    limits = replace(LIMITS, episode_timeout_s=0.2, infra_retries=0)
    (rollouts,) = collect(engine, GroupPlan(group_size=2), limits=limits)
    assert [trajectory.stop for trajectory in rollouts.retrieval] == [StopReason.SELECTED, StopReason.INFRA_FAILURE]
    assert rollouts.retrieval[1].failure == "the episode outlived rollout.episode_timeout_s=0.2"
    assert (rollouts.executions[0].stop, rollouts.executions[0].failure) == (
        StopReason.INFRA_FAILURE,
        "the episode outlived rollout.episode_timeout_s=0.2",
    )
    assert 0.2 <= rollouts.executions[0].seconds < 5


def test_waiting_for_a_place_is_not_the_episodes_time() -> None:
    engine = Cast(BOTH, BOTH, BOTH)
    engine.slow_s = 0.15  # a turn; one episode at a time takes 0.3 s, three of them 0.9 s
    limits = replace(LIMITS, episode_timeout_s=0.6, infra_retries=0, max_concurrent=1)
    (rollouts,) = collect(engine, GroupPlan(group_size=3, gate="closed"), limits=limits)
    assert [trajectory.stop for trajectory in rollouts.retrieval] == [StopReason.SELECTED] * 3
    assert engine.most_at_once == 1


def test_a_batch_that_lost_too_many_episodes_stops_the_run() -> None:
    engine = Cast(BOTH, BOTH, BOTH, BOTH)
    engine.failures["t/2/r"] = 2
    rollouts = collect(engine, GroupPlan(group_size=4, gate="closed"))
    refuse_losses(rollouts, replace(LIMITS, max_lost_share=0.25), what="batch 7")
    with pytest.raises(InfraError, match=r"batch 7: 1 of 4 episodes .*max_lost_share=0.1 .*the worker of t/2/r died"):
        refuse_losses(rollouts, LIMITS, what="batch 7")


# ---- limits


def test_a_message_that_was_cut_off_is_not_acted_upon() -> None:
    engine = Cast(BOTH, BOTH, BOTH)
    # A whole selection and a whole call, but their end-of-turn token is missing.
    engine.cut_off = {"t/0/r": 0, "t/1/r": 1, "t/x2": 0}
    (rollouts,) = collect(engine, GroupPlan(group_size=3))
    searching, selecting, _ = rollouts.retrieval
    assert [t.stop for t in rollouts.retrieval] == [StopReason.LENGTH, StopReason.LENGTH, StopReason.SELECTED]
    assert (searching.searches, len(searching.turns)) == ((), 1)
    assert (selecting.selection, len(selecting.turns)) == (None, 2)
    assert selecting.turns[-1].message == finding(BOTH)[1]  # what it said is kept
    (acting,) = rollouts.executions
    assert (acting.parent_id, acting.stop, acting.results, acting.answer) == ("t/2", StopReason.LENGTH, (), None)
    assert not searching.format_ok(Phase.RETRIEVAL)
    assert (acting.format_ok(Phase.RETRIEVAL), acting.format_ok(Phase.EXECUTION)) == (True, False)


def test_a_context_that_is_full_ends_the_episode_before_the_turn() -> None:
    # The last request and a whole completion fit to the token; with one token less they do not.
    engine = Cast(BOTH)
    (rollouts,) = collect(engine, GroupPlan(group_size=1))
    begun = [len(request.ids) for request in engine.requests if request.session == "t/0/r"]
    for room, turns, stop in ((0, 2, StopReason.SELECTED), (-1, 1, StopReason.CONTEXT_FULL)):
        limits = replace(LIMITS, max_context=begun[1] + LIMITS.max_new_tokens + room)
        (rollouts,) = collect(Cast(BOTH), GroupPlan(group_size=1, gate="closed"), limits=limits)
        assert (len(rollouts.retrieval[0].turns), rollouts.retrieval[0].stop) == (turns, stop)
        assert rollouts.retrieval[0].format_ok(Phase.RETRIEVAL) is (stop is StopReason.SELECTED)


def test_a_toolset_whose_schemas_do_not_fit_spoils_execution_and_not_retrieval() -> None:
    engine = Cast(("A", "B", "C", "D", "E"))
    (rollouts,) = collect(engine, GroupPlan(group_size=1), env=EnvConfig(context="append"))
    room = max(len(request.ids) for request in engine.requests if request.session == "t/0/r")
    limits = replace(LIMITS, max_context=room + LIMITS.max_new_tokens)
    (rollouts,) = collect(
        Cast(("A", "B", "C", "D", "E")), GroupPlan(group_size=1), env=EnvConfig(context="append"), limits=limits
    )
    (whole,) = rollouts.executions
    assert (whole.stop, whole.executed, len(whole.turns)) == (StopReason.CONTEXT_FULL, True, 2)
    assert (whole.format_ok(Phase.RETRIEVAL), whole.format_ok(Phase.EXECUTION)) == (True, False)


# ---- what a group shares


@pytest.mark.parametrize("dialect", ["qwen3", "paper"])
@pytest.mark.parametrize("context", ["fresh", "append"])
@pytest.mark.parametrize("execution_group", ["survivors", "refill"])  # refill: two executions fork one context
def test_token_in_token_out(dialect: Any, context: Any, execution_group: Any) -> None:
    """What the engine was asked is, at every turn, the concatenation of what was recorded before it."""
    engine = Cast(BOTH, BOTH, dialect=dialect)
    env = EnvConfig(dialect=dialect, context=context)
    (rollouts,) = collect(engine, GroupPlan(group_size=2, execution_group=execution_group), env=env)
    assert parents(rollouts) == (["t/0", "t/0"] if execution_group == "refill" else ["t/0", "t/1"])
    for whole in rollouts.executions:
        ids: dict[int, list[int]] = {}
        for turn in whole.turns:
            ids.setdefault(turn.context, []).extend(turn.prompt_ids)
            session = f"{whole.parent_id}/r" if turn.phase is Phase.RETRIEVAL else whole.id
            asked = next(r for r in engine.requests if (r.session, len(r.ids)) == (session, len(ids[turn.context])))
            assert list(asked.ids) == ids[turn.context]
            ids[turn.context].extend(turn.completion.ids)
        assert len(ids) == (2 if context == "fresh" else 1)
        assert {turn.completion.policy_version for turn in whole.turns} == {4}


def shown_first(rollouts: TaskRollouts) -> set[str]:
    return {trajectory.turns[0].observation.texts[0] for trajectory in rollouts.retrieval}


def test_a_group_shares_its_names_and_its_order() -> None:
    env = EnvConfig(aliases="names", shuffle_candidates=True)
    tasks = [TASK, replace(TASK, id="u")]
    lines = {f"{id}/{index}/r": finding(HALF) for id in "tu" for index in range(4)}
    plan = GroupPlan(group_size=4, gate="closed")
    first, second = collect(Cast(lines=lines), plan, tasks=tasks, env=env, seed=0)
    (later,) = collect(Cast(lines=lines), plan, env=env, seed=1)
    for rollouts in (first, second, later):
        assert len(shown_first(rollouts)) == 1  # the same prompt for all: only then have they one baseline
    assert len(shown_first(first) | shown_first(second) | shown_first(later)) == 3
    records = {search for rollouts in (first, second, later) for t in rollouts.retrieval for search in t.searches}
    assert records == {SearchRecord(query="x", tool_ids=NAMES)}  # the record keeps real ids, in the retriever's order


def timeless(rollouts: TaskRollouts) -> TaskRollouts:
    """Without what a clock said."""

    def of(trajectory: Trajectory) -> Trajectory:
        turns = tuple(
            replace(
                turn,
                observation=replace(
                    turn.observation, results=tuple(replace(r, latency_s=0.0) for r in turn.observation.results)
                ),
            )
            for turn in trajectory.turns
        )
        return replace(trajectory, turns=turns, seconds=0.0)

    return replace(
        rollouts, retrieval=tuple(map(of, rollouts.retrieval)), executions=tuple(map(of, rollouts.executions))
    )


def test_the_seed_decides_everything_and_neighbours_nothing() -> None:
    other = replace(TASK, id="u")
    lines = {f"{id}/{index}/r": finding(BOTH) for id in "tu" for index in range(2)}
    lines |= {f"{id}/x{index}": [PolicyMessage(answer="3")] for id in "tu" for index in range(2)}
    env = EnvConfig(aliases="names", shuffle_candidates=True)

    def run(tasks: Sequence[Task], seed: int) -> tuple[list[TaskRollouts], set[tuple[str, int, tuple[int, ...]]]]:
        engine = Cast(lines=lines)
        plan = GroupPlan(group_size=2, gate="off")
        rollouts = collect(engine, plan, tasks=tasks, env=env, seed=seed)
        return list(map(timeless, rollouts)), {(r.session, r.seed, r.ids) for r in engine.requests}

    both, asked = run([TASK, other], 0)
    assert [rollouts.task for rollouts in both] == [TASK, other]
    assert run([TASK, other], 0) == (both, asked)
    assert run([other, TASK], 0)[0] == both[::-1]
    assert run([other], 0)[0] == both[1:]
    # Every turn of every episode has a seed of its own, and another batch has others.
    seeds = {seed for _, seed, _ in asked}
    assert len(seeds) == len(asked) == 2 * 2 * 3
    assert not seeds & {seed for _, seed, _ in run([TASK, other], 1)[1]}
