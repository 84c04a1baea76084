"""A context of token ids as a chat server wants it, and the server's message as text of our dialect.

Pure functions on text; which tokens it becomes is the renderer's. Everything is read out of the context each time, so
that a context may be forked or played again. For Qwen3's dialect only: the paper's has no place for a server's calls.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from envs.chat_client import ChatReply
from envs.dialects import SELECT, Dialect
from envs.types import PolicyMessage

_SENDABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")  # a function's name, as OpenAI takes it
_RESULTS = re.compile(r"<tool_response>\n(.*)\n</tool_response>", re.DOTALL)
_BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"
_TOOLS = re.compile(r"\n\n# Tools\n\n.*?<tools>\n(.*?)\n</tools>\n\n", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a server is asked, and how it knows our tools."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]
    names: Mapping[str, str]  # the name that the server knows → ours


def chat_request(messages: Sequence[tuple[str, str]], dialect: Dialect) -> ChatRequest:
    """The closed (role, text) messages of a context, as a request for the next one."""
    (_, system), (_, instruction), *rest = messages
    rules, schemas = _system(system)
    schemas += _later_schemas(rest, dialect)
    sent = _sent_names(schema["name"] for schema in schemas)
    asked: list[dict[str, Any]] = [{"role": "system", "content": rules}, {"role": "user", "content": instruction}]
    position = 0
    while position < len(rest):
        role, text = rest[position]
        following = rest[position + 1][1] if position + 1 < len(rest) else ""
        exchange = _exchange(dialect.parse(text), following, sent, position) if role == "assistant" else []
        asked += exchange or [{"role": role, "content": text}]
        position += 2 if exchange else 1
    tools = tuple({"type": "function", "function": {**schema, "name": sent[schema["name"]]}} for schema in schemas)
    return ChatRequest(messages=tuple(asked), tools=tools, names={name: ours for ours, name in sent.items()})


def written(reply: ChatReply, names: Mapping[str, str]) -> str:
    """The server's message as a policy of the dialect would have written it; faults of its calls stay faults."""
    pieces = [reply.text] if reply.text.strip() else []
    for call in reply.calls:
        name = json.dumps(names.get(call.name, call.name), ensure_ascii=False)
        # JSON has a "<" inside strings alone: escaped, it can close no tag.
        arguments = (call.arguments.strip() or "{}").replace("<", "\\u003c")
        pieces.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join(pieces)


def _exchange(message: PolicyMessage, results: str, sent: Mapping[str, str], position: int) -> list[dict[str, Any]]:
    """Calls with their results; nothing where they do not go together one by one, which a server would refuse."""
    found = _results(results)
    if not message.calls or len(found) != len(message.calls):
        return []
    calls = [
        {
            "id": f"call_{position}_{index}",
            "type": "function",
            "function": {
                "name": sent.get(call.name, call.name),
                "arguments": json.dumps(dict(call.arguments), ensure_ascii=False),
            },
        }
        for index, call in enumerate(message.calls)
    ]
    said = {"role": "assistant", "content": message.thought or None, "tool_calls": calls}
    heard = [
        {"role": "tool", "tool_call_id": call["id"], "content": text} for call, text in zip(calls, found, strict=True)
    ]
    return [said, *heard]


def _results(text: str) -> list[str]:
    """Of an observation. A result that spells the tags makes more of them than there are calls."""
    match = _RESULTS.fullmatch(text)
    return match[1].split(_BETWEEN_RESULTS) if match else []


def _system(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The rules, and the schemas of the tools under them."""
    match = _TOOLS.search(text)
    if match is None:
        return text, []
    return text[: match.start()], _schemas(match[1])


def _later_schemas(rest: Sequence[tuple[str, str]], dialect: Dialect) -> list[dict[str, Any]]:
    """Of tools that a context is given as it goes on: by us after a selection, or by its user; never by a tool."""
    found: list[dict[str, Any]] = []
    selected = False
    for role, text in rest:
        if role == "assistant":
            selected = any(call.name == SELECT for call in dialect.parse(text).calls)
        elif selected or not _results(text):
            found += _schemas(text)
    return found


def _schemas(text: str) -> list[dict[str, Any]]:
    """Those that stand in lines of their own, as we write them; a user may write lines that only begin so."""
    lines = (line for line in text.split("\n") if line.startswith('{"type": "function", "function": {'))
    found = []
    for line in lines:
        with suppress(ValueError, RecursionError):
            schema = json.loads(line)["function"]
            if isinstance(schema.get("name"), str):
                found.append(schema)
    return found


def _sent_names(names: Iterable[str]) -> dict[str, str]:
    """Ours → one that every server takes, each its own."""
    sent: dict[str, str] = {}
    for name in dict.fromkeys(names):
        plain = name if _SENDABLE.fullmatch(name) else re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60] or "tool"
        candidate, count = plain, 1
        while candidate in sent.values():
            count += 1
            candidate = f"{plain[:60]}_{count}"
        sent[name] = candidate
    return sent
