"""Search by meaning: vectors in a flat inner-product index. The one door to faiss."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from retriever.catalogue import Catalogue
from retriever.documents import DocumentTemplate
from retriever.encoder import Encoder
from retriever.search import check_k, dug, ranked, top_positions
from retriever.tools import Candidate
from retriever.vectors import encode_documents
from retriever.words import clean_query, split_identifiers

_ROWS = 16  # queries go to a matrix product in blocks of exactly this many, so that none depends on its neighbours


class DenseRetriever:
    """Cosine similarity of encoder vectors, exact. Scores lie in [-1, 1]."""

    def __init__(
        self,
        catalogue: Catalogue,
        template: DocumentTemplate,
        encoder: Encoder,
        *,
        cache_dir: Path | None = None,
        query_cache_size: int = 10_000,
    ) -> None:
        self._catalogue = catalogue
        self._template = template
        self._encoder = encoder
        self._recent = _RecentVectors(query_cache_size)
        self._indexed = catalogue.slots  # tools behind these are in `_added`
        self._added: NDArray[np.float32] | None = None  # [A, D]
        self._index: faiss.IndexFlatIP | None = None  # None: nothing was indexed
        if len(catalogue):
            vectors = encode_documents(catalogue.documents(template), encoder, cache_dir=cache_dir)
            self._index = faiss.IndexFlatIP(vectors.shape[1])
            self._index.add(np.ascontiguousarray(vectors))

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
            vectors = self._encoder.encode([self._template.render(tool) for tool in new])
            changed._added = vectors if self._added is None else np.concatenate([self._added, vectors])
        return changed

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found: list[tuple[Candidate, ...]] = [()] * len(queries)
        texts = {row: text for row, query in enumerate(queries) if (text := _query_text(query))}
        if not len(self._catalogue) or not texts:
            return found
        vectors = self._vectors(list(texts.values()))
        for start in range(0, len(texts), _ROWS):
            rows, block = list(texts)[start : start + _ROWS], vectors[start : start + _ROWS]
            if self._added is None and not self._catalogue.holes:
                answers = self._nearest(block, k)
            else:
                answers = [ranked(self._catalogue, scores, k) for scores in self._cosines(block)]
            for row, candidates in zip(rows, answers, strict=True):
                found[row] = candidates
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:  # [Q, slots]
        """The cosine of every tool and every query; 0 throughout for an empty query, -inf in holes."""
        result = np.zeros((len(queries), self._catalogue.slots), dtype=np.float32)
        texts = {row: text for row, query in enumerate(queries) if (text := _query_text(query))}
        if self._catalogue.slots and texts:
            vectors = self._vectors(list(texts.values()))
            for start in range(0, len(texts), _ROWS):
                result[list(texts)[start : start + _ROWS]] = self._cosines(vectors[start : start + _ROWS])
        dug(self._catalogue, result)
        return result

    def _cosines(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # [Q ≤ 16, D] -> [Q, slots]
        found = np.zeros((len(vectors), self._catalogue.slots), dtype=np.float32)
        queries = _padded(vectors)
        if self._index is not None:
            stored = faiss.rev_swig_ptr(self._index.get_xb(), self._indexed * self._index.d)  # a view
            found[:, : self._indexed] = (queries @ stored.reshape(self._indexed, self._index.d).T)[: len(vectors)]
        if self._added is not None:
            found[:, self._indexed :] = (queries @ self._added.T)[: len(vectors)]
        dug(self._catalogue, found)
        return found

    def _nearest(self, vectors: NDArray[np.float32], k: int) -> list[tuple[Candidate, ...]]:  # [Q ≤ 16, D]
        """The index does not order equal scores, so look a little further and order them here."""
        assert self._index is not None
        count = self._indexed
        depth = min(count, k + 16)
        scores, slots = self._index.search(_padded(vectors), depth)
        found: list[tuple[Candidate, ...]] = []
        for row in range(len(vectors)):
            if depth < count and scores[row, k - 1] == scores[row, depth - 1]:  # a tie that the depth may cut
                everything, order = self._index.search(_padded(vectors[row : row + 1]), count)
                full = np.empty(count, dtype=np.float32)
                full[order[0]] = everything[0]
                found.append(ranked(self._catalogue, full, k))
                continue
            by_order = np.argsort(slots[row])
            kept = by_order[top_positions(scores[row][by_order], k)]
            found.append(
                tuple(
                    Candidate(
                        tool=self._catalogue.at(int(slots[row, place])), score=float(scores[row, place]), rank=rank
                    )
                    for rank, place in enumerate(kept, start=1)
                )
            )
        return found

    def _vectors(self, texts: list[str]) -> NDArray[np.float32]:  # [Q, D]
        known = self._recent.get(texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            fresh = dict(zip(new, self._encoder.encode(new), strict=True))
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


def _query_text(query: str) -> str:
    return split_identifiers(clean_query(query))


def _padded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # [Q ≤ 16, D] -> [16, D]
    assert len(vectors) <= _ROWS
    return np.concatenate([vectors, np.zeros((_ROWS - len(vectors), vectors.shape[1]), dtype=np.float32)])
