"""Tools that a search, or a model, can hardly tell apart. They are reported, never dropped."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from sys import intern

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.words import tokens

THRESHOLD = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """Tools with nearly the same words in name and description."""

    ids: tuple[str, ...]  # at least 2, in the catalogue's order
    similarity: float  # the lowest Jaccard similarity between the first and another


def near_duplicates(catalogue: Catalogue, *, threshold: float = THRESHOLD) -> tuple[NearDuplicates, ...]:
    """Groups of tools, each at least `threshold` like the first of its group: Jaccard of their sets of words.

    In the catalogue's order, a tool joins the earliest beginner of a group that is so like it, or begins one itself:
    groups do not chain, and each of a thousand copies is compared with one. Exact, without comparing all pairs.

    Raises UserError for a threshold outside 0 to 1.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"threshold={threshold} is outside 0 to 1; {THRESHOLD} is usual")
    words = [{intern(word) for word in tokens(f"{tool.name} {tool.description}")} for tool in catalogue]
    counts = Counter(itertools.chain.from_iterable(words))
    firsts = _Firsts(threshold)
    others: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)  # first → (tool, similarity), as places
    for place, found in enumerate(words):
        rarest_first = sorted(found, key=lambda word: (counts[word], word))
        like = firsts.like(rarest_first)
        if like is None:
            firsts.add(place, rarest_first)
        else:
            others[like[0]].append((place, like[1]))
    ids = [tool.id for tool in catalogue]
    return tuple(
        NearDuplicates(
            ids=(ids[first], *(ids[place] for place, _ in others[first])),
            similarity=min(similarity for _, similarity in others[first]),
        )
        for first in sorted(others)
    )


def shared_names(catalogue: Catalogue) -> Mapping[str, tuple[str, ...]]:
    """Name → ids, for each name that several tools are called by."""
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for tool in catalogue:
        ids[tool.name].append(tool.id)
    return {name: tuple(same) for name, same in ids.items() if len(same) > 1}


class _Firsts:
    """The tools that begin a group, found by their rarest words (prefix and positional filters: Xiao et al. 2008).

    Two sets of n and m words with a Jaccard similarity of t share at least c = t/(1+t)·(n+m) words. So the first word
    that they share, of all words in order of rarity, has at least c-1 behind it in both.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._words: dict[int, frozenset[str]] = {}
        self._index: defaultdict[str, defaultdict[tuple[int, int], list[int]]]  # word → (m, words behind) → places
        self._index = defaultdict(lambda: defaultdict(list))

    def add(self, place: int, words: Sequence[str]) -> None:
        """`words` rarest first."""
        self._words[place] = frozenset(words)
        for behind, word in self._telling(words):
            self._index[word][len(words), behind].append(place)

    def like(self, words: Sequence[str]) -> tuple[int, float] | None:
        """The earliest that is like `words`, rarest first, with the similarity."""
        candidates: set[int] = set()
        for behind, word in self._telling(words):
            if word not in self._index:
                continue
            for (size, behind_other), places in self._index[word].items():
                needed = self._threshold / (1 + self._threshold) * (len(words) + size)
                if 1 + min(behind, behind_other) >= needed - 1e-9:
                    candidates.update(places)
        for place in sorted(candidates):
            common = len(self._words[place].intersection(words))
            similarity = common / (len(words) + len(self._words[place]) - common)
            if similarity >= self._threshold:
                return place, similarity
        return None

    def _telling(self, words: Sequence[str]) -> list[tuple[int, str]]:
        """(words behind it, word), for each word that can be the first shared one: t·n others share the rest."""
        count = len(words) - ceil(self._threshold * len(words) - 1e-9) + 1
        return [(len(words) - 1 - place, word) for place, word in enumerate(words[:count])]
