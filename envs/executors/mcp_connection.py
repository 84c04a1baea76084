"""One life of an MCP server, through the official SDK, which no other module imports.

A call past its deadline is cancelled by MCP's notice, and a server that answers nothing afterwards is ended; but one
that answers on may also work on at the call that it was told to drop. A server's own questions (sampling, elicitation,
roots) are answered with an error.
"""

import asyncio
import json
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client

from envs.executors.backend import Reply, failed
from envs.executors.mcp_config import McpServerConfig
from envs.executors.stderr_tail import StderrTail, blotted
from envs.types import ToolStatus
from retriever.base.errors import InfraError

START_S = 60.0  # to answer the handshake; npx and uvx may fetch a package first
_ANSWER_S = 5.0  # to list its tools, for a server that missed a deadline; a sound one needs milliseconds
_NOBODY_SERVES = (502, 503, 504)  # of HTTP, as proxies say it
_ENDED = (
    "Connection closed",
    "SSE stream",
)  # the SDK's words; the code alone, -32000, servers use for errors of theirs
_MOST_PAGES = 1000


class McpConnection:
    """A session with a server, and its process. Belongs to the event loop that it is made in.

    The SDK's scopes must be entered and left in the same task: `task` enters them, waits to be told to leave, and is
    done when no process is left. Calls may come from any task.
    """

    def __init__(self, config: McpServerConfig) -> None:
        self._config = config
        self._stderr = StderrTail(secrets=config.secrets)
        self._client: Client | None = None  # from when it is ready
        self._tools: list[dict[str, Any]] = []
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # who asked may be gone
        self._leaving = asyncio.Event()
        self._check: asyncio.Task[None] | None = None
        self._refusal = 0  # the last HTTP status that was one, of requests since the last sound reply
        # Who has no logging would get the SDK's tracebacks for every banner that a server prints to its output.
        logging.getLogger("mcp").addHandler(logging.NullHandler())
        self.task = asyncio.create_task(self._live())

    @property
    def over(self) -> bool:
        """Whether there is no more to be had from it."""
        return self._leaving.is_set() or self.task.done()

    async def ready(self) -> None:
        """Waits for its start, or for a check whether it still answers. Raises InfraError when it did not start."""
        await asyncio.shield(self._ready)
        if self._check is not None:
            await asyncio.wait([self._check])

    def leave(self) -> None:
        """Begin to end it."""
        if not self._leaving.is_set():
            self._leaving.set()
            # Once: a second cancellation would break into the SDK's own ending of the program, which then never ends.
            if not self._ready.done() and not self.task.cancelling():
                self.task.cancel()

    async def list_tools(self) -> list[dict[str, Any]]:
        """The tools as they are on the wire. Raises InfraError."""
        try:
            async with asyncio.timeout(START_S):
                await self._list()
        except (MCPError, TimeoutError) as error:
            raise InfraError(self._told("does not list its tools", error)) from None
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any], *, timeout_s: float) -> Reply:
        """One call. Raises TimeoutError, or InfraError when the server ends before it replies."""
        assert self._client is not None
        try:
            async with asyncio.timeout(timeout_s):
                return await self._reply(self._client, tool, arguments)
        except (TimeoutError, asyncio.CancelledError):
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._leave_unless_it_answers())
            raise
        except MCPError as error:
            self.leave()
            raise InfraError(self._told(f"ended during a call of {tool!r}", error)) from None

    async def _reply(self, client: Client, tool: str, arguments: dict[str, Any]) -> Reply:
        """Raises MCPError when the session is over."""
        try:
            result = await client.call_tool(tool, arguments)
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED and str(error).startswith(_ENDED):
                raise
            if self._refusal in _NOBODY_SERVES:
                raise
            if self._refusal:  # of this call, or of the session: a server that was restarted knows no old ones
                await self._list()
            return await self._error(tool, str(error))
        except Exception as error:  # noqa: BLE001 - what else the SDK raises says that the reply is not as it must be
            return failed(error)
        if result.is_error:
            return await self._error(tool, result_text(result))
        return Reply(text=result_text(result))

    async def _error(self, tool: str, text: str) -> Reply:
        """Servers refuse a tool that they do not have by an error of either style, in any words."""
        if not self._has(tool):
            await self._list()  # which may have changed since
            if not self._has(tool):
                text = f"error: MCP server {self._config.name!r} has no tool {tool!r}"
                return Reply(text=text, status=ToolStatus.UNKNOWN_TOOL)
        return Reply(text=text if text.lower().startswith("error") else f"error: {text}", status=ToolStatus.TOOL_ERROR)

    def _has(self, tool: str) -> bool:
        return any(listed["name"] == tool for listed in self._tools)

    async def _list(self) -> None:
        assert self._client is not None
        pages = [await self._client.list_tools()]
        while pages[-1].next_cursor and len(pages) < _MOST_PAGES:
            pages.append(await self._client.list_tools(cursor=pages[-1].next_cursor))
        listed = [tool for page in pages for tool in page.tools]
        self._tools = [tool.model_dump(mode="json", by_alias=True, exclude_unset=True) for tool in listed]
        self._refusal = 0

    async def _leave_unless_it_answers(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._list()
        except (TimeoutError, MCPError):
            self.leave()

    async def _live(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(START_S):
                    transport = await self._transport(stack)
                    self._client = await stack.enter_async_context(Client(transport, cache=None))
                    self._stderr.write_end.close()  # the process has its own: the pipe ends with it
                    await self._list()
                self._ready.set_result(None)
                await self._leaving.wait()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - its end; who waits for its start is told
            if not self._ready.done():
                self._ready.set_exception(InfraError(self._told("did not start", error)))
        finally:
            self._leaving.set()
            self._stderr.close()

    async def _transport(self, stack: AsyncExitStack) -> AbstractAsyncContextManager[Any]:
        config = self._config
        if config.command:
            if config.wants_folder:
                folder = TemporaryDirectory(prefix="mcp-session-", ignore_cleanup_errors=True)
                config = config.in_folder(stack.enter_context(folder))
            # The SDK adds HOME, PATH and the like; no other variable of ours reaches the server.
            parameters = StdioServerParameters(
                command=config.command, args=list(config.args), env=dict(config.env), cwd=config.cwd
            )
            return stdio_client(parameters, errlog=self._stderr.write_end)
        http = httpx2.AsyncClient(
            headers=dict(config.headers),
            timeout=httpx2.Timeout(START_S, read=None),  # a call's deadline is the caller's
            event_hooks={"response": [self._note_status]},
        )
        return streamable_http_client(config.url, http_client=await stack.enter_async_context(http))

    async def _note_status(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self._refusal = response.status_code

    def _told(self, what: str, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        reason = "it was closed" if isinstance(error, asyncio.CancelledError) else str(error) or type(error).__name__
        reason = blotted(reason, self._config.secrets)  # an HTTP client's errors name the whole address
        stderr = self._stderr.text()
        end = f"; its stderr ends:\n{stderr}" if stderr else ""
        return f"MCP server {self._config.name!r} ({self._config.started_by}) {what}: {reason}{end}"


def result_text(result: types.CallToolResult) -> str:
    """What a policy reads of a result: texts as they are, of anything else what it is and how long; structured content
    as JSON where there is no text.
    """
    parts = [_block_text(block) for block in result.content]
    texts = any(isinstance(block, types.TextContent | types.EmbeddedResource) for block in result.content)
    if not texts and result.structured_content is not None:
        parts.insert(0, json.dumps(result.structured_content, ensure_ascii=False))
    return "\n".join(parts)


def _block_text(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type} {block.mime_type}, {_decoded_bytes(block.data)} bytes]"
        case types.EmbeddedResource():
            resource = block.resource
            if isinstance(resource, types.TextResourceContents):
                return resource.text
            kind = resource.mime_type or "application/octet-stream"
            return f"[resource {resource.uri}, {kind}, {_decoded_bytes(resource.blob)} bytes]"
        case types.ResourceLink():
            return f"[resource {block.uri}, {block.mime_type or block.name}]"


def _decoded_bytes(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
