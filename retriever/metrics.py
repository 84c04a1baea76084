"""How good is a ranking? Pure functions of ranked ids and gold ids; None where there is no gold to find.

Gains are binary. An id that a ranking repeats counts once, at its first place, and keeps the places it takes up.
"""

import math
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from retriever.base.errors import UserError

NdcgVariant = Literal["standard", "hits_only"]


def ndcg_at_k(ranked: Sequence[str], gold: Collection[str], k: int, variant: NdcgVariant = "standard") -> float | None:
    """DCG@k / ideal DCG@k with DCG@k = Σ_{r ≤ k, tool r is gold} 1 / log2(r + 1)  (Järvelin & Kekäläinen 2002).

    The ideal ranking has all gold tools first ("standard": ToolBench), or only those that stand anywhere in `ranked`
    ("hits_only": ToolGen's scripts). Three gold tools, one found at rank 1, k = 5: 0.469 and 1.0.
    """
    gains = _gains(ranked, gold, k=None)
    _check_k(k)
    if not gold:
        return None
    ideal_count = len(set(gold)) if variant == "standard" else sum(gains)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, ideal_count) + 1))
    found = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))
    return found / ideal if ideal else 0.0


def recall_at_k(ranked: Sequence[str], gold: Collection[str], k: int) -> float | None:
    """|gold ∩ first k| / |gold|: a fraction."""
    _check_k(k)
    return sum(_gains(ranked, gold, k=k)) / len(set(gold)) if gold else None


def completeness_at_k(ranked: Sequence[str], gold: Collection[str], k: int) -> float | None:
    """1 when every gold tool is among the first k, else 0 (Qu et al. 2024, COLT)."""
    recall = recall_at_k(ranked, gold, k)
    return None if recall is None else float(recall == 1.0)


def reciprocal_rank(ranked: Sequence[str], gold: Collection[str]) -> float | None:
    """1 / rank of the first gold tool; 0 when there is none (Voorhees 1999)."""
    if not gold:
        return None
    return next((1 / rank for rank, gain in enumerate(_gains(ranked, gold, k=None), start=1) if gain), 0.0)


def average_precision(ranked: Sequence[str], gold: Collection[str]) -> float | None:
    """Σ over the gold tools found of precision at their rank, / |gold| (Buckley & Voorhees 2000)."""
    if not gold:
        return None
    total, hits = 0.0, 0
    for rank, gain in enumerate(_gains(ranked, gold, k=None), start=1):
        hits += gain
        total += gain * hits / rank
    return total / len(set(gold))


def bootstrap_interval(
    values: Sequence[float], seed: int, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979): `values` are per task, drawn with replacement."""
    if not len(values):
        raise UserError("no values to give an interval for; evaluate at least one task")
    if not 0.0 < level < 1.0:
        raise UserError(f"level={level} is outside 0 to 1; give e.g. 0.95")
    if resamples < 1:
        raise UserError(f"resamples={resamples} is below 1; give e.g. 1000")
    observed = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = observed[generator.integers(0, len(observed), (resamples, len(observed)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _gains(ranked: Sequence[str], gold: Collection[str], *, k: int | None) -> list[int]:
    left = set(gold)
    gains: list[int] = []
    for tool_id in ranked[:k]:
        gains.append(int(tool_id in left))
        left.discard(tool_id)
    return gains


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"k={k} is below 1; a measure looks at the first k ≥ 1 tools")
