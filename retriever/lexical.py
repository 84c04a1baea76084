"""BM25 over the catalogue: the one door to bm25s."""

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from retriever.catalogue import Catalogue
from retriever.documents import DocumentTemplate
from retriever.search import check_k, ranked
from retriever.tools import Candidate
from retriever.words import STOP_WORDS, StopWords, clean_query, tokens


class LexicalRetriever:
    """BM25 in Lucene's variant (Kamphuis et al. 2020). Scores are sums over the query's words.

    Stop words leave queries, not documents, so that a tool called `search` can still be found by a query of that one
    word: a query that is nothing but stop words keeps them. A query that shares no word with any tool finds nothing.
    """

    def __init__(
        self, catalogue: Catalogue, template: DocumentTemplate, *, stop_words: StopWords, k1: float, b: float
    ) -> None:
        self._catalogue = catalogue
        self._stop_words = STOP_WORDS[stop_words]
        self._index: bm25s.BM25 | None = None  # None: no tool has a word
        documents = [tokens(text) for text in catalogue.documents(template)]
        if any(documents):
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
            self._index.index(documents, create_empty_token=False, show_progress=False)

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._catalogue

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found: list[tuple[Candidate, ...]] = []
        for query in queries:
            words = self._word_ids(query)
            found.append(ranked(self._catalogue, self._scores(words), k) if words else ())
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:  # [Q, N]
        """The BM25 score of every tool for every query: 0 where they share no word."""
        rows = [self._scores(self._word_ids(query)) for query in queries]
        return np.stack(rows) if rows else np.zeros((0, len(self._catalogue)), dtype=np.float32)

    def _word_ids(self, query: str) -> list[int]:
        if self._index is None:
            return []
        words = tokens(clean_query(query))
        telling = [word for word in words if word not in self._stop_words]
        return list(self._index.get_tokens_ids(telling or words))

    def _scores(self, word_ids: list[int]) -> NDArray[np.float32]:  # [N]
        if self._index is None or not word_ids:
            return np.zeros(len(self._catalogue), dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(word_ids)
        return scores
