"""One query at a time from many coroutines, in batches to the retriever."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from retriever.catalogue import Catalogue
from retriever.search import Retriever, check_k
from retriever.tools import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiter:
    query: str
    k: int
    answer: "asyncio.Future[tuple[Candidate, ...]]"


_MOST = 64  # queries in one `search`: those that come behind are not kept for long


class BatchedSearch:
    """Gathers the queries that arrive in one turn of the event loop, or within `window_ms`, into one `search`.

    At most 64 at a time, those whose callers have given up left out. The search runs in a thread; queries that arrive
    meanwhile make up the next batch. A cancelled caller leaves the others untouched. An exception of the retriever
    reaches every caller of its batch. For one event loop at a time.
    """

    def __init__(self, retriever: Retriever, *, window_ms: float = 0.0) -> None:
        self._retriever = retriever
        self._window_s = window_ms / 1000
        self._waiting: list[_Waiter] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")  # always the same: OpenMP has a pool a thread

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._retriever.catalogue

    async def search(self, query: str, k: int) -> tuple[Candidate, ...]:
        """The candidates of one query. Raises UserError when k < 1, else whatever the retriever raises."""
        check_k(k)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what an earlier, closed loop left behind is nobody's any more
            self._loop, self._waiting, self._work = loop, [], None
        waiter = _Waiter(query=query, k=k, answer=loop.create_future())
        self._waiting.append(waiter)
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._answer_all())  # starts after everything that is ready now
        return await waiter.answer

    async def _answer_all(self) -> None:
        batch: list[_Waiter] = []
        try:
            while self._waiting:
                if self._window_s and len(self._waiting) < _MOST:
                    await asyncio.sleep(self._window_s)
                waiting = [waiter for waiter in self._waiting if not waiter.answer.done()]  # done: cancelled
                batch, self._waiting = waiting[:_MOST], waiting[_MOST:]
                by_k: dict[int, list[_Waiter]] = {}
                for waiter in batch:
                    by_k.setdefault(waiter.k, []).append(waiter)
                for k, waiters in by_k.items():
                    await self._answer(waiters, k)
        finally:  # the loop is closing: nobody may wait for ever
            for waiter in (*batch, *self._waiting):
                waiter.answer.cancel()

    async def _answer(self, waiters: Sequence[_Waiter], k: int) -> None:
        queries = [waiter.query for waiter in waiters]
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._retriever.search, queries, k)
            for waiter, candidates in zip(waiters, found, strict=True):
                if not waiter.answer.done():
                    waiter.answer.set_result(candidates)
        except Exception as error:  # noqa: BLE001 - handed on to every caller
            for waiter in waiters:
                if not waiter.answer.done():
                    waiter.answer.set_exception(error)
