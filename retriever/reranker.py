"""A cross-encoder over what a retriever found: it reads query and tool together, which is better and slower."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from retriever.base.errors import UserError
from retriever.catalogue import Catalogue
from retriever.documents import DocumentTemplate
from retriever.search import IndexedRetriever, check_k, top_positions
from retriever.tools import Candidate
from retriever.words import clean_query


class RerankingRetriever:
    """The `depth` best of another retriever, in the order of a cross-encoder's scores; those behind keep their order.

    Scores are the cross-encoder's; of a tool that it did not read, the retriever's, lowered below the last that it did.
    """

    def __init__(self, first: IndexedRetriever, model: Any, template: DocumentTemplate, *, depth: int) -> None:
        self._first, self._model, self._template, self._depth = first, model, template, depth
        self._lock = threading.Lock()

    @property
    def catalogue(self) -> Catalogue:
        """What is searched."""
        return self._first.catalogue

    def following(self, catalogue: Catalogue) -> "RerankingRetriever":
        """See `IndexedRetriever`."""
        return RerankingRetriever(self._first.following(catalogue), self._model, self._template, depth=self._depth)

    def rebuilt(self, catalogue: Catalogue) -> "RerankingRetriever":
        """See `IndexedRetriever`."""
        return RerankingRetriever(self._first.rebuilt(catalogue), self._model, self._template, depth=self._depth)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`."""
        check_k(k)
        found = self._first.search(queries, max(k, self._depth))
        return [self._reranked(query, candidates)[:k] for query, candidates in zip(queries, found, strict=True)]

    def _reranked(self, query: str, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """One query at a time: what is read does not depend on other queries."""
        read, rest = candidates[: self._depth], candidates[self._depth :]
        if not read:
            return ()
        text = clean_query(query)
        pairs = [(text, self._template.render(one.tool)) for one in read]
        with self._lock:
            scores = np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float64)
        order = top_positions(scores, len(read))
        below = float(scores.min()) - (rest[0].score if rest else 0.0) - 1.0
        behind = [replace(one, score=one.score + below) for one in rest]
        best = [replace(read[place], score=float(scores[place])) for place in order]
        return tuple(replace(one, rank=rank) for rank, one in enumerate([*best, *behind], start=1))


def load_reranker(folder: str, *, device: str) -> Any:
    """The cross-encoder in `folder`, one score a pair: safetensors only, no code of its own. Raises UserError."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(
            f"retriever.reranker={folder!r} is no folder; download a cross-encoder first and give its folder"
        )
    from retriever.sentence_api import CrossEncoder

    try:
        model = CrossEncoder(str(path), device=device, local_files_only=True, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"retriever.reranker: no cross-encoder can be loaded from {path} ({error})") from error
    if model.config.num_labels != 1:
        raise UserError(
            f"retriever.reranker={folder!r} gives {model.config.num_labels} numbers a pair; give a model of one score"
        )
    return model.eval()
