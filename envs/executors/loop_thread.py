"""An event loop in a thread of its own, for what outlives the loop that asks for it: connections, processes.

A run plays its batches in one `asyncio.run` after the other; a server that belonged to each would start each time.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class LoopThread:
    """Starts with the first work that it is given. Any loop, and any number of them, may give it some."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: tuple[threading.Thread, asyncio.AbstractEventLoop] | None = None

    @property
    def started(self) -> bool:
        """Whether there is a thread now."""
        return self._running is not None

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, done in the thread. To cancel this is to cancel the work, and not to wait for it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop()))

    async def run_to_the_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """As `run`, but the work goes on when this is cancelled."""
        return await asyncio.shield(self.run(work))

    def run_and_wait(self, work: Coroutine[Any, Any, _T], *, timeout_s: float) -> _T:
        """As `run`, for where no event loop is left to wait in. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(work, self._loop()).result(timeout_s)

    async def stop(self) -> None:
        """End the thread. What still runs in it is cancelled; the next work starts a new one."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            thread, loop = running
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join)

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name=self._name, daemon=True)
                thread.start()
                self._running = thread, loop
            return self._running[1]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
