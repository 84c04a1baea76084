"""Where the tools of one origin run: what a new kind of tool implements.

Arguments that arrive here fit the tool's schema. Deadlines, retries, limits of concurrency and of length are the
caller's (`routed.py`), so that they are the same for every kind of tool.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from envs.types import Task, ToolStatus
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a tool said."""

    text: str
    # OK, TOOL_ERROR, UNKNOWN_TOOL where the backend has no such tool, INFRA_ERROR where another try is pointless
    status: ToolStatus = ToolStatus.OK
    served_from: str = "live"  # live, replay, simulator, fault (made up or damaged on purpose)


class Backend(Protocol):
    """Runs the tools of one origin."""

    def session(self, task: Task | None = None) -> AbstractAsyncContextManager["Backend"]:
        """A backend for one episode, in the state that `task` begins with. Cheap: what costs time is started by the
        first call.
        """
        ...

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """One call. Raises TimeoutError when the tool has not replied in `timeout_s`, and nothing of the call may go
        on then; InfraError when the machinery failed, and the call may be tried again.
        """
        ...

    async def state(self) -> Mapping[str, Any]:
        """What the session's calls have made of the task's initial state, JSON-able; empty where it cannot be seen."""
        ...

    async def close(self) -> None:
        """End what was started."""
        ...


def failed(error: BaseException) -> Reply:
    """What a policy reads of an exception that a tool raised."""
    return Reply(text=f"error: {str(error) or type(error).__name__}", status=ToolStatus.TOOL_ERROR)
