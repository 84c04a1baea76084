"""Generates with any Hugging Face causal LM: continuous batching over one cache whose rows are contexts.

Requests join and leave between decode steps. A context keeps its row between turns, so that only new tokens are
prefilled; what another row already holds of a new context (a group's prompt, the rules that all prompts begin with) is
copied, not computed. Long prefills are cut into chunks between which decoding goes on. Where there are more contexts
than rows, the one that was idle longest gives its row up and is prefilled again when it comes back.

Not here: the passes (`forward_passes`), the cache (`row_cache`), the draw (`sampling`).
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from retriever.base.errors import InfraError, UserError
from rollout.config import RolloutConfig
from rollout.engine import GenerationRequest
from rollout.forward_passes import Chunk, Draw, ForwardPasses, cache_shape, padded_width
from rollout.row_cache import rows_that_fit
from rollout.types import Completion, FinishReason, RolloutStatus
from rollout.weights import WeightUpdate, load_update

_IDLE_S = 0.002  # between two looks, where all rows belong to contexts whose tools are at work
_SHARED_TOKENS = 16  # a shorter common beginning is computed again: finding and copying it costs as much


@dataclass(slots=True, eq=False)
class _Row:
    """One row of the cache. When its context is over, it remembers it until another context needs the row."""

    index: int
    ids: list[int] = field(default_factory=list)  # the tokens whose keys and values it holds
    prefilled: int = 0  # so many of the first ones were computed by prefills, not by decode steps
    session: str | None = None
    job: "_Job | None" = None  # the request that it is working on
    used: int = 0  # the engine's step when it was used last


@dataclass(slots=True, eq=False)
class _Job:
    """A request while it is worked on."""

    request: GenerationRequest
    done: "asyncio.Future[Completion]"
    random: Random
    row: _Row | None = None
    donor: "_Donor | None" = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    asked: float = field(default_factory=time.perf_counter)
    queue_s: float = 0.0

    @property
    def prompt(self) -> tuple[int, ...]:
        """What must be in the cache before the first decode step, which runs the last token."""
        return self.request.ids[:-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Donor:
    """Who holds, or is about to hold, the first `tokens` tokens of a new context."""

    row: _Row
    job: _Job | None  # what the row worked on then: only that is waited for
    tokens: int


class TransformersEngine:
    """The reference engine. `generate` may be awaited by any number of episodes of one event loop."""

    def __init__(
        self,
        model: Any,
        *,
        stop_ids: Sequence[int],
        config: RolloutConfig,
        policy_version: int = 0,
        decode: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        """`decode`: ids to text, for requests with stop strings. Raises UserError for what cannot be served."""
        self.policy_version = policy_version
        self._model = model.eval()
        self._stop_ids = frozenset(stop_ids)
        self._config, self._decode = config, decode
        # A GPU's kernels promise nothing of the kind, whatever is padded.
        self._deterministic = config.deterministic and next(model.parameters()).device.type == "cpu"
        on_gpu = next(model.parameters()).device.type == "cuda"
        rows = rows_that_fit(
            model.config.get_text_config(),
            max_rows=config.max_concurrent,
            length=config.max_context,
            shape=lambda rows: cache_shape(
                rows, config.max_context, deterministic=self._deterministic, graphs=config.cuda_graphs and on_gpu
            ),
            cache_gb=config.kv_cache_gb,
            bytes_per_number=next(model.parameters()).element_size(),
        )
        self._passes = ForwardPasses(
            model,
            rows=rows,
            length=config.max_context,
            deterministic=self._deterministic,
            graphs=config.cuda_graphs,
        )
        self._rows = [_Row(index) for index in range(rows)]
        self._sessions: dict[str, _Row] = {}
        self._waiting: list[_Job] = []  # for a row
        self._prefilling: list[_Job] = []
        self._running: list[_Job] = []
        self._loop: asyncio.Task[None] | None = None
        self._step = 0
        self.prefilled_tokens = self.decoded_tokens = self.cached_tokens = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        """Sample one turn. Raises InfraError when the model failed, UserError when the request cannot be served."""
        if not request.ids:
            raise UserError("a request of no tokens: there is nothing to go on from; give at least one")
        longest = len(request.ids) + request.sampling.max_new_tokens
        if longest > self._config.max_context:
            raise UserError(
                f"a context of {len(request.ids)} tokens and {request.sampling.max_new_tokens} new ones exceeds "
                f"rollout.max_context={self._config.max_context}; raise it"
            )
        if request.sampling.stop and self._decode is None:
            raise UserError("stop strings need an engine with a tokenizer; give the engine `decode`")
        job = _Job(request, asyncio.get_running_loop().create_future(), random=Random(request.seed))
        self._waiting.append(job)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._serve())
        return await job.done

    def status(self) -> RolloutStatus:
        """What is asked of it and what it has done."""
        return RolloutStatus(
            policy_version=self.policy_version,
            running=len(self._running) + len(self._prefilling),
            waiting=len(self._waiting),
            prefilled_tokens=self.prefilled_tokens,
            decoded_tokens=self.decoded_tokens,
            cached_tokens=self.cached_tokens,
        )

    def close_session(self, session: str) -> None:
        """Free the session's row."""
        row = self._sessions.pop(session, None)
        if row is not None:
            row.session = None

    def set_weights(self, update: WeightUpdate) -> None:
        """Load the tensors and prove that they arrived. Raises IntegrityError."""
        self._forget()
        load_update(self._model, update)
        self.policy_version = update.version

    def release(self) -> None:
        """Give the memory of the cache back until the next request: a trainer on the same GPU needs it."""
        self._forget()
        self._passes.release()

    def _forget(self) -> None:
        """No row holds anything any more."""
        self._drop_cancelled()
        assert not self._prefilling, "the engine is at work"
        assert not self._running, "the engine is at work"
        self._sessions.clear()
        self._rows = [_Row(index) for index in range(len(self._rows))]

    # --- the scheduler -----------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Give rows to what waits, prefill, decode what runs, until nothing is left."""
        await asyncio.sleep(0)  # let every episode of this tick ask first
        try:
            while self._waiting or self._prefilling or self._running:
                self._step += 1
                self._drop_cancelled()
                self._admit()
                self._run_passes(self._chunks())
                at_work = self._prefilling or self._running
                await asyncio.sleep(0 if at_work else _IDLE_S)  # tools answer and episodes go on
        except Exception as error:  # noqa: BLE001 - every waiting episode must hear of it
            failed = (*self._waiting, *self._prefilling, *self._running)
            self._waiting, self._prefilling, self._running = [], [], []
            for job in failed:
                if not job.done.done():
                    job.done.set_exception(InfraError(f"engine: {type(error).__name__}: {error}"))
            self.release()  # what is no number would spoil whatever comes to lie in its row, masked or not

    def _drop_cancelled(self) -> None:
        for jobs in (self._waiting, self._prefilling, self._running):
            for job in [job for job in jobs if job.done.done()]:
                jobs.remove(job)
                if job.row is not None:
                    job.row.job = None

    def _admit(self) -> None:
        """Rows for those that wait, in their order; whoever finds none goes on waiting, and others do not."""
        waiting = []
        for job in self._waiting:
            row = self._sessions.get(job.request.session) or self._row_for(job)
            if row is None or row.job is not None:  # none free, or a session that was asked twice at a time
                waiting.append(job)
                continue
            job.queue_s = round(time.perf_counter() - job.asked, 4)
            kept = _common(row.ids, job.prompt)
            del row.ids[kept:]
            row.prefilled = min(row.prefilled, kept)
            row.session, row.job, row.used, job.row = job.request.session, job, self._step, row
            self._sessions[job.request.session] = row
            self.cached_tokens += kept
            if kept < len(job.prompt):
                self._prefilling.append(job)
            else:
                self._running.append(job)
        self._waiting = waiting

    def _row_for(self, job: _Job) -> _Row | None:
        """A row for a new context: the one that holds most of it already, or one to copy into; None while all work."""
        free = [row for row in self._rows if row.session is None and row.job is None]
        idle = [] if free or self._deterministic else [row for row in self._rows if row.job is None]
        if not free and not idle:
            return None  # deterministic: what a context reads never depends on who else is there, so none gives way
        if not free:
            (evicted,) = sorted(idle, key=lambda row: row.used)[:1]
            assert evicted.session is not None
            self.close_session(evicted.session)
            free = [evicted]
        shared = {row: self._shareable(row, job.prompt) for row in self._rows}
        donor = max(self._rows, key=lambda row: shared[row])
        if shared[donor] < _SHARED_TOKENS:
            row = free[0]  # the lowest: a decode step runs all rows up to the highest that runs
            row.ids.clear()
            return row
        best = max(free, key=lambda row: shared[row])
        if shared[best] == shared[donor]:
            del best.ids[shared[best] :]
            return best
        free[0].ids.clear()
        job.donor = _Donor(donor, donor.job, shared[donor])
        return free[0]

    def _shareable(self, row: _Row, prompt: Sequence[int]) -> int:
        """How many of the first tokens of `prompt` the row holds, or will once the request it works on is prefilled."""
        coming = row.job.prompt if row.job is not None else row.ids
        common = _common(coming, prompt)
        # A decode step may round otherwise than a prefill: whether a neighbour had decoded a token must not be seen.
        return min(common, self._prefilled_by(row)) if self._deterministic else common

    def _prefilled_by(self, row: _Row) -> int:
        if row.job is not None and row.prefilled == len(row.ids):
            return len(row.job.prompt)
        return row.prefilled

    # --- the passes --------------------------------------------------------------------------------------------------

    def _chunks(self) -> list[tuple[_Row, Chunk]]:
        """What is prefilled next, `prefill_tokens` at the most; every request is cut by its own length alone."""
        chunks: list[tuple[_Row, Chunk]] = []
        left = self._config.prefill_tokens
        for job in self._prefilling:
            row = job.row
            assert row is not None
            if not self._take_from_donor(job, row):
                continue
            begin = len(row.ids)
            ids = job.prompt[begin : begin + self._config.prefill_tokens]
            if not ids:
                continue
            left -= padded_width(len(ids))
            if chunks and left < 0:
                break
            chunks.append((row, Chunk(row.index, begin, ids)))
        return chunks

    def _run_passes(self, chunks: Sequence[tuple[_Row, Chunk]]) -> None:
        """Prefill, before the decode step or along with it, and decode what was prefilled before."""
        together = 0 < sum(len(chunk.ids) for _, chunk in chunks) <= self._passes.beside
        if chunks and not together:
            self._passes.prefill([chunk for _, chunk in chunks])
            self._prefilled(chunks)
        self._begin_decoding()
        if self._running or together:
            self._decode_step([chunk for _, chunk in chunks] if together else [])
        if together:
            self._prefilled(chunks)
            self._begin_decoding()

    def _prefilled(self, chunks: Sequence[tuple[_Row, Chunk]]) -> None:
        for row, chunk in chunks:
            if row.prefilled == len(row.ids):
                row.prefilled += len(chunk.ids)
            row.ids += chunk.ids
            self.prefilled_tokens += len(chunk.ids)

    def _begin_decoding(self) -> None:
        ready = [job for job in self._prefilling if job.row is not None and len(job.row.ids) >= len(job.prompt)]
        self._running += ready
        self._prefilling = [job for job in self._prefilling if job not in ready]

    def _take_from_donor(self, job: _Job, row: _Row) -> bool:
        """Copy what the donor holds; False: it is still being prefilled, and is waited for."""
        if (donor := job.donor) is None:
            return True
        held = donor.row.ids[: donor.row.prefilled] if self._deterministic else donor.row.ids
        common = min(donor.tokens, _common(held, job.prompt))
        if common < donor.tokens and donor.job is not None and donor.job in self._prefilling:
            return False
        job.donor = None
        if common > len(row.ids):
            self._passes.copy(donor.row.index, row.index, len(row.ids), common)
            self.cached_tokens += common - len(row.ids)
            row.ids[:] = job.prompt[:common]
            row.prefilled = min(common, donor.row.prefilled)
        return True

    def _decode_step(self, beside: Sequence[Chunk]) -> None:
        """One token for every running request."""
        jobs = {job.row.index: job for job in self._running if job.row is not None}
        draws = [
            Draw(
                row=index,
                position=len(self._rows[index].ids),
                token=job.ids[-1] if job.ids else job.request.ids[-1],
                sampling=job.request.sampling,
                uniform=job.random.random(),
            )
            for index, job in sorted(jobs.items())
        ]
        drawn, logprobs = self._passes.decode(draws, [len(row.ids) for row in self._rows], beside)
        self.decoded_tokens += len(draws)
        for one, token, logprob in zip(draws, drawn, logprobs, strict=True):
            if not math.isfinite(logprob):
                raise ArithmeticError(f"policy version {self.policy_version} gave the log-prob {logprob}; is it sound?")
            job = jobs[one.row]
            assert job.row is not None
            job.row.ids.append(one.token)
            job.row.used = self._step
            job.ids.append(token)
            job.logprobs.append(logprob)
            if (finish := self._finish_of(job)) is not None:
                self._finish(job, finish)

    def _finish_of(self, job: _Job) -> FinishReason | None:
        sampling = job.request.sampling
        if job.ids[-1] in self._stop_ids or job.ids[-1] in sampling.stop_ids:
            return FinishReason.STOP
        if sampling.stop:
            assert self._decode is not None
            # Its end alone, or long completions would cost their square: a stop's characters are of 4 bytes at the
            # most, a token is at least one, and half a character that the cut leaves is in nobody's way.
            text = self._decode(job.ids[-4 * max(map(len, sampling.stop)) - 4 :])
            if any(stop in text for stop in sampling.stop):
                return FinishReason.STOP
        return FinishReason.LENGTH if len(job.ids) >= sampling.max_new_tokens else None

    def _finish(self, job: _Job, finish: FinishReason) -> None:
        """The last token was sampled but never run: it is prefilled with the next turn."""
        self._running.remove(job)
        assert job.row is not None
        job.row.job = None
        completion = Completion(
            ids=tuple(job.ids),
            logprobs=tuple(job.logprobs),
            finish=finish,
            policy_version=self.policy_version,
            queue_s=job.queue_s,
        )
        if not job.done.done():
            job.done.set_result(completion)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many of the first tokens are the same."""
    low, high = 0, min(len(left), len(right))
    if list(left[:high]) == list(right[:high]):
        return high
    while low < high - 1:  # the first `low` are the same, the first `high` are not
        middle = (low + high) // 2
        if list(left[low:middle]) == list(right[low:middle]):
            low = middle
        else:
            high = middle
    return low
