"""Search over HTTP, for many workers that share one index: the one door to FastAPI. It runs no tool.

POST /search     {"queries": [..], "k": 5, "timeout_s": 5}      -> {"results": [[{"tool": {..}, "score": ..}, ..], ..]}
POST /retrieve   {"queries": [..], "topk": 5, "return_scores": true}   Search-R1's own protocol (arXiv 2503.09516)
POST, PUT, DELETE /tools   add, update {"tools": [..]}, remove {"ids": [..]}; GET /tools/ID
GET  /tools      the whole catalogue as it is now, in the lines of its file
GET  /catalogue  {"version": .., "tools": .., "content_hash": ..}
POST /reload     reads the catalogue's file again                -> {"version": .., "tools": ..}
GET  /health     GET /metrics (Prometheus); GET / names these
"""

import asyncio
import hmac
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retriever.base.errors import InfraError, UserError
from retriever.batching import BatchedSearch
from retriever.catalogue import Catalogue
from retriever.client import QUERIES_A_REQUEST, RESULTS_A_REQUEST
from retriever.entries import entry_json, light, parameters_json, parse_tool
from retriever.live import LiveRetriever
from retriever.tools import Candidate, ToolDoc

_log = logging.getLogger(__name__)

_PREFIX = "toolscout_retriever_"  # of every metric


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """Limits of the service. Raises UserError for one that cannot be."""

    batch_window_ms: float = 2.0  # how long a query waits for company, so that the encoder sees one batch
    max_waiting: int = 1_024  # queries; beyond it a request is answered 429
    timeout_s: float = 10.0  # a request that takes longer is answered 504; a client may ask for less
    max_body_bytes: int = 4_000_000  # a larger request is answered 413
    token: str | None = None  # bearer token that every request but /health must carry

    def __post_init__(self) -> None:
        for name, least in (("batch_window_ms", 0.0), ("max_waiting", 1), ("timeout_s", 0.001), ("max_body_bytes", 1)):
            if not getattr(self, name) >= least:
                raise UserError(f"{name}={getattr(self, name)} is below {least}; give more")
        if self.token is not None and (not self.token.isascii() or not self.token.isprintable() or not self.token):
            raise UserError("the token is empty, or not printable ASCII, which a header cannot carry; give another")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Queries = Annotated[list[str], Field(max_length=QUERIES_A_REQUEST)]


class SearchRequest(_Strict):
    """What /search takes."""

    queries: Queries
    k: int = Field(default=5, ge=1, le=RESULTS_A_REQUEST)
    timeout_s: float | None = Field(default=None, gt=0)


class RetrieveRequest(BaseModel):
    """What Search-R1's clients send."""

    queries: Queries
    topk: int | None = Field(default=None, ge=1, le=RESULTS_A_REQUEST)
    return_scores: bool = False


class ToolsRequest(_Strict):
    """Tools as in a line of a catalogue's file."""

    tools: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)


class RemoveRequest(_Strict):
    """Ids of tools."""

    ids: list[str] = Field(min_length=1, max_length=10_000)


class Meters:
    """What /metrics tells; each service has its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{_PREFIX}request_seconds", "Seconds from request to answer", ["path"], registry=registry
        )
        self.queries = Counter(f"{_PREFIX}queries", "Queries answered", registry=registry)
        self.waiting = Gauge(f"{_PREFIX}waiting_queries", "Queries that wait for their answer", registry=registry)
        self.tools = Gauge(f"{_PREFIX}tools", "Tools in the catalogue", registry=registry)
        self.version = Gauge(f"{_PREFIX}catalogue_version", "Version of the catalogue", registry=registry)


def make_app(live: LiveRetriever, config: ServiceConfig, *, reload: Callable[[], Catalogue] | None = None) -> FastAPI:
    """The service over `live`. `reload` reads the catalogue anew; without it /reload is answered 404."""
    service = _Service(live, config, reload)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        _log.info("stopped with %d queries waiting", service.waiting)

    app = FastAPI(title="Toolscout retriever", lifespan=lifespan, openapi_url=None)
    app.add_middleware(_Guard, service=service, max_body_bytes=config.max_body_bytes)
    app.exception_handler(RequestValidationError)(_unreadable)
    app.exception_handler(UserError)(_refused)
    app.exception_handler(InfraError)(_unable)
    for path, method, answer in service.routes():
        app.add_api_route(path, answer, methods=[method])
    return app


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free. Raises OSError when it cannot be had.

    Its protocol is named: of an unnamed one asyncio does not know that it is TCP and leaves Nagle's algorithm on, so
    that every answer waits 40 ms for an acknowledgement.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(1024)
    except OSError:
        taken.close()
        raise
    return taken


class _Guard:
    """Token, size and count of every request, before anything of it is parsed."""

    def __init__(self, app: ASGIApp, *, service: "_Service", max_body_bytes: int) -> None:
        self._app, self._service, self._limit = app, service, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, status = self._service.told_path(scope["path"]), 500  # unless it ends in an answer

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._service.meters.seconds.labels(path).time():
                await self._answer(scope, receive, sending)
        finally:
            self._service.meters.requests.labels(path, str(status)).inc()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (refusal := self._service.refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:  # counted as it comes: a header may lie or be missing
                await _error(413, f"the body exceeds {self._limit} bytes; send fewer at a time")(scope, receive, send)
                return
        read: Message | None = {"type": "http.request", "body": bytes(body), "more_body": False}

        async def again() -> Message:
            nonlocal read
            message, read = read, None
            return message if message is not None else await receive()

        await self._app(scope, again, send)


class _Service:
    def __init__(self, live: LiveRetriever, config: ServiceConfig, reload: Callable[[], Catalogue] | None) -> None:
        self._live, self._config, self._reload = live, config, reload
        self._batched = BatchedSearch(live, window_ms=config.batch_window_ms)
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="change")
        self._changing = asyncio.Lock()
        self.meters = Meters()
        self.waiting = 0
        self._paths = frozenset(path for path, _, _ in self.routes())

    def routes(self) -> list[tuple[str, str, Callable[..., Awaitable[Any]]]]:
        """Path, method, answer."""
        return [
            ("/search", "POST", self.search),
            ("/retrieve", "POST", self.retrieve),
            ("/tools", "POST", self.add),
            ("/tools", "PUT", self.update),
            ("/tools", "DELETE", self.remove),
            ("/tools", "GET", self.tools),
            ("/tools/{tool_id:path}", "GET", self.tool),
            ("/reload", "POST", self.reload),
            ("/catalogue", "GET", self.catalogue),
            ("/health", "GET", self.health),
            ("/metrics", "GET", self.metrics),
            ("/", "GET", self.index),
        ]

    def told_path(self, path: str) -> str:
        """What /metrics tells of a path: one of ours, and not any that somebody asks for."""
        return path if path in self._paths else "/tools/" if path.startswith("/tools/") else "other"

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request without the token."""
        wanted = self._config.token
        if wanted is None or scope["path"] == "/health":
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, f"Bearer {wanted}".encode()):
            return None
        return _error(401, "this service wants its bearer token", headers={"WWW-Authenticate": "Bearer"})

    # --- searching ---

    async def search(self, request: SearchRequest) -> Response:
        found = await self._found(request.queries, request.k, request.timeout_s)
        return _written("results", [[_scored("tool", entry_json(one.tool), one.score) for one in row] for row in found])

    async def retrieve(self, request: RetrieveRequest) -> Response:
        found = await self._found(request.queries, request.topk or 5, None)
        return passages(found, scores=request.return_scores)

    async def _found(self, queries: Sequence[str], k: int, timeout_s: float | None) -> list[tuple[Candidate, ...]]:
        if len(queries) * k > RESULTS_A_REQUEST:
            raise UserError(
                f"{len(queries)} queries with {k} tools each exceed {RESULTS_A_REQUEST} results; ask for fewer"
            )
        limit = self._config.max_waiting
        if self.waiting and self.waiting + len(queries) > limit:
            problem = f"{self.waiting} queries wait already, of at most {limit}; try again in a moment"
            raise HTTPException(429, problem, headers={"Retry-After": "1"})
        self.waiting += len(queries)
        self.meters.waiting.set(self.waiting)
        deadline = min(timeout_s or self._config.timeout_s, self._config.timeout_s)
        try:
            async with asyncio.timeout(deadline):
                found = list(await asyncio.gather(*(self._batched.search(query, k) for query in queries)))
        except TimeoutError:
            raise HTTPException(504, f"no answer within {deadline} s; ask for less at a time") from None
        finally:
            self.waiting -= len(queries)
            self.meters.waiting.set(self.waiting)
        self.meters.queries.inc(len(queries))
        return found

    # --- the catalogue ---

    async def add(self, request: ToolsRequest) -> dict[str, Any]:
        return await self._changed(lambda: self._live.add(_tools(request)))

    async def update(self, request: ToolsRequest) -> dict[str, Any]:
        return await self._changed(lambda: self._live.update(_tools(request)))

    async def remove(self, request: Annotated[RemoveRequest, Body()]) -> dict[str, Any]:
        return await self._changed(lambda: self._live.remove(request.ids))

    async def reload(self) -> dict[str, Any]:
        if self._reload is None:
            raise HTTPException(404, "this service was not started from a file")
        read = self._reload
        return await self._changed(lambda: self._live.replace(read()))

    async def tools(self) -> Response:
        catalogue = self._live.catalogue

        def lines() -> Iterator[str]:
            for tool in catalogue:
                yield entry_json(tool) + "\n"

        return StreamingResponse(lines(), media_type="application/jsonl")

    async def tool(self, tool_id: str) -> Response:
        catalogue = self._live.catalogue
        if tool_id not in catalogue:
            raise HTTPException(404, f"no such tool among {len(catalogue)}")
        return Response(entry_json(catalogue[tool_id]), media_type="application/json")

    async def catalogue(self) -> dict[str, Any]:
        catalogue = self._live.catalogue
        digest = await asyncio.to_thread(lambda: catalogue.content_hash)  # seconds for a million, once a version
        return {"version": catalogue.version, "tools": len(catalogue), "content_hash": digest}

    async def _changed(self, change: Callable[[], Catalogue]) -> dict[str, Any]:
        """One change at a time, in a thread of its own: it encodes, or builds, and no search waits for it."""
        wait_s = self._config.timeout_s
        try:
            await asyncio.wait_for(self._changing.acquire(), wait_s)
        except TimeoutError:
            raise HTTPException(503, f"another change is not done after {wait_s} s; nothing was changed") from None
        try:
            work = asyncio.get_running_loop().run_in_executor(self._changes, change)
            catalogue = await asyncio.shield(work)
        finally:
            self._changing.release()
        return {"version": catalogue.version, "tools": len(catalogue)}

    # --- how it is ---

    async def index(self) -> dict[str, Any]:
        return {"service": "toolscout retriever", "paths": [f"{method} {path}" for path, method, _ in self.routes()]}

    async def health(self) -> dict[str, Any]:
        catalogue = self._live.catalogue
        return {"status": "ok", "version": catalogue.version, "tools": len(catalogue), "waiting": self.waiting}

    async def metrics(self) -> Response:
        catalogue = self._live.catalogue
        self.meters.tools.set(len(catalogue))
        self.meters.version.set(catalogue.version)
        return Response(generate_latest(self.meters.registry), media_type=CONTENT_TYPE_LATEST)


def _tools(request: ToolsRequest) -> list[ToolDoc]:
    return [
        light(parse_tool(entry, path="request", line=number)) for number, entry in enumerate(request.tools, start=1)
    ]


def passages(found: Sequence[Sequence[Candidate]], *, scores: bool) -> Response:
    """What Search-R1's clients expect: a list of documents a query, with their scores where they asked for them."""
    if not scores:
        return _written("result", [[_passage(one.tool) for one in row] for row in found])
    return _written("result", [[_scored("document", _passage(one.tool), one.score) for one in row] for row in found])


def _passage(tool: ToolDoc) -> str:
    """A tool as JSON in the form of Search-R1's passages: a title in quotes, a line feed, the text."""
    return json.dumps({"id": tool.id, "contents": f'"{tool.name}"\n{tool.description}\n{parameters_json(tool)}'})


def _scored(name: str, written: str, score: float) -> str:
    return f'{{"{name}": {written}, "score": {score!r}}}'


def _written(name: str, rows: Sequence[Sequence[str]]) -> Response:
    lists = ", ".join("[" + ", ".join(row) + "]" for row in rows)
    return Response(f'{{"{name}": [{lists}]}}', media_type="application/json")


async def _unreadable(_: Request, error: Exception) -> Response:
    """Where it is wrong and how, without what was sent: that may be anything."""
    assert isinstance(error, RequestValidationError)
    problems = ["/".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors()[:5]]
    if [tuple(one["loc"]) for one in error.errors()] == [("body",)]:
        problems.append("send a JSON object, with content-type: application/json")
    return _error(422, "; ".join(problems).encode("ascii", "backslashreplace").decode())


async def _refused(_: Request, error: Exception) -> Response:
    return _error(422, str(error).encode("ascii", "backslashreplace").decode())


async def _unable(_: Request, error: Exception) -> Response:
    return _error(503, str(error).encode("ascii", "backslashreplace").decode())


def _error(status: int, problem: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": problem}, status_code=status, headers=headers)
