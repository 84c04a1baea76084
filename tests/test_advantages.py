"""Advantages by hand: which rows share a baseline, and what each objective trains."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from statistics import mean, stdev

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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
from rewards.config import ExecutionWeights, RetrievalWeights, RewardConfig
from rollout.types import Completion, FinishReason, TaskRollouts, Trajectory, Turn
from train.advantages import group_advantages
from train.objectives import ScoredGroup, coupled_group, decoupled_groups, group_metrics
from train.segments import Objective

# ---- numbers


@pytest.mark.parametrize(
    ("rewards", "advantages"),
    [
        ([], []),  # no survivor
        ([0.7], [0.0]),  # one survivor: nothing to compare it with
        ([None], [None]),
        ([1.0, 0.0], [1 / sqrt(2), -1 / sqrt(2)]),  # mean 1/2, std √(1/4 + 1/4) = 1/√2
        ([0.2, 0.3], [-1 / sqrt(2), 1 / sqrt(2)]),  # of two rows it is always this
        ([1.0, 0.0, 0.5], [1.0, -1.0, 0.0]),  # mean 1/2, std √((1/4 + 1/4) / 2) = 1/2
        ([1.0, 1.0, 0.0, 0.0, 0.0], [0.6 / sqrt(0.3)] * 2 + [-0.4 / sqrt(0.3)] * 3),  # variance (2·0.36 + 3·0.16) / 4
        ([0.4] * 5, [0.0] * 5),  # no variance
        ([0.1 + 0.2, 0.3, 0.3], [0.0] * 3),  # no variance but rounding
        ([1.0, None, 0.0, 0.5], [1.0, None, -1.0, 0.0]),  # a row that we broke is in no mean and in no std
        ([None, 0.9, None], [None, 0.0, None]),
        ([None, None], [None, None]),
    ],
)
def test_group_advantages(rewards: list[float | None], advantages: list[float | None]) -> None:
    assert group_advantages(rewards) == pytest.approx(advantages)


REWARDS = st.lists(st.none() | st.integers(0, 1000).map(lambda n: n / 1000), max_size=8)


def valid(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@given(REWARDS)
def test_advantages_have_mean_0_and_std_1_over_the_valid_rows(rewards: list[float | None]) -> None:
    advantages = group_advantages(rewards)
    assert [reward is None for reward in rewards] == [advantage is None for advantage in advantages]
    if len(set(valid(rewards))) < 2:
        assert set(valid(advantages)) <= {0.0}
    else:
        assert mean(valid(advantages)) == pytest.approx(0, abs=1e-9)
        assert stdev(valid(advantages)) == pytest.approx(1)


@given(REWARDS, st.floats(-5, 5), st.floats(0.01, 100))
def test_only_differences_in_proportion_count(rewards: list[float | None], shift: float, scale: float) -> None:
    moved = group_advantages([None if reward is None else scale * reward + shift for reward in rewards])
    assert valid(moved) == pytest.approx(valid(group_advantages(rewards)), abs=1e-6)


@given(REWARDS, st.integers(0, 8))
def test_a_broken_row_changes_no_other(rewards: list[float | None], place: int) -> None:
    assume(place <= len(rewards))
    with_broken = group_advantages([*rewards[:place], None, *rewards[place:]])
    assert with_broken.pop(place) is None
    assert with_broken == group_advantages(rewards)


@given(REWARDS)
def test_a_better_reward_has_a_better_advantage(rewards: list[float | None]) -> None:
    pairs = sorted(zip(valid(rewards), valid(group_advantages(rewards)), strict=True))
    assert [advantage for _, advantage in pairs] == sorted(advantage for _, advantage in pairs)


# ---- groups: G = 4, gold is one tool, rewards made simple by weights

WEIGHTS = RewardConfig(
    retrieval=RetrievalWeights(format=0, recall=0, ndcg=0, precision=1, conversion=0),
    execution=ExecutionWeights(format=0, grounding=0, call_match=0, answer=1),
)
TASK = Task(id="t", instruction="add", gold_tools=("add",), gold_calls=(), gold_answer="3")


def turn(phase: Phase, ids: tuple[int, ...], observation: Observation) -> Turn:
    return Turn(
        phase=phase,
        context=0 if phase is Phase.RETRIEVAL else 1,
        prompt_ids=(0,),
        completion=Completion(ids=ids, logprobs=(-1.0,) * len(ids), finish=FinishReason.STOP, policy_version=0),
        text="",
        message=PolicyMessage(answer="x"),
        observation=observation,
    )


SEARCHED = turn(
    Phase.RETRIEVAL, (1, 2), Observation(texts=("…",), searches=(SearchRecord(query="q", tool_ids=("add", "b")),))
)
ANSWERED = turn(
    Phase.EXECUTION,
    (3, 4, 5),
    Observation(
        texts=(),
        results=(ToolResult(call=ToolCall(name="add", arguments={}), status=ToolStatus.OK, text="3"),),
        stop=StopReason.ANSWERED,
    ),
)


def retrieved(index: int, *selection: str, stop: StopReason = StopReason.SELECTED) -> Trajectory:
    return Trajectory(id=f"t/{index}", task=TASK, turns=(SEARCHED,), stop=stop, selection=selection or None)


def executed(parent: Trajectory, answer: str, stop: StopReason = StopReason.ANSWERED) -> Trajectory:
    return Trajectory(
        id=parent.id.replace("/", "/x"),
        parent_id=parent.id,
        task=TASK,
        turns=(*parent.turns, ANSWERED),
        stop=stop,
        selection=parent.selection,
        answer=answer,
    )


ONE = retrieved(0, "add")  # precision 1
TWO = retrieved(1, "add", "b")  # precision 1/2
NONE = retrieved(2, "b")  # precision 0, closed out by the gate
BROKEN = replace(retrieved(3, stop=StopReason.INFRA_FAILURE), failure="the worker died")


def rollouts(*executions: Trajectory, retrieval: tuple[Trajectory, ...] = (ONE, TWO, NONE)) -> TaskRollouts:
    return TaskRollouts(task=TASK, retrieval=retrieval, executions=executions)


def advantages(group: ScoredGroup) -> list[float | None]:
    return [row.advantage for row in group.rows]


def test_each_objective_has_its_own_group_and_baseline() -> None:
    retrieval, execution = decoupled_groups(rollouts(executed(ONE, "4"), executed(TWO, "3")), WEIGHTS)
    assert [row.reward.total for row in retrieval.rows] == [1.0, 0.5, 0.0]
    assert advantages(retrieval) == pytest.approx([1.0, 0.0, -1.0])
    assert [row.reward.total for row in execution.rows] == [0.0, 1.0]
    assert advantages(execution) == pytest.approx([-1 / sqrt(2), 1 / sqrt(2)])
    # A row at its group's mean is trained with advantage 0: its tokens count in the loss's denominator.
    assert [(segment.ids, set(segment.advantages)) for segment in retrieval.segments()] == [
        ((0, 1, 2), {0.0, 1.0}),
        ((0, 1, 2), {0.0}),
        ((0, 1, 2), {0.0, -1.0}),
    ]
    assert [segment.ids for segment in execution.segments()] == [(0, 3, 4, 5)] * 2
    assert {segment.objective for segment in execution.segments()} == {Objective.EXECUTION}


@pytest.mark.parametrize(
    ("executions", "expected"),
    [
        ([], []),
        ([executed(ONE, "3")], [0.0]),
        ([executed(ONE, "3"), executed(TWO, "3")], [0.0, 0.0]),
        ([executed(ONE, "3"), executed(TWO, "4", stop=StopReason.INFRA_FAILURE)], [None, None]),
    ],
    ids=["no survivor", "one survivor", "all alike", "one of two broken"],
)
def test_an_execution_group_without_a_difference_trains_nothing(
    executions: list[Trajectory], expected: list[float | None]
) -> None:
    retrieval, execution = decoupled_groups(rollouts(*executions), WEIGHTS)
    assert advantages(execution) == expected
    assert (execution.informative, execution.segments()) == (False, [])
    assert len(retrieval.segments()) == 3  # retrieval goes on learning


def test_when_all_survive_all_are_compared() -> None:
    again = [retrieved(index, "add") for index in range(4)]
    whole = [executed(parent, answer) for parent, answer in zip(again, "3334", strict=True)]
    retrieval, execution = decoupled_groups(rollouts(*whole, retrieval=tuple(again)), WEIGHTS)
    assert not retrieval.informative  # four equal selections
    # mean 3/4, variance (3·1/16 + 9/16) / 3 = 1/4, std 1/2
    assert advantages(execution) == pytest.approx([0.5, 0.5, 0.5, -1.5])


def test_coupled_is_one_group_of_whole_trajectories() -> None:
    group = coupled_group(rollouts(executed(ONE, "4"), executed(TWO, "3")), WEIGHTS)
    assert [row.trajectory.id for row in group.rows] == ["t/x0", "t/x1", "t/2"]
    # Sums: 1 + 0, 1/2 + 1, 0 + 0 for what was not executed. Mean 5/6, std √((1/36 + 16/36 + 25/36) / 2) = √21 / 6.
    assert [row.reward.total for row in group.rows] == [1.0, 1.5, 0.0]
    assert advantages(group) == pytest.approx([1 / sqrt(21), 4 / sqrt(21), -5 / sqrt(21)])
    assert group.rows[0].reward.parts["execution_answer"] == 0.0
    assert group.rows[1].reward.parts["retrieval_precision"] == 0.5
    assert "execution_answer" not in group.rows[2].reward.parts  # it was not wrong, it was not given
    # One advantage for the tokens of both phases.
    found = [(segment.ids, max(segment.advantages, key=abs)) for segment in group.segments()]
    one, two, none = advantages(group)
    assert found == [((0, 1, 2), one), ((0, 3, 4, 5), one), ((0, 1, 2), two), ((0, 3, 4, 5), two), ((0, 1, 2), none)]
    assert {segment.objective for segment in group.segments()} == {Objective.COUPLED}


WHOLE = (executed(ONE, "4"), executed(TWO, "3"))
HALF = (
    executed(ONE, "4"),
    replace(executed(TWO, "3", stop=StopReason.INFRA_FAILURE), failure="its server died"),
)


def test_a_group_with_a_lost_episode_is_recorded_and_not_trained() -> None:
    broken = rollouts(*WHOLE, retrieval=(ONE, TWO, NONE, BROKEN))
    retrieval, execution = decoupled_groups(broken, WEIGHTS)
    assert (retrieval.lost, retrieval.informative, retrieval.segments()) == ("t/3: the worker died", False, [])
    # what the others earned is kept, and compared with nothing
    assert [row.reward.total for row in retrieval.rows] == [1.0, 0.5, 0.0, None]
    assert advantages(retrieval) == [None] * 4
    # A retrieval that was lost is no survivor: every survivor's execution is there.
    assert execution.lost is None
    assert len(execution.segments()) == 2

    retrieval, execution = decoupled_groups(rollouts(*HALF), WEIGHTS)
    assert (execution.lost, execution.segments()) == ("t/x1: its server died", [])
    assert advantages(execution) == [None, None]
    assert retrieval.lost is None
    assert len(retrieval.segments()) == 3  # they were whole, whatever became of what follows


@pytest.mark.parametrize("broken", [rollouts(*HALF), rollouts(*WHOLE, retrieval=(ONE, TWO, BROKEN))])
def test_a_coupled_group_is_dropped_for_a_loss_in_either_phase(broken: TaskRollouts) -> None:
    group = coupled_group(broken, WEIGHTS)
    assert group.lost is not None
    assert advantages(group) == [None, None, None]
    assert group.segments() == []


def test_metrics_of_groups() -> None:
    retrieval, execution = decoupled_groups(rollouts(executed(ONE, "4"), executed(TWO, "3")), WEIGHTS)
    metrics = group_metrics([retrieval])
    assert metrics["rows/retrieval"] == 3
    assert metrics["rows/retrieval_infra_failures"] == 0
    assert metrics["groups/retrieval_uninformative"] == 0
    assert metrics["reward/retrieval"] == 0.5
    assert metrics["reward/retrieval/recall"] == pytest.approx(2 / 3)
    assert metrics["advantage/retrieval_mean_abs"] == pytest.approx(2 / 3)
    assert metrics["advantage/retrieval_max_abs"] == 1.0
    lost, _ = decoupled_groups(rollouts(retrieval=(ONE, TWO, NONE, BROKEN)), WEIGHTS)
    metrics = group_metrics([retrieval, lost])
    assert metrics["rows/retrieval_infra_failures"] == 1
    assert metrics["groups/retrieval_dropped"] == metrics["groups/retrieval_uninformative"] == 0.5
    empty = decoupled_groups(rollouts(), WEIGHTS)[1]
    assert group_metrics([execution, empty])["groups/execution_uninformative"] == 0.5
    assert group_metrics([empty]) == {
        "rows/execution": 0.0,
        "rows/execution_infra_failures": 0.0,
        "groups/execution_uninformative": 1.0,
        "groups/execution_dropped": 0.0,
    }
    assert group_metrics([]) == {}
