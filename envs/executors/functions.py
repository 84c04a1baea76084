"""Trusted, quick functions of this process, such as the embedded world's. Untrusted ones run in a sandbox."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from envs.executors.backend import Reply, failed
from envs.executors.executor import Stateless
from retriever.tools import ToolDoc


class FunctionBackend(Stateless):
    """Runs `call(tool id, arguments)` in threads of this process.

    A function that outlives its deadline gives a TimeoutError; its thread cannot be ended.
    """

    def __init__(self, call: Callable[[str, Mapping[str, Any]], str]) -> None:
        self._call = call

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        return await asyncio.wait_for(asyncio.to_thread(self._reply, tool.id, arguments), timeout_s)

    def _reply(self, tool_id: str, arguments: Mapping[str, Any]) -> Reply:
        """Catches in the thread: a StopIteration could not leave it, a TimeoutError would look like our deadline's."""
        try:
            return Reply(text=self._call(tool_id, arguments))
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            return failed(error)


def result_text(value: Any) -> str:
    """How a Python value reads as an observation: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
