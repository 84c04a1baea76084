"""How long a turn and an episode may take, and whose time it is.

What is slow on our side (the engine, a search, a call that waits for its turn) runs these clocks down, and then the
episode is a failure of ours. A tool that runs stops them: it has a deadline of its own, `env.call_timeout_s`, and is
slow on the account of the policy that called it. So neither pays for the other, and nothing waits for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from envs.executors.executor import Executor
from envs.types import ToolResult, ToolStatus
from retriever.base.errors import InfraError
from retriever.tools import ToolDoc

_LATE_S = 1.0  # by which a deadline may be noticed late before the event loop, and not the tool, is to blame


class Clock:
    """The deadlines of one episode that run now. Nothing here knows what a turn is."""

    def __init__(self) -> None:
        self._limits: list[asyncio.Timeout] = []

    @asynccontextmanager
    async def limit(self, seconds: float, told: str) -> AsyncIterator[None]:
        """Raises InfraError, which says what is `told`, when the body takes longer; the tools' time is not counted."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.append(limit)
                try:
                    yield
                finally:
                    self._limits.remove(limit)
        except TimeoutError as error:  # the other kind: something in the body that has a deadline and no better word
            raise InfraError(told if limit.expired() else f"timed out: {error}") from error

    def shift(self, seconds: float) -> None:
        """Move every deadline that has not passed."""
        for limit in self._limits:
            when = limit.when()
            if when is not None and not limit.expired():
                limit.reschedule(when + seconds)


class ClockedExecutor:
    """An `Executor` whose tools stop a clock while they run."""

    def __init__(self, executor: Executor, clock: Clock, *, call_timeout_s: float) -> None:
        """`call_timeout_s`: the deadline that `executor` holds its calls to, from when they may run."""
        self._executor, self._clock, self._call_timeout_s = executor, clock, call_timeout_s

    def session(self) -> AbstractAsyncContextManager[Executor]:
        """See `Executor`."""
        return self._executor.session()

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """See `Executor`. Raises InfraError for a deadline that was noticed late: the reply may have been there."""
        most = self._call_timeout_s
        self._clock.shift(most)
        result = await self._executor.call(tool, arguments)
        if result.status is ToolStatus.TIMEOUT and result.latency_s > most + _LATE_S:
            raise InfraError(
                f"{tool.id}: its deadline of {most:g} s was noticed after {result.latency_s:.1f} s; this machine, or "
                "the engine in this process, was busy for too long"
            )
        self._clock.shift(min(result.latency_s, most) - most)  # waiting for its turn was not the tool's time
        await asyncio.sleep(0)  # a deadline that has passed by that is told now
        return result

    async def close(self) -> None:
        """See `Executor`."""
        await self._executor.close()
