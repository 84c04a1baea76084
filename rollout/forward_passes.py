"""The passes of generation over one cache: prefills of chosen rows, and decode steps with the draw of the next tokens.

On a GPU, where the Python of a step over 36 layers takes ten times as long as its kernels, a decode step is a CUDA
graph, and takes short prefills along. Not here: what is to be prefilled or decoded (`transformers_engine`).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retriever.base.errors import UserError
from rollout.fused_decoder import FusedDecoder, fused_decoder
from rollout.row_cache import LENGTH_STEP, RowCache
from rollout.sampling import draw, draw_whole
from rollout.types import Sampling

_log = logging.getLogger(__name__)

ROW_MULTIPLE = 8  # CPU matmul rows are bitwise equal at multiples of 4, not below (measured; DESIGN.md, decision 11)
_LENGTH_BUCKET = 64
# Attention of several queries sums over blocks of 512 keys, in an order that the last block's size decides; that of
# contexts within the first 128 is the same whatever the size (measured).
_PREFILL_BUCKET, _SHORT = 512, 128
_WIDE, _WIDTH_STEP = 64, 32  # wider prefills are padded to multiples of the second, others to powers of two
_BESIDE = (0, 64, 256)  # tokens of prefills that a graph has room for
_GRAPH_LENGTH = 256  # the shortest cache length that a graph is made for
_ROUNDING = {torch.float32: 0.001, torch.bfloat16: 0.05}  # of logits, in their standard deviations: mean, at the most


@dataclass(frozen=True, slots=True)
class Chunk:
    """New tokens of one row, from position `begin` on."""

    row: int
    begin: int
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Draw:
    """The token that a row's context ends with, to be run, and how the next one is drawn."""

    row: int
    position: int
    token: int
    sampling: Sampling
    uniform: float  # in [0, 1)


class ForwardPasses:
    """A causal LM and the keys and values of `rows` contexts of at most `length` tokens."""

    def __init__(self, model: Any, *, rows: int, length: int, deterministic: bool, graphs: bool) -> None:
        """`graphs`: CUDA graphs for decoding, where the model is on a GPU. Raises UserError: cannot be served."""
        # With LoRA the wrapper names the parameters, and the base model, its layers replaced, computes.
        self._network = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._parameter = next(model.parameters())
        config = model.config.get_text_config()
        _refuse_others(config, length)
        self._rows, self._length, self._deterministic = rows, length, deterministic
        heads = config.num_attention_heads
        # Queries that share a key are given to attention together: several, though a decode step has one token a row.
        self._several = (getattr(config, "num_key_value_heads", None) or heads) < heads
        self._cache = RowCache(config.num_hidden_layers)
        self._graphs: _Graphs | None = None
        if graphs and self.device.type == "cuda":
            self._graphs = self._graphs_if_they_agree()
            self._reserve(rows, length)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self._parameter.device)

    @property
    def beside(self) -> int:
        """So many tokens of prefills may be given to `decode`."""
        return 0 if self._graphs is None else _BESIDE[-1]

    def prefill(self, chunks: Sequence[Chunk]) -> None:
        """Store the keys and values of new tokens; chunks of one width share a pass, and short contexts theirs."""
        by_shape: dict[tuple[int, bool], list[Chunk]] = {}
        for chunk in chunks:
            width = padded_width(len(chunk.ids))
            by_shape.setdefault((width, chunk.begin + width <= _SHORT), []).append(chunk)
        for (width, _), share in by_shape.items():
            self._prefill(share, width)

    def decode(
        self, draws: Sequence[Draw], held: Sequence[int], beside: Sequence[Chunk] = ()
    ) -> tuple[list[int], list[float]]:
        """Run one token a row, and draw the next ones: those, and their log-probs in nats. `draws`: by row, ascending.

        `held`: of every row, how many positions it holds. Rows in between ride along: what they write behind them, the
        next pass over them overwrites. `beside`: what is prefilled with it, at most `self.beside` tokens.
        """
        with torch.inference_mode():
            if self._graphs is not None:
                return self._graphs.replay(draws, beside)
            assert not beside
            count, length = draws[-1].row + 1, 1 + max(one.position for one in draws)
            if self._deterministic:
                count, length = rounded(count, ROW_MULTIPLE), _padded_length(length, several=self._several)
            rows = [one.row for one in draws]
            positions = torch.zeros(count, 1, dtype=torch.long)  # rows that nobody knows hold nothing
            positions[: len(held), 0] = torch.tensor(held[:count])
            ids = torch.zeros(count, 1, dtype=torch.long)
            ids[rows, 0] = torch.tensor([one.token for one in draws])
            self._reserve(count, max(length, 1 + int(positions.max())))
            output = self._run(self._network, ids, positions, slice(0, count), torch.arange(count), length)
            drawn, logprobs = draw(
                output.logits[rows, -1].float(), [one.sampling for one in draws], [one.uniform for one in draws]
            )
            return drawn.tolist(), logprobs.tolist()

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Positions `begin` to `end` of one row's keys and values into another row."""
        self._reserve(max(source, target) + 1, end)
        self._cache.copy(source, target, begin, end)

    def release(self) -> None:
        """Give the memory of the cache and of the graphs back."""
        self._cache.release()
        if self._graphs is not None:
            self._graphs.clear()
            torch.cuda.empty_cache()

    def _prefill(self, chunks: Sequence[Chunk], width: int) -> None:
        if self._deterministic:
            width = rounded(width, ROW_MULTIPLE)  # and so the rows of each matmul, however few the requests
        # What a row has fewer than `width` is computed, and overwritten before anything reads it.
        ids = torch.zeros(len(chunks), width, dtype=torch.long)
        for line, chunk in zip(ids, chunks, strict=True):
            line[: len(chunk.ids)] = torch.tensor(chunk.ids, dtype=torch.long)
        positions = torch.tensor([chunk.begin for chunk in chunks])[:, None] + torch.arange(width)[None]
        rows = torch.tensor([chunk.row for chunk in chunks])
        length = int(positions.max()) + 1
        if self._deterministic:
            length = _padded_length(length, several=True)
        self._reserve(int(rows.max()) + 1, length)
        with torch.inference_mode():
            # Without the head: nobody samples here. A request's last token is its first decode step's.
            self._run(self._network.base_model, ids, positions, rows.to(self.device), rows, length)

    def _reserve(self, rows: int, length: int) -> None:
        most, positions = cache_shape(
            self._rows, self._length, deterministic=self._deterministic, graphs=self._graphs is not None
        )
        if self._graphs is None:
            # By doubling: each time that the cache grows it is copied.
            self._cache.reserve(min(max(ROW_MULTIPLE, 1 << (rows - 1).bit_length()), most), length)
        else:  # all at once: graphs hold addresses
            self._cache.reserve(most, positions)

    def _run(
        self, network: Any, ids: Tensor, positions: Tensor, rows: slice | Tensor, row_index: Tensor, length: int
    ) -> Any:
        """One pass over ids [B, Q] at `positions` [B, Q], both on the CPU, where the mask is built, and moved once."""
        cache, device = self._cache, self.device
        visible = torch.arange(length)[None, None, :] <= positions[:, :, None]  # [B, Q, length]
        mask = torch.zeros(visible.shape, dtype=self._parameter.dtype).masked_fill_(~visible, -torch.inf)
        cache.rows, cache.row_index, cache.length = rows, row_index.to(device), length
        cache.positions = positions.to(device)
        return network(
            input_ids=ids.to(device),
            position_ids=cache.positions,
            attention_mask=mask[:, None].to(device),
            past_key_values=cache,
            use_cache=True,
        )

    def _graphs_if_they_agree(self) -> "_Graphs | None":
        """Graphs of the fused decoder, if the model is of its family; two ways to compute one step must agree."""
        decoder = fused_decoder(self._network)
        if decoder is None:
            return None
        self._cache.reserve(1, _GRAPH_LENGTH)
        try:
            agree = self._agrees(decoder)
        except Exception as error:  # noqa: BLE001 - Triton wants a C compiler, and says so in many ways
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            _log.warning("decoding goes without CUDA graphs, several times slower: %s", reason)
            return None
        finally:
            self._cache.release()
        if not agree:
            _log.warning("the model looks like Llama's family and computes otherwise: it decodes without CUDA graphs")
            return None
        return _Graphs(decoder, self._cache, rows=self._rows, length=self._length, device=self.device)

    def _agrees(self, decoder: FusedDecoder) -> bool:
        """Whether it computes what the model does, of one token after eight: as nearly as the model itself, asked in
        two ways. Of real models in bfloat16 some contexts round far more than others."""
        vocabulary = self._network.get_input_embeddings().num_embeddings
        ids = torch.linspace(vocabulary // 3, vocabulary // 2, 9).long()[None]
        row, positions = torch.zeros(1, dtype=torch.long), torch.arange(9)[None]
        with torch.inference_mode():
            whole = self._run(self._network, ids, positions, slice(0, 1), row, 9).logits[0, -1].float()
            last = (ids[:, 8:], positions[:, 8:])
            plain = self._run(self._network, *last, slice(0, 1), row, 16).logits[0, -1].float()
            token, position, row = (tensor.to(self.device) for tensor in (ids[0, 8:], positions[0, 8:], row))
            fused = decoder.logits(token, position, row, self._cache, length=16, wanted=1)[0].float()
        noise = float((whole - plain).abs().mean())
        apart = float((fused - plain).abs().mean())
        return apart <= 3 * noise + _ROUNDING.get(self._parameter.dtype, 0.05) * float(plain.std())


class _Graphs:
    """Decode steps as CUDA graphs, each made when it is first needed: for some number of rows, of tokens and length."""

    def __init__(self, decoder: FusedDecoder, cache: RowCache, *, rows: int, length: int, device: torch.device) -> None:
        self.decoder, self.cache, self.device = decoder, cache, device
        self.nowhere = rows  # the row of tokens that only fill a graph's places
        self._rows, self._length = rows, length
        self._made: dict[tuple[int, int, int], _Graph] = {}
        self.clear()

    def clear(self) -> None:
        """Forget them all."""
        self._made.clear()
        # Graphs run one at a time: they share memory. Without any graph left PyTorch takes the old handle no more.
        self.pool = torch.cuda.graph_pool_handle()

    def replay(self, draws: Sequence[Draw], beside: Sequence[Chunk]) -> tuple[list[int], list[float]]:
        """See `ForwardPasses.decode`."""
        ends = [one.position + 1 for one in draws] + [chunk.begin + len(chunk.ids) for chunk in beside]
        more = sum(len(chunk.ids) for chunk in beside)
        places = next(places for places in _BESIDE if places >= more)
        key = (_graph_rows(max(1, len(draws)), self._rows), places, _graph_length(max(ends), self._length))
        if key not in self._made:
            self.cache.grow()
            self._made[key] = _Graph(self, *key)
        return self._made[key].replay(draws, beside)


class _Graph:
    """A captured step of `count` rows that draw and `places` tokens of prefills, over `length` positions."""

    def __init__(self, graphs: _Graphs, count: int, places: int, length: int) -> None:
        # A graph reads and writes the addresses that it was captured with, the host's too. Rows, positions, ids and, of
        # those that draw, temperatures, greedy or not and random numbers travel as one: in fp64 each is exact.
        self._count, tokens = count, count + places
        self._empty = np.zeros((6, tokens))
        self._empty[0], self._empty[3] = graphs.nowhere, 1.0
        sent = torch.from_numpy(self._empty).clone().pin_memory()
        got = torch.zeros(2, count, dtype=torch.float64).pin_memory()
        self._sent, self._got = sent.numpy(), got.numpy()
        self._pinned = (sent, got)
        inputs = sent.to(graphs.device)

        def step() -> Tensor:
            inputs.copy_(sent, non_blocking=True)
            rows, positions, ids = (line.long() for line in inputs[:3])
            temperatures, greedy, uniform = (line[:count] for line in inputs[3:])
            logits = graphs.decoder.logits(ids, positions, rows, graphs.cache, length=length, wanted=count).float()
            drawn, logprobs = draw_whole(logits, temperatures.float(), greedy.bool(), uniform)
            got.copy_(torch.stack([drawn.double(), logprobs.double()]), non_blocking=True)
            return logits

        self._inputs = inputs
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is compiled or needs a workspace has it before it is captured
            step()
        torch.cuda.current_stream().wait_stream(stream)
        self._captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._captured, pool=graphs.pool):
            self._logits = step()

    def replay(self, draws: Sequence[Draw], beside: Sequence[Chunk]) -> tuple[list[int], list[float]]:
        """See `ForwardPasses.decode`."""
        sent, count = self._sent, len(draws)
        sent[:] = self._empty
        if draws:
            sent[:, :count] = [
                [one.row for one in draws],
                [one.position for one in draws],
                [one.token for one in draws],
                [one.sampling.temperature or 1.0 for one in draws],
                [one.sampling.temperature == 0 for one in draws],
                [one.uniform for one in draws],
            ]
        at = self._count
        for chunk in beside:
            end = at + len(chunk.ids)
            sent[0, at:end], sent[1, at:end] = chunk.row, np.arange(chunk.begin, chunk.begin + len(chunk.ids))
            sent[2, at:end] = chunk.ids
            at = end
        self._captured.replay()
        if any(one.sampling.truncated for one in draws):
            drawn, logprobs = draw(
                self._logits[:count], [one.sampling for one in draws], [one.uniform for one in draws]
            )
            return drawn.tolist(), logprobs.tolist()
        torch.cuda.current_stream().synchronize()
        return self._got[0, :count].astype(int).tolist(), self._got[1, :count].tolist()


def cache_shape(rows: int, length: int, *, deterministic: bool, graphs: bool) -> tuple[int, int]:
    """Rows and positions that the cache of `rows` contexts of `length` tokens has at the most."""
    if graphs:  # one more row is for what stands nowhere
        return rows + 1, rounded(length, LENGTH_STEP) + _PREFILL_BUCKET
    # The last prefill of a context is padded, and so its positions are
    return rounded(rows, ROW_MULTIPLE) if deterministic else rows, rounded(length + _WIDTH_STEP, _PREFILL_BUCKET)


def _graph_rows(count: int, most: int) -> int:
    """1, 2, 4, 8, then multiples of 8 up to 32 and of 16 beyond."""
    step = 1 if count <= 2 else 4 if count <= 8 else 8 if count <= 32 else 16
    return min(most, rounded(count, step))


def _graph_length(length: int, most: int) -> int:
    """Powers of two and the numbers half-way between."""
    size = _GRAPH_LENGTH
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return min(max(_GRAPH_LENGTH, rounded(most, _WIDE)), size)


def padded_width(tokens: int) -> int:
    """The columns of a pass over so many new tokens: few kinds, so that requests share passes."""
    if tokens > _WIDE:
        return rounded(tokens, _WIDTH_STEP)
    return int(max(ROW_MULTIPLE, 1 << (tokens - 1).bit_length()))


def _padded_length(length: int, *, several: bool) -> int:
    """How many keys are read, so that what is behind a context's own does not show; `several`: queries of a key."""
    if not several:
        return rounded(length, _LENGTH_BUCKET)
    return _SHORT if length <= _SHORT else rounded(length, _PREFILL_BUCKET)


def rounded(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def _refuse_others(config: Any, length: int) -> None:
    """Every token attends to all before it here, and is rotated alike whoever shares its pass.

    Raises UserError for models that want something else of contexts of `length` tokens.
    """
    layers = getattr(config, "layer_types", None) or []
    wrong = {f"layers of {kind}" for kind in layers if kind != "full_attention"}
    window = getattr(config, "sliding_window", None)
    if not layers and window and window < length:  # Mistral says no more than this of its layers
        wrong.add(f"a window of {window} tokens, fewer than rollout.max_context={length}")
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    if rotation in ("dynamic", "longrope"):  # of a pass's longest context
        wrong.add(f"rotations of type {rotation}, which depend on the other contexts of a pass")
    if wrong:
        raise UserError(
            f"the model has {', '.join(sorted(wrong))}; the transformers engine serves full attention and fixed "
            "rotations only: choose another model, or rollout.engine=vllm"
        )
