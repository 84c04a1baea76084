"""Recorded completions through the real environment once more: what tools, search and rules say now, and said then.

Nothing is sampled: the recorded tokens take the place of an engine. Not compared: times, and what served a call.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from envs.types import Phase
from retriever.base.errors import InfraError
from rollout.engine import GenerationRequest
from rollout.types import Completion, Trajectory, Turn

_SHOWN = 160  # characters of a value that differs


class ReplayEngine:
    """An `Engine` that says what was recorded, turn by turn, whatever it is asked."""

    policy_version = 0

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        self._completions = {found.id: _own_completions(found) for found in trajectories}
        self._said: Counter[str] = Counter()  # by session

    async def generate(self, request: GenerationRequest) -> Completion:
        """The session's next recorded completion. Raises InfraError where the record has no more of it."""
        episode = request.session.removesuffix("/r")
        recorded, turn = self._completions.get(episode, ()), self._said[request.session]
        if turn >= len(recorded):
            ends = f"ends after {turn} of this phase's turns" if recorded else "has no such episode"
            raise InfraError(f"the record {ends}, and the environment now asks for another ({episode})")
        self._said[request.session] += 1
        return recorded[turn]

    def close_session(self, session: str) -> None:
        """The phase is over; when it is tried again, it begins at its first turn."""
        self._said.pop(session, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that was recorded otherwise than it came now."""

    turn: int | None  # 1-based; None: of the whole episode
    what: str
    recorded: str
    replayed: str


def differences(recorded: Trajectory, replayed: Trajectory) -> list[Difference]:
    """What differs, turn by turn, first the prompts; then how the episode ended. Empty: the same bit for bit."""
    found = []
    for number, (then, now) in enumerate(zip(recorded.turns, replayed.turns, strict=False), start=1):
        for what, before in _facts(then).items():
            found += _compared(number, what, before, _facts(now)[what])
    found += _compared(None, "number of turns", len(recorded.turns), len(replayed.turns))
    for what in ("stop", "selection", "answer", "parent_id", "failure"):
        found += _compared(None, what, getattr(recorded, what), getattr(replayed, what))
    return found


def _own_completions(trajectory: Trajectory) -> list[Completion]:
    phase = Phase.EXECUTION if trajectory.executed else Phase.RETRIEVAL
    return [turn.completion for turn in trajectory.turns if turn.phase is phase]


def _facts(turn: Turn) -> dict[str, Any]:
    """What must be the same, the causes before their effects."""
    observation = turn.observation
    noted = {item.name: getattr(observation, item.name) for item in fields(observation)}
    results, texts = noted.pop("results"), noted.pop("texts")
    return {
        "prompt tokens": turn.prompt_ids,
        "text": turn.text,
        "message": turn.message,
        "calls": tuple((result.call, result.status.value, result.text) for result in results),
        **noted,
        "observation": texts,
    }


def _compared(turn: int | None, what: str, then: Any, now: Any) -> list[Difference]:
    # By `repr`: 1 == 1.0 == True, and not a number is never equal to itself.
    if repr(then) == repr(now):
        return []
    before, after = _around_first_difference(repr(then), repr(now))
    return [Difference(turn=turn, what=what, recorded=before, replayed=after)]


def _around_first_difference(left: str, right: str) -> tuple[str, str]:
    """Both cut to the same window, which begins a little before they part."""
    apart = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    begin = max(0, apart - _SHOWN // 4)

    def cut(text: str) -> str:
        return ("…" if begin else "") + text[begin : begin + _SHOWN] + ("…" if len(text) > begin + _SHOWN else "")

    return cut(left), cut(right)
