"""What every retriever is and promises, and the ranking that they share."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.tools import Candidate


class Retriever(Protocol):
    """Batch in, ranked candidates out. Every implementation promises:

    - the k best tools, by score, then by the catalogue's order; all of them when k exceeds the catalogue;
    - `()` for a query with nothing to search by: empty, or only white space and control characters;
    - a query's result does not depend on the other queries of its batch;
    - `search` may run in many threads at once.
    """

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        ...

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """One tuple of candidates per query, in order. Raises UserError when k < 1."""
        ...


class IndexedRetriever(Retriever, Protocol):
    """A retriever with an index that changes of the catalogue need not be built into at once."""

    def following(self, catalogue: Catalogue) -> Self:
        """This retriever for a catalogue `changed` from its own, without building the index anew.

        What was added is scored with the statistics of what was indexed (document frequencies, mean length), until an
        index is built of the compacted catalogue.
        """
        ...

    def rebuilt(self, catalogue: Catalogue) -> Self:
        """This retriever with an index built anew; `catalogue` is its own, compacted.

        It finds what a retriever made of `catalogue` finds, without encoding again what was encoded.
        """
        ...


class ScoringRetriever(IndexedRetriever, Protocol):
    """A retriever that can score the whole catalogue: what exact fusion needs."""

    def scores(self, queries: Sequence[str]) -> NDArray[np.floating]:  # [Q, slots]
        """The score of every tool for every query, by slot; -inf in the holes."""
        ...


def check_k(k: int) -> None:
    """UserError unless k asks for something."""
    if k < 1:
        raise UserError(f"k={k} is below 1; ask for at least one candidate per search")


def top_positions(scores: NDArray[np.floating], k: int) -> NDArray[np.intp]:  # [N] -> [min(k, N)]
    """Positions of the k highest scores, highest first, equal scores in the order of the catalogue."""
    count = len(scores)
    if k >= count:
        return np.argsort(-scores, kind="stable")
    threshold = np.partition(scores, count - k)[count - k]
    best = np.flatnonzero(scores >= threshold)  # k, or more where scores tie
    return best[np.argsort(-scores[best], kind="stable")][:k]


def dug(catalogue: Catalogue, scores: NDArray[np.floating]) -> NDArray[np.floating]:  # [Q, slots]
    """`scores`, in place, with -inf in the holes of the catalogue."""
    if catalogue.holes:
        scores[:, list(catalogue.holes)] = -np.inf
    return scores


def ranked(catalogue: Catalogue, scores: NDArray[np.floating], k: int) -> tuple[Candidate, ...]:
    """The k best of a catalogue by `scores` [slots], -inf in the holes."""
    if not len(catalogue):
        return ()
    return tuple(
        Candidate(tool=catalogue.at(int(slot)), score=float(scores[slot]), rank=rank)
        for rank, slot in enumerate(top_positions(scores, min(k, len(catalogue))), start=1)
    )
