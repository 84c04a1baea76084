"""BM25 over the catalogue: the one door to bm25s."""

import copy
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retriever.catalogue import Catalogue
from retriever.documents import DocumentTemplate
from retriever.search import check_k, dug, ranked
from retriever.tools import Candidate, ToolDoc
from retriever.words import STOP_WORDS, StopWords, clean_query, tokens


def _bm25s() -> ModuleType:
    """bm25s without JAX, which it would start where it is installed: that takes three quarters of a GPU's memory."""
    if "jax" in sys.modules:
        import bm25s
    else:
        sys.modules["jax"] = None  # type: ignore[assignment]  # an import of it fails
        try:
            import bm25s
        finally:
            del sys.modules["jax"]
    module: ModuleType = bm25s
    return module


bm25s = _bm25s()

_Postings = Mapping[str, tuple[tuple[int, float], ...]]  # word → (place among the added, weight) of each that has it


class LexicalRetriever:
    """BM25 in Lucene's variant (Kamphuis et al. 2020). Scores are sums over the query's words.

    Stop words, a list's name or the words themselves, leave queries, not documents, so that a tool called `search` can
    still be found by a query of that one word: a query that is nothing but stop words keeps them. A query that shares
    no word with any tool finds nothing.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        template: DocumentTemplate,
        *,
        stop_words: StopWords | frozenset[str],
        k1: float,
        b: float,
    ) -> None:
        self._catalogue = catalogue
        self._template = template
        self._stop_words = stop_words if isinstance(stop_words, frozenset) else STOP_WORDS[stop_words]
        self._k1, self._b = k1, b
        self._index: Any = None  # a bm25s.BM25; None: no tool has a word
        self._indexed = catalogue.slots  # tools behind these are in the postings
        self._postings: _Postings = {}
        self._posted = 0
        documents = [tokens(text) for text in catalogue.documents(template)]
        self._mean_length = sum(map(len, documents)) / max(1, len(documents))
        if any(documents):
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
            self._index.index(documents, create_empty_token=False, show_progress=False)

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._catalogue

    def following(self, catalogue: Catalogue) -> "LexicalRetriever":
        """See `IndexedRetriever`."""
        changed = copy.copy(self)
        changed._catalogue = catalogue
        new: dict[str, list[tuple[int, float]]] = {}
        for place, tool in enumerate(catalogue.added[self._posted :], start=self._posted):
            for word, weight in self._weights(tool).items():
                new.setdefault(word, []).append((place, weight))
        changed._postings = {**self._postings, **{word: (*self._postings.get(word, ()), *new[word]) for word in new}}
        changed._posted = len(catalogue.added)
        return changed

    def rebuilt(self, catalogue: Catalogue) -> "LexicalRetriever":
        """See `IndexedRetriever`."""
        return LexicalRetriever(catalogue, self._template, stop_words=self._stop_words, k1=self._k1, b=self._b)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found: list[tuple[Candidate, ...]] = []
        for query in queries:
            words = self._known_words(query)
            found.append(
                ranked(self._catalogue, dug(self._catalogue, self._scores(words)[None])[0], k) if words else ()
            )
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:  # [Q, slots]
        """The BM25 score of every tool for every query: 0 where they share no word, -inf in holes."""
        rows = np.zeros((len(queries), self._catalogue.slots), dtype=np.float32)
        for row, query in enumerate(queries):
            rows[row] = self._scores(self._known_words(query))
        dug(self._catalogue, rows)
        return rows

    def _known_words(self, query: str) -> list[str]:
        """The words of a query that some tool has, as often as they come."""
        words = tokens(clean_query(query))
        telling = [word for word in words if word not in self._stop_words]
        vocabulary = {} if self._index is None else self._index.vocab_dict
        return [word for word in telling or words if word in vocabulary or word in self._postings]

    def _scores(self, words: Sequence[str]) -> NDArray[np.float32]:  # [slots]
        scores = np.zeros(self._catalogue.slots, dtype=np.float32)
        ids = [] if self._index is None else self._index.get_tokens_ids(words)
        if ids:
            assert self._index is not None
            scores[: self._indexed] = self._index.get_scores_from_ids(ids)
        for word in words:
            for place, weight in self._postings.get(word, ()):
                scores[self._indexed + place] += weight
        return scores

    def _weights(self, tool: ToolDoc) -> dict[str, float]:
        """What each word of a tool that is not in the index adds to its score, by the index's own statistics.

        idf · tf / (tf + k1 · (1 − b + b · length / mean length)), idf = ln(1 + (N − df + ½) / (df + ½)).
        """
        words = tokens(self._template.render(tool))
        length = len(words) / self._mean_length if self._mean_length else 1.0
        weights = {}
        for word, frequency in Counter(words).items():
            having = self._document_frequency(word)
            idf = math.log(1 + (self._indexed - having + 0.5) / (having + 0.5))
            weights[word] = idf * frequency / (frequency + self._k1 * (1 - self._b + self._b * length))
        return weights

    def _document_frequency(self, word: str) -> int:
        if self._index is None or (id := self._index.vocab_dict.get(word)) is None:
            return 0
        starts = self._index.scores["indptr"]  # a column of the score matrix holds the documents that have the word
        return int(starts[id + 1] - starts[id])
