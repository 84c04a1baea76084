"""Words and meaning together: a weighted sum of standardised scores, or of reciprocal ranks."""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from retriever.catalogue import Catalogue
from retriever.config import FusedBy
from retriever.search import ScoringRetriever, check_k, ranked, top_positions
from retriever.tools import Candidate
from retriever.words import clean_query

_BLOCK = 16  # queries fused at once: bounds the memory at 16 score vectors a side
_RANK_OFFSET = 60  # Cormack et al. 2009


def standardised(scores: NDArray[np.floating]) -> NDArray[np.float64]:  # [N] -> [N]
    """(x − mean) / standard deviation over the catalogue; zeros where all scores are equal, for they tell nothing."""
    centred = scores.astype(np.float64) - scores.mean(dtype=np.float64)
    deviation = float(np.sqrt(np.mean(centred**2)))
    return centred / deviation if deviation > 1e-12 else np.zeros_like(centred)


def reciprocal_ranks(scores: NDArray[np.floating]) -> NDArray[np.float64]:  # [N] -> [N]
    """1 / (60 + rank), rank 1 for the highest; equal scores share the best of their ranks (Cormack et al. 2009)."""
    ranks: NDArray[np.float64] = rankdata(-scores, method="min")
    return 1.0 / (_RANK_OFFSET + ranks)


_COMPARABLE = {"scores": standardised, "ranks": reciprocal_ranks}  # what makes scores of two kinds comparable


def fused(
    lexical: NDArray[np.floating], dense: NDArray[np.floating], *, lexical_weight: float, by: FusedBy = "scores"
) -> NDArray[np.float64]:  # [N]
    """w · f(lexical) + (1 − w) · f(dense), with f as `by` says; where one is -inf, in a hole, the result is."""
    comparable = _COMPARABLE[by]
    live = np.isfinite(lexical)
    result = np.full(len(lexical), -np.inf)
    result[live] = lexical_weight * comparable(lexical[live]) + (1.0 - lexical_weight) * comparable(dense[live])
    return result


class HybridRetriever:
    """Fusion of a lexical and a dense retriever over one catalogue.

    Exact up to `exact_limit` tools: both score the whole catalogue. Above it, each gives its best `depth` tools, and
    the union is fused as if it were all; a tool that one side does not list counts as that side's lowest.
    """

    def __init__(
        self,
        lexical: ScoringRetriever,
        dense: ScoringRetriever,
        *,
        lexical_weight: float = 0.5,
        by: FusedBy = "scores",
        exact_limit: int = 200_000,
        depth: int = 1_000,
    ) -> None:
        assert lexical.catalogue is dense.catalogue
        self._lexical, self._dense = lexical, dense
        self._weight, self._by = lexical_weight, by
        self._exact_limit, self._depth = exact_limit, depth

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._lexical.catalogue

    def following(self, catalogue: Catalogue) -> "HybridRetriever":
        """See `IndexedRetriever`."""
        changed = copy.copy(self)
        changed._lexical, changed._dense = self._lexical.following(catalogue), self._dense.following(catalogue)
        return changed

    def rebuilt(self, catalogue: Catalogue) -> "HybridRetriever":
        """See `IndexedRetriever`."""
        changed = copy.copy(self)
        changed._lexical, changed._dense = self._lexical.rebuilt(catalogue), self._dense.rebuilt(catalogue)
        return changed

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found: list[tuple[Candidate, ...]] = [()] * len(queries)
        if not len(self.catalogue):
            return found
        rows = [row for row, query in enumerate(queries) if clean_query(query)]
        search = self._exact if len(self.catalogue) <= self._exact_limit else self._over_union
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            for row, candidates in zip(block, search([queries[row] for row in block], k), strict=True):
                found[row] = candidates
        return found

    def scores(self, queries: Sequence[str]) -> NDArray[np.float64]:  # [Q, slots]
        """The fused score of every tool for every query, exact whatever the size of the catalogue."""
        pairs = zip(self._lexical.scores(queries), self._dense.scores(queries), strict=True)
        rows = [self._fused(left, right) for left, right in pairs]
        return np.stack(rows) if rows else np.zeros((0, self.catalogue.slots))

    def _fused(self, lexical: NDArray[np.floating], dense: NDArray[np.floating]) -> NDArray[np.float64]:  # [N]
        return fused(lexical, dense, lexical_weight=self._weight, by=self._by)

    def _exact(self, queries: list[str], k: int) -> list[tuple[Candidate, ...]]:
        return [ranked(self.catalogue, row, k) for row in self.scores(queries)]

    def _over_union(self, queries: list[str], k: int) -> list[tuple[Candidate, ...]]:
        depth = max(k, self._depth)
        pairs = zip(self._lexical.search(queries, depth), self._dense.search(queries, depth), strict=True)
        return [self._fuse_lists(left, right, k) for left, right in pairs]

    def _fuse_lists(self, left: Sequence[Candidate], right: Sequence[Candidate], k: int) -> tuple[Candidate, ...]:
        union = sorted({self.catalogue.slot(candidate.tool.id) for candidate in (*left, *right)})
        if not union:
            return ()
        tools = [self.catalogue.at(slot) for slot in union]

        def aligned(side: Sequence[Candidate]) -> NDArray[np.float64]:
            score_of = {candidate.tool.id: candidate.score for candidate in side}
            lowest = min(score_of.values(), default=0.0)
            return np.array([score_of.get(tool.id, lowest) for tool in tools])

        scores = self._fused(aligned(left), aligned(right))
        return tuple(
            Candidate(tool=tools[place], score=float(scores[place]), rank=rank)
            for rank, place in enumerate(top_positions(scores, k), start=1)
        )
