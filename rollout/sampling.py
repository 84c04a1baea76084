"""From logits to tokens: one draw for each row, with its own temperature, truncation and random number.

Not here: the random numbers themselves, which belong to requests.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rollout.types import Sampling

_BLOCK = 512


def draw(logits: Tensor, samplings: Sequence[Sampling], uniform: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probs [B] in nats, for `logits` [B, V] fp32 and a number in [0, 1) a row.

    The log-probs are log_softmax(logits / temperature) of the whole distribution, whatever was cut off (DESIGN.md,
    decision 6); those of greedy rows are at temperature 1.
    """
    device = logits.device
    temperatures = torch.tensor([sampling.temperature or 1.0 for sampling in samplings], dtype=torch.float32)
    greedy = torch.tensor([sampling.temperature == 0 for sampling in samplings])
    logprobs = torch.log_softmax(logits / temperatures.to(device)[:, None], dim=-1)
    kept, numbers = _truncated(logprobs, samplings), torch.tensor(uniform, dtype=torch.float64)
    return _chosen(logits, logprobs, kept, greedy.to(device), numbers.to(device))


def draw_whole(logits: Tensor, temperatures: Tensor, greedy: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """`draw` where nothing is truncated, of tensors alone, so that a CUDA graph can hold it.

    `temperatures` [B] fp32, 1 for greedy rows; `greedy` [B] bool; `uniform` [B] fp64.
    """
    logprobs = torch.log_softmax(logits / temperatures[:, None], dim=-1)
    return _chosen(logits, logprobs, logprobs, greedy, uniform)


def _chosen(logits: Tensor, logprobs: Tensor, kept: Tensor, greedy: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where the random number falls in the cumulated probabilities of `kept`, or the likeliest token."""
    # Summed in blocks: the block is found among the sums, the token within the block. A scan over a whole vocabulary of
    # 150,000 takes a GPU longer than eight layers of a model.
    count, size = kept.shape
    blocks = F.pad(kept.double().exp(), (0, -size % _BLOCK)).view(count, -1, _BLOCK)
    cumulative = blocks.sum(-1).cumsum(-1)  # [B, blocks]
    at = uniform[:, None] * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, at, right=True).clamp(max=blocks.shape[1] - 1)  # [B, 1]
    before = torch.where(block > 0, cumulative.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, _BLOCK))[:, 0].cumsum(-1)
    place = torch.searchsorted(inside, at - before, right=True)
    # Rounding may put the number behind its block's last token that can come: then it is that one.
    last = (inside < inside[:, -1:]).sum(-1, keepdim=True)
    drawn = (block * _BLOCK + torch.minimum(place, last))[:, 0]
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
