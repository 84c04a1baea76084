"""From trajectories to training segments: ids as sampled, masks, and the credit of each token."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from envs.types import Phase
from rollout.types import Trajectory, Turn


class Objective(StrEnum):
    """What an update trains. COUPLED is vanilla GRPO: one advantage for the tokens of both phases."""

    RETRIEVAL = "retrieval"
    EXECUTION = "execution"
    COUPLED = "coupled"

    @property
    def phases(self) -> frozenset[Phase]:
        """The phases whose tokens this objective trains."""
        return frozenset(Phase) if self is Objective.COUPLED else frozenset({Phase(self.value)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One append-only token run. All four sequences have length T."""

    ids: tuple[int, ...]  # [T]
    action_mask: tuple[bool, ...]  # [T] sampled by the policy, and trained by this objective
    behaviour_logprobs: tuple[float, ...]  # [T] nats; 0 where action_mask is False
    advantages: tuple[float, ...]  # [T] 0 where action_mask is False
    objective: Objective

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.action_mask) == len(self.behaviour_logprobs) == len(self.advantages)

    @property
    def action_tokens(self) -> int:
        """How many tokens carry loss."""
        return sum(self.action_mask)


def segments_of(trajectory: Trajectory, objective: Objective, advantage: float = 0.0) -> list[Segment]:
    """One segment per context that holds tokens of `objective`, cut behind the last of them."""
    built = (_segment(turns, objective, advantage) for turns in _contexts(trajectory))
    return [segment for segment in built if segment is not None]


def token_rows(trajectory: Trajectory, objective: Objective, advantage: float | None) -> list[dict[str, Any]]:
    """The segments of a trajectory as plain lists of one length, for programs that know nothing of us.

    "ids"; "action_mask": 1 where the policy sampled the token, in whichever phase; "loss_mask": 1 where `objective`
    trains it; "behaviour_logprobs": nats, 0 where action_mask is; "advantages": 0 where loss_mask is. `advantage` None:
    the row is in no group that trains, and its loss_mask is 0 throughout.
    """
    rows = []
    for turns in _contexts(trajectory):
        segment = _segment(turns, objective, advantage or 0.0)
        if segment is None:
            continue
        sampled, length = _segment(turns, Objective.COUPLED, 0.0), len(segment.ids)
        assert sampled is not None
        rows.append(
            {
                "ids": list(segment.ids),
                "action_mask": [int(acts) for acts in sampled.action_mask[:length]],
                "loss_mask": [int(acts and advantage is not None) for acts in segment.action_mask],
                "behaviour_logprobs": list(sampled.behaviour_logprobs[:length]),
                "advantages": list(segment.advantages),
            }
        )
    return rows


def _contexts(trajectory: Trajectory) -> list[list[Turn]]:
    contexts: dict[int, list[Turn]] = {}
    for turn in trajectory.turns:
        contexts.setdefault(turn.context, []).append(turn)
    return list(contexts.values())


def _segment(turns: Iterable[Turn], objective: Objective, advantage: float) -> Segment | None:
    ids: list[int] = []
    mask: list[bool] = []
    logprobs: list[float] = []
    end = 0
    for turn in turns:
        trained = turn.phase in objective.phases
        completion = turn.completion
        ids += [*turn.prompt_ids, *completion.ids]
        mask += [False] * len(turn.prompt_ids) + [trained] * len(completion.ids)
        logprobs += [0.0] * len(turn.prompt_ids)
        logprobs += completion.logprobs if trained else [0.0] * len(completion.ids)
        end = len(ids) if trained else end
    if end == 0:
        return None
    return Segment(
        ids=tuple(ids[:end]),
        action_mask=tuple(mask[:end]),
        behaviour_logprobs=tuple(logprobs[:end]),
        advantages=tuple(advantage if acts else 0.0 for acts in mask[:end]),
        objective=objective,
    )
