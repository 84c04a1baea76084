"""Micro-batches: the same number of them, with the same number of rows, on every rank.

Unequal rows crash TRL's metric gathering and unequal counts hang ZeRO-3, so what is missing is filled with rows whose
mask is empty. A rank may hold no work at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.segments import Objective, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One micro-batch of B rows of T tokens, padded right.

    Right, and not left as TRL pads prompts: a row then has the positions that it had in the engine, and rotary
    embeddings round alike (the log-prob gap of a nano model fell from 3e-5 to under 1e-5 nats).
    """

    objective: Objective
    ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T] 1 where a real token stands; observations are attended to
    loss_mask: Tensor  # [B, T] 1 where the token is trained; never in column 0
    behaviour_logprobs: Tensor  # [B, T] nats, 0 where loss_mask is 0
    advantages: Tensor  # [B, T] 0 where loss_mask is 0
    token_count: int  # trained tokens of this objective in the whole update, over all ranks

    @property
    def first_trained(self) -> int:
        """The first column in which some row is trained: what comes before needs no log-prob. 1 when none is.

        Two columns are left at least: TRL takes values of one column for values of whole sequences, and averages the
        rows of padding in.
        """
        columns = self.loss_mask.any(dim=0).nonzero()
        return min(int(columns[0]), self.ids.shape[1] - 2) if len(columns) else 1


def micro_batches(segments: Sequence[Segment], *, rank: int, world_size: int, rows: int, pad_id: int) -> list[Batch]:
    """This rank's micro-batches of one objective, at most `rows` rows each, rows of similar length together."""
    if not segments:
        return []
    tokens = sum(segment.action_tokens for segment in segments)
    ordered = sorted(segments, key=lambda segment: (len(segment.ids), segment.ids))
    batches = []
    for begin in range(0, len(ordered), rows * world_size):
        shared = ordered[begin : begin + rows * world_size]
        own = shared[rank::world_size]
        filled = -(-len(shared) // world_size)
        batches.append(_tensors(own, filled, shared[0].objective, tokens, pad_id))
    return batches


def _tensors(segments: Sequence[Segment], rows: int, objective: Objective, tokens: int, pad_id: int) -> Batch:
    width = max([3, *(len(segment.ids) for segment in segments)])
    ids = torch.full((rows, width), pad_id)
    real = torch.zeros(rows, width, dtype=torch.long)
    trained = torch.zeros_like(real)
    logprobs = torch.zeros(rows, width)
    advantages = torch.zeros_like(logprobs)
    real[len(segments) :, 0] = 1  # a row without any token would make attention divide by zero
    for row, segment in enumerate(segments):
        place = slice(0, len(segment.ids))
        ids[row, place] = torch.tensor(segment.ids)
        real[row, place] = 1
        trained[row, place] = torch.tensor(segment.action_mask, dtype=torch.long)
        logprobs[row, place] = torch.tensor(segment.behaviour_logprobs)
        advantages[row, place] = torch.tensor(segment.advantages)
    assert not trained[:, 0].any(), "a first token has no log-prob"
    return Batch(
        objective=objective,
        ids=ids,
        attention_mask=real,
        loss_mask=trained,
        behaviour_logprobs=logprobs,
        advantages=advantages,
        token_count=tokens,
    )
