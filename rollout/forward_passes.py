"""The two forward passes of generation over one cache: a prefill of chosen rows, and a decode step of the first ones.

On a GPU the decode step is a CUDA graph with static shapes: the Python of a step over 36 layers takes ten times as long
as its kernels. Not here: what is to be prefilled or decoded, and sampling.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retriever.base.errors import UserError
from rollout.fused_decoder import FusedDecoder, fused_decoder
from rollout.row_cache import RowCache
from rollout.sampling import draw, draw_whole, settings
from rollout.types import Sampling

_log = logging.getLogger(__name__)

ROW_MULTIPLE = 8  # CPU matmul rows are bitwise equal at multiples of 4, not below (measured; DESIGN.md, decision 11)
_LENGTH_BUCKET = 64
# Attention of several queries sums over blocks of 512 keys, in an order that the last block's size decides (measured).
_PREFILL_BUCKET = 512
_MOST_APART = 0.1  # mean difference of two ways to compute the same in bfloat16, in standard deviations: 0.01 is usual
_GRAPH_LENGTH = 256  # the shortest cache length that a graph is made for


class ForwardPasses:
    """A causal LM and the keys and values of `rows` contexts of at most `length` tokens."""

    def __init__(self, model: Any, *, rows: int, length: int, deterministic: bool, graphs: bool) -> None:
        """`graphs`: CUDA graphs for decoding, where the model is on a GPU. Raises UserError: cannot be served."""
        # With LoRA the wrapper names the parameters, and the base model, its layers replaced, computes.
        self._network = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._parameter = next(model.parameters())
        config = model.config.get_text_config()
        _refuse_windows(config)
        self._rows, self._length, self._deterministic = rows, length, deterministic
        self._cache = RowCache(config.num_hidden_layers)
        self._graphs: dict[tuple[int, int], _Graph] | None = None
        self._fused: FusedDecoder | None = None
        if graphs and self.device.type == "cuda":
            self._graphs, self._graph_pool = {}, torch.cuda.graph_pool_handle()
            self._fused = fused_decoder(self._network)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._parameter.device

    def prefill(self, rows: Sequence[int], begins: Sequence[int], ids: Sequence[Sequence[int]], width: int) -> None:
        """Store keys and values of `ids` [B][≤ width], which stand in the cache rows `rows` from `begins` on.

        `width`: columns of the pass. What a row has fewer is computed and overwritten before anything reads it.
        """
        if self._deterministic:
            width = rounded(width, ROW_MULTIPLE)  # and so the rows of each matmul, however few the requests
        padded = torch.zeros(len(rows), width, dtype=torch.long)
        for line, new in zip(padded, ids, strict=True):
            line[: len(new)] = torch.tensor(new, dtype=torch.long)
        positions = torch.tensor(begins)[:, None] + torch.arange(width)[None]
        index = torch.tensor(rows)
        length = max(begins) + width
        if self._deterministic:
            length = rounded(length, _PREFILL_BUCKET)
        self._reserve(max(rows) + 1, length)
        with torch.inference_mode():
            # Without the head: nobody samples here. A request's last token is its first decode step's.
            self._run(self._network.base_model, padded, positions, index.to(self.device), index, length)

    def decode(
        self, tokens: Mapping[int, int], held: Sequence[int], samplings: Sequence[Sampling], uniform: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        """Run one token each for the rows of `tokens` (row → token), and draw the next; those and their log-probs.

        `held`: of every row, how many positions it holds; the token comes behind them. Rows in between ride along:
        what they write there, the next pass over them overwrites. `samplings`, `uniform`: see `sampling.draw`.
        """
        rows = list(tokens)
        count, length = max(rows) + 1, 1 + max(held[row] for row in rows)
        ids = list(tokens.values())
        with torch.inference_mode():
            if self._graphs is not None:
                return self._graph(count, length).replay(rows, ids, held, samplings, uniform)
            if self._deterministic:
                count, length = rounded(count, ROW_MULTIPLE), rounded(length, _LENGTH_BUCKET)
            positions = torch.zeros(count, 1, dtype=torch.long)  # rows that nobody knows hold nothing
            positions[: len(held), 0] = torch.tensor(held[:count])
            inputs = torch.zeros(count, 1, dtype=torch.long)
            inputs[rows, 0] = torch.tensor(ids)
            self._reserve(count, max(length, 1 + int(positions.max())))
            output = self._run(self._network, inputs, positions, slice(0, count), torch.arange(count), length)
            drawn, logprobs = draw(output.logits[rows, -1].float(), samplings, uniform)
            return drawn.tolist(), logprobs.tolist()

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Positions `begin` to `end` of one row's keys and values into another row."""
        self._reserve(max(source, target) + 1, end)
        self._cache.copy(source, target, begin, end)

    def release(self) -> None:
        """Give the memory of the cache and of the graphs back."""
        self._cache.release()
        if self._graphs is not None:
            self._graphs = {}
            torch.cuda.empty_cache()

    def _reserve(self, rows: int, length: int) -> None:
        if self._graphs is None:
            self._cache.reserve(rounded(rows, ROW_MULTIPLE), length)
        else:  # all at once: graphs hold addresses
            self._cache.reserve(self._rows, rounded(self._length + 1, _PREFILL_BUCKET))

    def _run(
        self, network: Any, ids: Tensor, positions: Tensor, rows: slice | Tensor, row_index: Tensor, length: int
    ) -> Any:
        """One pass over ids [B, Q] at `positions` [B, Q]; tensors of the CPU are moved."""
        cache, device = self._cache, self.device
        # Built where the positions are; on the CPU that is cheap, and one move follows.
        visible = (
            torch.arange(length, device=positions.device)[None, None, :] <= positions[:, :, None]
        )  # [B, Q, length]
        mask = torch.zeros(visible.shape, dtype=self._parameter.dtype, device=positions.device)
        mask.masked_fill_(~visible, -torch.inf)
        cache.rows, cache.row_index, cache.length = rows, row_index.to(device), length
        cache.positions = positions.to(device)
        return network(
            input_ids=ids.to(device),
            position_ids=cache.positions,
            attention_mask=mask[:, None].to(device),
            past_key_values=cache,
            use_cache=True,
        )

    def _graph(self, count: int, length: int) -> "_Graph":
        """The graph that serves so many rows and that length, made when it is first needed."""
        assert self._graphs is not None
        key = (_graph_rows(count, self._rows), _graph_length(length, self._length))
        if not self._graphs:
            self._check_fused()
        if key not in self._graphs:
            self._graphs[key] = _Graph(self, *key)
        return self._graphs[key]

    def _decoded(self, ids: Tensor, positions: Tensor, rows: Tensor, length: int) -> Tensor:
        """Logits [B, V] of one token [B] for each of the first rows, on the model's device."""
        if self._fused is not None:
            return self._fused.logits(ids, positions, rows, self._cache, length)
        first = slice(0, len(rows))
        return torch.Tensor(
            self._run(self._network, ids[:, None], positions[:, None], first, rows, length).logits[:, -1]
        )

    def _check_fused(self) -> None:
        """Two ways to compute one step must agree: a model may only look like its family."""
        if self._fused is None:
            return
        count, length = min(4, self._rows), 64
        ids = torch.arange(1, count + 1, device=self.device)
        positions = torch.full_like(ids, self._cache.spare_position)  # nothing that counts stands there
        fused = self._decoded(ids, positions, ids - 1, length)
        stored = self._cache.at(positions[0], count)
        decoder, self._fused = self._fused, None
        plain = self._decoded(ids, positions, ids - 1, length)
        apart = [(fused, plain), *zip(stored, self._cache.at(positions[0], count), strict=True)]
        if all(float((a - b).float().abs().mean()) <= _MOST_APART * float(b.float().std()) for a, b in apart):
            self._fused = decoder
        else:
            _log.warning(
                "the model is not of Llama's family, though it looks like it: it decodes without fused kernels"
            )


class _Graph:
    """A captured decode step of the first `count` rows, which reads `length` positions, and the draw of the next."""

    def __init__(self, passes: ForwardPasses, count: int, length: int) -> None:
        device = passes.device
        self._count, self._spare = count, passes._cache.spare_position
        # A graph reads the addresses that it was captured with. Ids, positions, temperatures, greedy or not and random
        # numbers travel as one: in fp64 each is exact.
        self._inputs = torch.zeros(5, count, dtype=torch.float64, device=device)
        self._staged = torch.zeros(5, count, dtype=torch.float64, pin_memory=True)
        self._rows = torch.arange(count, device=device)
        self._inputs[1], self._inputs[2] = self._spare, 1.0

        def step() -> tuple[Tensor, Tensor]:
            ids, positions, greedy = self._inputs[0].long(), self._inputs[1].long(), self._inputs[3].bool()
            logits = passes._decoded(ids, positions, self._rows, length).float()
            tokens, logprobs = draw_whole(logits, self._inputs[2].float(), greedy, self._inputs[4])
            return logits, torch.stack([tokens.double(), logprobs.double()])

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is compiled or needs a workspace has it before it is captured
            step()
        torch.cuda.current_stream().wait_stream(stream)
        self._captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._captured, pool=passes._graph_pool):  # one at a time: they share memory
            self._logits, self._drawn = step()

    def replay(
        self,
        rows: Sequence[int],
        ids: Sequence[int],
        held: Sequence[int],
        samplings: Sequence[Sampling],
        uniform: Sequence[float],
    ) -> tuple[list[int], list[float]]:
        """See `ForwardPasses.decode`."""
        staged, known = self._staged, min(self._count, len(held))
        staged[1, :known] = torch.tensor(held[:known], dtype=torch.float64)
        staged[1, known:] = self._spare
        temperatures, greedy, numbers = settings(samplings, uniform)
        for line, values in zip((0, 2, 3, 4), (torch.tensor(ids), temperatures, greedy, numbers), strict=True):
            staged[line, rows] = values.double()
        self._inputs.copy_(staged, non_blocking=True)
        self._captured.replay()
        if any(sampling.truncated for sampling in samplings):
            drawn, logprobs = draw(self._logits[rows], samplings, uniform)
            return drawn.tolist(), logprobs.tolist()
        tokens, logprobs = self._drawn[:, rows].tolist()
        return [int(token) for token in tokens], logprobs


def _graph_rows(count: int, most: int) -> int:
    """1, 2, 4, 8, then multiples of 8 up to 32 and of 16 beyond."""
    step = 1 if count <= 2 else 4 if count <= 8 else 8 if count <= 32 else 16
    return min(most, rounded(count, step))


def _graph_length(length: int, most: int) -> int:
    """Powers of two and the numbers half-way between."""
    size = _GRAPH_LENGTH
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return min(rounded(most, _GRAPH_LENGTH), size)


def rounded(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def _refuse_windows(config: Any) -> None:
    """Every token attends to all before it here. Raises UserError for models that want less."""
    kinds = {kind for kind in getattr(config, "layer_types", None) or [] if kind != "full_attention"}
    if kinds:
        raise UserError(
            f"the model has layers of {', '.join(sorted(kinds))}; the transformers engine serves full attention only: "
            "choose another model, or rollout.engine=vllm"
        )
