"""A retriever against queries with known gold tools: every measure, by group and in all, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from retriever.base.errors import UserError
from retriever.metrics import (
    average_precision,
    bootstrap_interval,
    completeness_at_k,
    ndcg_at_k,
    recall_at_k,
    reciprocal_rank,
)
from retriever.search import Retriever

DEPTH = 100  # candidates that are looked at; MRR and MAP see no further
RESAMPLES = 1000
ALL = "all"

Measure = Callable[[Sequence[str], Sequence[str]], float | None]  # (ranked ids, gold ids) → value

MEASURES: Mapping[str, Measure] = {
    "ndcg@1": lambda ranked, gold: ndcg_at_k(ranked, gold, 1),
    "ndcg@3": lambda ranked, gold: ndcg_at_k(ranked, gold, 3),
    "ndcg@5": lambda ranked, gold: ndcg_at_k(ranked, gold, 5),
    "hits_only_ndcg@5": lambda ranked, gold: ndcg_at_k(ranked, gold, 5, "hits_only"),
    "recall@5": lambda ranked, gold: recall_at_k(ranked, gold, 5),
    "completeness@5": lambda ranked, gold: completeness_at_k(ranked, gold, 5),
    "mrr": reciprocal_rank,
    "map": average_precision,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    """A query and the tools that it should find."""

    text: str
    gold: tuple[str, ...]  # ids, at least one
    group: str  # what it is reported with

    def __post_init__(self) -> None:
        assert self.gold, "a query without gold tools cannot be scored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over queries with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryScores:
    """What one query's ranking was worth."""

    query: LabelledQuery
    values: Mapping[str, float]  # by measure


def score_queries(
    retriever: Retriever,
    queries: Sequence[LabelledQuery],
    *,
    batch: int = 64,
    advance: Callable[[int], None] = lambda more: None,
) -> list[QueryScores]:
    """Search every query and measure the ranking. `advance` hears how many more are done."""
    scores: list[QueryScores] = []
    depth = min(DEPTH, max(1, len(retriever.catalogue)))
    for start in range(0, len(queries), batch):
        part = queries[start : start + batch]
        for query, candidates in zip(part, retriever.search([query.text for query in part], depth), strict=True):
            ranked = [candidate.tool.id for candidate in candidates]
            values = {name: measure(ranked, query.gold) for name, measure in MEASURES.items()}
            scores.append(QueryScores(query=query, values={n: v for n, v in values.items() if v is not None}))
        advance(len(part))
    return scores


def by_group(scores: Sequence[QueryScores], *, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """group → measure → estimate, in order of appearance, and "all" last: over queries, not over groups.

    Raises UserError when there is no query.
    """
    if not scores:
        raise UserError("no query to evaluate; give tasks with gold tools")
    groups: dict[str, list[QueryScores]] = {}
    for one in scores:
        groups.setdefault(one.query.group, []).append(one)
    return {
        group: {name: _estimate([one.values[name] for one in members], seed) for name in MEASURES}
        for group, members in {**groups, ALL: list(scores)}.items()
    }


def _estimate(values: Sequence[float], seed: int) -> Estimate:
    low, high = bootstrap_interval(values, seed=seed, resamples=RESAMPLES)
    return Estimate(mean=mean(values), low=low, high=high, count=len(values))


# --- settings chosen without the group that they are reported on ---


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """The settings that one group was scored with: the best on all the others."""

    group: str
    settings: Mapping[str, Any]
    others: float  # mean over the other groups of what was chosen by


def leave_one_group_out(
    candidates: Sequence[tuple[Mapping[str, Any], Sequence[QueryScores]]], *, measure: str = "ndcg@5"
) -> tuple[list[QueryScores], list[LeftOut]]:
    """Each query scored with the settings that are best on the mean of the groups it is not in.

    `candidates`: settings and the scores that they gave, over the same queries in the same order; of equally good ones
    the first. Raises UserError for fewer than two groups, or an unknown measure.
    """
    if measure not in MEASURES:
        raise UserError(f"measure {measure!r} is unknown; give one of {', '.join(MEASURES)}")
    groups = list(dict.fromkeys(one.query.group for one in candidates[0][1]))
    if len(groups) < 2:
        raise UserError(
            f"settings are chosen on the groups that are not reported, and there is only {groups[0]!r}; "
            "give tasks of two groups or more (the first tag of a task is its group)"
        )
    means = [
        {g: mean(one.values[measure] for one in scores if one.query.group == g) for g in groups}
        for _, scores in candidates
    ]
    chosen: dict[str, int] = {}
    notes: list[LeftOut] = []
    for group in groups:
        others = [mean(value for name, value in each.items() if name != group) for each in means]
        chosen[group] = others.index(max(others))
        notes.append(LeftOut(group=group, settings=candidates[chosen[group]][0], others=max(others)))
    queries = candidates[0][1]
    return [candidates[chosen[one.query.group]][1][place] for place, one in enumerate(queries)], notes
