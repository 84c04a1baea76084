"""A language model in place of a tool, as MirrorAPI does it (Guo et al. 2025, arXiv 2503.20527): documentation and call
in, {"error", "response"} out.

The user message and the reply are MirrorAPI's, so that its weights can serve; the system message is ours. What a model
makes up is no fact: results say `served_from="simulator"`. Put a `Recorded` in front to ask for each call once.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from envs.chat_client import ChatClient
from envs.datasets.stabletoolbench import parse_tool_id
from envs.executors.backend import Reply
from envs.executors.error_response import error_response
from envs.executors.executor import Stateless
from retriever.base.errors import InfraError
from retriever.tools import ToolDoc

SYSTEM = """\
You act as an API server. You are given the documentation of one API and one request to it. Reply as that API would: \
with concrete, plausible content that fits the documentation and the request's parameters, or with an error where the \
request is wrong.
Reply with one JSON object and nothing else:
{"error": "<empty, or what is wrong with the request>", "response": "<what the API returns>"}"""
_AGAIN = (
    'That is not the JSON object asked for. Reply with {"error": "", "response": ""} alone, both filled in as needed.'
)

_SHARE_OF_DEADLINE = 0.9  # a model that is slow is our failure, not the tool's: it is told before the deadline is over
_BRACES = 50  # at which a JSON object is looked for
_LOOSE = re.compile(r'"error"\s*:\s*"([^"]*)"\s*,\s*"response"\s*:\s*"')


class Simulator(Stateless):
    """A `Backend` for tools of any kind: all it needs of them is their documentation."""

    def __init__(self, client: ChatClient, *, system: str = SYSTEM) -> None:
        self._client, self._system = client, system

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. A reply that is not MirrorAPI's object is asked for once more, then an InfraError: the model
        failed, and the policy has nothing to learn from it.
        """
        ends = time.monotonic() + timeout_s * _SHARE_OF_DEADLINE
        messages = [
            {"role": "system", "content": self._system},
            {"role": "user", "content": request_prompt(tool, arguments)},
        ]
        said = await self._client.complete(messages, within_s=ends - time.monotonic())
        if (content := parsed_reply(said)) is None:
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": _AGAIN}]
            said = await self._client.complete(messages, within_s=ends - time.monotonic())
            content = parsed_reply(said)
        if content is None:
            raise InfraError(f'{tool.id}: the simulator gave no {{"error", "response"}}, twice: {said[:200]!r}')
        return error_response(content, served_from="simulator")


def request_prompt(tool: ToolDoc, arguments: Mapping[str, Any]) -> str:
    """MirrorAPI's user message. A parameter comes with all of its schema: more than MirrorAPI's fields."""
    category, tool_name, api_name = _names(tool)
    required = set(tool.parameters.get("required", ()))
    listed: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for name, schema in tool.parameters.get("properties", {}).items():
        listed[name in required].append({"name": name, **(schema if isinstance(schema, Mapping) else {})})
    documentation = {
        "api_name": api_name,
        "api_description": tool.description,
        "required_parameters": listed[True],
        "optional_parameters": listed[False],
        "tool_description": "",
        "tool_name": tool_name,
        "tool_category": category,
    }
    documented = json.dumps(documentation, indent=4, ensure_ascii=False)
    return f"API doc:\n{documented}\n\nRequest:\n{json.dumps(dict(arguments), ensure_ascii=False)}"


def parsed_reply(text: str) -> dict[str, Any] | None:
    """The object {"error", "response"} in what a model said: bare, fenced, after its thoughts, or with quotes that it
    did not escape or a missing end, as MirrorAPI's own server reads it. None when there is none, or both are empty.
    """
    text = text.rpartition("</think>")[2]
    decoder, start = json.JSONDecoder(strict=False), -1  # not strict: line ends inside strings
    for _ in range(_BRACES):
        start = text.find("{", start + 1)
        if start < 0:
            break
        try:
            content, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and (content.get("error") or content.get("response") not in (None, "")):
            return content
    if found := _LOOSE.search(text):
        response = text[found.end() :].rstrip("` \n").removesuffix("}").rstrip().removesuffix('"')
        if found[1] or response:
            return {"error": found[1], "response": response}
    return None


def _names(tool: ToolDoc) -> tuple[str, str, str]:
    """Category, tool and API of a StableToolBench id; any other tool is an API of that name."""
    if tool.id.count("/") == 2:
        return parse_tool_id(tool.id)
    return (tool.tags[0] if tool.tags else ""), tool.name, tool.name
