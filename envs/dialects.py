"""Dialects: how calls, results and answers are written in a policy's text, and read back.

A parser never raises on model text: it returns calls, an answer, or a `ParseFailure` whose reason the policy reads.
A dialect writes *pieces*: `Markup` is ours and may become control tokens; a plain string is data and never can
(the renderer sees to that).
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

from envs.types import ParseFailure, PolicyMessage, Prompt, ToolCall

SEARCH = "search_tools"
SELECT = "select_tools"

SEARCH_SCHEMA: dict[str, Any] = {
    "name": SEARCH,
    "description": "Search the tool catalogue.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
SELECT_SCHEMA: dict[str, Any] = {
    "name": SELECT,
    "description": "Select the tools to use, best first.",
    "parameters": {
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        "required": ["names"],
    },
}


def tool_json(schema: Any) -> str:
    """The JSON of one tool in a system message, as the Qwen3 template's `tojson` prints it."""
    return json.dumps({"type": "function", "function": schema}, ensure_ascii=False)


class Markup(str):
    """Text that we wrote: where the tokenizer has a control token of this spelling, it becomes that token."""

    __slots__ = ()


Piece = Markup | str


class Dialect(Protocol):
    """One way of writing actions down."""

    def system(self, prompt: Prompt) -> list[Piece]:
        """The system message: the rules, and the tools that may be called now."""
        ...

    def observation(self, texts: Sequence[str]) -> list[Piece]:
        """The user message that carries the results, one text per call."""
        ...

    def write(self, message: PolicyMessage) -> list[Piece]:
        """A message as a perfect policy would write it; `parse` of its text gives it back."""
        ...

    def parse(self, text: str) -> PolicyMessage:
        """What a completion says. Never raises."""
        ...


class Qwen3Dialect:
    """Qwen3's tool format (`trl/chat_templates/qwen3.jinja`); vLLM's parser for it is called hermes."""

    _HEAD = Markup(
        "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
    )
    _TAIL = Markup(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    )
    _TAGS = Markup(" XML tags:\n")
    _EXAMPLE = Markup('\n{"name": <function-name>, "arguments": <args-json-object>}\n')
    # What every context repeats to the letter: a small tokenizer may give each its own token.
    FIXED = (
        _HEAD,
        _TAIL,
        _TAGS,
        _EXAMPLE,
        Markup("\n" + tool_json(SEARCH_SCHEMA)),
        Markup("\n" + tool_json(SELECT_SCHEMA)),
    )

    def system(self, prompt: Prompt) -> list[Piece]:
        opening, closing = Markup("<tool_call>"), Markup("</tool_call>")
        tools: list[Piece] = []
        for schema in prompt.tools:
            line = "\n" + tool_json(schema)
            tools.append(Markup(line) if line in self.FIXED else line)
        return [
            Markup(prompt.system),
            self._HEAD,
            *tools,
            self._TAIL,
            opening,
            closing,
            self._TAGS,
            opening,
            self._EXAMPLE,
            closing,
        ]

    def observation(self, texts: Sequence[str]) -> list[Piece]:
        pieces: list[Piece] = []
        for index, text in enumerate(texts):
            pieces += ["\n"] if index else []
            pieces += [Markup("<tool_response>"), f"\n{text}\n", Markup("</tool_response>")]
        return pieces

    def write(self, message: PolicyMessage) -> list[Piece]:
        if message.answer is not None:
            return [message.answer]
        pieces: list[Piece] = []
        for index, call in enumerate(message.calls):
            name, arguments = (
                json.dumps(call.name, ensure_ascii=False),
                json.dumps(dict(call.arguments), ensure_ascii=False),
            )
            pieces += ["\n"] if index else []
            pieces += [
                Markup("<tool_call>"),
                f'\n{{"name": {name}, "arguments": {arguments}}}\n',
                Markup("</tool_call>"),
            ]
        return pieces

    def parse(self, text: str) -> PolicyMessage:
        thought, text = _split_thought(text)
        if "<tool_response>" in text or "</tool_response>" in text:
            return _failure("results come from the tools; do not write <tool_response> yourself")
        if "<tool_call>" not in text and "</tool_call>" not in text:
            return _answer(text, thought)
        before, *blocks = text.split("<tool_call>")
        if "</tool_call>" in before:
            return _failure("</tool_call> without <tool_call>")
        calls = []
        for block in blocks:
            body, closed, after = block.partition("</tool_call>")
            if not closed or after.strip():
                return _failure("each call must stand alone between <tool_call> and </tool_call>")
            call = _read_call(body)
            if isinstance(call, ParseFailure):
                return PolicyMessage(failure=call, thought=thought)
            calls.append(call)
        return PolicyMessage(calls=tuple(calls), thought=(thought + before).strip())


class PaperDialect:
    """The tags of the paper: `<search>`, a ranked list in `<tools>`, `<call>`, `<answer>`; results in `<result>`.

    The paper publishes no prompts (METHOD.md); the wording is ours.
    """

    RULES = (
        "Think inside <think></think> if you want to. To search for tools write <search>query</search>. "
        "To select tools write a ranked list, one name a line, inside <tools></tools>. To call a tool write "
        '<call>{"name": ..., "arguments": {...}}</call>. To finish write <answer>...</answer>.'
    )
    _ELEMENT = re.compile(r"<(search|tools|call|answer)>(.*?)</\1>", re.DOTALL)
    _TAG = re.compile(r"</?(?:search|tools|call|answer)>")

    def system(self, prompt: Prompt) -> list[Piece]:
        callable_now = [schema for schema in prompt.tools if schema["name"] not in (SEARCH, SELECT)]
        tools = "".join("\n" + tool_json(schema) for schema in callable_now)
        return [f"{prompt.system}\n\n{self.RULES}" + (f"\n\nTools:{tools}" if tools else "")]

    def observation(self, texts: Sequence[str]) -> list[Piece]:
        return ["\n".join(f"<result>\n{text}\n</result>" for text in texts)]

    def write(self, message: PolicyMessage) -> list[Piece]:
        if message.answer is not None:
            return [f"<answer>{message.answer}</answer>"]
        return ["\n".join(self._write_call(call) for call in message.calls)]

    def parse(self, text: str) -> PolicyMessage:
        thought, text = _split_thought(text)
        if "<result>" in text or "</result>" in text:
            return _failure("results come from the tools; do not write <result> yourself")
        found = list(self._ELEMENT.finditer(text))
        if not found or len(self._TAG.findall(text)) != 2 * len(found):
            return _failure("write <search>, <tools>, <call> or <answer>, close each, and put none inside another")
        outside = self._ELEMENT.sub("", text)
        kinds = {match[1] for match in found}
        if "answer" in kinds:
            if len(found) > 1:
                return _failure("an answer stands alone")
            return _answer(found[0][2], (thought + outside).strip())
        calls = []
        for match in found:
            call = self._read(match[1], match[2])
            if isinstance(call, ParseFailure):
                return PolicyMessage(failure=call, thought=thought)
            calls.append(call)
        return PolicyMessage(calls=tuple(calls), thought=(thought + outside).strip())

    def _read(self, kind: str, body: str) -> ToolCall | ParseFailure:
        if kind == "search":
            return ToolCall(name=SEARCH, arguments={"query": body.strip()})
        if kind == "tools":
            lines = (re.sub(r"^\s*\d+[.)]\s*", "", line).strip() for line in body.splitlines())
            return ToolCall(name=SELECT, arguments={"names": [line for line in lines if line]})
        return _read_call(body)

    def _write_call(self, call: ToolCall) -> str:
        if call.name == SEARCH:
            return f"<search>{call.arguments['query']}</search>"
        if call.name == SELECT:
            ranked = "\n".join(f"{rank}. {name}" for rank, name in enumerate(call.arguments["names"], start=1))
            return f"<tools>\n{ranked}\n</tools>"
        body = json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
        return f"<call>{body}</call>"


DIALECTS: dict[str, Dialect] = {"qwen3": Qwen3Dialect(), "paper": PaperDialect()}


def _split_thought(text: str) -> tuple[str, str]:
    before, closed, after = text.rpartition("</think>")
    return (before.replace("<think>", "").strip(), after) if closed else ("", text)


def _failure(reason: str) -> PolicyMessage:
    return PolicyMessage(failure=ParseFailure(reason=reason))


def _answer(text: str, thought: str) -> PolicyMessage:
    if not text.strip():
        return _failure("the message is empty")
    return PolicyMessage(answer=text.strip(), thought=thought)


def _read_call(body: str) -> ToolCall | ParseFailure:
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        # JSON's grammar lets 1e999 and a lone "\ud800" in, but no tool, tokenizer or record could take them.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return ParseFailure(reason="a call must be one JSON object")
    if not isinstance(value, dict) or set(value) != {"name", "arguments"}:
        return ParseFailure(reason='a call has exactly the keys "name" and "arguments"')
    if not isinstance(value["name"], str) or not isinstance(value["arguments"], dict):
        return ParseFailure(reason='"name" is a string and "arguments" an object')
    if _deeper_than(_MAX_DEPTH, value):
        return ParseFailure(reason="a call must not nest so deeply")
    return ToolCall(name=value["name"], arguments=value["arguments"])


_MAX_DEPTH = 64  # deeper values parse, but whoever walks them later, on a fuller stack, would overflow it


def _deeper_than(depth: int, value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth == 0 or any(_deeper_than(depth - 1, item) for item in items)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
