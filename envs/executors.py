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
        """The typed outcome, within its deadline; raises only `InfraError`."""
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
        """Validate against the schema, run, cut the observation to the limit."""
        asked = ToolCall(name=tool.id, arguments=arguments)
        problem = invalid_arguments(tool, arguments)
        if problem is not None:
            return ToolResult(call=asked, status=ToolStatus.INVALID_ARGUMENTS, text=problem)
        started = time.perf_counter()
        try:
            text = await asyncio.wait_for(asyncio.to_thread(self._call, tool.id, arguments), self._timeout_s)
            status = ToolStatus.OK
        except TimeoutError:
            status, text = ToolStatus.TIMEOUT, f"error: no reply within {self._timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            status, text = ToolStatus.TOOL_ERROR, f"error: {error or type(error).__name__}"
        return ToolResult(
            call=asked, status=status, text=cut(text, self._observation_chars), latency_s=time.perf_counter() - started
        )


def invalid_arguments(tool: ToolDoc, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with `arguments` by the tool's JSON schema, in a line for the policy; None when they are valid."""
    schema = {"additionalProperties": False, **tool.parameters}
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(dict(arguments)))
    return None if error is None else f"error: invalid arguments: {error.message[:200]}"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the loss marked."""
    if len(text) <= limit:
        return text
    marker = f"… [{len(text) - limit} characters cut]"
    return text[: max(0, limit - len(marker))] + marker


def result_text(value: Any) -> str:
    """How a Python value reads as an observation: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
