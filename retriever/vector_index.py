"""Nearest vectors by inner product: the one door to faiss. A row is a slot; it knows no texts and no tools."""

import hashlib
import logging
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retriever.base.files import writing
from retriever.config import IndexConfig

ROWS = 16  # queries go to a matrix product in blocks of exactly this many, so that none depends on its neighbours

_TIES = 16  # faiss does not order equal scores: this many more are looked at, and ordered here
_FEW = 39 * 256  # vectors; with fewer there is too little to learn the codes of IVF-PQ from, and nothing to gain
_TRAINED_ON = 64  # vectors per list that the centroids of IVF-PQ are learned from

_log = logging.getLogger(__name__)

Nearest = tuple[NDArray[np.intp], NDArray[np.float32]]  # slots and scores, best first, equal scores by slot


class VectorIndex:
    """An index of unit vectors [N, D], N ≥ 1. Flat is exact; HNSW and IVF-PQ (from 9,984 vectors on) look at a part.

    HNSW: Malkov & Yashunin 2018. IVF-PQ: Jégou et al. 2011; what it finds is scored again with the vectors themselves,
    which may lie on disk (a memory map).
    """

    def __init__(self, vectors: NDArray[np.float32], config: IndexConfig, *, cache_dir: Path | None = None) -> None:
        assert len(vectors), "an index of nothing"
        few = config.kind == "ivfpq" and len(vectors) < _FEW
        self._config, self._vectors = replace(config, kind="flat") if few else config, vectors
        self.count, self.dimensions = vectors.shape
        self._index = _moved_to_gpu(self._built(cache_dir)) if config.gpu else self._built(cache_dir)

    @property
    def exact(self) -> bool:
        """Whether every vector is looked at."""
        return self._config.kind == "flat"

    def cosines(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:  # [Q ≤ 16, D] -> [Q, N]
        """The inner product with every vector."""
        products: NDArray[np.float32] = (padded(queries) @ self._vectors.T)[: len(queries)]
        return products

    def search(self, queries: NDArray[np.float32], k: int, holes: Collection[int] = ()) -> list[Nearest]:  # [Q ≤ 16, D]
        """The k nearest of each query, none of them in `holes`; fewer where there are not so many."""
        live = self.count - len(holes)
        if live <= 0:
            return [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))] * len(queries)
        wanted = min(live, k)
        factor = self._config.refine if self._config.kind == "ivfpq" else 1
        depth = min(live, max(wanted + _TIES, wanted * factor))
        scores, slots = self._index.search(padded(queries), depth, params=self._parameters(holes))
        found: list[Nearest] = []
        for row in range(len(queries)):
            hits = slots[row] >= 0  # -1: the part that was looked at held no more
            kept, values = slots[row][hits], scores[row][hits]
            if self._config.kind == "ivfpq":
                values = self._vectors[kept] @ queries[row]
            elif self.exact and depth < live and values[wanted - 1] == values[-1]:  # a tie that the depth may cut
                kept, values = self._everything(queries[row], holes)
            order = np.lexsort((kept, -values))[:wanted]
            found.append((kept[order], values[order]))
        return found

    def _everything(self, query: NDArray[np.float32], holes: Collection[int]) -> Nearest:
        scores, slots = self._index.search(padded(query[None]), self.count - len(holes), params=self._parameters(holes))
        return slots[0], scores[0]

    def _parameters(self, holes: Collection[int]) -> Any:
        options: dict[str, Any] = {}
        if holes:
            options["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.fromiter(holes, dtype=np.int64)))
        match self._config.kind:
            case "flat":
                return faiss.SearchParameters(**options) if options else None
            case "hnsw":
                return faiss.SearchParametersHNSW(efSearch=self._config.hnsw_search, **options)  # type: ignore[attr-defined]
            case "ivfpq":
                return faiss.SearchParametersIVF(nprobe=self._config.ivf_probes, **options)  # type: ignore[call-arg]

    # --- building ---

    def _built(self, cache_dir: Path | None) -> Any:
        if self.exact or cache_dir is None:
            return self._build()
        path = cache_dir / f"index-{self._fingerprint()[:16]}.faiss"
        if path.is_file():
            try:
                return faiss.read_index(str(path))
            except RuntimeError as error:
                _log.warning("%s cannot be read (%s); the index is built again", path, str(error).splitlines()[0])
        index = self._build()
        with writing(path) as file:  # as it comes: an index of a million has no room for a second copy
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        return index

    def _build(self) -> Any:
        config, vectors = self._config, np.ascontiguousarray(self._vectors, dtype=np.float32)
        index: Any
        match config.kind:
            case "flat":
                index = faiss.IndexFlatIP(self.dimensions)
            case "hnsw":
                index = faiss.IndexHNSWFlat(self.dimensions, config.hnsw_links, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = config.hnsw_build
            case "ivfpq":
                lists = config.ivf_lists or round(4 * math.sqrt(self.count))
                lists = max(1, min(lists, self.count // 39))  # faiss wants 39 vectors for a centroid
                codes = (
                    f"PQ{self._code_bytes()}np"  # np: no polysemous training, which takes most of the time for nothing
                )
                index = faiss.index_factory(self.dimensions, f"IVF{lists},{codes}", faiss.METRIC_INNER_PRODUCT)
                step = max(1, self.count // max(_TRAINED_ON * lists, 256 * 39))
                index.train(vectors[::step])
        index.add(vectors)
        return index

    def _code_bytes(self) -> int:
        """The number of sub-vectors nearest to the wanted that divides the dimensions."""
        divisors = [size for size in range(1, self.dimensions + 1) if self.dimensions % size == 0]
        return min(divisors, key=lambda size: abs(size - self._config.pq_bytes))

    def _fingerprint(self) -> str:
        config = self._config
        build = {
            "flat": (),
            "hnsw": (config.hnsw_links, config.hnsw_build),
            "ivfpq": (config.ivf_lists, self._code_bytes()),
        }[config.kind]
        digest = hashlib.sha256(repr((faiss.__version__, config.kind, build, self._vectors.shape)).encode())
        for start in range(0, self.count, 65_536):
            digest.update(np.ascontiguousarray(self._vectors[start : start + 65_536]).tobytes())
        return digest.hexdigest()


def padded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # [Q ≤ 16, D] -> [16, D]
    """`vectors` and rows of zeros: a product with 16 rows gives each the same bits whatever the others are."""
    assert len(vectors) <= ROWS
    return np.concatenate([vectors, np.zeros((ROWS - len(vectors), vectors.shape[1]), dtype=np.float32)])


def _moved_to_gpu(index: Any) -> Any:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        _log.warning(
            "retriever.index.gpu: faiss %s sees no GPU, so the CPU searches; install faiss-gpu in place of faiss-cpu",
            faiss.__version__,
        )
        return index
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
