"""Ray workers behind the `Pool` interface; the only module that knows Ray.

Workers hold no state that matters: one that dies is replaced, gets the weights by version, and plays its tasks again.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from envs.types import Task
from retriever.base.errors import InfraError, IntegrityError, ToolscoutError, UserError
from rollout.config import GroupPlan
from rollout.pool import Progress
from rollout.types import RolloutStatus, Sampling, TaskRollouts
from rollout.weights import WeightUpdate
from rollout.worker import RolloutWorker, WorkerSpec

_STARTS = 4  # of the cluster
_CLOSE_S = 10
_STATUS_S = 1
_RESTARTS = 3  # of one worker within one collection, before the run gives up


class RayPool:
    """N Ray actors on this machine's cores or GPUs, in a cluster of its own on the loopback interface."""

    def __init__(self, spec: WorkerSpec) -> None:
        os.environ["RAY_AUTH_MODE"] = "token"  # before Ray is imported: nobody else may join the cluster
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves the workers on a busy laptop
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray = ray
        rollout = spec.rollout
        gpus = rollout.workers * rollout.gpus_per_worker
        if gpus > torch.cuda.device_count():
            raise UserError(
                f"rollout.workers={rollout.workers} × rollout.gpus_per_worker={rollout.gpus_per_worker:g} asks for "
                f"{gpus:g} GPUs; {torch.cuda.device_count()} are visible here; lower either"
            )
        cores = rollout.workers * rollout.threads_per_worker
        _start_cluster(ray, cores)
        self._reference = ray.put(spec)
        self._actor = ray.remote(RolloutWorker).options(
            num_cpus=rollout.threads_per_worker,
            num_gpus=rollout.gpus_per_worker,
        )  # Ray sets OMP_NUM_THREADS to num_cpus
        self._weights: Any = None  # object reference of the last update
        self._version = 0
        self._workers = [self._start() for _ in range(rollout.workers)]
        try:
            self._result([worker.process_id.remote() for worker in self._workers])
        except InfraError:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """The workers' processes."""
        return list(self._result([worker.process_id.remote() for worker in self._workers]))

    def push(self, update: WeightUpdate) -> None:
        """See `Pool`. The tensors travel once, through the object store."""
        self._weights = self._ray.put(update)
        for index in range(len(self._workers)):
            held = self._with_restarts(index, lambda worker: worker.set_weights.remote(self._weights))
            if held != update.version:
                raise IntegrityError(f"worker {index} holds policy version {held} after a push of {update.version}")
        self._version = update.version

    def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int, progress: Progress | None = None
    ) -> list[TaskRollouts]:
        """See `Pool`. Every worker gets an even share at once, so that its engine batches all of it."""
        shares = [list(range(index, len(tasks), len(self._workers))) for index in range(len(self._workers))]
        rollouts: list[TaskRollouts | None] = [None] * len(tasks)
        started = {}
        attempts = [0] * len(self._workers)

        def start(index: int) -> None:
            share = [tasks[position] for position in shares[index]]
            started[self._workers[index].collect.remote(share, plan, sampling, seed, self._version)] = index

        for index, share in enumerate(shares):
            if share:
                start(index)
        while started:
            (done, *_), _ = self._ray.wait(list(started), num_returns=1)
            index = started.pop(done)
            try:
                found = self._result(done)
            except InfraError:
                attempts[index] += 1
                if attempts[index] > _RESTARTS:
                    raise
                self._restart(index)
                start(index)
                continue
            for position, result in zip(shares[index], found, strict=True):
                rollouts[position] = result
            if progress:
                progress(len(found))
        assert all(result is not None for result in rollouts)
        return [result for result in rollouts if result is not None]

    def statuses(self) -> list[RolloutStatus]:
        """See `Pool`. A worker that does not answer is left out."""
        asked = [worker.status.remote() for worker in self._workers]
        answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_STATUS_S) if asked else ([], [])
        found = []
        for reference in answered:
            with suppress(self._ray.exceptions.RayError):
                found.append(self._ray.get(reference))
        return found

    def close(self) -> None:
        """Stop the workers and the cluster; again, nothing: by then the process may have another cluster."""
        workers, self._workers = self._workers, []
        if workers:
            with suppress(self._ray.exceptions.RayError):  # one that hangs or is dead is ended with the cluster
                self._ray.get([worker.close.remote() for worker in workers], timeout=_CLOSE_S)
            self._ray.shutdown()

    def _start(self) -> Any:
        return self._actor.remote(self._reference)

    def _restart(self, index: int) -> None:
        """A fresh worker with the current weights."""
        self._ray.kill(self._workers[index], no_restart=True)
        self._workers[index] = self._start()
        if self._weights is not None:
            self._result(self._workers[index].set_weights.remote(self._weights))

    def _with_restarts(self, index: int, call: Callable[[Any], Any]) -> Any:
        for attempt in range(_RESTARTS + 1):
            try:
                return self._result(call(self._workers[index]))
            except InfraError:
                if attempt == _RESTARTS:
                    raise
                self._restart(index)
        raise AssertionError("unreachable")

    def _result(self, reference: Any) -> Any:
        """The value; a worker's own error as itself, a dead worker as InfraError."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ToolscoutError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise InfraError(f"a rollout worker died: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Ray's first line and, where that is only where it happened, the last: what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 or "creation task" not in lines[0] else f"{lines[0]}: {lines[-1]}"


def _start_cluster(ray: Any, cores: int) -> None:
    """A cluster of its own; Ray gives its node 30 s to register, which a busy machine may miss once."""
    for attempt in range(_STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:
            ray.shutdown()
            if attempt == _STARTS - 1:
                reason = str(error).strip().splitlines()[0]
                raise InfraError(
                    f"Ray did not start in {_STARTS} attempts ({reason}); is the machine overloaded?"
                ) from error
