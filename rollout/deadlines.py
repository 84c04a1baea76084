"""How long a turn and an episode may take, and whose time it is.

What is slow on our side, the engine or a search, runs these clocks down, and then the episode is a failure of ours.
While a call is out they stand still: its tool has a deadline of its own, `env.call_timeout_s`, and is slow on the
account of the policy that called it; and where many such calls wait for few workers, a run is to be slow and not to
fail. So neither pays for the other, and nothing waits for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from envs.executors.executor import Executor
from envs.types import Task, ToolCall, ToolResult, ToolStatus
from retriever.base.errors import InfraError
from retriever.tools import ToolDoc

_LATE_S = 1.0  # by which a deadline may be noticed late before the event loop, and not the tool, is to blame


class Clock:
    """The deadlines of one episode that run now. Nothing here knows what a turn is."""

    def __init__(self) -> None:
        self._limits: list[asyncio.Timeout] = []
        self._stops = 0  # bodies of `stopped` that run
        self._left: list[tuple[asyncio.Timeout, float]] = []  # what there was, in seconds, when the first of them began

    @asynccontextmanager
    async def limit(self, seconds: float, told: str) -> AsyncIterator[None]:
        """Raises InfraError, which says what is `told`, when the body takes longer, the time `stopped` not counted."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.append(limit)
                try:
                    yield
                finally:
                    self._limits.remove(limit)
        except TimeoutError as error:  # the other kind: something in the body that has a deadline and no better word
            raise InfraError(told if limit.expired() else f"timed out: {error}") from error

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """No deadline passes while a body runs, of any number; each is as far away afterwards as it was before."""
        now = asyncio.get_running_loop().time
        if not self._stops:
            limits = [(limit, limit.when()) for limit in self._limits if not limit.expired()]
            self._left = [(limit, when - now()) for limit, when in limits if when is not None]
            for limit, _ in self._left:
                limit.reschedule(None)
        self._stops += 1
        try:
            yield
        finally:
            self._stops -= 1
            if not self._stops:
                for limit, seconds in self._left:
                    limit.reschedule(now() + seconds)


class ClockedExecutor:
    """An `Executor` whose calls stop a clock."""

    def __init__(self, executor: Executor, clock: Clock, *, call_timeout_s: float, patience_s: float) -> None:
        """`call_timeout_s`: the deadline that `executor` holds its calls to, from when they may run; `patience_s`: how
        much longer a call may be out, waiting for others.
        """
        self._executor, self._clock = executor, clock
        self._call_timeout_s, self._most_s = call_timeout_s, call_timeout_s + patience_s

    def session(self, task: Task | None = None) -> AbstractAsyncContextManager[Executor]:
        """See `Executor`."""
        return self._executor.session(task)

    async def state(self) -> Mapping[str, Any]:
        """See `Executor`."""
        with self._clock.stopped():
            return await self._executor.state()

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """See `Executor`. A deadline that was noticed late is ours: the reply may have been there."""
        told = f"its call did not end within {self._most_s:g} s; give tools like it more workers"
        try:
            with self._clock.stopped():
                async with Clock().limit(self._most_s, told):
                    result = await self._executor.call(tool, arguments)
        except InfraError as error:
            asked = ToolCall(name=tool.id, arguments=arguments)
            return ToolResult(call=asked, status=ToolStatus.INFRA_ERROR, text=f"error: {error}")
        if result.status is ToolStatus.TIMEOUT and result.latency_s > self._call_timeout_s + _LATE_S:
            told = (
                f"error: its deadline of {self._call_timeout_s:g} s was noticed after {result.latency_s:.1f} s; this "
                "machine, or the engine in this process, was busy for too long"
            )
            return replace(result, status=ToolStatus.INFRA_ERROR, text=told)
        return result

    async def close(self) -> None:
        """See `Executor`."""
        await self._executor.close()
