"""Where calls run. One Protocol; a tool's mistake is a typed result, never an exception."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jsonschema

from envs.types import ToolCall, ToolResult, ToolStatus
from retriever.tools import ToolDoc


class Executor(Protocol):
    """Runs one call of one tool."""

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The typed outcome of a call with valid arguments, within its deadline; raises only `InfraError`."""
        ...


class FunctionExecutor:
    """Runs trusted, quick functions in threads of this process: the embedded world's.

    A function that outlives its deadline gives TIMEOUT; its thread cannot be killed, so this is not for untrusted code.
    """

    def __init__(
        self, call: Callable[[str, Mapping[str, Any]], str], *, timeout_s: float, observation_chars: int
    ) -> None:
        self._call = call
        self._timeout_s = timeout_s
        self._observation_chars = observation_chars

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """Run, and cut the observation to the limit."""
        asked = ToolCall(name=tool.id, arguments=arguments)
        started = time.perf_counter()
        try:
            status, text = await asyncio.wait_for(asyncio.to_thread(self._outcome, tool.id, arguments), self._timeout_s)
        except TimeoutError:
            status, text = ToolStatus.TIMEOUT, f"error: no reply within {self._timeout_s:g} s"
        return ToolResult(
            call=asked, status=status, text=cut(text, self._observation_chars), latency_s=time.perf_counter() - started
        )

    def _outcome(self, tool_id: str, arguments: Mapping[str, Any]) -> tuple[ToolStatus, str]:
        """Catches in the thread: a StopIteration could not leave it, a TimeoutError would look like our deadline's."""
        try:
            return ToolStatus.OK, self._call(tool_id, arguments)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            return ToolStatus.TOOL_ERROR, f"error: {str(error) or type(error).__name__}"


def invalid_arguments(parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with `arguments` by the JSON schema `parameters`, in a line for the policy; None when valid."""
    schema = {"additionalProperties": False, **parameters}
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(dict(arguments)))
    return None if error is None else f"error: invalid arguments: {error.message[:200]}"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the loss marked."""
    if len(text) <= limit:
        return text
    marker = f"… [cut from {len(text)} characters]"
    return (text[: max(0, limit - len(marker))] + marker)[:limit]


def result_text(value: Any) -> str:
    """How a Python value reads as an observation: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
