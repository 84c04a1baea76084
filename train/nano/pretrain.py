"""Makes the nano base: a Qwen3 from random weights, trained on made-up tools alone.

A plain loop over one process: it is run once per release of the base, and what it makes is shipped and hash-checked.
Fine-tuning and reinforcement learning go through TRL (`train.sft`, `train.grpo`).
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.dialects import DIALECTS
from retriever.base.bars import without_bars
from retriever.base.errors import UserError
from retriever.base.files import read_json, write_json
from retriever.base.seeds import derive_random, derive_seed
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from rollout.renderer import Renderer
from train.nano.curriculum import curriculum, episode_segments, match_drill, tokenizer_texts
from train.nano.model import nano_config, new_nano, train_tokenizer
from train.nano.muon import Muon
from train.segments import Segment

MANIFEST = "pretrain.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """How the base is made: from random weights, or on from what an earlier run made."""

    seed: int = 0
    start: str | None = None  # the folder to go on from, if any
    begin: float = 0.0  # where in the curriculum to begin, as a share of `tokens`
    tokens: int = 13_000_000  # about 45 minutes on two cores
    hidden: int = 128
    layers: int = 6
    batch_tokens: int = 4096  # padding included
    lr: float = 3e-3
    warmup: float = 0.01  # shares of `tokens`
    decay: float = 0.3
    report_tokens: int = 250_000
    threads: int = 2

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.batch_tokens < 512:
            raise UserError(
                f"nano.tokens={self.tokens}, nano.batch_tokens={self.batch_tokens}: give at least 1 and 512"
            )
        if self.hidden % 32:
            raise UserError(f"nano.hidden={self.hidden} is no multiple of the head size 32; give e.g. 128")


def pretrain(config: PretrainConfig, out: Path) -> Path:
    """Train and save to `out` (safetensors in bf16, tokenizer, `training.jsonl`); returns `out`."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    if config.start is None:
        tokenizer = train_tokenizer(tokenizer_texts(derive_seed(config.seed, "tokenizer"), 8000))
        model = new_nano(nano_config(tokenizer, hidden=config.hidden, layers=config.layers))
    else:
        tokenizer, model = load_tokenizer(config.start), load_model(config.start, ModelConfig(path=config.start))
    renderer = Renderer(tokenizer, DIALECTS["qwen3"])
    optimizers = _optimizers(model, config.lr)
    out.mkdir(parents=True, exist_ok=True)
    unseen = derive_seed(config.seed, "held out")
    held_out = [s for index in range(100) for s in episode_segments(renderer, unseen, index, "phrases")]
    drills = (derive_random(unseen, index) for index in range(30))
    held_out += [match_drill(renderer, random, rounds=8, candidates=5, style="phrases") for random in drills]
    spent = next_report = round(config.begin * config.tokens)
    started = time.perf_counter()
    losses: list[float] = []
    with (out / "training.jsonl").open("w", encoding="utf-8") as log:
        lessons = curriculum(renderer, seed=config.seed, tokens=config.tokens, begin=config.begin)
        for batch in _batches(lessons, config.batch_tokens):
            rate = _schedule(spent / config.tokens, config)
            losses.append(_step(model, optimizers, batch, rate))
            spent += sum(len(segment.ids) for segment in batch)
            if spent >= next_report:
                next_report = spent + config.report_tokens
                row = {
                    "tokens": spent,
                    "seconds": round(time.perf_counter() - started, 1),
                    "loss": round(sum(losses) / len(losses), 4),
                    **exact_turns(model, held_out),
                }
                losses.clear()
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(row, flush=True)
                if spent // config.report_tokens % 4 == 0:
                    _save(model, tokenizer, out)
    _save(model, tokenizer, out)
    write_json(out / MANIFEST, _manifest(config, spent))
    return out


def _manifest(config: PretrainConfig, spent: int) -> dict[str, Any]:
    """How this base was made, what it went on from included."""
    made: dict[str, Any] = {**asdict(config), "trained_tokens": spent - round(config.begin * config.tokens)}
    if config.start is not None:
        before = Path(config.start) / MANIFEST
        made["start"] = Path(config.start).name  # a name, not a place on somebody's machine
        made["before"] = read_json(before, what="manifest of the stage before") if before.is_file() else None
    return made


def exact_turns(model: Any, segments: Sequence[Segment]) -> dict[str, float]:
    """Teacher-forced: the share of completions whose every token is the most likely one, by the kind of turn."""
    model.eval()
    right: dict[str, list[bool]] = {}
    for batch in _batches(iter(segments), 8192):
        ids, attention, _ = _tensors(batch)
        with torch.no_grad():
            best = model(input_ids=ids, attention_mask=attention).logits.argmax(-1)
        for row, segment in enumerate(batch):
            for kind, begin, end in _turns(segment):
                hit = bool((best[row, begin - 1 : end - 1] == ids[row, begin:end]).all())
                kind = "match" if kind.startswith("coupled") else kind
                right.setdefault(kind, []).append(hit)
    model.train()
    return {f"exact_{kind}": round(sum(hits) / len(hits), 3) for kind, hits in sorted(right.items())}


def _turns(segment: Segment) -> Iterator[tuple[str, int, int]]:
    """(kind, begin, end) of each completion; kinds: retrieval_0 (first search), …, execution_0 …"""
    begin, count = None, 0
    for position, acts in enumerate((*segment.action_mask, False)):
        if acts and begin is None:
            begin = position
        elif not acts and begin is not None:
            yield f"{segment.objective.value}_{count}", begin, position
            begin, count = None, count + 1


def _optimizers(model: Any, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, lr=lr, weight_decay=0.05),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _schedule(progress: float, config: PretrainConfig) -> float:
    """Warm-up, constant, then linear to zero, as a share of the peak."""
    return max(0.0, min(1.0, (progress - config.begin + 1e-4) / config.warmup, (1 - progress) / config.decay))


def _step(model: Any, optimizers: Sequence[torch.optim.Optimizer], batch: Sequence[Segment], rate: float) -> float:
    ids, attention, actions = _tensors(batch)
    # fp32: bfloat16 is several times slower on processors without instructions for it
    hidden = model.model(input_ids=ids, attention_mask=attention).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][actions[:, 1:]])
    loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][actions[:, 1:]])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.setdefault("peak_lr", group["lr"])
        optimizer.step()
        optimizer.zero_grad()
    value = float(loss.detach())
    assert math.isfinite(value), "the base's loss is not finite"
    return value


def _batches(segments: Iterator[Segment], tokens: int, window: int = 256) -> Iterator[list[Segment]]:
    """Batches of similar lengths, at most `tokens` with padding, in an order that does not follow length."""
    while pool := sorted(islice(segments, window), key=lambda segment: len(segment.ids)):
        batches: list[list[Segment]] = [[]]
        for segment in pool:
            if batches[-1] and (len(batches[-1]) + 1) * len(segment.ids) > tokens:
                batches.append([])
            batches[-1].append(segment)
        yield from batches[::2] + batches[1::2][::-1]


def _tensors(batch: Sequence[Segment]) -> tuple[Tensor, Tensor, Tensor]:
    """ids [B, T], attention mask [B, T], action mask [B, T]; padded right."""
    width = max(len(segment.ids) for segment in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    attention = torch.zeros(len(batch), width, dtype=torch.long)
    actions = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, segment in enumerate(batch):
        length = len(segment.ids)
        ids[row, :length] = torch.tensor(segment.ids)
        attention[row, :length] = 1
        actions[row, :length] = torch.tensor(segment.action_mask)
    return ids, attention, actions


def _save(model: Any, tokenizer: Any, out: Path) -> None:
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    del state["lm_head.weight"]  # tied to the embeddings
    with without_bars():
        model.save_pretrained(out, state_dict=state)
    tokenizer.save_pretrained(out)
