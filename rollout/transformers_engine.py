"""Generates with any Hugging Face causal LM: continuous batching over one cache whose rows are episodes.

Requests join and leave between decode steps, and a context keeps its row between turns, so that only new tokens are
prefilled. The rows in use are always the first ones of the cache, so a decode step works on views and copies nothing.

Not here (a later issue): chunked prefill, shared prefixes within a group, a KV budget with eviction, CUDA graphs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from retriever.base.errors import InfraError, IntegrityError
from rollout.config import RolloutConfig
from rollout.engine import GenerationRequest
from rollout.types import Completion, FinishReason, RolloutStatus
from rollout.weights import WeightUpdate, weights_hash

_ROW_MULTIPLE = 8  # CPU matmul rows are bitwise equal at multiples of 4, not below (measured; DESIGN.md, decision 11)
_LENGTH_BUCKET = 64
# Attention of several queries sums over blocks of 512 keys, in an order that the last block's size decides (measured).
_PREFILL_BUCKET = 512


@dataclass(slots=True)
class _Job:
    """A request while it is worked on."""

    request: GenerationRequest
    done: "asyncio.Future[Completion]"
    row: int = -1
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    random: Random = field(default_factory=Random)


class _RowCache(Cache):
    """Keys and values of every row, [rows, heads, length, head_dim] a layer; `update` writes in place.

    One forward pass works on the rows `rows` (a slice of the first ones while decoding, an index while prefilling) and
    writes at `positions` [B, Q]; it reads the first `length` positions, and the attention mask hides the rest.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.rows: slice | Tensor = slice(0, 0)
        self.positions = torch.empty(0)
        self.length = 0
        self.shape = (0, 0)  # rows, length: what is allocated

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """Store this pass's keys and values; returns all that the pass may attend to, [B, heads, length, head_dim]."""
        stored = []
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            tensor = self._allocated(store, layer_idx, states)
            every = torch.arange(self.rows.stop, device=states.device) if isinstance(self.rows, slice) else self.rows
            tensor[every[:, None], :, self.positions] = states.transpose(1, 2)
            stored.append(tensor[self.rows, :, : self.length])
        return stored[0], stored[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Unused by models that are given positions and a mask; required by the interface."""
        return 0

    def _allocated(self, store: list[Tensor | None], layer: int, like: Tensor) -> Tensor:
        tensor = store[layer]
        rows, length = self.shape
        if tensor is None or tensor.shape[0] < rows or tensor.shape[2] < length:
            grown = like.new_zeros(rows, like.shape[1], length, like.shape[3])
            if tensor is not None:
                grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
            store[layer] = tensor = grown
        return tensor


class TransformersEngine:
    """The reference engine. `generate` may be awaited by any number of episodes of one event loop."""

    def __init__(self, model: Any, *, stop_ids: Sequence[int], config: RolloutConfig, policy_version: int = 0) -> None:
        self.policy_version = policy_version
        self._model = model.eval()
        # With LoRA the wrapper names the parameters, and the base model, its layers replaced, computes.
        self._network = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._device = next(model.parameters()).device
        self._stop_ids = frozenset(stop_ids)
        self._config = config
        self._cache = _RowCache(model.config.get_text_config().num_hidden_layers)
        self._free = list(range(config.max_concurrent))[::-1]
        self._sessions: dict[str, tuple[int, list[int]]] = {}  # session → (row, ids whose keys and values it holds)
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._loop: asyncio.Task[None] | None = None
        self.prefilled_tokens = self.decoded_tokens = self.cached_tokens = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        """Sample one turn. Raises InfraError when the model failed."""
        job = _Job(request, asyncio.get_running_loop().create_future(), random=Random(request.seed))
        self._waiting.append(job)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._serve())
        return await job.done

    def status(self) -> RolloutStatus:
        """What is asked of it and what it has done."""
        return RolloutStatus(
            policy_version=self.policy_version,
            running=len(self._running),
            waiting=len(self._waiting),
            prefilled_tokens=self.prefilled_tokens,
            decoded_tokens=self.decoded_tokens,
            cached_tokens=self.cached_tokens,
        )

    def close_session(self, session: str) -> None:
        """Free the session's row."""
        row, _ = self._sessions.pop(session, (None, []))
        if row is not None:
            self._free.append(row)
            self._free.sort(reverse=True)  # lowest row first: the rows in use stay the first ones

    def release(self) -> None:
        """Free the memory of keys and values; the next request takes it again. Raises AssertionError while one runs."""
        assert not self._running, "released while it decodes"
        for session in list(self._sessions):
            self.close_session(session)
        self._cache = _RowCache(self._model.config.get_text_config().num_hidden_layers)

    def set_weights(self, update: WeightUpdate) -> None:
        """Load the tensors and prove that they arrived: the hash is taken of what the model now holds."""
        parameters = dict(self._model.named_parameters())
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        if strange := sorted(name for name, tensor in update.tensors.items() if shapes.get(name) != tensor.shape)[:3]:
            raise IntegrityError(
                f"weights {update.version}: the engine's model has no {strange} of that shape; is it the same model?"
            )
        with torch.no_grad():
            for name, tensor in update.tensors.items():
                parameters[name].copy_(tensor)
        arrived = weights_hash({name: parameters[name] for name in update.tensors})
        if arrived != update.content_hash:
            raise IntegrityError(
                f"weights of policy version {update.version} arrived corrupted: hash {arrived[:12]}, "
                f"expected {update.content_hash[:12]}; the run stops"
            )
        self.policy_version = update.version
        for session in list(self._sessions):  # their keys and values are of the old weights
            self.close_session(session)

    async def _serve(self) -> None:
        """The scheduler: prefill what waits, decode what runs, until nothing is left."""
        await asyncio.sleep(0)  # let every episode of this tick ask first
        try:
            while self._waiting or self._running:
                self._drop_cancelled()
                if self._waiting and self._free_or_held():
                    self._prefill()
                if self._running:
                    self._decode()
                await asyncio.sleep(0)  # tools answer and episodes go on
        except Exception as error:  # noqa: BLE001 - every waiting episode must hear of it
            for job in (*self._waiting, *self._running):
                if not job.done.done():
                    job.done.set_exception(InfraError(f"engine: {type(error).__name__}: {error}"))
            self._waiting.clear()
            self._running.clear()
            self._sessions.clear()
            self._free = list(range(self._config.max_concurrent))[::-1]

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.done.done()]
        self._running = [job for job in self._running if not job.done.done()]

    def _free_or_held(self) -> bool:
        return bool(self._free) or any(job.request.session in self._sessions for job in self._waiting)

    def _prefill(self) -> None:
        """Give waiting requests their rows, and compute the keys and values of their new tokens in one pass."""
        jobs, waiting = [], []
        for job in self._waiting:
            session = job.request.session
            if session not in self._sessions and self._free:
                self._sessions[session] = (self._free.pop(), [])
            if session in self._sessions:
                jobs.append(job)
            else:
                waiting.append(job)
        self._waiting = waiting
        fresh: dict[int, list[tuple[_Job, int, list[int]]]] = {}  # width → (job, tokens kept, new tokens)
        for job in jobs:
            job.row, held = self._sessions[job.request.session]
            ids = list(job.request.ids[:-1])  # the last token is the first decode step's
            kept = len(held) if held == ids[: len(held)] else 0
            self._sessions[job.request.session] = (job.row, ids)
            self.cached_tokens += kept
            if new := ids[kept:]:
                # Powers of two: short observations are not padded to the width of long prompts.
                width = max(_ROW_MULTIPLE, 1 << (len(new) - 1).bit_length())
                fresh.setdefault(width, []).append((job, kept, new))
        self._running += jobs
        for share in fresh.values():
            self._prefill_rows(share)

    def _prefill_rows(self, share: Sequence[tuple[_Job, int, list[int]]]) -> None:
        """One pass over the new tokens of (job, tokens kept, new tokens)."""
        width = max(len(new) for _, _, new in share)
        if self._config.deterministic:
            width = _rounded(width, _ROW_MULTIPLE)  # and so the rows of each matmul, however few the requests
        ids_tensor = torch.zeros(len(share), width, dtype=torch.long)
        for index, (_, _, new) in enumerate(share):
            ids_tensor[index, : len(new)] = torch.tensor(new, dtype=torch.long)
        rows = torch.tensor([job.row for job, _, _ in share])
        begins = torch.tensor([kept for _, kept, _ in share])
        positions = begins[:, None] + torch.arange(width)[None]
        self.prefilled_tokens += sum(len(new) for _, _, new in share)
        length = int((begins + width).max())
        self._forward(self._network.base_model, ids_tensor, positions, rows, length, _PREFILL_BUCKET)

    def _decode(self) -> None:
        """One token for every running request; rows in between that do not run ride along."""
        by_row = {job.row: job for job in self._running}
        count = max(by_row) + 1
        if self._config.deterministic:
            count = _rounded(count, _ROW_MULTIPLE)
        ids_tensor = torch.zeros(count, 1, dtype=torch.long)
        positions = torch.zeros(count, 1, dtype=torch.long)
        for session_row, held in self._sessions.values():  # a row that rides along writes behind its own tokens
            if session_row < count:
                positions[session_row, 0] = len(held)
        for row, job in by_row.items():
            ids_tensor[row, 0] = job.ids[-1] if job.ids else job.request.ids[-1]
            positions[row, 0] = len(job.request.ids) + len(job.ids) - 1
        jobs = list(by_row.values())
        length = int(positions.max()) + 1
        output = self._forward(self._network, ids_tensor, positions, slice(0, count), length, _LENGTH_BUCKET)
        self.decoded_tokens += len(jobs)
        self._sample(jobs, output.logits[[job.row for job in jobs], -1].float())

    def _forward(
        self, network: Any, ids: Tensor, positions: Tensor, rows: slice | Tensor, length: int, bucket: int
    ) -> Any:
        """One pass of `network` over ids [B, Q] at `positions` [B, Q] of the cache rows `rows`."""
        cache = self._cache
        cache.rows, cache.positions = rows, positions
        cache.length = _rounded(length, bucket) if self._config.deterministic else length
        allocated = max(cache.shape[1], _rounded(cache.length, 4 * _LENGTH_BUCKET))
        highest = rows.stop if isinstance(rows, slice) else int(rows.max()) + 1
        cache.shape = (max(cache.shape[0], _rounded(highest, _ROW_MULTIPLE)), allocated)
        visible = torch.arange(cache.length)[None, None, :] <= positions[:, :, None]  # [B, Q, length]
        # Built on the CPU, where building is cheap, and moved once.
        cache.positions = positions = positions.to(self._device)
        cache.rows = rows if isinstance(rows, slice) else rows.to(self._device)
        with torch.inference_mode():
            return network(
                input_ids=ids.to(self._device),
                position_ids=positions,
                attention_mask=visible[:, None].to(self._device),
                past_key_values=cache,
                use_cache=True,
            )

    def _sample(self, jobs: Sequence[_Job], logits: Tensor) -> None:
        """Append one token to each job; finished ones resolve. `logits` [len(jobs), V] fp32."""
        device = logits.device
        temperatures = torch.tensor([job.request.sampling.temperature for job in jobs], device=device)
        greedy = temperatures == 0
        scaled = logits / torch.where(greedy, 1.0, temperatures)[:, None]
        logprobs = torch.log_softmax(scaled, dim=-1)
        uniform = torch.tensor([job.random.random() for job in jobs], dtype=torch.float64, device=device)
        cumulative = logprobs.double().exp().cumsum(-1)
        drawn = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
        drawn = drawn.clamp(max=logits.shape[-1] - 1)
        tokens = torch.where(greedy, logits.argmax(-1), drawn)
        chosen = logprobs.gather(1, tokens[:, None])[:, 0]
        for job, token, logprob in zip(jobs, tokens.tolist(), chosen.tolist(), strict=True):
            job.ids.append(token)
            job.logprobs.append(logprob)
            stopped = token in self._stop_ids
            if stopped or len(job.ids) >= job.request.sampling.max_new_tokens:
                self._finish(job, FinishReason.STOP if stopped else FinishReason.LENGTH)

    def _finish(self, job: _Job, finish: FinishReason) -> None:
        self._running.remove(job)
        # The last token was sampled but never run: it is prefilled with the next turn.
        self._sessions[job.request.session] = (job.row, [*job.request.ids, *job.ids[:-1]])
        completion = Completion(
            ids=tuple(job.ids), logprobs=tuple(job.logprobs), finish=finish, policy_version=self.policy_version
        )
        if not job.done.done():
            job.done.set_result(completion)


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
