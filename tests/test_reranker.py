"""A cross-encoder over the best of a retriever: its order, its depth, and what it cannot be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from retriever.base.errors import UserError
from retriever.build import build_index, build_retriever
from retriever.config import RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import document_template
from retriever.reranker import RerankingRetriever
from retriever.words import tokens
from tests.test_retriever import TOOLS, FixedScores, WordEncoder, build, ids, tool


class LongestFirst:
    """A cross-encoder that likes long documents, and remembers what it read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def predict(self, pairs: Sequence[tuple[str, str]], **_: Any) -> list[float]:
        self.read += pairs
        return [float(len(text)) for _, text in pairs]


def test_reads_the_best_and_orders_them() -> None:
    first = FixedScores(TOOLS, [3.0, 2.0, 1.0, 0.0])  # get_weather, convertCurrency, send_email, find_flights
    model = LongestFirst()
    reranked = RerankingRetriever(first, model, document_template("{description}"), depth=2)
    (found,) = reranked.search([" city  amount"], k=3)
    assert model.read == [
        ("city amount", "Current weather of a city"),  # 25 letters
        ("city amount", "Convert an amount between currencies"),  # 36
    ]
    assert ids(found) == ["convertCurrency", "get_weather", "send_email"]
    assert [one.score for one in found] == [36.0, 25.0, 25.0 - 1.0]
    assert [one.rank for one in found] == [1, 2, 3]
    deeper = RerankingRetriever(first, model, document_template("{description}"), depth=4)
    assert ids(deeper.search(["city"], k=2)[0]) == ["convertCurrency", "send_email"]  # 36 and 28 letters


def test_follows_its_catalogue_and_finds_nothing_for_nothing() -> None:
    first = build_index(RetrieverConfig(kind="bm25"), TOOLS)
    reranked = RerankingRetriever(first, LongestFirst(), document_template("{description}"), depth=9)
    changed = TOOLS.changed(add=[tool("new", "A city of many words, as long as can be")], remove=["get_weather"])
    (found, nothing) = reranked.following(changed).search(["city", " "], k=1)
    assert ids(found) == ["new"]
    assert nothing == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder with random weights, saved."""
    folder = tmp_path_factory.mktemp("cross-encoder")
    words = ["[PAD]", "[UNK]", *sorted({word for entry in TOOLS for word in tokens(entry.description)})]
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_real_cross_encoder_through_the_config(folder: Path) -> None:
    config = RetrieverConfig(kind="bm25", reranker=str(folder), rerank_depth=3)
    found, again = build_retriever(config, TOOLS).search(["weather city", "weather city"], k=4)
    assert found == again
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    (plain,) = build("bm25").search(["weather city"], k=4)
    assert sorted(ids(found)) == sorted(ids(plain))
    assert ids(found[3:]) == ids(plain[3:])


def test_what_cannot_rerank_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="retriever.reranker='nowhere' is no folder"):
        build_retriever(RetrieverConfig(kind="bm25", reranker="nowhere"), TOOLS)
    with pytest.raises(UserError, match="no cross-encoder can be loaded"):
        build_retriever(RetrieverConfig(kind="bm25", reranker=str(tmp_path)), TOOLS)
    with pytest.raises(UserError, match="rerank_depth=0 is below 1"):
        RetrieverConfig(rerank_depth=0)


def test_prefixes_go_before_what_is_encoded_and_nothing_else() -> None:
    encoder = WordEncoder()
    dense = DenseRetriever(
        TOOLS, document_template("{name}"), encoder, query_prefix="Query: ", document_prefix="passage: "
    )
    changed = dense.following(TOOLS.changed(add=[tool("play_song")]))
    assert changed.search(["play", " "], k=1)[1] == ()
    texts = [text for batch in encoder.batches for text in batch]
    assert texts == [
        *("passage: get weather", "passage: convert Currency", "passage: send email", "passage: find flights"),
        *("passage: play song", "Query: play"),
    ]
