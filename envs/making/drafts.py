"""Tasks before they are proven: an instruction, and the call that should solve it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from envs.making.arguments import draw_arguments
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What somebody could ask so that `tool` is called with `arguments`."""

    tool: ToolDoc
    arguments: Mapping[str, Any] = field(hash=False)
    instruction: str


class Writer(Protocol):
    """Writes drafts."""

    async def drafts(self, tool: ToolDoc, count: int, random: Random) -> Sequence[Draft]:
        """At most `count` drafts for `tool`, fewer where it finds no more. Raises InfraError."""
        ...


_FRAMES = ("{what}. {given}.", "{what}, with {given}.", "I need this: {what}. {given}.", "{given}. {what}, please.")
_BARE = ("{what}.", "{what}, please.", "I need this: {what}.")


class TemplateWriter:
    """The first sentence of the description, with the values of drawn arguments, in one of a few frames."""

    async def drafts(self, tool: ToolDoc, count: int, random: Random) -> Sequence[Draft]:
        """See `Writer`."""
        found = []
        for _ in range(count):
            arguments = draw_arguments(tool.parameters, random)
            if arguments is None:
                break
            found.append(Draft(tool=tool, arguments=arguments, instruction=_instruction(tool, arguments, random)))
        return found


def _instruction(tool: ToolDoc, arguments: Mapping[str, Any], random: Random) -> str:
    what = (tool.description.strip() or tool.name.replace("_", " ")).split("\n")[0].split(". ")[0].rstrip(".")
    given = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in arguments.items())
    text = random.choice(_FRAMES if given else _BARE).format(what=what, given=given)
    return text[:1].upper() + text[1:]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
