"""From logits to tokens: one draw for each row, with its own temperature, truncation and random number.

Not here: the random numbers themselves, which belong to requests.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rollout.types import Sampling


def draw(logits: Tensor, samplings: Sequence[Sampling], uniform: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probs [B] in nats, for `logits` [B, V] fp32 and a number in [0, 1) a row.

    The log-probs are log_softmax(logits / temperature) of the whole distribution, whatever was cut off (DESIGN.md,
    decision 6); those of greedy rows are at temperature 1.
    """
    temperatures, greedy, numbers = (t.to(logits.device) for t in settings(samplings, uniform))
    logprobs = torch.log_softmax(logits / temperatures[:, None], dim=-1)
    return _chosen(logits, logprobs, _truncated(logprobs, samplings), greedy, numbers)


def settings(samplings: Sequence[Sampling], uniform: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Temperatures [B] fp32 (1 for greedy rows), which rows are greedy [B], and the random numbers [B] fp64."""
    return (
        torch.tensor([sampling.temperature or 1.0 for sampling in samplings], dtype=torch.float32),
        torch.tensor([sampling.temperature == 0 for sampling in samplings]),
        torch.tensor(uniform, dtype=torch.float64),
    )


def draw_whole(logits: Tensor, temperatures: Tensor, greedy: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """`draw` from `settings` as tensors, where nothing is truncated: a CUDA graph can hold it."""
    logprobs = torch.log_softmax(logits / temperatures[:, None], dim=-1)
    return _chosen(logits, logprobs, logprobs, greedy, uniform)


def _chosen(logits: Tensor, logprobs: Tensor, kept: Tensor, greedy: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where the random number falls in the cumulated probabilities of `kept`, or the likeliest token."""
    cumulative = kept.double().exp().cumsum(-1)
    at = (uniform * cumulative[:, -1])[:, None]
    drawn = torch.searchsorted(cumulative, at, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    tokens = torch.where(greedy, logits.argmax(-1), drawn)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]


def _truncated(logprobs: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """`logprobs` [B, V] with -inf for what a row's sampling leaves out: top_k first, then top_p, then min_p."""
    cut = [row for row, sampling in enumerate(samplings) if sampling.truncated]
    if not cut:
        return logprobs
    logprobs = logprobs.clone()
    for row in cut:
        sampling = samplings[row]
        likely, order = logprobs[row].sort(descending=True, stable=True)
        keep = torch.ones_like(likely, dtype=torch.bool)
        if sampling.top_k:
            keep[sampling.top_k :] = False
        if sampling.top_p < 1.0:
            shares = torch.where(keep, likely, -torch.inf).softmax(-1)
            # A token stays while those before it do not reach top_p yet: the first one always.
            keep &= shares.cumsum(-1) - shares < sampling.top_p
        if sampling.min_p > 0.0:
            keep &= likely.exp() >= sampling.min_p * likely[0].exp()
        keep[0] = True
        logprobs[row, order[~keep]] = -torch.inf
    return logprobs
