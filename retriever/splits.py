"""Parts of a catalogue drawn by a seed: tools held out of training, and distractors beside the gold ones.

A draw depends on seed and names alone, so that adding a tool moves few others.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from retriever.base.errors import UserError
from retriever.base.nearest import did_you_mean
from retriever.base.seeds import derive_random, derive_seed
from retriever.catalogue import Catalogue
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueSplit:
    """The ids of a catalogue in two parts, each in the catalogue's order and none empty."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def split_catalogue(
    catalogue: Catalogue, *, unseen_share: float, seed: int, by: Literal["tool", "category"] = "tool"
) -> CatalogueSplit:
    """Hold out `unseen_share` of the tools; by category whole categories (first tags), as near to it as they come.

    Tools without a tag are a category of their own. Raises UserError when a part would be empty.
    """
    if not 0 < unseen_share < 1:
        raise UserError(f"unseen_share={unseen_share} is not between 0 and 1; 0.2 holds out a fifth")
    if by not in ("tool", "category"):
        raise UserError(f"by={by!r} is unknown; split by tool or by category")
    group_of = {tool.id: tool.id if by == "tool" else "".join(tool.tags[:1]) for tool in catalogue}
    sizes = Counter(group_of.values())
    wanted = max(1, round(unseen_share * len(catalogue)))
    held: set[str] = set()
    count = 0
    for group in sorted(sizes, key=lambda name: (derive_seed(seed, "unseen", name), name)):
        if abs(count + sizes[group] - wanted) < abs(count - wanted) and len(held) < len(sizes) - 1:
            held.add(group)
            count += sizes[group]
    if not held:
        what = f"{len(sizes)} {'tools' if by == 'tool' else 'categories'} of {len(catalogue)} tools"
        raise UserError(f"unseen_share={unseen_share} of {what} leaves a part empty; give more, or split by tool")
    return CatalogueSplit(
        seen=tuple(tool_id for tool_id, group in group_of.items() if group not in held),
        unseen=tuple(tool_id for tool_id, group in group_of.items() if group in held),
    )


def distractors(
    catalogue: Catalogue, *, gold_ids: Collection[str], count: int, seed: int, query_key: str
) -> tuple[ToolDoc, ...]:
    """`count` different tools at random that are not gold: the noise of one query (0, 5, 10, 15 in the paper).

    Of one seed and query, fewer are the beginning of more, so that noise grows by adding. Raises UserError.
    """
    gold = set(gold_ids)
    for tool_id in sorted(gold):
        if tool_id not in catalogue:
            raise UserError(
                f"no gold tool {tool_id!r}{did_you_mean(tool_id, (tool.id for tool in catalogue))} among the "
                f"{len(catalogue)} of the catalogue; check the id"
            )
    available = len(catalogue) - len(gold)
    if not 0 <= count <= available:
        raise UserError(f"count={count} is outside 0 to {available}, the tools that are not gold; give another")
    tools, random = catalogue.tools, derive_random(seed, "distractors", query_key)
    drawn: dict[str, ToolDoc] = {}
    while len(drawn) < count:
        tool = tools[random.randrange(len(tools))]
        if tool.id not in gold:
            drawn.setdefault(tool.id, tool)
    return tuple(drawn.values())
