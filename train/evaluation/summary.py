"""`summary.json`: what a run has shown, in numbers that other tools read.

{"seconds": …,
 "stages": {stage: {split: {metric: mean, "n": tasks, "infra_failures": count, "intervals": {metric: [low, high]},
                            "counts": {metric: n}, "groups": {first tag of tasks: {…the same…}}}}},
 "baseline": {split: {…the same shape, of one search with the raw instruction…,
                      "equal_size": {stage: {"toolset_size", "all_gold_selected", "selection_precision"}}}},
 "gains": {"sft_over_base" | "rl_over_sft": {split: {metric: {"mean", "low", "high", "n"}}}}}
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import count, pairwise, takewhile
from typing import Any

from retriever.base.seeds import derive_seed
from train.evaluation.metrics import TaskScore, aggregate, at_toolset_size, groups_of, paired_gains

DIGITS = 6  # of every number in the file: enough for any reader, and stable to compare

Scores = Mapping[str, Sequence[TaskScore]]  # split → the score of every task


def build_summary(
    *, seconds: float, stages: Mapping[str, Scores], baseline: Scores | None = None, seed: int
) -> dict[str, Any]:
    """The JSON-able summary of all stages, in the order given. Raises nothing: missing splits are just not there."""
    blocks = {
        stage: {split: _with_groups(scores, derive_seed(seed, split)) for split, scores in splits.items()}
        for stage, splits in stages.items()
    }
    base = {split: _with_groups(scores, derive_seed(seed, split)) for split, scores in (baseline or {}).items()}
    for split, block in base.items():
        of_split = {stage: splits[split] for stage, splits in blocks.items() if split in splits}
        _add_equal_sizes(block, of_split)
        for tag, group in block["groups"].items():
            found = {stage: b["groups"][tag] for stage, b in of_split.items() if tag in b["groups"]}
            _add_equal_sizes(group, found)
    return {"seconds": round(seconds, 1), "stages": blocks, "baseline": base, "gains": _gains(stages, seed)}


def _with_groups(scores: Sequence[TaskScore], seed: int) -> dict[str, Any]:
    groups = {tag: [score for score in scores if score.tags[:1] == (tag,)] for tag in groups_of(scores)}
    return {**_block(scores, seed), "groups": {tag: _block(chosen, seed) for tag, chosen in groups.items()}}


def _block(scores: Sequence[TaskScore], seed: int) -> dict[str, Any]:
    estimates = aggregate(scores, seed=seed)
    block: dict[str, Any] = {name: round(found.mean, DIGITS) for name, found in estimates.items()}
    block["n"] = len(scores)
    block["infra_failures"] = int(sum(score.metrics.get("infra_failures") or 0 for score in scores))
    block["intervals"] = {
        name: [round(found.low, DIGITS), round(found.high, DIGITS)] for name, found in estimates.items()
    }
    block["counts"] = {name: found.n for name, found in estimates.items()}
    return block


def _add_equal_sizes(baseline: dict[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> None:
    """What the raw instruction's ranking would select at each stage's own mean toolset size."""
    all_gold, precision = _by_size(baseline, "all_gold_at_"), _by_size(baseline, "precision_at_")
    if not all_gold or not precision:
        return
    baseline["equal_size"] = {
        stage: {
            "toolset_size": block["toolset_size"],
            "all_gold_selected": round(at_toolset_size(all_gold, block["toolset_size"]), DIGITS),
            "selection_precision": round(at_toolset_size(precision, block["toolset_size"]), DIGITS),
        }
        for stage, block in stages.items()
        if "toolset_size" in block
    }


def _by_size(block: Mapping[str, Any], prefix: str) -> list[float]:
    """The means of `<prefix>1`, `<prefix>2`, … as far as they are known."""
    return [block[f"{prefix}{size}"] for size in takewhile(lambda size: f"{prefix}{size}" in block, count(1))]


def _gains(stages: Mapping[str, Scores], seed: int) -> dict[str, Any]:
    """The paired gain of each stage over the one before it."""
    names = list(stages)
    return {
        f"{after}_over_{before}": {
            split: {
                metric: {key: round(value, DIGITS) for key, value in asdict(gain).items()}
                for metric, gain in paired_gains(
                    stages[before][split], stages[after][split], seed=derive_seed(seed, split)
                ).items()
            }
            for split in stages[after]
            if split in stages[before]
        }
        for before, after in pairwise(names)
    }
