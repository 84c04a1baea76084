"""A catalogue that changes while it is searched, held against a fresh build of the same tools."""

import math
import threading
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retriever.base.errors import UserError
from retriever.build import build_index
from retriever.catalogue import Catalogue
from retriever.config import RetrieverConfig, RetrieverKind
from retriever.documents import document_template
from retriever.lexical import LexicalRetriever
from retriever.live import LiveRetriever
from retriever.search import IndexedRetriever
from retriever.tools import ToolDoc
from tests.test_retriever import WordEncoder, ids

WORDS = ("weather", "city", "money", "mail", "flight", "map", "song", "photo")
KINDS: tuple[RetrieverKind, ...] = ("bm25", "dense", "hybrid")


def tool(tool_id: str, description: str) -> ToolDoc:
    return ToolDoc(id=tool_id, name=tool_id, description=description, parameters={"type": "object"})


def builder(kind: RetrieverKind, **options: float) -> Callable[[Catalogue], IndexedRetriever]:
    config = RetrieverConfig(kind=kind, document="{description}", **options)  # type: ignore[arg-type]
    return lambda catalogue: build_index(config, catalogue, encoder=WordEncoder())


DESCRIPTION = document_template("{description}")
FOUR = Catalogue.of(
    [tool("a", "weather city"), tool("b", "money"), tool("c", "mail mail city"), tool("d", "flight city")]
)


class TestCatalogue:
    def test_changes_make_new_versions_and_leave_the_old_ones_alone(self) -> None:
        second = FOUR.changed(add=[tool("e", "song")])
        third = second.changed(remove=["b"])
        fourth = third.changed(remove=["a"], add=[tool("a", "photo"), tool("b", "map")])
        assert [entry.id for entry in FOUR] == ["a", "b", "c", "d"]
        assert [entry.id for entry in third] == ["a", "c", "d", "e"]
        assert [entry.id for entry in fourth] == ["c", "d", "e", "a", "b"]
        assert [len(catalogue) for catalogue in (FOUR, second, third, fourth)] == [4, 5, 4, 5]
        assert [catalogue.version for catalogue in (FOUR, second, third, fourth)] == [1, 2, 3, 4]
        assert fourth["a"].description == "photo"
        assert third["a"].description == "weather city"
        assert "b" not in third
        with pytest.raises(KeyError):
            third["b"]
        assert [fourth.slot(entry) for entry in ("c", "e", "a", "b")] == [2, 4, 5, 6]
        assert fourth.holes == {0, 1}

    def test_compacted_is_the_same_set_without_holes(self) -> None:
        changed = FOUR.changed(remove=["a", "c"], add=[tool("e", "song")])
        compacted = changed.compacted()
        assert compacted.tools == changed.tools
        assert (compacted.slots, compacted.holes, compacted.version) == (3, frozenset(), 2)
        assert compacted.content_hash == changed.content_hash != FOUR.content_hash

    def test_what_cannot_be_changed_is_named(self) -> None:
        with pytest.raises(UserError, match="'b' is there already"):
            FOUR.changed(add=[tool("b", "")])
        with pytest.raises(UserError, match="'e' is there already"):
            FOUR.changed(add=[tool("e", ""), tool("e", "")])
        with pytest.raises(UserError, match="no tool 'x' among the 4"):
            FOUR.changed(remove=["x"])
        with pytest.raises(UserError, match="no tool 'a'"):
            FOUR.changed(remove=["a", "a"])


class TestSearch:
    @pytest.mark.parametrize("kind", KINDS)
    def test_sees_a_change_at_once(self, kind: RetrieverKind) -> None:
        live = LiveRetriever(FOUR, builder(kind))
        assert live.add([tool("e", "song photo")]).version == 2
        assert ids(live.search(["song photo"], k=1)[0]) == ["e"]
        live.remove(["e", "a"])
        (found,) = live.search(["weather city song"], k=10)
        assert sorted(ids(found)) == ["b", "c", "d"]
        live.update([tool("b", "weather weather")])
        assert ids(live.search(["weather"], k=1)[0]) == ["b"]
        assert live.catalogue.version == 4

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_index_of_a_changed_catalogue_is_of_what_is_there(self, kind: RetrieverKind) -> None:
        changed = FOUR.changed(remove=["a"], add=[tool("e", "song photo")])
        found = builder(kind)(changed).search(["song photo", "flight city"], k=9)
        assert found == builder(kind)(Catalogue.of(changed)).search(["song photo", "flight city"], k=9)
        assert [ids(candidates)[0] for candidates in found] == ["e", "d"]

    def test_an_added_tool_scores_by_the_indexs_statistics(self) -> None:
        lexical = builder("bm25")(FOUR)
        assert isinstance(lexical, LexicalRetriever)
        changed = lexical.following(FOUR.changed(add=[tool("e", "city song song")], remove=["b"]))
        # 4 documents of 2, 1, 3 and 2 words: mean 2; "city" in 3, "song" in none; k1 1.5, b 0.75, length 3 / 2
        share = 1.5 * (1 - 0.75 + 0.75 * 3 / 2)
        city = math.log(1 + 1.5 / 3.5) * 1 / (1 + share)
        song = math.log(1 + 4.5 / 0.5) * 2 / (2 + share)
        (row,) = changed.scores(["city song"])
        assert row[4] == pytest.approx(city + song)
        assert row[1] == -np.inf
        assert row[:1] == lexical.scores(["city song"])[0][:1]

    def test_a_tool_like_one_that_is_indexed_scores_the_same(self) -> None:
        lexical = builder("bm25")(FOUR)
        changed = lexical.following(FOUR.changed(add=[tool("c2", "mail mail city")]))
        assert changed.scores(["mail city"])[0][4] == pytest.approx(changed.scores(["mail city"])[0][2])  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_catalogue_may_begin_empty_and_become_empty(self, kind: RetrieverKind) -> None:
        live = LiveRetriever(Catalogue.of([]), builder(kind))
        assert live.search(["song"], k=3) == [()]
        live.add([tool("e", "song"), tool("f", "map")])
        assert ids(live.search(["song"], k=1)[0]) == ["e"]
        live.remove(["e", "f"])
        assert live.search(["song"], k=3) == [()]
        live.compact()
        assert live.search(["song"], k=3) == [()]
        assert live.catalogue.version == 3

    @pytest.mark.parametrize("kind", KINDS)
    def test_tools_that_read_the_same_are_in_the_catalogues_order_wherever_they_are_kept(
        self, kind: RetrieverKind
    ) -> None:
        """Vectors of MiniLM's size, whose sums differ in the last bits when they are added up in another order."""

        class Spread(WordEncoder):
            fingerprint = "spread"

            def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
                seeds = [sum(map(ord, text)) for text in texts]
                vectors = [np.random.default_rng(seed).standard_normal(384, dtype=np.float32) for seed in seeds]
                return np.stack([vector / np.linalg.norm(vector) for vector in vectors])

        config = RetrieverConfig(kind=kind, document="{description}")
        for size in (5, 300):
            base = Catalogue.of([tool(f"t{place}", f"number {place % (size - 1)} song") for place in range(size)])
            live = LiveRetriever(base, lambda tools: build_index(config, tools, encoder=Spread()))
            live.add([tool(f"u{place}", "number 0 song") for place in range(3)])
            for query in ("number 0 song", "song", "weather 0"):
                (found,) = live.search([query], k=size + 3)
                alike = [one for one in found if one.tool.description == "number 0 song"]
                if found:
                    assert ids(alike) == ["t0", f"t{size - 1}", "u0", "u1", "u2"]
                    assert len({one.score for one in alike[:2]}) == len({one.score for one in alike[2:]}) == 1
                    if kind == "dense":
                        assert len({one.score for one in alike}) == 1

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6), st.sampled_from(KINDS), st.sampled_from([0.0, 0.5]))
    def test_after_compaction_results_are_a_fresh_builds(
        self, seed: int, kind: RetrieverKind, sentences: float
    ) -> None:
        random = Random(seed)
        build = builder(kind, sentence_weight=sentences)
        live = LiveRetriever(FOUR, build)
        expected = {entry.id: entry for entry in FOUR}
        for step in range(random.randint(1, 12)):
            entry = tool(random.choice("abcdefgh"), " ".join(random.choices(WORDS, k=random.randint(1, 5))))
            if entry.id not in expected:
                live.add([entry])
                expected[entry.id] = entry
            elif random.random() < 0.5:
                live.update([entry])
                del expected[entry.id]
                expected[entry.id] = entry
            else:
                live.remove([entry.id])
                del expected[entry.id]
            if step == 5:
                live.compact()
            assert live.catalogue.tools == tuple(expected.values())
        queries = [". ".join(random.choices(WORDS, k=3)) for _ in range(4)]
        for found in live.search(queries, k=10):
            assert len(found) in (0, len(expected))  # by words alone, a query may find nothing
            assert {candidate.tool.id: candidate.tool for candidate in found}.items() <= expected.items()
        live.compact()
        assert live.search(queries, k=10) == build(Catalogue.of(expected.values())).search(queries, k=10)


class TestManyThreads:
    def test_a_removed_tool_is_never_found_after_its_removal_returned(self) -> None:
        base = Catalogue.of(tool(f"base-{number}", WORDS[number % 8]) for number in range(64))
        live = LiveRetriever(base, builder("hybrid"), compact_after=20)
        failures: list[str] = []
        stop = threading.Event()

        def searches() -> None:
            while not stop.is_set():
                version = live.catalogue.version
                (found,) = live.search(["weather city"], k=200)
                if len(set(ids(found))) != len(found) or live.catalogue.version < version:
                    failures.append(f"{ids(found)}")

        def changes(worker: int) -> None:
            for number in range(60):
                entry = tool(f"{worker}-{number}", "weather city")
                live.add([entry])
                if entry.id not in ids(live.search(["weather city"], k=200)[0]):
                    failures.append(f"{entry.id} was added and is not found")
                live.remove([entry.id])
                if entry.id in ids(live.search(["weather city"], k=200)[0]):
                    failures.append(f"{entry.id} was removed and is found")

        readers = [threading.Thread(target=searches) for _ in range(2)]
        writers = [threading.Thread(target=changes, args=(worker,)) for worker in range(3)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
        assert failures == []
        live.compact()
        assert live.catalogue.tools == base.tools
        assert live.catalogue.version == 1 + 2 * 60 * 3
        assert live.catalogue.slots == 64

    def test_changes_go_on_while_an_index_is_built(self) -> None:
        started, go_on = threading.Event(), threading.Event()

        class Slow(LexicalRetriever):
            def rebuilt(self, catalogue: Catalogue) -> LexicalRetriever:
                started.set()
                assert go_on.wait(10)
                return super().rebuilt(catalogue)

        def build(tools: Catalogue) -> LexicalRetriever:
            return Slow(tools, DESCRIPTION, stop_words="none", k1=1.5, b=0.75)

        live = LiveRetriever(FOUR, build)
        live.add([tool("e", "song")])
        compaction = threading.Thread(target=live.compact)
        compaction.start()
        assert started.wait(10)
        live.remove(["a"])
        live.update([tool("b", "song song")])
        live.add([tool("f", "map")])
        live.remove(["f"])
        assert sorted(ids(live.search(["song"], k=9)[0])) == ["b", "c", "d", "e"]
        go_on.set()
        compaction.join()
        assert [entry.id for entry in live.catalogue] == ["c", "d", "e", "b"]
        assert (live.catalogue.version, len(live.catalogue.added)) == (6, 1)  # b alone is not in the new index
        assert ids(live.search(["song"], k=1)[0]) == ["b"]

    def test_a_build_that_fails_leaves_everything_as_it_was(self) -> None:
        builds: list[int] = []

        class Failing(LexicalRetriever):
            def rebuilt(self, catalogue: Catalogue) -> LexicalRetriever:
                builds.append(len(catalogue))
                raise RuntimeError("disk full")

        def build(tools: Catalogue) -> LexicalRetriever:
            return Failing(tools, DESCRIPTION, stop_words="none", k1=1.5, b=0.75)

        live = LiveRetriever(FOUR, build, compact_after=1)
        live.add([tool("e", "song")])
        assert live._thread is not None
        live._thread.join()
        assert builds == [5]
        assert ids(live.search(["song"], k=1)[0]) == ["e"]

    def test_a_new_catalogue_takes_the_place_of_the_old_under_the_next_version(self) -> None:
        live = LiveRetriever(FOUR, builder("hybrid"))
        live.add([tool("e", "song")])
        assert live.replace(Catalogue.of([tool("x", "song"), tool("y", "map")])).version == 3
        assert ids(live.search(["map"], k=9)[0]) == ["y", "x"]
