"""The actors of a pool: started, listened to, and replaced when they die or fall silent.

Calls are known here by a number, not by what they are for. A worker that is not ready yet, because there is no room
for it or because it is still loading, holds nobody up: it joins when it is.
"""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from retriever.base.errors import InfraError, IntegrityError, ToolscoutError
from rollout.ray_broadcast import RayBroadcast, ReceivingWorker
from rollout.types import RolloutStatus
from rollout.weights import WeightUpdate
from rollout.worker import WorkerSpec

log = logging.getLogger(__name__)

_HEARTBEAT_S = 2.0  # between two questions to a worker
_STEP_S = 1.0  # at most, of one `step`
_STATUS_S = 1.0  # for everybody's answer
_DEATHS = 4  # in a row for each worker without any call finished, before the run gives up


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One place for an actor, whichever fills it."""

    index: int
    actor: Any
    joining: Any  # the call whose answer makes it ready; None: it is
    since_s: float  # when that call was made, or the last heartbeat was asked for
    receiving: bool = False  # that call, or the last one of its kind, takes part in a broadcast
    met: bool = False  # this actor was ready once, so it need not wait for room
    asked: Any = None  # the heartbeat that it owes
    calls: dict[Any, int] = field(default_factory=dict)  # what it works on
    status: RolloutStatus | None = None


class _Weights:
    """The last update, in the object store from the moment that somebody fetches it there."""

    def __init__(self, ray: Any, update: WeightUpdate) -> None:
        self.version = update.version
        self._ray, self._update = ray, update
        self._reference: Any = None

    def reference(self) -> Any:
        if self._reference is None:
            self._reference = self._ray.put(self._update)
            del self._update
        return self._reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of calls."""

    finished: tuple[tuple[int, Any], ...] = ()  # (number, value)
    lost: tuple[int, ...] = ()  # their worker is gone


class RayWorkers:
    """N actors, some of them ready."""

    def __init__(self, ray: Any, spec: WorkerSpec) -> None:
        rollout = spec.rollout
        self._ray, self._rollout = ray, rollout
        self._spec = ray.put(spec)
        # Ray sets OMP_NUM_THREADS to num_cpus.
        self._class = ray.remote(ReceivingWorker).options(
            num_cpus=rollout.threads_per_worker, num_gpus=rollout.gpus_per_worker
        )
        self._weights: _Weights | None = None
        self._broadcast: RayBroadcast | None = None
        self._deaths = 0  # since a call was finished
        self._met_any = False
        self._seen_s = monotonic()  # when a worker was last known to be ready
        self._workers = [self._new(index) for index in range(rollout.workers)]

    # --- what is asked of them ---

    @property
    def ready(self) -> list[int]:
        """Those that can be given calls."""
        return [worker.index for worker in self._workers if worker.joining is None]

    @property
    def settled(self) -> bool:
        """Whether at least one is ready, and every other one is still on its way for the first time."""
        return bool(self.ready) and not any(worker.met and worker.joining is not None for worker in self._workers)

    def statuses(self) -> list[RolloutStatus]:
        """What each says, or said last; may be asked from any thread."""
        asked = {worker.actor.status.remote(): worker for worker in self._workers if worker.joining is None}
        answered = self._ray.wait(list(asked), num_returns=len(asked), timeout=_STATUS_S)[0] if asked else []
        for reference in answered:
            with suppress(self._ray.exceptions.RayError):  # it died: a step finds out
                asked[reference].status = self._ray.get(reference)
        return [worker.status for worker in self._workers if worker.status is not None]

    def process_ids(self) -> list[int]:
        """Of all of them."""
        calls = [worker.actor.process_id.remote() for worker in self._workers]
        return list(self._value(calls, timeout_s=self._rollout.start_timeout_s))

    def give(self, update: WeightUpdate) -> None:
        """Send it to all at once; `settled` tells when they have it."""
        self._weights, self._seen_s = _Weights(self._ray, update), monotonic()
        receiving = self._receivers(update) if self._rollout.weight_transport == "broadcast" else {}
        for worker in self._workers:
            self._join(worker, receiving.get(worker.index))

    def call(self, index: int, number: int, *arguments: Any) -> None:
        """Have a ready worker collect; its result comes out of a `step` under `number`."""
        worker = self._workers[index]
        if not worker.calls:
            worker.asked, worker.since_s = None, monotonic()
        worker.calls[worker.actor.collect.remote(*arguments)] = number

    def cancel(self) -> None:
        """Nobody waits for what they are at any more."""
        for worker in self._workers:
            for call in worker.calls:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(call)
            worker.calls.clear()

    def release(self) -> None:
        """Have the ready ones free their engines' memory. One that does not answer is found out by the next call."""
        calls = [worker.actor.release.remote() for worker in self._workers if worker.joining is None]
        with suppress(InfraError):
            self._value(calls, timeout_s=self._rollout.heartbeat_timeout_s)

    def close(self, timeout_s: float) -> None:
        """Let them end what runs the tools, and end them."""
        calls = [worker.actor.close.remote() for worker in self._workers if worker.joining is None]
        with suppress(self._ray.exceptions.RayError):  # one that hangs or is dead is ended all the same
            self._ray.get(calls, timeout=timeout_s)
        for worker in self._workers:
            self._ray.kill(worker.actor, no_restart=True)
        if self._broadcast is not None:
            self._broadcast.close(timeout_s)

    # --- what comes back ---

    def step(self) -> Step:
        """Wait a little for anything to happen, and see to it. Raises what stops the run."""
        self._note_alive()
        self._ask()
        owners = {reference: worker for worker in self._workers for reference in self._references(worker)}
        found, rest = self._ray.wait(list(owners), num_returns=1, timeout=_STEP_S)
        if rest:
            found += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        finished: list[tuple[int, Any]] = []
        lost: list[int] = []
        for reference in found:
            worker = owners[reference]
            if reference not in self._references(worker):
                continue  # of an actor that was replaced just now
            try:
                value = self._value(reference)
            except InfraError as error:
                lost += self._replace(worker, error)
                continue
            if reference in worker.calls:
                finished.append((worker.calls.pop(reference), value))
                self._deaths = 0
            else:
                self._heard(worker, reference, value)
        lost += [number for worker in self._workers for number in self._replace_if_silent(worker)]
        self._note_alive()
        return Step(finished=tuple(finished), lost=tuple(lost))

    @staticmethod
    def _references(worker: _Worker) -> Iterable[Any]:
        return [*(r for r in (worker.joining, worker.asked) if r is not None), *worker.calls]

    def _ask(self) -> None:
        """A heartbeat of everyone who is at work."""
        for worker in self._workers:
            due = monotonic() - worker.since_s >= _HEARTBEAT_S
            if worker.joining is None and worker.calls and worker.asked is None and due:
                worker.asked, worker.since_s = worker.actor.status.remote(), monotonic()

    def _heard(self, worker: _Worker, reference: Any, value: Any) -> None:
        if reference == worker.asked:
            worker.asked, worker.status = None, value
            return
        if value is None:  # nothing came of the broadcast
            log.warning("rollout worker %d was not reached by the broadcast; it fetches the weights", worker.index)
            self._drop_broadcast()
            return
        if self._weights is not None and value != self._weights.version:
            raise IntegrityError(
                f"rollout worker {worker.index} holds policy version {value} after a push of {self._weights.version}"
            )
        worker.joining, worker.met, self._met_any = None, True, True

    def _replace_if_silent(self, worker: _Worker) -> list[int]:
        owed = worker.asked if worker.joining is None else worker.joining
        limit_s = self._rollout.heartbeat_timeout_s if worker.joining is None else self._rollout.start_timeout_s
        if owed is None or not worker.met or monotonic() - worker.since_s <= limit_s:
            return []
        if self._ray.wait([owed], timeout=0)[0]:  # it did answer; it was we who were slow
            return []
        return self._replace(worker, InfraError(f"a rollout worker has not answered for {limit_s:g} s"))

    def _note_alive(self) -> None:
        if self.ready:
            self._seen_s = monotonic()
        elif monotonic() - self._seen_s > self._rollout.start_timeout_s:
            raise InfraError(
                f"no rollout worker has been ready for rollout.start_timeout_s={self._rollout.start_timeout_s:g}; "
                f"has any node room for {self._rollout.threads_per_worker} cores and "
                f"{self._rollout.gpus_per_worker:g} GPUs?"
            )

    # --- coming and going ---

    def _new(self, index: int) -> _Worker:
        worker = _Worker(index=index, actor=self._class.remote(self._spec), joining=None, since_s=monotonic())
        self._join(worker)
        return worker

    def _join(self, worker: _Worker, receiving: Any = None) -> None:
        """Have it get ready: by the call `receiving` that it has got, or by fetching the last update."""
        actor, weights = worker.actor, self._weights
        if receiving is not None:
            worker.joining = receiving
        elif weights is not None:
            worker.joining = actor.set_weights.remote(weights.reference())
        else:
            worker.joining = actor.process_id.remote()
        worker.since_s, worker.asked, worker.receiving = monotonic(), None, receiving is not None

    def _receivers(self, update: WeightUpdate) -> dict[int, Any]:
        """Begin a broadcast to all that are ready; the call by which each of them receives."""
        ready = self.ready
        actors = [self._workers[index].actor for index in ready]
        if self._broadcast is not None and not self._broadcast.serves(actors):
            self._broadcast.close(0)
            self._broadcast = None
        if not actors:
            return {}
        self._broadcast = self._broadcast or RayBroadcast(self._ray, actors, self._rollout)
        return dict(zip(ready, self._broadcast.send(update), strict=True))

    def _drop_broadcast(self) -> None:
        """Its group is broken; the next push makes another. Who still receives fetches: gloo may not tell it."""
        if self._broadcast is not None:
            self._broadcast.drop()
        for worker in self._workers:
            if worker.receiving and worker.joining is not None:
                self._join(worker)

    def _replace(self, worker: _Worker, error: InfraError) -> list[int]:
        """A fresh actor in its place, wherever there is room; the calls that went with the old one."""
        self._deaths += 1
        if self._deaths > _DEATHS * len(self._workers) or (not self._met_any and "creation task" in str(error)):
            raise error
        log.warning("rollout worker %d is replaced: %s", worker.index, error)
        lost = list(worker.calls.values())
        worker.calls.clear()
        worker.joining = worker.asked = None  # nothing that still comes from it is listened to
        self._drop_broadcast()
        self._ray.kill(worker.actor, no_restart=True)
        self._workers[worker.index] = self._new(worker.index)
        return lost

    def _value(self, reference: Any, *, timeout_s: float | None = None) -> Any:
        """The value; a worker's own error as itself, a dead or silent worker as InfraError."""
        try:
            return self._ray.get(reference, timeout=timeout_s)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ToolscoutError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise InfraError(f"a rollout worker died: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Ray's first line; of a worker that could not be made, its beginning and the last line, the worker's own error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) == 1 or "creation task" not in lines[0]:
        return lines[0]
    what = lines[0].partition(", ")[0]  # what follows names a process, an address and an object, in colours
    return f"{what}: {re.sub(r'^retriever[.]base[.]errors[.][A-Za-z]+: ', '', lines[-1])}"
