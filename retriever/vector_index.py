"""Nearest vectors by inner product: the one door to faiss. A row is a slot; it knows no texts and no tools."""

import hashlib
import logging
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from retriever.base.files import writing
from retriever.config import IndexConfig

ROWS = 16  # queries go to a matrix product in blocks of exactly this many, so that none depends on its neighbours
_COLUMNS = 256  # … and vectors in whole multiples of so many: what is left over at an edge is computed another way
_GPU_DEPTH = 2_048  # the most that faiss returns on a GPU
_KEPT = 3  # index files in a cache folder: every content of a catalogue has its own
_BLOCK = 8_192  # vectors that are scored one by one at once
_WIDEST = 4_096  # candidates that HNSW looks at, at most, however much was removed

_TIES = 16  # faiss does not order equal scores: this many more are looked at, and ordered here
_FEW = 39 * 256  # vectors; with fewer there is too little to learn the codes of IVF-PQ from, and nothing to gain
_TRAINED_ON = 64  # vectors per list that the centroids of IVF-PQ are learned from

_log = logging.getLogger(__name__)

Nearest = tuple[NDArray[np.intp], NDArray[np.float32]]  # slots and scores, best first, equal scores by slot


class VectorIndex:
    """An index of unit vectors [N, D], N ≥ 1. Flat is exact; HNSW and IVF-PQ (from 9,984 vectors on) look at a part.

    HNSW: Malkov & Yashunin 2018. IVF-PQ: Jégou et al. 2011. Whatever finds a vector, it is scored by `dots`: equal
    vectors have equal scores. The vectors are held once: by the index itself, or for IVF-PQ and on a GPU as they were
    given, which may be a map of a file.
    """

    def __init__(self, vectors: NDArray[np.float32], config: IndexConfig, *, cache_dir: Path | None = None) -> None:
        assert len(vectors), "an index of nothing"
        few = config.kind == "ivfpq" and len(vectors) < _FEW
        self._config = replace(config, kind="flat") if few else config
        self.count, self.dimensions = vectors.shape
        self.vectors = vectors  # [N, D]
        self._index = self._built(cache_dir)
        if config.gpu and (moved := _moved_to_gpu(self._index)) is not None:
            self._index, self._on_gpu = moved, True
            return
        self._on_gpu = False
        if self._config.kind != "ivfpq":
            self.vectors = _held(self._index, self.count, self.dimensions)

    @property
    def exact(self) -> bool:
        """Whether every vector is looked at."""
        return self._config.kind == "flat"

    def search(self, queries: NDArray[np.float32], k: int, holes: Collection[int] = ()) -> list[Nearest]:  # [Q ≤ 16, D]
        """The k nearest of each query, none of them in `holes`; fewer where there are not so many."""
        live = self.count - len(holes)
        if live <= 0:
            return [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))] * len(queries)
        wanted = min(live, k)
        depth = wanted + _TIES
        if self._config.kind == "ivfpq":  # its codes tell little between what is far, and all is when much was removed
            depth = max(depth, wanted * self._config.refine + min(len(holes), _WIDEST))
        depth = min(live, depth)
        found: list[Nearest] = []
        for query, (scores, slots) in zip(queries, self._looked_up(queries, depth, holes), strict=True):
            if self.exact and len(slots) < live and (len(slots) < depth or scores[wanted - 1] == scores[-1]):
                slots = self._everything(holes)  # a GPU gave less, or a tie goes on beyond the depth
            values = self._scored(slots, query)
            order = np.lexsort((slots, -values))[:wanted]
            found.append((slots[order], values[order]))
        return found

    def _scored(self, slots: NDArray[np.intp], query: NDArray[np.float32]) -> NDArray[np.float32]:
        values = np.empty(len(slots), dtype=np.float32)
        for start in range(0, len(slots), _BLOCK):  # a tie may be as long as the index
            values[start : start + _BLOCK] = dots(self.vectors[slots[start : start + _BLOCK]], query)
        return values

    def _looked_up(
        self, queries: NDArray[np.float32], depth: int, holes: Collection[int]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
        """Scores and slots of each query, as faiss gives them: `depth`, or what it found."""
        if not self._on_gpu:
            all_scores, all_slots = self._index.search(queries, depth, params=self._parameters(depth, holes))
        else:  # which knows no selector: the holes are found too, and dropped here
            all_scores, all_slots = self._index.search(queries, min(self.count, depth + len(holes), _GPU_DEPTH))
        holes = set(holes) if self._on_gpu else set()
        for scores, slots in zip(all_scores, all_slots, strict=True):
            kept = slots >= 0  # -1: the part that was looked at held no more
            if holes:
                kept &= np.fromiter((slot not in holes for slot in slots.tolist()), dtype=bool, count=len(slots))
            yield scores[kept][:depth], slots[kept][:depth]

    def _everything(self, holes: Collection[int]) -> NDArray[np.intp]:
        return np.setdiff1d(np.arange(self.count), np.fromiter(holes, dtype=np.intp, count=len(holes)))

    def _parameters(self, depth: int, holes: Collection[int]) -> Any:
        """What to look at. The more was removed, the more: else a removed neighbourhood is all that is seen."""
        options: dict[str, Any] = {}
        if holes:
            options["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.fromiter(holes, dtype=np.int64)))
        match self._config.kind:
            case "flat":
                return faiss.SearchParameters(**options) if options else None
            case "hnsw":
                width = min(max(self._config.hnsw_search, depth) + len(holes), max(_WIDEST, depth))
                return faiss.SearchParametersHNSW(efSearch=width, **options)  # type: ignore[attr-defined]
            case "ivfpq":
                lists = self._index.nlist
                probes = min(lists, self._config.ivf_probes + math.ceil(len(holes) * lists / self.count))
                return faiss.SearchParametersIVF(nprobe=probes, **options)  # type: ignore[call-arg]

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
        older = sorted(path.parent.glob("index-*.faiss"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in older[_KEPT - 1 :]:
            file.unlink(missing_ok=True)
        with writing(path) as written:  # as it comes: an index of a million has no room for a second copy
            faiss.write_index(index, faiss.PyCallbackIOWriter(written.write))  # type: ignore[attr-defined]
        return index

    def _build(self) -> Any:
        config, vectors = self._config, np.ascontiguousarray(self.vectors, dtype=np.float32)
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
        digest = hashlib.sha256(repr((faiss.__version__, config.kind, build, self.vectors.shape)).encode())
        for start in range(0, self.count, 65_536):
            digest.update(np.ascontiguousarray(self.vectors[start : start + 65_536]).tobytes())
        return digest.hexdigest()


def dots(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:  # [N, D], [D] -> [N]
    """Inner products, each computed alone: its bits depend on no other."""
    products: NDArray[np.float32] = (vectors * query).sum(axis=1, dtype=np.float32)
    return products


def cosines(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # [Q ≤ 16, D] -> [Q, N]
    """Inner products of unit vectors, all at once: fast, the bits of each independent of the others.

    PyTorch's product keeps that on every processor tried; NumPy's, by OpenBLAS, not on AMD's (measured).
    """
    assert len(queries) <= ROWS
    rows, whole = torch.from_dlpack(_at_least(queries, ROWS)), len(vectors) // _COLUMNS * _COLUMNS
    result = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for begin, end in ((0, whole), (whole, len(vectors))):
        if begin < end:
            columns = torch.from_dlpack(_at_least(vectors[begin:end], _COLUMNS))
            result[:, begin:end] = (columns @ rows.T)[: end - begin, : len(queries)].T.numpy()
    return result


def _at_least(vectors: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """`vectors`, and rows of zeros where there are fewer than `rows`."""
    missing = rows - len(vectors)
    if missing <= 0:
        return vectors
    return np.concatenate([vectors, np.zeros((missing, vectors.shape[1]), dtype=np.float32)])


def _held(index: Any, count: int, dimensions: int) -> NDArray[np.float32]:
    """The vectors in a flat or HNSW index, not copied: to be used while the index lives."""
    flat: Any = index if isinstance(index, faiss.IndexFlat) else faiss.downcast_index(index.storage)
    held: NDArray[np.float32] = faiss.rev_swig_ptr(flat.get_xb(), count * dimensions).reshape(count, dimensions)
    return held


def _moved_to_gpu(index: Any) -> Any | None:
    """The index on a GPU; None, with a warning, where faiss finds none."""
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        _log.warning(
            "retriever.index.gpu: faiss %s sees no GPU, so the CPU searches; install faiss-gpu in place of faiss-cpu",
            faiss.__version__,
        )
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
