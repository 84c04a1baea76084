"""Whoever plays tasks, behind one interface: in this process, or in Ray workers."""

from collections.abc import Callable, Sequence
from typing import Protocol

from envs.types import Task
from rollout.config import GroupPlan
from rollout.types import RolloutStatus, Sampling, TaskRollouts
from rollout.weights import WeightUpdate

Progress = Callable[[int], None]
"""Called with the number of tasks that have just been finished."""


class Pool(Protocol):
    """Whoever plays tasks: in this process, or in Ray workers. One push or collection at a time, from any thread."""

    def push(self, update: WeightUpdate) -> None:
        """Give every worker these weights. Raises IntegrityError when they arrive corrupted."""
        ...

    def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int, progress: Progress | None = None
    ) -> list[TaskRollouts]:
        """The rollouts of every task, in their order, with the weights pushed last."""
        ...

    def statuses(self) -> list[RolloutStatus]:
        """What each worker said last; may be asked from another thread while tasks are played."""
        ...

    def close(self) -> None:
        """Leave no process behind; a collection under way in another thread ends with InfraError."""
        ...
