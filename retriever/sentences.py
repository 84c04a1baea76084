"""A request that asks for several things, searched sentence by sentence as well as whole."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retriever.catalogue import Catalogue
from retriever.search import ScoringRetriever, check_k, ranked
from retriever.tools import Candidate
from retriever.words import QUERY_CHARS, clean_query, clean_text

_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")  # "3.5" and "a.b" hold no end: no white space follows
_TOGETHER = 64  # texts that are scored at once: the encoder sees one batch, and scores take bounded memory
_MOST = 16  # sentences of one query that are searched: search time stays bounded whatever a policy writes


def sentences(text: str) -> list[str]:
    """The sentences of `text`, cleaned; at most the first 16 of those with something to read."""
    parts = (clean_text(part) for part in _END.split(text[:QUERY_CHARS]))
    return [part for part in parts if part][:_MOST]


class SentenceRetriever:
    """Searches with the whole query and with each of its sentences; scores are mixed.

    score = (1 − w) · score(query) + w · max over sentences of score(sentence). A query of one sentence is searched
    once, as it is. The underlying scores must be comparable between queries: standardised or cosines, best fused.
    """

    def __init__(self, whole: ScoringRetriever, *, sentence_weight: float) -> None:
        self._whole, self._weight = whole, sentence_weight

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._whole.catalogue

    def following(self, catalogue: Catalogue) -> "SentenceRetriever":
        """See `IndexedRetriever`."""
        return SentenceRetriever(self._whole.following(catalogue), sentence_weight=self._weight)

    def rebuilt(self, catalogue: Catalogue) -> "SentenceRetriever":
        """See `IndexedRetriever`."""
        return SentenceRetriever(self._whole.rebuilt(catalogue), sentence_weight=self._weight)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        several = {row: parts for row, query in enumerate(queries) if len(parts := sentences(query)) > 1}
        single = [row for row, query in enumerate(queries) if row not in several and clean_query(query)]
        found: list[tuple[Candidate, ...]] = [()] * len(queries)
        for row, candidates in zip(single, self._whole.search([queries[row] for row in single], k), strict=True):
            found[row] = candidates
        for row, scores in zip(several, self._mixed([queries[row] for row in several], several.values()), strict=True):
            found[row] = ranked(self.catalogue, scores, k)
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.floating]:  # [Q, slots]
        """The mixed score of every tool for every query."""
        rows = [*self._mixed(queries, [sentences(query) for query in queries])]
        return np.stack(rows) if rows else np.zeros((0, self.catalogue.slots))

    def _mixed(
        self, queries: Sequence[str], parts: Iterable[Sequence[str]]
    ) -> Iterator[NDArray[np.floating]]:  # [slots] each
        """The mixed scores of each query, from its sentences."""
        texts = [[query, *(each if len(each) > 1 else ())] for query, each in zip(queries, parts, strict=True)]
        for together in _blocks(texts, _TOGETHER):
            scores = self._whole.scores([text for query in together for text in query])
            for query in together:
                (whole, *each), scores = scores[: len(query)], scores[len(query) :]
                yield whole if not each else (1.0 - self._weight) * whole + self._weight * np.max(each, axis=0)


def _blocks(items: Iterable[list[str]], most: int) -> Iterator[list[list[str]]]:
    """The items in blocks of at most `most` strings in all; a longer item is a block of its own."""
    block: list[list[str]] = []
    for item in items:
        if block and sum(map(len, block)) + len(item) > most:
            yield block
            block = []
        block.append(item)
    if block:
        yield block
