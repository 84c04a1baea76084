"""What an episode asks to run its calls. A tool's mistake, and ours, is a typed result, never an exception."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, Self

from envs.types import Task, ToolResult
from retriever.tools import ToolDoc


class Executor(Protocol):
    """Runs calls of tools, any number at a time."""

    def session(self, task: Task | None = None) -> AbstractAsyncContextManager["Executor"]:
        """An executor for one episode, of `task` where there is one: what its calls change is seen by its calls alone,
        and ends with it.
        """
        ...

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The typed outcome of one call, within its deadline. `arguments` are under the tool's own names."""
        ...

    async def state(self) -> Mapping[str, Any]:
        """What the session's calls have made of the task's initial state, JSON-able; by origin, where it is seen."""
        ...

    async def close(self) -> None:
        """End what was started: processes, connections, files."""
        ...


class Stateless:
    """For executors and backends whose calls change nothing: one serves all episodes."""

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Self]:
        """Itself."""
        yield self

    async def state(self) -> Mapping[str, Any]:
        """None."""
        return {}

    async def close(self) -> None:
        """Nothing was started."""
