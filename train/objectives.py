"""Decoupled credit: which trajectories form a group for which objective, what they earned, and what is trained.

A new credit scheme is a new pure function here; the trainer sees segments with advantages and knows nothing of methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from envs.types import StopReason
from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rewards.parts import UNSCORABLE, Reward, execution_reward, retrieval_reward
from rollout.types import TaskRollouts, Trajectory
from train.advantages import group_advantages
from train.segments import Objective, Segment, segments_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrajectory:
    """One row of a group."""

    trajectory: Trajectory
    reward: Reward
    advantage: float | None  # None: not trained, and in nobody's baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredGroup:
    """The rows of one task for one objective."""

    objective: Objective
    rows: tuple[ScoredTrajectory, ...]

    @property
    def lost(self) -> str | None:
        """Which of its episodes was lost for good, and why. Such a group is recorded and counted, and not trained: what
        is missing is no random part of it, for it is the long and the slow episodes that are lost.
        """
        lost = (row.trajectory for row in self.rows if row.trajectory.stop is StopReason.INFRA_FAILURE)
        return next((f"{trajectory.id}: {trajectory.failure}" for trajectory in lost), None)

    @property
    def informative(self) -> bool:
        """Whether the rewards differ: only then is there anything to learn."""
        return any(row.advantage for row in self.rows)

    def segments(self) -> list[Segment]:
        """What is trained; nothing of a group whose rewards do not differ, or that is not complete."""
        if not self.informative:
            return []
        return [
            segment
            for row in self.rows
            if row.advantage is not None
            for segment in segments_of(row.trajectory, self.objective, row.advantage)
        ]


def decoupled_groups(
    rollouts: TaskRollouts, weights: RewardConfig, catalogue: Catalogue | None = None
) -> tuple[ScoredGroup, ScoredGroup]:
    """The retrieval group and the execution group of one task, each with its own baseline, and each dropped by itself.

    An execution group of survivors is complete when each survivor's execution is: a retrieval that was lost is none.
    `catalogue`: see `execution_reward`.
    """
    retrieval = [retrieval_reward(trajectory, weights.retrieval) for trajectory in rollouts.retrieval]
    execution = [execution_reward(trajectory, weights.execution, catalogue) for trajectory in rollouts.executions]
    return (
        _group(Objective.RETRIEVAL, rollouts.retrieval, retrieval),
        _group(Objective.EXECUTION, rollouts.executions, execution),
    )


def coupled_group(rollouts: TaskRollouts, weights: RewardConfig, catalogue: Catalogue | None = None) -> ScoredGroup:
    """Vanilla GRPO: G whole trajectories, the sum of both rewards, one advantage for all tokens.

    A trajectory that was not executed scores execution 0. `catalogue`: see `execution_reward`.
    """
    executed = {execution.parent_id: execution for execution in rollouts.executions}
    rows, rewards = [], []
    for start in rollouts.retrieval:
        whole = executed.get(start.id)
        first = retrieval_reward(start, weights.retrieval)
        second = Reward(total=0.0, parts={})
        if whole is not None:
            second = execution_reward(whole, weights.execution, catalogue)
        rows.append(whole or start)
        if first.total is None or second.total is None:
            rewards.append(UNSCORABLE)
            continue
        parts = {f"retrieval_{name}": value for name, value in first.parts.items()}
        parts |= {f"execution_{name}": value for name, value in second.parts.items()}
        rewards.append(Reward(total=first.total + second.total, parts=parts))
    return _group(Objective.COUPLED, rows, rewards)


def group_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Means over the rows of all groups of one objective, keyed by objective."""
    if not groups:
        return {}
    name = groups[0].objective.value
    rows = [row for group in groups for row in group.rows]
    metrics = {
        f"rows/{name}": float(len(rows)),
        f"rows/{name}_infra_failures": float(sum(row.reward.total is None for row in rows)),
        f"groups/{name}_uninformative": mean(not group.informative for group in groups),
        f"groups/{name}_dropped": mean(group.lost is not None for group in groups),
    }
    totals = [row.reward.total for row in rows if row.reward.total is not None]
    if totals:
        metrics[f"reward/{name}"] = mean(totals)
    advantages = [row.advantage for row in rows if row.advantage is not None]
    if advantages:
        metrics[f"advantage/{name}_mean_abs"] = mean(map(abs, advantages))
        metrics[f"advantage/{name}_max_abs"] = max(map(abs, advantages))
    for part in sorted({part for row in rows for part in row.reward.parts}):
        values = [value for row in rows if (value := row.reward.parts.get(part)) is not None]
        if values:
            metrics[f"reward/{name}/{part}"] = mean(values)
    return metrics


def _group(objective: Objective, trajectories: Sequence[Trajectory], rewards: Sequence[Reward]) -> ScoredGroup:
    complete = all(trajectory.stop is not StopReason.INFRA_FAILURE for trajectory in trajectories)
    advantages = group_advantages([reward.total if complete else None for reward in rewards])
    return ScoredGroup(
        objective=objective,
        rows=tuple(
            ScoredTrajectory(trajectory=trajectory, reward=reward, advantage=advantage)
            for trajectory, reward, advantage in zip(trajectories, rewards, advantages, strict=True)
        ),
    )
