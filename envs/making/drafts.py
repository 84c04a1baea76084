"""Tasks before they are proven: an instruction, and the call that should solve it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from envs.making.arguments import draw_arguments
from retriever.base.canonical import canonical_json
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


_DRAWS = 5  # for each draft: a drawn call may be one that was drawn before
_SENTENCE = re.compile(r"(?<=[a-z0-9)\]]{3}\.)\s+(?=[A-Z])")  # "e.g. metres", "St. Petersburg" and "vs. Y" go on
_FRAMES = ("{what}. {given}.", "{what}, with {given}.", "I need this: {what}. {given}.", "{given}. {what}, please.")
_BARE = ("{what}.", "{what}, please.", "I need this: {what}.")


class TemplateWriter:
    """The first sentence of the description, with the values of drawn arguments, in one of a few frames."""

    async def drafts(self, tool: ToolDoc, count: int, random: Random) -> Sequence[Draft]:
        """See `Writer`."""
        found: dict[str, Draft] = {}  # by the call
        for _ in range(_DRAWS * count):
            arguments = draw_arguments(tool.parameters, random)
            if arguments is None or len(found) == count:
                break
            draft = Draft(tool=tool, arguments=arguments, instruction=_instruction(tool, arguments, random))
            found.setdefault(canonical_json(arguments), draft)
        return list(found.values())


def _instruction(tool: ToolDoc, arguments: Mapping[str, Any], random: Random) -> str:
    what = _SENTENCE.split((tool.description.strip() or tool.name.replace("_", " ")).split("\n")[0])[0].rstrip(".")
    given = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in arguments.items())
    text = random.choice(_FRAMES if given else _BARE).format(what=what, given=given)
    return text[:1].upper() + text[1:]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
