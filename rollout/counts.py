"""What a collector has done and is doing: counted while it plays, read by whoever watches. Nothing is decided by it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from rollout.types import RolloutStatus, Turn

_GAUGES = ("running", "waiting", "episodes_running", "episodes_waiting")
_COUNTERS = tuple(
    item.name for item in fields(RolloutStatus) if item.name not in (*_GAUGES, "policy_version", "worker")
)


@dataclass(slots=True, kw_only=True)
class Counts:
    """See `RolloutStatus`, whose fields these are."""

    episodes_running: int = 0
    episodes_waiting: int = 0
    episodes_finished: int = 0
    episodes_retried: int = 0
    episodes_lost: int = 0
    gate_judged: int = 0
    gate_passed: int = 0
    queue_s: float = 0.0
    decode_s: float = 0.0
    tool_s: float = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around an episode's wait for a place."""
        self.episodes_waiting += 1
        try:
            yield
        finally:
            self.episodes_waiting -= 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around an episode."""
        self.episodes_running += 1
        try:
            yield
        finally:
            self.episodes_running -= 1

    def turn(self, turn: Turn) -> None:
        """A turn is over."""
        self.queue_s += turn.completion.queue_s
        self.decode_s += turn.generation_s - turn.completion.queue_s
        self.tool_s += turn.tool_s

    def finished(self, *, lost: bool) -> None:
        """An episode has its trajectory."""
        self.episodes_finished += 1
        self.episodes_lost += lost

    def judged(self, *, passed: bool) -> None:
        """The gate has seen a retrieval phase."""
        self.gate_judged += 1
        self.gate_passed += passed

    def added_to(self, status: RolloutStatus) -> RolloutStatus:
        """What the engine says, and this."""
        return replace(status, **{name: getattr(self, name) for name in self.__slots__})


def since(before: Sequence[RolloutStatus], after: Sequence[RolloutStatus]) -> RolloutStatus:
    """All workers as one: what they do now, and what they have done since `before`.

    A worker that was not there then began at nothing; of one that is gone nothing is counted.
    """
    earlier = {status.worker: status for status in before}
    total: dict[str, Any] = {}
    for status in after:
        known = earlier.get(status.worker)
        for name in (*_COUNTERS, *_GAUGES):
            begun_at = getattr(known, name) if known is not None and name in _COUNTERS else 0
            total[name] = total.get(name, 0) + getattr(status, name) - begun_at
    return RolloutStatus(policy_version=max((status.policy_version for status in after), default=0), **total)
