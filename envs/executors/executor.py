"""What an episode asks to run its calls. A tool's mistake, and ours, is a typed result, never an exception."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, Self

from envs.types import ToolResult
from retriever.tools import ToolDoc


class Executor(Protocol):
    """Runs calls of tools, any number at a time."""

    def session(self) -> AbstractAsyncContextManager["Executor"]:
        """An executor for one episode: what its calls change is seen by its calls alone, and ends with it."""
        ...

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The typed outcome of one call, within its deadline. `arguments` are under the tool's own names."""
        ...

    async def close(self) -> None:
        """End what was started: processes, connections, files."""
        ...


class Stateless:
    """For executors and backends whose calls change nothing: one serves all episodes."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Self]:
        """Itself."""
        yield self

    async def close(self) -> None:
        """Nothing was started."""
