"""One executor over the backends of all origins, and the rules that hold for every call whatever runs it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from envs.executors.arguments import ArgumentCheck
from envs.executors.backend import Backend, Reply
from envs.types import Task, ToolCall, ToolResult, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05  # before a call is tried again; doubled each time


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What every call is held to."""

    timeout_s: float = 10.0  # from when the call may run to its reply, tries together
    observation_chars: int = 1024
    infra_retries: int = 2  # of a call that failed by no fault of the tool
    concurrency: int = 64  # calls of one backend at a time; further ones wait, and waiting is not their time

    def __post_init__(self) -> None:
        for name in ("timeout_s", "observation_chars", "concurrency"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name}={getattr(self, name)} is not positive")
        if self.infra_retries < 0:
            raise UserError(f"infra_retries={self.infra_retries} is negative; 0 tries a call once")


class RoutedExecutor:
    """An `Executor` that runs a tool where its origin says."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        limits: CallLimits,
        *,
        fewer: Mapping[str, int] | None = None,
        in_order: Collection[str] = (),
    ) -> None:
        """`backends`: by the origin of the tools that they run; `fewer`: calls at a time of those that take less;
        `in_order`: those of which an episode's calls run one after another, for each may read what the last changed.
        """
        self._backends, self._limits, self._in_order = backends, limits, in_order
        self._turns: dict[str, asyncio.Lock] = {}  # of the origins `in_order`, in a session
        self._check = ArgumentCheck()
        self._places = _Places({origin: (fewer or {}).get(origin, limits.concurrency) for origin in backends})

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator["RoutedExecutor"]:
        """See `Executor`. Raises UserError for a task that begins in a state which nothing here has."""
        if task is not None and (missing := task.initial_state.keys() - self._backends.keys()):
            raise UserError(
                f"task {task.id!r} begins in a state of the tools of origin {min(missing)!r}, and nothing here runs "
                f"them; switch on executor.{min(missing)}"
            )
        async with AsyncExitStack() as stack:
            own = {
                origin: await stack.enter_async_context(backend.session(task))
                for origin, backend in self._backends.items()
            }
            episode = RoutedExecutor(own, self._limits)
            episode._check, episode._places = self._check, self._places
            episode._turns = {origin: asyncio.Lock() for origin in self._in_order}
            yield episode

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """See `Executor`."""
        reply, started = None, time.perf_counter()
        if tool.origin not in self._backends:
            reply = Reply(text=f"error: {tool.name!r} cannot be called here", status=ToolStatus.UNKNOWN_TOOL)
        elif problem := self._check.problem(tool, arguments):
            reply = Reply(text=problem, status=ToolStatus.INVALID_ARGUMENTS)
        else:
            async with self._turns.get(tool.origin) or nullcontext(), self._places.of(tool.origin):
                started = time.perf_counter()
                reply = await self._reply(self._backends[tool.origin], tool, arguments)
        return ToolResult(
            call=ToolCall(name=tool.id, arguments=arguments),
            status=reply.status,
            text=cut(reply.text, self._limits.observation_chars),
            latency_s=time.perf_counter() - started,
            served_from=reply.served_from,
        )

    async def state(self) -> Mapping[str, Any]:
        """See `Executor`."""
        states = {origin: await backend.state() for origin, backend in self._backends.items()}
        return {origin: state for origin, state in states.items() if state}

    async def close(self) -> None:
        """See `Executor`."""
        for backend in self._backends.values():
            await backend.close()

    async def _reply(self, backend: Backend, tool: ToolDoc, arguments: Mapping[str, Any]) -> Reply:
        limits = self._limits
        ends = time.monotonic() + limits.timeout_s
        for attempt in range(limits.infra_retries + 1):
            try:
                left = ends - time.monotonic()
                async with asyncio.timeout(left):  # whatever the backend makes of its deadline
                    return await backend.run(tool, arguments, timeout_s=left)
            except TimeoutError:
                return Reply(text=f"error: no reply within {limits.timeout_s:g} s", status=ToolStatus.TIMEOUT)
            except InfraError as error:
                pause = _FIRST_PAUSE_S * 2**attempt
                if attempt == limits.infra_retries or time.monotonic() + pause >= ends:
                    return Reply(text=f"error: {error}", status=ToolStatus.INFRA_ERROR)
                await asyncio.sleep(pause)
            except Exception as error:  # noqa: BLE001 - a fault of a backend's must not end a run of many episodes
                _log.exception("executor: %s", tool.id)
                return Reply(text=f"error: {type(error).__name__}: {error}", status=ToolStatus.INFRA_ERROR)
        raise AssertionError("unreachable")


class _Places:
    """How many calls of each origin may run at a time, counted in the event loop that runs them."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_origin: dict[str, asyncio.Semaphore] = {}

    def of(self, origin: str) -> asyncio.Semaphore:
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._by_origin = asyncio.get_running_loop(), {}
        return self._by_origin.setdefault(origin, asyncio.Semaphore(self._counts[origin]))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters that UTF-8 can carry, the loss marked."""
    if len(text) > limit:
        marker = _marker(text)
        text = (text[: max(0, limit - len(marker))] + marker)[:limit]
    return text.encode(errors="replace").decode()


def reads_as(text: str, whole: str) -> bool:
    """Whether `text` is what a policy reads of `whole`, `cut` or not."""
    return text == cut(whole, len(whole)) or (len(text) > len(_marker(whole)) and text == cut(whole, len(text)))


def _marker(text: str) -> str:
    return f"… [cut from {len(text)} characters]"
