"""Recorded episodes beside the same ones replayed: what they did, and what they earned. Pure functions of both."""

from collections.abc import Mapping, Sequence

from envs.types import StopReason
from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rollout.replay import Difference, differences
from rollout.types import TaskRollouts, Trajectory
from train.config import GrpoConfig
from train.recorded import RecordedBatch
from train.scoring import BatchScoring


def episodes_of(rollouts: Sequence[TaskRollouts]) -> list[Trajectory]:
    """All of them, task by task, retrieval phases first."""
    return [trajectory for r in rollouts for trajectory in (*r.retrieval, *r.executions)]


def lost(trajectory: Trajectory) -> bool:
    """Whether a failure of ours ended it: it is compared with nothing."""
    return trajectory.stop is StopReason.INFRA_FAILURE


def replayed_differences(
    batch: RecordedBatch,
    recorded: Sequence[TaskRollouts],
    replayed: Sequence[TaskRollouts],
    *,
    rewards: RewardConfig,
    config: GrpoConfig,
    catalogue: Catalogue,
) -> dict[str, list[Difference]]:
    """By episode id, what differs; an episode that is the same bit for bit is not in it. `recorded` is of `batch`."""
    then, now = ({t.id: t for t in episodes_of(found)} for found in (recorded, replayed))
    earned = _reward_differences(batch, replayed, rewards, config, catalogue)
    found: dict[str, list[Difference]] = {}
    for id in dict.fromkeys([*then, *now]):
        before, after = then.get(id), now.get(id)
        if before is not None and lost(before):
            continue
        if before is None or after is None:
            did = ["not played" if t is None else "played" for t in (before, after)]
            found[id] = [Difference(turn=None, what="episode", recorded=did[0], replayed=did[1])]
        else:
            found[id] = differences(before, after) + earned.get(id, [])
    return {id: differs for id, differs in found.items() if differs}


def _reward_differences(
    batch: RecordedBatch,
    replayed: Sequence[TaskRollouts],
    rewards: RewardConfig,
    config: GrpoConfig,
    catalogue: Catalogue,
) -> Mapping[str, list[Difference]]:
    found: dict[str, list[Difference]] = {}
    for groups in BatchScoring(config, rewards, catalogue).by_objective(replayed):
        for row in (row for group in groups for row in group.rows):
            then = batch.rows.get((groups[0].objective, row.trajectory.id))
            if then is None:
                continue
            values = [("reward", then.reward.total, row.reward.total)]
            values += [(f"reward {name}", then.reward.parts.get(name), v) for name, v in row.reward.parts.items()]
            found.setdefault(row.trajectory.id, []).extend(
                Difference(turn=None, what=what, recorded=repr(before), replayed=repr(after))
                for what, before, after in values
                if before != after
            )
    return found
