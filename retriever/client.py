"""The client of the retriever's service. It waits for a service that is busy or being restarted; it keeps no index."""

import logging
import random
import re
import time
from collections.abc import Sequence
from typing import Any

import httpx

from retriever.base.errors import InfraError, UserError
from retriever.catalogue import Catalogue
from retriever.config import TOKEN_VARIABLE
from retriever.search import check_k
from retriever.tools import Candidate, ToolDoc
from retriever.words import QUERY_CHARS

QUERIES_A_REQUEST = 256  # at most; the service refuses more
RESULTS_A_REQUEST = 20_000  # queries times k, at most: an answer is written in one go, and others wait for it

_SURROGATE = re.compile(r"[\ud800-\udfff]")  # a lone one cannot be sent; a control character reads the same

_PASSING = frozenset({429, 502, 503, 504})  # busy, or on its way back
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_CHECK_S = 10.0  # how long the first answer is waited for: a service that is not there is mostly a wrong address

_log = logging.getLogger(__name__)


class RemoteRetriever:
    """Searches through a service; results are those of the service's own retriever, scores to the last bit.

    What passes (no connection, 429, 502 to 504) is tried again for `patience_s`. Safe for many threads.
    """

    def __init__(
        self,
        url: str,
        catalogue: Catalogue,
        *,
        token: str | None = None,
        timeout_s: float = 15.0,  # the service's own is 10: its answer says more
        patience_s: float = 120.0,
    ) -> None:
        self._url, self._catalogue, self._patience_s = url.rstrip("/"), catalogue, patience_s
        self._client = httpx.Client(
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # a proxy of the user's is not for a service on this machine
        )

    def check(self) -> None:
        """Raises UserError when nothing of ours answers there, or what answers holds other tools than this side."""
        try:
            answer = self._answer("GET", "catalogue", patience_s=_CHECK_S)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise UserError(
                    f"retriever.url={self._url} wants its bearer token (HTTP 401); set {TOKEN_VARIABLE} to the same "
                    "as the service's"
                )
            served = answer.raise_for_status().json()
            tools, digest = served["tools"], served["content_hash"]
        except (InfraError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"retriever.url={self._url}: no retriever of ours answers there ({error}); start one with "
                "toolscout retriever serve, or check the address"
            ) from None
        if digest != self._catalogue.content_hash:
            raise UserError(
                f"retriever.url={self._url} serves other tools ({tools}) than this world's ({len(self._catalogue)}); "
                "serve this world's catalogue"
            )

    @property
    def catalogue(self) -> Catalogue:
        """What this side knows of the tools; the service may have newer ones."""
        return self._catalogue

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """See `Retriever`.

        Raises UserError for what the service refuses, InfraError when it did not answer in `patience_s`.
        """
        check_k(k)
        # Who looks for a few tools of many asks for more than there are, and the service answers so many at the most.
        k = min(k, max(RESULTS_A_REQUEST, len(self._catalogue)))
        found: list[tuple[Candidate, ...]] = []
        step = max(1, min(QUERIES_A_REQUEST, RESULTS_A_REQUEST // k))
        for start in range(0, len(queries), step):
            part = [_SURROGATE.sub("\0", query[:QUERY_CHARS]) for query in queries[start : start + step]]
            asked = {"queries": part, "k": k}
            found += self._candidates(self._answer("POST", "search", asked, patience_s=self._patience_s))
        return found

    def _answer(
        self, method: str, path: str, asked: dict[str, Any] | None = None, *, patience_s: float
    ) -> httpx.Response:
        until, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            try:
                answer = self._client.request(method, f"{self._url}/{path}", json=asked)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} {error}".strip()
            else:
                if answer.status_code not in _PASSING:
                    return answer
                problem = f"HTTP {answer.status_code}"
            if time.monotonic() >= until:
                raise InfraError(
                    f"the retriever at {self._url} gave no answer in {patience_s} s ({problem}); "
                    "is it running? toolscout retriever serve starts it"
                )
            if pause_s == _FIRST_PAUSE_S:
                _log.warning(
                    "the retriever at %s gives no answer (%s); trying for %g s", self._url, problem, patience_s
                )
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # not all clients at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _candidates(self, answer: httpx.Response) -> list[tuple[Candidate, ...]]:
        try:
            content = answer.json()
            if answer.is_success:
                return [
                    tuple(
                        Candidate(tool=_tool(one["tool"]), score=one["score"], rank=rank)
                        for rank, one in enumerate(row, start=1)
                    )
                    for row in content["results"]
                ]
            problem = content["detail"]
        except (ValueError, KeyError, TypeError):
            problem = f"not what a retriever of ours says: {answer.text[:200]!r}"
        raise UserError(f"the retriever at {self._url} refused a search: HTTP {answer.status_code}: {problem}")


def _tool(entry: dict[str, Any]) -> ToolDoc:
    return ToolDoc(**{**entry, "tags": tuple(entry["tags"])})
