"""MCP servers as a backend: one session per server and process, begun by the first call, begun anew when it has ended.

A server with `"session": "episode"` in the config (mcp_config.py) has one per episode instead. All sessions live in one
thread's event loop, so that they outlast the loop of the caller and his cancellations.
"""

import asyncio
import atexit
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from envs.executors.backend import Backend, Reply
from envs.executors.executor import Stateless
from envs.executors.loop_thread import LoopThread
from envs.executors.mcp_config import McpServerConfig
from envs.executors.mcp_connection import START_S, McpConnection
from envs.types import Task, ToolStatus
from retriever.base.bad_entries import OnBad, refuse
from retriever.base.errors import DataError, InfraError
from retriever.readers import mcp_tools
from retriever.readers.place import Place
from retriever.tools import ToolDoc

# Of a call's time, for its server to start. To be late for that is our failure and not the tool's, which is to have the
# rest; the start goes on, for later calls.
_START_SHARE = 0.5
_REMEDY = (
    ", its share of a call's time; raise env.call_timeout_s, or start fewer at once (making.concurrency, "
    "rollout.max_concurrent)"
)
_AT_EXIT_S = 10.0  # for all servers to end when their owner forgot to close us

_T = TypeVar("_T")


class McpServers:
    """A `Backend` that calls the tool `<…/server/published name>` on the server of that name."""

    def __init__(self, servers: Iterable[McpServerConfig]) -> None:
        self._thread = LoopThread("mcp-servers")
        self._open: set[McpConnection] = set()  # those of episodes too; only the thread touches it
        self._servers = {config.name: _Server(config, self._open) for config in servers}

    @property
    def servers(self) -> tuple[McpServerConfig, ...]:
        """What was given."""
        return tuple(server.config for server in self._servers.values())

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Backend]:
        """Itself, but for servers of `"session": "episode"`. Each of those starts with the episode's first call of it
        and ends with the episode. Should it end before, what it knew is lost, and calls of it raise InfraError.
        """
        own = {
            name: _Server(server.config, self._open, one_life=True)
            for name, server in self._servers.items()
            if server.config.session == "episode"
        }
        try:
            yield _Episode(self, own) if own else self
        finally:
            if own and self._thread.started:
                await self._thread.run_to_the_end(_close_all(own.values()))

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        return await self.run_on({}, tool, arguments, timeout_s=timeout_s)

    async def run_on(
        self, own: Mapping[str, "_Server"], tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float
    ) -> Reply:
        """`run`, on those servers that `own` has instead of the shared ones."""
        name, published = self._resolved(tool.id)
        if name is None or self._servers[name].config.hides(published):
            text = f"error: no MCP server has a tool {tool.id!r}"
            return Reply(text=text, status=ToolStatus.UNKNOWN_TOOL)
        server = own.get(name, self._servers[name])
        return await self._in_thread(server.call(published, dict(arguments), timeout_s=timeout_s))

    async def state(self) -> Mapping[str, Any]:
        """None: what servers know cannot be seen."""
        return {}

    async def list_tools(self, *names: str, on_bad: OnBad = refuse) -> tuple[ToolDoc, ...]:
        """What the servers of these names list, or all of them, but for hidden tools: with the ids `server/tool` that
        `retriever/readers/mcp_tools.py` gives to a saved list.

        Raises DataError for a server that does not start or list, and for a tool that no catalogue can hold; with
        another `on_bad` those are told to it and left out.
        """
        found: list[ToolDoc] = []
        for name in names or self._servers:
            server = self._servers[name]
            place = Place(path=server.config.path, prefix=name, field=f"mcpServers.{name}")
            try:
                listed = await self._in_thread(server.list_tools())
            except InfraError as error:
                on_bad(place.bad(str(error)))
                continue
            for spot, entry in mcp_tools.entries([(place, {"tools": listed})]):
                try:
                    found.append(mcp_tools.tool(entry, spot))
                except DataError as error:
                    on_bad(error)
        return tuple(found)

    async def close(self) -> None:
        """End every server and session, those of episodes too. A later call begins anew."""
        if self._thread.started:
            await self._thread.run_to_the_end(_end_all(self._open))
            await self._thread.stop()
        atexit.unregister(self._close_at_exit)

    async def _in_thread(self, work: Coroutine[Any, Any, _T]) -> _T:
        if not self._thread.started:
            atexit.register(self._close_at_exit)
        return await self._thread.run(work)

    def _close_at_exit(self) -> None:
        if self._thread.started:
            self._thread.run_and_wait(_end_all(self._open), timeout_s=_AT_EXIT_S)

    def _resolved(self, tool_id: str) -> tuple[str | None, str]:
        """(server, published name). Both may hold "/": the shortest name that leaves a known server is taken."""
        parts = tool_id.split("/")
        for cut in range(len(parts) - 1, 0, -1):
            for start in range(cut):
                if (name := "/".join(parts[start:cut])) in self._servers:
                    return name, "/".join(parts[cut:])
        return None, tool_id


class _Episode(Stateless):
    """The backend of one episode, with servers of its own beside the shared ones. Its session's end closes it."""

    def __init__(self, shared: McpServers, own: Mapping[str, "_Server"]) -> None:
        self._shared, self._own = shared, own

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        return await self._shared.run_on(self._own, tool, arguments, timeout_s=timeout_s)


class _Server:
    """A server over its lives, one connection at a time. Used in the thread only."""

    def __init__(self, config: McpServerConfig, open_: set[McpConnection], *, one_life: bool = False) -> None:
        """`one_life`: its calls build on each other, so when it ends after the first of them there is no successor."""
        self.config, self._open, self._one_life = config, open_, one_life
        self._connection: McpConnection | None = None
        self._spent = False  # it has been called, or closed

    async def call(self, tool: str, arguments: dict[str, Any], *, timeout_s: float) -> Reply:
        ends = time.monotonic() + timeout_s
        connection = await self._ready(timeout_s * _START_SHARE, remedy=_REMEDY)
        self._spent = True
        return await connection.call(tool, arguments, timeout_s=ends - time.monotonic())

    async def list_tools(self) -> list[dict[str, Any]]:
        connection = await self._ready(START_S)
        return [tool for tool in await connection.list_tools() if not self.config.hides(tool["name"])]

    def leave(self) -> None:
        """Begin to end it. One of one life starts no more."""
        self._spent = True
        if self._connection is not None:
            self._connection.leave()

    @property
    def connections(self) -> Collection[McpConnection]:
        """The one there is, or none."""
        return () if self._connection is None else (self._connection,)

    async def _ready(self, wait_s: float, *, remedy: str = "") -> McpConnection:
        """A connection that answers. Raises InfraError."""
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    connection = self._current()
                    await connection.ready()
                    if not connection.over:
                        return connection
        except TimeoutError:
            told = (
                f"MCP server {self.config.name!r} ({self.config.started_by}) gave no answer in {wait_s:.3g} s{remedy}"
            )
            raise InfraError(told) from None

    def _current(self) -> McpConnection:
        if self._connection is None or self._connection.over:
            if self._one_life and self._spent:
                raise InfraError(f"MCP server {self.config.name!r} ended before its episode, with all that it knew")
            connection = self._connection = McpConnection(self.config)
            self._open.add(connection)
            connection.task.add_done_callback(lambda _: self._open.discard(connection))
        return self._connection


async def _close_all(servers: Iterable[_Server]) -> None:
    servers = tuple(servers)
    for server in servers:
        server.leave()
    await _end_all([connection for server in servers for connection in server.connections])


async def _end_all(connections: Collection[McpConnection]) -> None:
    tasks = [connection.task for connection in connections]
    for connection in list(connections):
        connection.leave()
    if tasks:
        await asyncio.wait(tasks)
