"""Indexes of vectors: the exact one, and two that look at a part, held against it."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.config import IndexConfig, RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import document_template
from retriever.vector_index import VectorIndex
from tests.test_retriever import WordEncoder, build, ids, tool


def unit(rows: int, dimensions: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around 50 centres, as texts lie around topics."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((50, dimensions))
    vectors = centres[random.integers(50, size=rows)] + 0.5 * random.standard_normal((rows, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


MANY = unit(12_000)
QUERIES = unit(16, seed=1)
KINDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "hnsw": {"hnsw_search": 64},
    "ivfpq": {"ivf_lists": 32, "ivf_probes": 8, "pq_bytes": 8, "refine": 20},
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def index(kind: str, vectors: NDArray[np.float32] = MANY, **options: Any) -> VectorIndex:
    cache_dir = options.pop("cache_dir", None)
    return VectorIndex(vectors, IndexConfig(kind=kind, **{**KINDS[kind], **options}), cache_dir=cache_dir)  # type: ignore[arg-type]


def by_hand(query: NDArray[np.float32], k: int, holes: tuple[int, ...] = ()) -> list[int]:
    cosines = MANY.astype(np.float64) @ query.astype(np.float64)
    cosines[list(holes)] = -2
    return list(np.argsort(-cosines, kind="stable")[:k])


@EVERY_KIND
def test_finds_the_nearest_and_scores_them_with_the_vectors_themselves(kind: str) -> None:
    found = index(kind).search(QUERIES, 5)
    shares = [len({*slots} & {*by_hand(query, 5)}) / 5 for (slots, _), query in zip(found, QUERIES, strict=True)]
    assert np.mean(shares) >= (1.0 if kind == "flat" else 0.95)
    for (slots, scores), query in zip(found, QUERIES, strict=True):
        assert scores == pytest.approx(MANY[slots] @ query, abs=1e-6)
        assert list(scores) == sorted(scores, reverse=True)


@EVERY_KIND
def test_what_lies_in_a_hole_is_never_found_and_what_is_behind_it_is(kind: str) -> None:
    holes = tuple(by_hand(QUERIES[0], 100))
    ((slots, _),) = index(kind).search(QUERIES[:1], 5, holes)
    assert not {*slots} & {*holes}
    assert len({*slots} & {*by_hand(QUERIES[0], 5, holes)}) >= (5 if kind == "flat" else 4)


@EVERY_KIND
def test_a_whole_neighbourhood_may_be_removed(kind: str) -> None:
    """A server's tools are alike, and go together."""
    holes = tuple(by_hand(QUERIES[0], 800))
    ((slots, _),) = index(kind).search(QUERIES[:1], 5, holes)
    assert not {*slots} & {*holes}
    assert len({*slots} & {*by_hand(QUERIES[0], 5, holes)}) >= (5 if kind == "flat" else 4)


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_on_a_gpu_which_knows_no_selector_what_lies_in_a_hole_is_never_found(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the two limits of faiss's GPU indexes: parameters are ignored, 2,048 results at most."""

    class Limited:
        def __init__(self, index: Any) -> None:
            self._index = index

        def search(self, queries: NDArray[np.float32], k: int) -> Any:
            assert k <= 2_048
            return self._index.search(queries, k)

    monkeypatch.setattr("retriever.vector_index._moved_to_gpu", Limited)
    holes = tuple(by_hand(QUERIES[0], 100))
    on_gpu, on_cpu = index(kind, gpu=True, ivf_probes=32), index(kind, ivf_probes=32)
    for removed in ((), holes):
        for (left, _), (right, _) in zip(
            on_gpu.search(QUERIES, 5, removed), on_cpu.search(QUERIES, 5, removed), strict=True
        ):
            assert left.tolist() == right.tolist()
    if kind == "flat":
        holes = tuple(by_hand(QUERIES[0], 3_000))
        ((slots, _),) = on_gpu.search(QUERIES[:1], 5, holes)
        assert slots.tolist() == by_hand(QUERIES[0], 5, holes)


@EVERY_KIND
def test_gives_what_there_is(kind: str) -> None:
    few = unit(3)
    assert [len(slots) for slots, _ in index(kind, few).search(QUERIES[:2], 10)] == [3, 3]
    assert [list(slots) for slots, _ in index(kind, few).search(QUERIES[:1], 10, holes=[0, 2])] == [[1]]
    assert [list(slots) for slots, _ in index(kind, few).search(QUERIES[:1], 10, holes=[0, 1, 2])] == [[]]


def test_equal_scores_are_in_the_order_of_their_slots_however_many_they_are() -> None:
    same = np.repeat(unit(1), 100, axis=0)
    ((slots, _),) = index("flat", same).search(QUERIES[:1], 4)
    assert slots.tolist() == [0, 1, 2, 3]
    ((slots, _),) = index("flat", same).search(QUERIES[:1], 4, holes=[0, 2])
    assert slots.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_is_built_once_and_read_again_until_vectors_or_settings_change(kind: str, tmp_path: Path) -> None:
    first = index(kind, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = index(kind, cache_dir=tmp_path)
    assert file.stat().st_mtime_ns == written
    for (left, _), (right, _) in zip(first.search(QUERIES, 5), again.search(QUERIES, 5), strict=True):
        assert left.tolist() == right.tolist()
    index(kind, unit(12_000, seed=5), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    changed: dict[str, Any] = {"hnsw_links": 8} if kind == "hnsw" else {"pq_bytes": 16}
    index(kind, cache_dir=tmp_path, **changed)
    assert len(list(tmp_path.iterdir())) == 3
    file.write_bytes(b"not an index")
    assert len(index(kind, cache_dir=tmp_path).search(QUERIES, 5)) == 16
    assert file.stat().st_size > 1_000


def test_without_a_gpu_the_cpu_searches_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)  # of faiss-gpu there may be some
    assert len(index("flat", gpu=True).search(QUERIES, 5)) == 16
    assert "sees no GPU, so the CPU searches; install faiss-gpu" in caplog.text


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_a_retriever_over_a_part_follows_its_catalogue(kind: str) -> None:
    words = ("red", "blue", "green", "song", "mail", "city", "map", "bird")
    tools = [tool(f"t{n}", f"{words[n % 8]} {words[n // 8 % 8]} {words[n // 64 % 8]}") for n in range(400)]
    catalogue = Catalogue.of(tools)
    settings = IndexConfig(kind=kind, ivf_probes=10)  # type: ignore[arg-type]
    dense = DenseRetriever(catalogue, document_template("{description}"), WordEncoder(), index=settings)
    (found,) = dense.search(["song song song"], 3)
    assert ids(found)[0] == "t219"  # 3 + 3 · 8 + 3 · 64
    changed = catalogue.changed(add=[tool("new", "song song song")], remove=ids(found))
    (after,) = dense.following(changed).search(["song song song"], 500)
    assert not {*ids(found)} & {*ids(after)}
    assert ids(after)[0] == "new"


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_fusion_with_a_part_goes_over_what_both_sides_list(kind: str) -> None:
    hybrid = build("hybrid", index=IndexConfig(kind=kind))  # type: ignore[arg-type]
    assert ids(hybrid.search(["weather of a city"], k=1)[0]) == ["get_weather"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "flatt"}, r"index.kind='flatt' is unknown \(did you mean 'flat'\?\)"),
        ({"ivf_probes": 0}, "index.ivf_probes=0 is below 1"),
        ({"hnsw_links": 1}, "index.hnsw_links=1 is below 2"),
        ({"kind": "hnsw", "gpu": True}, "faiss has no HNSW on a GPU"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        IndexConfig(**options)


def test_sentences_need_every_tools_score() -> None:
    with pytest.raises(UserError, match="index.kind=hnsw looks at a part"):
        RetrieverConfig(sentence_weight=0.5, index=IndexConfig(kind="hnsw"))
