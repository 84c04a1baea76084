"""Search by meaning: the vectors of an encoder in an index."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retriever.catalogue import Catalogue
from retriever.config import IndexConfig
from retriever.documents import DocumentTemplate
from retriever.encoder import Encoder
from retriever.search import check_k, dug
from retriever.tools import Candidate, ToolDoc
from retriever.vector_index import ROWS, VectorIndex, cosines, dots
from retriever.vectors import encode_documents
from retriever.words import clean_query, split_identifiers


class DenseRetriever:
    """Cosine similarity of encoder vectors. Scores lie in [-1, 1]. Exact unless the index looks at a part."""

    def __init__(
        self,
        catalogue: Catalogue,
        template: DocumentTemplate,
        encoder: Encoder,
        *,
        query_prefix: str = "",
        document_prefix: str = "",
        index: IndexConfig | None = None,
        cache_dir: Path | None = None,
        query_cache_size: int = 10_000,
    ) -> None:
        self._catalogue = catalogue
        self._template = template
        self._encoder = encoder
        self._query_prefix, self._document_prefix = query_prefix, document_prefix
        self._settings, self._cache_dir = index or IndexConfig(), cache_dir
        self._recent = _RecentVectors(query_cache_size)
        self._index: VectorIndex | None = None  # None: nothing was indexed
        self._added: NDArray[np.float32] | None = None  # [A, D] of the tools behind those indexed
        if len(catalogue):
            vectors = encode_documents(
                [self.encoded_document(tool) for tool in catalogue], encoder, cache_dir=cache_dir
            )
            self._index = VectorIndex(vectors, self._settings, cache_dir=cache_dir)

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._catalogue

    def following(self, catalogue: Catalogue) -> "DenseRetriever":
        """See `IndexedRetriever`."""
        changed = copy.copy(self)
        changed._catalogue = catalogue
        done = 0 if self._added is None else len(self._added)
        if new := catalogue.added[done:]:
            vectors = self._encoder.encode([self.encoded_document(tool) for tool in new])
            changed._added = vectors if self._added is None else np.concatenate([self._added, vectors])
        return changed

    def rebuilt(self, catalogue: Catalogue) -> "DenseRetriever":
        """See `IndexedRetriever`. Nothing is encoded again."""
        live = [slot for slot in range(self._catalogue.slots) if slot not in self._catalogue.holes]
        changed = copy.copy(self)
        changed._catalogue, changed._index, changed._added = catalogue, None, None
        if live:
            changed._index = VectorIndex(np.concatenate(self._parts())[live], self._settings, cache_dir=self._cache_dir)
        return changed

    def encoded_query(self, query: str) -> str:
        """What of a query is encoded; "" when nothing is left to search by."""
        text = split_identifiers(clean_query(query))
        return self._query_prefix + text if text else ""

    def encoded_document(self, tool: ToolDoc) -> str:
        """What of a tool is encoded."""
        return self._document_prefix + self._template.render(tool)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found: list[tuple[Candidate, ...]] = [()] * len(queries)
        texts = {row: text for row, query in enumerate(queries) if (text := self.encoded_query(query))}
        if not len(self._catalogue) or not texts:
            return found
        vectors = self._vectors(list(texts.values()))
        for start in range(0, len(texts), ROWS):
            rows = list(texts)[start : start + ROWS]
            for row, candidates in zip(rows, self._nearest(vectors[start : start + ROWS], k), strict=True):
                found[row] = candidates
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:  # [Q, slots]
        """The cosine of every tool and every query; 0 throughout for an empty query, -inf in holes."""
        result = np.zeros((len(queries), self._catalogue.slots), dtype=np.float32)
        texts = {row: text for row, query in enumerate(queries) if (text := self.encoded_query(query))}
        if self._catalogue.slots and texts:
            encoded = self._vectors(list(texts.values()))
            for start in range(0, len(texts), ROWS):
                block = encoded[start : start + ROWS]
                scores = [cosines(block, vectors) for vectors in self._parts()]
                result[list(texts)[start : start + ROWS]] = np.concatenate(scores, axis=1)
        dug(self._catalogue, result)
        return result

    def _parts(self) -> list[NDArray[np.float32]]:
        """The vectors of all slots, in their order: those indexed, and those added."""
        indexed = None if self._index is None else self._index.vectors
        return [vectors for vectors in (indexed, self._added) if vectors is not None]

    def _nearest(self, vectors: NDArray[np.float32], k: int) -> list[tuple[Candidate, ...]]:  # [Q ≤ 16, D]
        indexed = 0 if self._index is None else self._index.count
        slots: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)] * len(vectors)
        scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(vectors)
        if self._index is not None:
            holes = [slot for slot in self._catalogue.holes if slot < indexed]
            slots, scores = map(list, zip(*self._index.search(vectors, k, holes), strict=True))
        if self._added is not None:
            live = [slot for slot in range(indexed, self._catalogue.slots) if slot not in self._catalogue.holes]
            added = self._added[[slot - indexed for slot in live]]
            slots = [np.concatenate([each, np.array(live, dtype=np.intp)]) for each in slots]
            scores = [np.concatenate([each, dots(added, row)]) for each, row in zip(scores, vectors, strict=True)]
        return [self._candidates(*found, k) for found in zip(slots, scores, strict=True)]

    def _candidates(self, slots: NDArray[np.intp], scores: NDArray[np.float32], k: int) -> tuple[Candidate, ...]:
        best = np.lexsort((slots, -scores))[:k]
        return tuple(
            Candidate(tool=self._catalogue.at(int(slots[place])), score=float(scores[place]), rank=rank)
            for rank, place in enumerate(best, start=1)
        )

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:  # [Q, D]
        known = self._recent.get(texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            fresh = {text: row.copy() for text, row in zip(new, self._encoder.encode(new), strict=True)}
            self._recent.put(fresh)
            known.update(fresh)
        return np.stack([known[text] for text in texts])


class _RecentVectors:
    """The vectors of the queries used last, by text."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, texts: list[str]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            known = {text: self._vectors[text] for text in texts if text in self._vectors}
            for text in known:
                self._vectors.move_to_end(text)
        return known

    def put(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        with self._lock:
            self._vectors.update(vectors)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
