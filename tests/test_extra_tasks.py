"""Extra tasks: which are drawn, in whatever order episodes end, and what becomes of those they stand in for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envs.config import EnvConfig
from envs.types import StopReason, Task
from retriever.base.errors import UserError
from rewards.config import RewardConfig
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.counts import since
from rollout.extra_tasks import collect_with_extra
from rollout.types import Completion, RolloutStatus, Sampling, TaskRollouts, Turn
from rollout.weights import WeightUpdate, weight_update
from tests.test_advantages import BROKEN, NONE, ONE, TWO, WEIGHTS, executed, rollouts
from tests.test_collect import BOTH, EXECUTOR, HALF, TASK, Cast, collect, finding, renderer, search
from train.config import GrpoConfig
from train.rollout_metrics import collection_metrics, gate_metrics
from train.scoring import BatchScoring
from train.source import GenerationBatch, RolloutSource

PLAN, SAMPLING = GroupPlan(group_size=2), Sampling(max_new_tokens=32)


@dataclass
class Rounds:
    """A `Pool` whose rollouts are empty, and a `Scorer` of them by the task's id."""

    teaching: Mapping[str, bool]
    rounds: list[list[str]] = field(default_factory=list)

    def push(self, update: WeightUpdate) -> None: ...

    def collect(self, tasks: Sequence[Task], plan: GroupPlan, **others: Any) -> list[TaskRollouts]:
        self.rounds.append([task.id for task in tasks])
        return [TaskRollouts(task=task, retrieval=(), executions=()) for task in tasks]

    def statuses(self) -> list[RolloutStatus]:
        return []

    def close(self) -> None: ...

    def teaches(self, rollouts: TaskRollouts) -> bool:
        return self.teaching[rollouts.task.id]


def task(id: str) -> Task:
    return replace(TASK, id=id)


def drawn(own: str, extra: str, teaching: Mapping[str, bool]) -> list[list[str]]:
    """The rounds of a batch whose tasks are single letters."""
    pool = Rounds(teaching)
    found = collect_with_extra(
        pool, [*map(task, own)], [*map(task, extra)], PLAN, sampling=SAMPLING, seed=0, scorer=pool
    )
    assert [r.task.id for r in found] == [id for ids in pool.rounds for id in ids]
    return pool.rounds


@pytest.mark.parametrize(
    ("extra", "barren", "rounds"),
    [
        ("xyz", "", ["abc"]),
        ("", "abc", ["abc"]),
        ("xyz", "b", ["abc", "x"]),
        ("wxyz", "acx", ["abc", "wx", "y"]),  # w teaches, x does not
        ("xy", "abc", ["abc", "xy"]),  # the cap
        ("wxyz", "awxyz", ["abc", "w", "x", "y", "z"]),
    ],
)
def test_one_is_drawn_for_each_that_teaches_nothing(extra: str, barren: str, rounds: list[str]) -> None:
    assert drawn("abc", extra, {id: id not in barren for id in "abcwxyz"}) == [list(ids) for ids in rounds]


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.lists(st.booleans(), max_size=6), st.integers(0, 2**32))
def test_a_pool_without_rounds_would_draw_the_same(own: list[bool], extra: list[bool], seed: int) -> None:
    """Tasks end in any order, and each that teaches nothing draws the next one at once."""
    random, ids = Random(seed), "abcdefghijkl"
    teaching = dict(zip(ids, own + extra, strict=False))
    own_ids, extra_ids = ids[: len(own)], ids[len(own) : len(own) + len(extra)]
    under_way, waiting, played = list(own_ids), list(extra_ids), set()
    while under_way:
        done = under_way.pop(random.randrange(len(under_way)))
        played.add(done)
        if not teaching[done] and waiting:
            under_way.append(waiting.pop(0))
    assert {id for ids in drawn(own_ids, extra_ids, teaching) for id in ids} == played


def test_what_teaches() -> None:
    def teaches(found: TaskRollouts, **config: Any) -> bool:
        return BatchScoring(GrpoConfig(**config), WEIGHTS, None).teaches(found)

    alike = (ONE, replace(ONE, id="t/1"))
    assert teaches(rollouts(retrieval=(ONE, TWO)))
    assert not teaches(rollouts(retrieval=alike))
    assert teaches(rollouts(executed(ONE, "3"), executed(TWO, "4"), retrieval=alike))  # its executions differ
    assert not teaches(rollouts(executed(ONE, "3"), executed(TWO, "4"), retrieval=alike), gate="closed")
    assert not teaches(rollouts(retrieval=(NONE, replace(NONE, id="t/1"))), update="coupled", gate="off")
    # What we broke says nothing of the task, in whichever group.
    assert teaches(rollouts(retrieval=(*alike, BROKEN)))
    lost = executed(TWO, "3", stop=StopReason.INFRA_FAILURE)
    assert teaches(rollouts(executed(ONE, "3"), lost, retrieval=alike))


def test_a_cap_is_no_negative_number() -> None:
    with pytest.raises(UserError, match="grpo.extra_tasks=-1 is negative"):
        GrpoConfig(extra_tasks=-1)


# ---- a whole batch: t and v teach (selections of different worth), u and w do not

SELECTIONS = {"t": (BOTH, HALF), "u": (BOTH, BOTH), "v": (HALF, BOTH), "w": (HALF, HALF)}


class CastPool(Rounds):
    """A `Pool` that plays what `SELECTIONS` say."""

    def __init__(self, failing: Sequence[str] = ()) -> None:
        super().__init__({})
        lines = {f"{id}/{index}/r": finding(s) for id, chosen in SELECTIONS.items() for index, s in enumerate(chosen)}
        self.engine = Cast(lines=lines)
        self.engine.failures.update(dict.fromkeys(failing, 9))

    def collect(self, tasks: Sequence[Task], plan: GroupPlan, **others: Any) -> list[TaskRollouts]:
        self.rounds.append([task.id for task in tasks])
        return collect(self.engine, plan, tasks=tasks, seed=others["seed"])


def batch(extra_tasks: int, failing: Sequence[str] = ()) -> tuple[GenerationBatch, list[str], CastPool]:
    """Of the tasks u and t, and the extra ones w and v; beside it the tasks whose groups the listener was told."""
    pool, told = CastPool(failing), list[str]()
    source = RolloutSource(
        pool=pool,
        tasks=lambda index: [*map(task, "utwv")][: 2 + extra_tasks],
        sampling=SAMPLING,
        rollout=RolloutConfig(max_new_tokens=32, max_lost_share=0.5),
        rewards=RewardConfig(),
        config=GrpoConfig(tasks_per_batch=2, extra_tasks=extra_tasks, group_size=2),
        seed=0,
        listener=lambda index, groups, _: told.extend(g.rows[0].trajectory.task.id for g in groups if g.rows),
    )
    return source.batch(0, weight_update(0, {"w": torch.zeros(1)})), told, pool


def test_what_teaches_nothing_is_recorded_counted_and_not_trained() -> None:
    alone, _, _ = batch(0)
    filled, told, pool = batch(2)
    assert pool.rounds == [["u", "t"], ["w"], ["v"]]  # w, in place of u, teaches nothing itself
    assert told == ["u", "t", "w", "v", "u", "t", "v"]  # retrieval groups, then execution groups: w has no survivor
    sizes = [[len(objective.segments) for update in b.updates for objective in update] for b in (alone, filled)]
    assert sizes == [[2, 0], [4, 0]]
    metrics = filled.metrics
    assert (metrics["rollout/extra_tasks"], metrics["rollout/tasks_without_signal"]) == (2, 2)
    assert (metrics["groups/retrieval_uninformative"], metrics["rollout/dropped_groups"]) == (0.5, 0)
    assert (alone.metrics["rollout/extra_tasks"], alone.metrics["rollout/tasks_without_signal"]) == (0, 1)
    assert batch(2)[0].updates == filled.updates, "the same index, seed and weights: the same batch"


def test_a_group_that_we_broke_is_counted_and_not_replaced() -> None:
    filled, told, pool = batch(2, failing=["u/1/r"])
    assert pool.rounds == [["u", "t"]]
    assert told == ["u", "t", "u", "t"]
    assert (filled.metrics["rollout/dropped_groups"], filled.metrics["rollout/tasks_without_signal"]) == (1, 0)
    assert [len(objective.segments) for update in filled.updates for objective in update] == [2, 0]


# ---- what a collection cost


def status(worker: str, **counts: Any) -> RolloutStatus:
    return RolloutStatus(policy_version=counts.pop("version", 1), worker=worker, **counts)


def test_workers_together_since_some_moment() -> None:
    before = [
        status("a", decoded_tokens=100, tool_s=1.5, episodes_running=9),
        status("dead", decoded_tokens=70, episodes_finished=7),
    ]
    after = [
        status("a", decoded_tokens=150, tool_s=2.0, episodes_running=3, version=2),
        status("in its place", decoded_tokens=30, episodes_finished=2, episodes_running=4),
    ]
    done = since(before, after)
    assert (done.decoded_tokens, done.tool_s, done.episodes_finished) == (50 + 30, 0.5, 2)
    assert (done.episodes_running, done.policy_version) == (7, 2)
    assert since(before, []) == RolloutStatus(policy_version=0)


def timed(turn: Turn, queue_s: float, generation_s: float, tool_s: float) -> Turn:
    completion: Completion = replace(turn.completion, queue_s=queue_s)
    return replace(turn, completion=completion, generation_s=generation_s, tool_s=tool_s)


def test_metrics_of_a_collection() -> None:
    engine = Cast(BOTH, HALF)
    (found,) = collect(engine, PLAN)
    searched, selected = (timed(turn, 1.0, 3.0, 0.5) for turn in found.retrieval[0].turns)
    whole = found.executions[0]
    acted = tuple(timed(turn, 0.0, 2.0, 5.0) for turn in whole.turns[2:])
    assert len(acted) == 3
    found = replace(
        found,
        retrieval=(replace(found.retrieval[0], turns=(searched, selected)), replace(found.retrieval[1], turns=())),
        executions=(replace(whole, turns=(searched, selected, *acted)),),
    )
    metrics = collection_metrics(
        [found],
        before=[status("a", prefilled_tokens=5)],
        after=[status("a", prefilled_tokens=405, cached_tokens=60, decoded_tokens=120, episodes_retried=1)],
        seconds=4.0,
    )
    # Three episodes: two retrievals and one execution, whose retrieval is the first one's.
    assert metrics == {
        "rollout/episodes_per_s": 0.75,
        "rollout/episodes_retried": 1.0,
        "tokens/prefilled": 400.0,
        "tokens/cached": 60.0,
        "tokens/decoded": 120.0,
        "tokens/prefill_per_s": 100.0,
        "tokens/decode_per_s": 30.0,
        "time/queue_s": pytest.approx(2 * 1.0 / 3),
        "time/decode_s": pytest.approx((2 * 2.0 + 3 * 2.0) / 3),
        "time/tool_s": pytest.approx((2 * 0.5 + 3 * 5.0) / 3),
    }


def test_the_gates_pass_rate_is_of_what_was_not_lost() -> None:
    engine = Cast(BOTH, HALF, BOTH, BOTH)
    engine.failures.update({"t/2/r": 9, "t/3/r": 9})
    metrics = gate_metrics(collect(engine, replace(PLAN, group_size=4)), PLAN)
    assert (metrics["gate/pass_rate"], metrics["gate/survivors_per_group"], metrics["rollout/episodes"]) == (0.5, 1, 5)
    engine.failures.update({"t/0/r": 9, "t/1/r": 9})
    assert gate_metrics(collect(engine, replace(PLAN, group_size=4)), PLAN)["gate/pass_rate"] == 0


def test_a_collector_counts_into_its_engines_status() -> None:
    of = Collector(
        engine=Cast(), renderer=renderer(), search=search, executor=EXECUTOR, env=EnvConfig(), rollout=RolloutConfig()
    )
    of.counts.finished(lost=True)
    of.counts.judged(passed=True)
    assert of.counts.added_to(status("a", decoded_tokens=3)) == status(
        "a", decoded_tokens=3, episodes_finished=1, episodes_lost=1, gate_judged=1, gate_passed=1
    )
