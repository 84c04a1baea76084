"""A broadcast among Ray actors: the driver's side of a group, and the worker that receives.

The group is an extra. Whatever becomes of it, the weights still go through the object store.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from retriever.base.errors import InfraError
from rollout.broadcast import Backend, BroadcastGroup, CallStore, Shapes, shapes_of
from rollout.config import RolloutConfig
from rollout.ray_cluster import node_address
from rollout.ray_rendezvous import Rendezvous
from rollout.weights import WeightUpdate
from rollout.worker import RolloutWorker

log = logging.getLogger(__name__)

_ANSWER_S = 10.0  # of the rendezvous, beyond what it was asked to wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rank in a group."""

    meeting: Any  # the actor of the group's `Rendezvous`
    rank: int  # 0: the driver
    size: int
    backend: Backend
    timeout_s: float  # of making the group, and of each broadcast

    def group(self) -> BroadcastGroup:
        """Waits for the other ranks. Raises InfraError."""

        def ask(method: str, *arguments: Any) -> Any:
            answer: Future[Any] = getattr(self.meeting, method).remote(*arguments).future()
            try:
                return answer.result(timeout=self.timeout_s + _ANSWER_S)
            except Exception as error:
                raise InfraError(f"the rendezvous is gone: {type(error).__name__}") from error

        return BroadcastGroup(
            CallStore(ask, timeout_s=self.timeout_s),
            rank=self.rank,
            size=self.size,
            backend=self.backend,
            host=node_address(),
            timeout_s=self.timeout_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A `WeightUpdate` without its tensors, which follow."""

    version: int
    shapes: Shapes
    content_hash: str


class ReceivingWorker(RolloutWorker):
    """A rollout worker that weights may be broadcast to."""

    _place: Place | None = None
    _group: BroadcastGroup | None = None
    _awaited: Announcement | None = None

    async def receive(self, place: Place, announced: Announcement) -> int | None:
        """Take part in a broadcast, and load what came; the version now held.

        None when nothing came whole, or when weights were set by another way meanwhile. Raises IntegrityError.
        """
        self._awaited = announced
        try:
            tensors = await asyncio.to_thread(self._receive, place, announced.shapes)
        except InfraError as error:
            log.warning("weights %d: %s", announced.version, error)
            if place == self._place:
                self._leave()
            return None
        if self._awaited is not announced:
            return None
        update = WeightUpdate(version=announced.version, tensors=tensors, content_hash=announced.content_hash)
        return await self.set_weights(update)

    async def set_weights(self, update: WeightUpdate) -> int:
        """See `RolloutWorker`; what is still being received is of no use any more."""
        self._awaited = None
        return await super().set_weights(update)

    def _receive(self, place: Place, shapes: Shapes) -> Any:
        if self._group is None or place != self._place:
            self._leave()
            self._group, self._place = place.group(), place
        return self._group.receive(shapes)

    def _leave(self) -> None:
        """Close the connections, which the other ranks notice."""
        if self._group is not None:
            self._group.abort()
        self._place = self._group = None


class RayBroadcast:
    """The driver's side of one group, for as long as its members are the same and nothing fails."""

    def __init__(self, ray: Any, members: Sequence[Any], rollout: RolloutConfig) -> None:
        self._members, self._dropped = list(members), False
        self._ray = ray
        self._meeting = ray.remote(Rendezvous).options(num_cpus=0).remote()
        self._backend, self._timeout_s = backend_of(rollout), rollout.heartbeat_timeout_s
        self._group: BroadcastGroup | None = None
        self._sending: threading.Thread | None = None

    def serves(self, members: Sequence[Any]) -> bool:
        """Whether `send` reaches these actors and no others."""
        if self._dropped or self._members != list(members):
            return False
        if self._sending is not None:  # the last broadcast, whose members have answered
            self._sending.join(self._timeout_s)
        return not self._dropped

    def send(self, update: WeightUpdate) -> list[Any]:
        """Begin; the reference of each member's answer, its version or None, comes at once."""
        announced = Announcement(
            version=update.version, shapes=shapes_of(update.tensors), content_hash=update.content_hash
        )
        answers = [member.receive.remote(self._place(1 + nth), announced) for nth, member in enumerate(self._members)]
        self._sending = threading.Thread(target=self._send, args=(update,), daemon=True)
        self._sending.start()
        return answers

    def drop(self) -> None:
        """Be of no use any more; nobody meets for it, and what is under way ends."""
        self._dropped = True
        self._ray.kill(self._meeting, no_restart=True)
        if group := self._group:
            group.abort()

    def close(self, timeout_s: float) -> None:
        """Leave no connection and no process; takes as long only where a member neither answers nor dies."""
        self.drop()
        if self._sending is not None:
            self._sending.join(timeout_s)
        self._group = None

    def _place(self, rank: int) -> Place:
        return Place(
            meeting=self._meeting,
            rank=rank,
            size=1 + len(self._members),
            backend=self._backend,
            timeout_s=self._timeout_s,
        )

    def _send(self, update: WeightUpdate) -> None:
        try:
            self._group = self._group or self._place(0).group()
            self._group.send(update.tensors)
        except InfraError as error:
            log.warning("weights %d could not be broadcast: %s", update.version, error)
            self.drop()
            self._group = None  # its connections close, which the members notice


def backend_of(rollout: RolloutConfig) -> Backend:
    """NCCL where the trainer and every model have a GPU of their own: it refuses two ranks on one.

    vLLM's model is in another process than the worker, which would take memory of that GPU only to pass them on.
    """
    apart = rollout.placement == "split" and rollout.gpus_per_worker >= 1 and rollout.engine == "transformers"
    return "nccl" if apart and torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
