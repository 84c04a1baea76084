"""Contrastive fine-tuning of an encoder on queries with gold tools, through sentence-transformers' trainer.

The loss is the ranking loss over in-batch negatives (Henderson et al. 2017, arXiv 1705.00652), with hard negatives that
the starting encoder mines. The best epoch by NDCG@5 on queries held out of training is kept, or none.
"""

import glob
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from retriever.base.canonical import content_hash
from retriever.base.errors import UserError
from retriever.base.files import write_json
from retriever.base.seeds import derive_random, derive_seed
from retriever.catalogue import Catalogue
from retriever.config import EncoderTrainingConfig, RetrieverConfig
from retriever.dense import DenseRetriever
from retriever.documents import document_template
from retriever.encoder import SentenceEncoder, encoder_folder, load_model
from retriever.evaluation import LabelledQuery, score_queries

MEASURE = "ndcg@5"
TRAINED = "trained.json"

StepLog = Callable[[int, int, Mapping[str, float]], None]
"""Called with (step, steps in all, what is known: loss, ndcg@5)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What one row of a batch is made of: texts."""

    query: str
    positive: str
    negatives: tuple[str, ...]


def train_encoder(
    retriever: RetrieverConfig,
    *,
    catalogue: Catalogue,
    queries: Sequence[LabelledQuery],
    config: EncoderTrainingConfig,
    out: Path,
    seed: int,
    log: StepLog = lambda step, steps, metrics: None,
) -> dict[str, Any]:
    """Fine-tune the encoder of `retriever`, with its document text, prefixes, pooling and dtype, to search by meaning.

    Writes it to `out` in Hugging Face's format and returns what is noted there. Goes on where an interrupted call with
    the same `out` stopped, at its last whole epoch. Raises UserError when `out` is there already, or when there is too
    little to train on.
    """
    if out.exists():
        raise UserError(f"--out {out} is taken; give another folder, or remove it yourself")
    from retriever.sentence_api import (
        BatchSamplers,
        MultipleNegativesRankingLoss,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )

    def searching(model: Any) -> DenseRetriever:
        return DenseRetriever(
            catalogue,
            document_template(retriever.document),
            SentenceEncoder(model.eval(), dtype=retriever.dtype),
            query_prefix=retriever.query_prefix,
            document_prefix=retriever.document_prefix,
            query_cache_size=0,  # the model changes
        )

    start, device = encoder_folder(retriever.encoder), retriever.device
    learned, held_out = split_queries(queries, share=config.validation_share, seed=seed)
    model = load_model(start, device=device, pooling=retriever.pooling)
    model.max_seq_length = min(config.max_tokens, int(model.max_seq_length or config.max_tokens))
    model.model_card_data.local_files_only = True
    untrained = searching(model)
    before = _ndcg(untrained, held_out)
    log(0, 1, {MEASURE: before})
    examples = make_examples(learned, retriever=untrained, config=config, seed=seed)
    # Named by everything that training depends on: what another config left behind is not gone on with.
    encoder = SentenceEncoder(model, folder=start, dtype=retriever.dtype)
    facts = [encoder.fingerprint, asdict(config), seed, [asdict(one) for one in examples]]
    checkpoints = out.with_name(f".{out.name}.{content_hash(facts)[:12]}.checkpoints")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.lr,
        warmup_steps=config.warmup,  # below 1: a share of the steps
        batch_sampler=BatchSamplers.NO_DUPLICATES,  # else a query's own gold, or another's like it, were a negative
        seed=derive_seed(seed, "encoder") % 2**31,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=MEASURE,
        greater_is_better=True,
        logging_steps=5,
        report_to=[],
        disable_tqdm=True,
        use_cpu=device == "cpu",
        bf16=retriever.dtype == "bfloat16",
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(examples),
        loss=MultipleNegativesRankingLoss(model, scale=config.scale),
        evaluator=_evaluator(lambda trained: _ndcg(searching(trained), held_out)),
        callbacks=[_Logger(log)],
    )
    trainer.remove_callback(PrinterCallback)
    resumed = _last_whole(checkpoints)
    trainer.train(resume_from_checkpoint=resumed)
    after = trainer.state.best_metric or 0.0
    improved = after > before
    note = {
        "start": start.name,
        "queries": len(learned),
        "pairs": len(examples),
        "validation_queries": len(held_out),
        f"validation_{MEASURE}": {"before": round(before, 4), "after": round(after, 4)},
        "kept": "the best epoch" if improved else "the encoder that training started from: no epoch was better",
        "resumed": resumed is not None,
    }
    best = trainer.model if improved else load_model(start, device=device, pooling=retriever.pooling)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    best.save_pretrained(str(partial), create_model_card=False, safe_serialization=True)
    (partial / "README.md").write_text(_card(note, config, retriever), encoding="utf-8")
    write_json(partial / TRAINED, note)
    partial.rename(out)
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.checkpoints"):
        shutil.rmtree(left, ignore_errors=True)
    return note


def _last_whole(checkpoints: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer's state is what comes last."""
    whole = [path.parent for path in checkpoints.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def split_queries(
    queries: Sequence[LabelledQuery], *, share: float, seed: int
) -> tuple[list[LabelledQuery], list[LabelledQuery]]:
    """(to learn from, to choose the epoch by): no text is in both. Raises UserError when either would be empty."""
    texts = sorted({query.text for query in queries})
    derive_random(seed, "validation").shuffle(texts)
    held_out = set(texts[: max(1, round(share * len(texts)))])
    parts = [query for query in queries if query.text not in held_out], [q for q in queries if q.text in held_out]
    if not all(parts):
        raise UserError(
            f"{len(texts)} different queries with gold tools are too few to train an encoder on and to check it; "
            "give at least 2, better hundreds"
        )
    return parts


def make_examples(
    queries: Sequence[LabelledQuery], *, retriever: DenseRetriever, config: EncoderTrainingConfig, seed: int
) -> list[Example]:
    """A row for each query and gold tool, in the very texts that `retriever` encodes.

    Negatives are drawn from the tools that it ranks first, gold and what reads the same left out.
    """
    catalogue = retriever.catalogue
    examples = []
    for start in range(0, len(queries), 64):
        part = queries[start : start + 64]
        depth = 2 * config.mined_from + max(len(query.gold) for query in part)
        texts = [query.text for query in part]
        found = retriever.search(texts, depth) if config.hard_negatives else [()] * len(part)
        for query, candidates in zip(part, found, strict=True):
            texts_of_gold = {retriever.encoded_document(catalogue[gold]) for gold in query.gold}
            near = [one.tool for one in candidates if retriever.encoded_document(one.tool) not in texts_of_gold]
            near = near[: config.mined_from]
            random = derive_random(seed, "negatives", query.text)
            for gold in query.gold:
                drawn = random.sample(near, k=min(config.hard_negatives, len(near)))
                if len(drawn) == config.hard_negatives:
                    examples.append(
                        Example(
                            query=retriever.encoded_query(query.text),
                            positive=retriever.encoded_document(catalogue[gold]),
                            negatives=tuple(map(retriever.encoded_document, drawn)),
                        )
                    )
    if not examples:
        raise UserError(
            f"the catalogue's {len(catalogue)} tools are too few for {config.hard_negatives} hard negatives a pair; "
            "lower training.hard_negatives"
        )
    return examples


def _dataset(examples: Sequence[Example]) -> Dataset:
    columns = {"anchor": [one.query for one in examples], "positive": [one.positive for one in examples]}
    for place in range(len(examples[0].negatives)):
        columns[f"negative_{place + 1}"] = [one.negatives[place] for one in examples]
    return Dataset.from_dict(columns)


def _ndcg(retriever: DenseRetriever, queries: Sequence[LabelledQuery]) -> float:
    """Over the whole catalogue."""
    return mean(one.values[MEASURE] for one in score_queries(retriever, queries))


def _evaluator(measure: Callable[[Any], float]) -> Any:
    from retriever.sentence_api import BaseEvaluator

    class Ranking(BaseEvaluator):
        """NDCG@5 on the queries that are held out of training."""

        def __init__(self) -> None:
            super().__init__()
            self.primary_metric = MEASURE

        def __call__(self, model: Any, output_path: Any = None, epoch: float = -1, steps: int = -1) -> dict[str, float]:
            return {MEASURE: measure(model)}

    return Ranking()


class _Logger(TrainerCallback):
    """Hands the Trainer's logs on."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The Trainer's hook."""
        metrics = {key.removeprefix("eval_"): float(logs[key]) for key in ("loss", f"eval_{MEASURE}") if key in logs}
        if metrics:
            self._log(state.global_step, state.max_steps, metrics)


def _card(note: Mapping[str, Any], config: EncoderTrainingConfig, retriever: RetrieverConfig) -> str:
    """The model card."""
    figures = note[f"validation_{MEASURE}"]
    settings = json.dumps(asdict(config), indent=2)
    texts = {name: getattr(retriever, name) for name in ("document", "query_prefix", "document_prefix", "pooling")}
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, tool-retrieval, toolscout]
---

# Tool retriever, fine-tuned from {note["start"]}

Finds tools by what a request says. Trained by Toolscout with a contrastive ranking loss on {note["pairs"]} pairs of
{note["queries"]} queries and their gold tools. NDCG@5 over the whole catalogue on {note["validation_queries"]} queries
that were held out: {100 * figures["before"]:.1f} before, {100 * figures["after"]:.1f} after; kept: {note["kept"]}.

Use it with `retriever.encoder=FOLDER`, or `SentenceTransformer(FOLDER)`, on the same texts:

```json
{json.dumps(texts, indent=2, ensure_ascii=False)}
```

Trained with:

```json
{settings}
```
"""
