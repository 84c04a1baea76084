"""Tasks written by a language model that is shown the tool: words that users would use, arguments that make sense."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from envs.chat_client import ChatClient
from envs.making.drafts import Draft
from retriever.base.canonical import canonical_json
from retriever.tools import ToolDoc

_SYSTEM = """\
You write test requests for an assistant that has tools. You are shown one tool. Write requests that a user would \
make, each of which one call of this tool answers. A request says everything that the call needs, in the user's words, \
and never names the tool or its parameters. Make them differ in wording, in tone and in what they ask for.
Reply with a JSON list and nothing else: [{"instruction": "<the request>", "arguments": {<the call's arguments>}}, …]"""


class TeacherWriter:
    """A `Writer` that asks a model. What it writes is executed before it is believed (`make.py`)."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client

    async def drafts(self, tool: ToolDoc, count: int, random: Random) -> Sequence[Draft]:
        """See `Writer`: none where the reply holds no such list."""
        shown = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        asked = f"{json.dumps(shown, ensure_ascii=False)}\n\nWrite {count} requests."
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": asked}]
        reply = await self._client.complete(messages, seed=random.randrange(2**31))
        return [
            Draft(tool=tool, arguments=arguments, instruction=" ".join(instruction.split()))
            for instruction, arguments in _requests(reply)
        ][:count]


def _requests(reply: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whatever in the first JSON list of `reply` is a request; NaN and half surrogate pairs are not JSON."""
    decoder, text, start = json.JSONDecoder(), reply.rpartition("</think>")[2], -1
    while (start := text.find("[", start + 1)) >= 0:
        try:
            listed, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        for item in listed:
            instruction = item.get("instruction") if isinstance(item, dict) else None
            if isinstance(instruction, str) and instruction.strip() and isinstance(item.get("arguments"), dict):
                with suppress(ValueError):
                    canonical_json(item).encode()
                    yield instruction, item["arguments"]
        return
