"""Ray workers behind the `Pool` interface: who plays what, and what happens to the tasks of a worker that is lost.

Workers hold no state that matters: one that dies is replaced, gets the weights by version, and what it was playing is
played again, by whoever has room.
"""

import threading
from collections.abc import Sequence
from time import monotonic

from envs.types import Task
from retriever.base.errors import InfraError
from rollout.assignment import Assignment, window
from rollout.config import GroupPlan
from rollout.pool import Progress
from rollout.ray_cluster import open_cluster
from rollout.ray_workers import RayWorkers, Step
from rollout.types import RolloutStatus, Sampling, TaskRollouts
from rollout.weights import WeightUpdate
from rollout.worker import WorkerSpec

_CLOSE_S = 2  # for workers to end their tools; also for a collection in another thread to notice
_LOSSES = 3  # of one task with its worker; more, and it is the task that kills them


class RayPool:
    """N Ray actors: in a cluster of the run's own on this machine, or in the one at `rollout.ray_address`."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._rollout = spec.rollout
        self._ray = open_cluster(spec.rollout)
        self._busy, self._closing, self._closed = threading.Lock(), threading.Event(), False
        self._version = 0
        try:
            self._workers = RayWorkers(self._ray, spec)
            while not self._workers.ready:  # the others join when they are
                self._step()
        except BaseException:
            self._ray.shutdown()
            raise

    @property
    def process_ids(self) -> list[int]:
        """The workers' processes; waits for those that are on their way. Not to be asked while tasks are played."""
        with self._busy:
            ends = monotonic() + self._rollout.start_timeout_s
            while len(self._workers.ready) < self._rollout.workers and monotonic() < ends:
                self._step()  # one that was put on a node just lost is replaced
            return self._workers.process_ids()

    def push(self, update: WeightUpdate) -> None:
        """See `Pool`. The tensors are broadcast, or written once to each node's shared memory, for all at once."""
        with self._busy:
            self._workers.give(update)
            self._version = update.version
            while not self._workers.settled:
                self._step()

    def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int, progress: Progress | None = None
    ) -> list[TaskRollouts]:
        """See `Pool`. A worker gets the next task when it has room for it."""
        with self._busy:
            try:
                rollouts = self._collect(tasks, plan, sampling, seed, progress)
            finally:
                self._workers.cancel()
            if self._rollout.placement == "colocated":  # the trainer on the same GPU is next
                self._workers.release()
            return rollouts

    def _collect(
        self, tasks: Sequence[Task], plan: GroupPlan, sampling: Sampling, seed: int, progress: Progress | None
    ) -> list[TaskRollouts]:
        rollouts: list[TaskRollouts | None] = [None] * len(tasks)
        size = window(
            max_concurrent=self._rollout.max_concurrent,
            group_size=plan.group_size,
            tasks=len(tasks),
            workers=self._rollout.workers,
        )
        assignment = Assignment(len(tasks), window=size)
        shared = [self._ray.put(part) for part in (plan, sampling)]  # a plan may name thousands of hidden tools
        while not assignment.done:
            while taken := assignment.take(self._workers.ready):
                worker, position = taken
                self._workers.call(worker, position, [tasks[position]], *shared, seed, self._version)
            step = self._step()
            for position, found in step.finished:
                assignment.finish(position)
                (rollouts[position],) = found
                if progress:
                    progress(1)
            assignment.lose(step.lost)
            if killers := [position for position in step.lost if assignment.losses[position] > _LOSSES]:
                raise InfraError(
                    f"task {tasks[killers[0]].id}: {_LOSSES + 1} rollout workers were lost while they played it; "
                    "does one run out of memory? lower rollout.max_concurrent or rollout.max_context"
                )
        return [result for result in rollouts if result is not None]

    def statuses(self) -> list[RolloutStatus]:
        """See `Pool`. Of a worker that does not answer, what it said last."""
        return [] if self._closing.is_set() else self._workers.statuses()

    def close(self) -> None:
        """See `Pool`. Again, nothing: by then the process may have another cluster."""
        if self._closed:
            return
        self._closing.set()
        left = self._busy.acquire(timeout=_CLOSE_S)  # a collection in another thread notices within a step
        self._closed = True
        try:
            self._workers.close(_CLOSE_S)
        finally:
            self._ray.shutdown()
            if left:
                self._busy.release()

    def _step(self) -> Step:
        if self._closing.is_set():
            raise InfraError("the rollout workers were stopped")
        return self._workers.step()
