"""The embedded world: some five hundred small Python tools and the tasks that need them, without network or files.

Everything is executed: no answer is written by hand. A task is a pure function of the build seed, the split, the task
seed and its number; which calls belong to which split depends on the call alone, so no count and no seed makes two
splits share one.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.types import Task
from envs.worlds.authoring import checked, parameter_types, settled
from envs.worlds.composing import SPLITS, Composer, PlacedTool
from envs.worlds.domains.registry import DOMAINS
from retriever.base.errors import UserError
from retriever.base.seeds import derive_random
from retriever.tools import ToolDoc

UNSEEN_SHARE = 0.2  # of the tools of each domain


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedWorld:
    """Tools that run and tasks that need them. Make one with `build`."""

    seed: int
    tools: tuple[ToolDoc, ...] = field(repr=False)
    unseen_tools: frozenset[str] = field(repr=False)  # ids; gold only in the split of that name
    _placed: Mapping[str, PlacedTool] = field(repr=False, hash=False, compare=False)

    @classmethod
    def build(cls, seed: int) -> "EmbeddedWorld":
        """The world with the unseen tools that `seed` chooses, the same share of every domain."""
        placed = {
            entry.id: entry
            for domain, tools in DOMAINS.items()
            for entry in (PlacedTool.place(domain, t) for t in tools)
        }
        unseen: set[str] = set()
        for domain, tools in DOMAINS.items():
            names = sorted(tool.name for tool in tools)
            chosen = derive_random(seed, "unseen tools", domain).sample(names, round(UNSEEN_SHARE * len(names)))
            unseen.update(f"{domain}.{name}" for name in chosen)
        return cls(
            seed=seed,
            tools=tuple(entry.tool.doc(entry.domain) for entry in placed.values()),
            unseen_tools=frozenset(unseen),
            _placed=placed,
        )

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        """Pickled as its seed: the samplers are closures, and a worker rebuilds the world faster than it reads it."""
        return EmbeddedWorld.build, (self.seed,)

    def call(self, tool_id: str, arguments: Mapping[str, Any]) -> str:
        """The text that a tool returns. Raises ValueError or TypeError on bad arguments, KeyError on an unknown id."""
        return _execute(self._placed[tool_id], arguments)[1]

    def tasks(self, split: str, count: int, seed: int) -> tuple[Task, ...]:
        """The first `count` tasks of a split; a larger count goes on where a smaller one ended.

        Raises UserError for an unknown split or a negative count.
        """
        if split not in SPLITS:
            raise UserError(f"no split {split!r} in the embedded world; choose one of {', '.join(SPLITS)}")
        if count < 0:
            raise UserError(f"count={count} is negative; ask for 0 tasks or more")
        rule = SPLITS[split]
        composer = Composer(
            tools=[entry for entry in self._placed.values() if (entry.id in self.unseen_tools) == rule.unseen_tools],
            rule=rule,
            call=_execute,
            random=derive_random(self.seed, "tasks", split, seed),
        )
        return tuple(itertools.islice(composer.tasks(split=split, label=f"{split}-{seed}"), count))


def _execute(placed: PlacedTool, arguments: Mapping[str, Any]) -> tuple[Any, str]:
    """(value, text) of one call. Raises ValueError or TypeError on bad arguments."""
    function = placed.tool.function
    hints = parameter_types(function)
    if arguments.keys() != hints.keys():
        raise TypeError(
            f"{placed.tool.name} takes {', '.join(hints)}; got {', '.join(map(str, arguments)) or 'nothing'}"
        )
    values = {name: checked(name, arguments[name], hint) for name, hint in hints.items()}
    try:
        value = settled(function(**values))
    except ValueError:
        raise
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except (ArithmeticError, LookupError, TypeError) as error:  # TypeError: a root that would be complex
        raise ValueError(f"these arguments have no result: {error}") from None
    return value, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
