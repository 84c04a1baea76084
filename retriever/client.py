"""The client of the retriever's service. It waits for a service that is busy or being restarted; it keeps no index."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx

from retriever.base.errors import InfraError, UserError
from retriever.search import check_k
from retriever.tools import Candidate, ToolDoc
from retriever.words import clean_query

_PASSING = frozenset({429, 502, 503, 504})  # busy, or on its way back
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


class RemoteSearch:
    """Searches through a service; results are those of the service's own retriever, scores to the last bit.

    What passes (no connection, 429, 502 to 504) is tried again for `patience_s`. For one event loop at a time.
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout_s: float = 10.0, patience_s: float = 120.0
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"retriever address {url!r} is none; give e.g. http://127.0.0.1:8600")
        self._url, self._patience_s = url.rstrip("/"), patience_s
        self._options: dict[str, Any] = {
            "headers": {} if token is None else {"Authorization": f"Bearer {token}"},
            "timeout": timeout_s,
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=64),
            "trust_env": False,  # a proxy of the user's is not for a service on this machine
        }
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def search(self, query: str, k: int) -> tuple[Candidate, ...]:
        """The candidates of one query: the service makes the batches. Raises as `search_many`."""
        return (await self.search_many([query], k))[0]

    async def search_many(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        """One tuple of candidates per query, in order.

        Raises UserError for what the service refuses, InfraError when it did not answer in `patience_s`.
        """
        check_k(k)
        until, pause_s = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        asked = {"queries": [clean_query(query) for query in queries], "k": k}
        while True:
            try:
                answer = await self._connected().post(f"{self._url}/search", json=asked)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} {error}".strip()
            else:
                if answer.status_code not in _PASSING:
                    return self._candidates(answer)
                problem = f"HTTP {answer.status_code}"
            if time.monotonic() >= until:
                raise InfraError(
                    f"the retriever at {self._url} gave no answer in {self._patience_s} s ({problem}); "
                    "is it running? toolscout retriever serve starts it"
                )
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # not all clients at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """End the connections; the next search opens new ones."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _connected(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or loop is not self._loop:  # connections belong to the loop that opened them
            self._client, self._loop = httpx.AsyncClient(**self._options), loop
        return self._client

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
