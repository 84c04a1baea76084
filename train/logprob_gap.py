"""How far a model's log-probs of recorded tokens are from those recorded when they were sampled, in nats."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from rollout.types import TaskRollouts
from train.segments import Objective, Segment, segments_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobGap:
    """Over the tokens of some rollouts."""

    largest: float = 0.0
    total: float = 0.0
    tokens: int = 0

    @property
    def mean(self) -> float:
        """0 where there is no token."""
        return self.total / self.tokens if self.tokens else 0.0

    def __add__(self, other: "LogprobGap") -> "LogprobGap":
        return LogprobGap(
            largest=max(self.largest, other.largest),
            total=self.total + other.total,
            tokens=self.tokens + other.tokens,
        )


def logprob_gap(model: Any, rollouts: TaskRollouts, *, temperature: float) -> LogprobGap:
    """Of every sampled token of a task's rollouts once: a retrieval's are not counted again with its executions.

    One forward pass over each context. `temperature` is that of the sampling; 0 (greedy) recorded log-probs at 1.
    """
    segments = [s for trajectory in rollouts.retrieval for s in segments_of(trajectory, Objective.RETRIEVAL)]
    segments += [s for trajectory in rollouts.executions for s in segments_of(trajectory, Objective.EXECUTION)]
    gap = LogprobGap()
    for segment in segments:
        sampled = zip(segment.behaviour_logprobs, segment.action_mask, strict=True)
        recorded = [logprob for logprob, acts in sampled if acts]
        gap += _gap(recorded, _model_logprobs(model, segment, temperature or 1.0))
    return gap


def _model_logprobs(model: Any, segment: Segment, temperature: float) -> list[float]:
    """Of the tokens that were sampled, in order."""
    device = next(model.parameters()).device
    ids = torch.tensor([segment.ids], device=device)
    at = torch.tensor([place for place, acts in enumerate(segment.action_mask) if acts], device=device)
    with torch.inference_mode():
        # Where the tokens are predicted alone: all positions of a large vocabulary would take gigabytes.
        logits = model(input_ids=ids, logits_to_keep=at - 1).logits[0].float()
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    chosen: list[float] = logprobs.gather(1, ids[0, at][:, None])[:, 0].tolist()
    return chosen


def _gap(recorded: Iterable[float], now: Iterable[float]) -> LogprobGap:
    apart = [abs(then - after) for then, after in zip(recorded, now, strict=True)]
    apart = [value if math.isfinite(value) else math.inf for value in apart]
    return LogprobGap(largest=max(apart, default=0.0), total=sum(apart), tokens=len(apart))
