"""What a collector has done and is doing: counted while it plays, read by whoever watches. Nothing is decided by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rollout.types import RolloutStatus, Turn


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
