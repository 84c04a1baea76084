"""The groups of a batch, each task scored once: for whoever asks what it teaches, and for the update."""

from collections.abc import Sequence

from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rollout.types import TaskRollouts
from train.config import GrpoConfig
from train.objectives import ScoredGroup, coupled_group, decoupled_groups


class BatchScoring:
    """A `Scorer` (rollout/extra_tasks.py) for one generation batch."""

    def __init__(self, config: GrpoConfig, rewards: RewardConfig, catalogue: Catalogue | None) -> None:
        self._config, self._rewards, self._catalogue = config, rewards, catalogue
        self._groups: dict[str, tuple[ScoredGroup, ...]] = {}  # by task

    def groups(self, rollouts: TaskRollouts) -> tuple[ScoredGroup, ...]:
        """The task's groups, one per objective, always in the same order."""
        id = rollouts.task.id
        if id not in self._groups:
            self._groups[id] = self._scored(rollouts)
        return self._groups[id]

    def teaches(self, rollouts: TaskRollouts) -> bool:
        """See `Scorer`. A group that we broke says nothing about its task, which is not replaced for it: else the batch
        would depend on what happened to fail.
        """
        return any(group.informative or group.lost is not None for group in self.groups(rollouts))

    def by_objective(self, rollouts: Sequence[TaskRollouts]) -> list[list[ScoredGroup]]:
        """The groups of all tasks, objective by objective."""
        return [list(groups) for groups in zip(*map(self.groups, rollouts), strict=True)]

    def _scored(self, rollouts: TaskRollouts) -> tuple[ScoredGroup, ...]:
        if self._config.update == "coupled":
            return (coupled_group(rollouts, self._rewards, self._catalogue),)
        retrieval, execution = decoupled_groups(rollouts, self._rewards, self._catalogue)
        return (retrieval,) if self._config.gate == "closed" else (retrieval, execution)
