"""An MCP server with the faults that real ones have, for `test_mcp`; not a test.

python tests/mcp_server_main.py [--http PORT]
"""

import argparse
import base64
import os
import sys
import time

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

server = MCPServer("faults")
notes: list[str] = []
running: list[str] = []


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return str(a + b)


@server.tool()
def pid() -> str:
    """The number of the server's process."""
    return str(os.getpid())


@server.tool()
def variables() -> str:
    """The names of the environment's variables."""
    return " ".join(sorted(os.environ))


@server.tool()
def remember(note: str) -> str:
    """Keeps a note and tells them all."""
    notes.append(note)
    return ",".join(notes)


@server.tool()
def reset_notes() -> str:
    """Forgets all notes."""
    notes.clear()
    return "forgotten"


@server.tool()
def refuse(politely: bool) -> str:
    """Fails: by a result that says so, or by an error of the protocol."""
    if politely:
        raise ToolError("not today")
    raise MCPError(code=-32000, message="not today either")


@server.tool()
async def wait(seconds: float) -> str:
    """Replies late; knows when it is told to drop it."""
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        running.append("dropped")
        raise
    return "late"


@server.tool()
def dropped() -> str:
    """How many calls of `wait` were dropped."""
    return str(len(running))


@server.tool()
async def hang(seconds: float) -> str:
    """Blocks the whole server, as a call that is not async does in many."""
    time.sleep(seconds)
    return "at last"


@server.tool()
def die(code: int) -> str:
    """Ends the server's process."""
    print("a last word", file=sys.stderr, flush=True)
    os._exit(code)


@server.tool()
def chatter(lines: int) -> str:
    """Writes to the standard error."""
    for line in range(lines):
        print(f"line {line}", file=sys.stderr)
    sys.stderr.flush()
    return "said"


@server.tool()
def everything() -> CallToolResult:
    """One block of each kind."""
    ten = base64.b64encode(b"0123456789").decode()
    return CallToolResult(
        content=[
            TextContent(type="text", text="plain"),
            ImageContent(type="image", data=ten, mime_type="image/png"),
            AudioContent(type="audio", data=ten, mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=TextResourceContents(uri="note://1", text="a note")),
            EmbeddedResource(
                type="resource", resource=BlobResourceContents(uri="blob://1", mime_type="image/gif", blob=ten)
            ),
            ResourceLink(type="resource_link", name="readme", uri="file:///readme", mime_type="text/markdown"),
        ]
    )


@server.tool()
def structured() -> CallToolResult:
    """No text at all."""
    return CallToolResult(content=[], structured_content={"grad": "°", "value": 7})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", type=int)
    port = parser.parse_args().http
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)
