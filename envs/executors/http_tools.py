"""Tools behind HTTP: StableToolBench's virtual API server, and the operations of OpenAPI documents.

A request is sent once. Where nobody answers it, or a proxy says so (502, 503, 504), the failure is ours, and the
executor may send it again: a server that did take the first may then have done twice what it was asked.
"""

import asyncio
import itertools
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from envs.datasets.stabletoolbench import parse_tool_id
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.loop_thread import LoopThread
from envs.executors.openapi_requests import BadArgument, build_request, refuse_half_characters
from envs.types import ToolStatus
from retriever.base.bad_entries import OnBad, refuse
from retriever.base.errors import InfraError, UserError
from retriever.readers.openapi import RequestForm
from retriever.readers.read import read_request_forms
from retriever.tools import ToolDoc

_NOBODY_SERVES = (502, 503, 504)
_MOST_REDIRECTS = 5
_TOLD = 500  # characters of the body of a refusal
_TEXTUAL = ("text/", "json", "xml", "javascript", "yaml", "x-www-form-urlencoded")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpToolsConfig:
    """Where the operations of OpenAPI documents may be called."""

    allowed_hosts: tuple[str, ...]  # "api.example.com", of any port, or "127.0.0.1:8000"; no other is ever called
    # by document, "petstore" of petstore.yaml: in place of the servers that it names
    base_urls: Mapping[str, str] = field(default_factory=dict, hash=False)
    # by host as in allowed_hosts: header → the environment variable that holds its value, so that no secret stands here
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    max_body_bytes: int = 1_000_000  # of a response; the rest is not read

    def __post_init__(self) -> None:
        if self.max_body_bytes < 1:
            raise UserError(f"http.max_body_bytes={self.max_body_bytes} is not positive; give bytes, e.g. 1000000")
        for host in self.headers:
            if host not in self.allowed_hosts:
                raise UserError(f"http.headers names host {host!r}, which is not among http.allowed_hosts; add it")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    """What came back."""

    status: int
    reason: str
    kind: str  # media type, lower case; "" when it is not told
    body: bytes  # cut
    elsewhere: str  # the host of a redirect that was not followed

    @property
    def text(self) -> str:
        """The body as an observation: what is no text only by kind and length."""
        if not self.body:
            return f"[no content, HTTP {self.status}]"
        if self.kind and not any(part in self.kind for part in _TEXTUAL):
            return f"[{self.kind}, {len(self.body)} bytes]"
        return self.body.decode(errors="replace")


class _Http:
    """One client, in a thread's event loop: its connections outlast the loops of callers."""

    def __init__(self, max_body_bytes: int) -> None:
        self._thread = LoopThread("http-tools")
        self._client: httpx.AsyncClient | None = None
        self._max_body_bytes = max_body_bytes

    async def send(self, method: str, url: httpx.URL | str, *, timeout_s: float, **request: Any) -> _Response:
        """The response. Raises TimeoutError, or InfraError when there is none."""
        return await self._thread.run(self._send(method, url, timeout_s, request))

    async def close(self) -> None:
        if self._client is not None and self._thread.started:
            await self._thread.run_to_the_end(self._client.aclose())
        self._client = None
        await self._thread.stop()

    async def _send(self, method: str, url: httpx.URL | str, timeout_s: float, request: Mapping[str, Any]) -> _Response:
        if self._client is None:
            # The deadline and the number of connections are the caller's; bodies count as they come over the wire.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._client = httpx.AsyncClient(timeout=None, limits=limits, headers={"Accept-Encoding": "identity"})
        try:
            async with asyncio.timeout(timeout_s):
                response, body = await self._followed(self._client, self._client.build_request(method, url, **request))
        except httpx.HTTPError as error:
            raise InfraError(f"no reply from {_netloc(url)}: {error or type(error).__name__}") from None
        if response.status_code in _NOBODY_SERVES:
            raise InfraError(f"no reply from {_netloc(url)}: HTTP {response.status_code}")
        return _Response(
            status=response.status_code,
            reason=response.reason_phrase,
            kind=response.headers.get("content-type", "").split(";")[0].strip().lower(),
            body=body,
            elsewhere=response.next_request.url.host if response.next_request is not None else "",
        )

    async def _followed(self, client: httpx.AsyncClient, sent: httpx.Request) -> tuple[httpx.Response, bytes]:
        """(response, body), redirects followed while they stay with the server that was asked."""
        for redirects in itertools.count():
            response = await client.send(sent, stream=True)
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
            after = response.next_request
            if after is None or not _same_server(after.url, sent.url) or redirects == _MOST_REDIRECTS:
                return response, body
            sent = after
        raise AssertionError("unreachable")

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= self._max_body_bytes:
                break
        if response.headers.get("content-encoding") in ("gzip", "deflate"):  # asked not to, it compressed
            with suppress(zlib.error):
                return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, self._max_body_bytes)
        return bytes(body[: self._max_body_bytes])


class VirtualServer(Stateless):
    """StableToolBench's server (Guo et al. 2024, arXiv 2403.07714): `POST <url>/virtual`, from its cache or simulated.

    Runs tools with the ids `category/tool/api` of envs/datasets/stabletoolbench.py.
    """

    def __init__(self, url: str, *, toolbench_key: str = "", strip: str = "truncate") -> None:
        """`strip`: what the server makes of long responses, "truncate" or "filter"."""
        self._url, self._key, self._strip = url.rstrip("/") + "/virtual", toolbench_key, strip
        self._http = _Http(max_body_bytes=10_000_000)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. What is no `{"error", "response"}` raises InfraError."""
        try:
            refuse_half_characters(arguments)
        except BadArgument as bad:
            return _bad_argument(bad)
        try:
            category, name, api = parse_tool_id(tool.id)
        except ValueError:
            text = f"error: {tool.id!r} is not the id of an API, category/tool/api"
            return Reply(text=text, status=ToolStatus.UNKNOWN_TOOL)
        asked = {
            "category": category,
            "tool_name": name,
            "api_name": api,
            "tool_input": dict(arguments),
            "strip": self._strip,
            "toolbench_key": self._key,
        }
        response = await self._http.send("POST", self._url, timeout_s=timeout_s, json=asked)
        said = _json(response.body) if response.status == 200 else None
        if not isinstance(said, dict) or not said.keys() & {"error", "response"}:
            told = f"HTTP {response.status}: {response.text[:_TOLD]}"
            raise InfraError(f"{self._url} does not speak StableToolBench's protocol; it says {told}")
        if error := said.get("error"):
            return Reply(text=f"error: {_as_text(error)}", status=ToolStatus.TOOL_ERROR, served_from="simulator")
        return Reply(text=_as_text(said.get("response", "")), served_from="simulator")

    async def close(self) -> None:
        """End the connections."""
        await self._http.close()


class OpenApiTools(Stateless):
    """Runs the operations of OpenAPI documents, those that the config's hosts serve, and follows nobody elsewhere."""

    def __init__(self, operations: Mapping[str, "Operation"], config: HttpToolsConfig) -> None:
        """`operations`: by tool id. Raises UserError when a header's variable is not set."""
        self._operations = operations
        self._headers = {host: _from_environment(host, headers) for host, headers in config.headers.items()}
        self._http = _Http(config.max_body_bytes)

    @classmethod
    def read(cls, sources: Sequence[str | Path], config: HttpToolsConfig, *, on_bad: OnBad = refuse) -> Self:
        """The operations of documents, files or folders, under the ids that `retriever.readers.read` gives their tools.

        Raises UserError, or DataError as the reader does; UserError too for an operation whose server is not allowed.
        """
        operations = {
            tool_id: _operation(tool_id, prefix, form, config)
            for tool_id, (prefix, form) in read_request_forms(*sources, on_bad=on_bad).items()
        }
        if not operations:
            raise UserError(f"no operation in {', '.join(map(str, sources))}; give OpenAPI 3 documents")
        return cls(operations, config)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. A status that is no success is the tool's error, but for 502, 503 and 504."""
        operation = self._operations.get(tool.id)
        if operation is None:
            text = f"error: no OpenAPI document has the operation {tool.id!r}"
            return Reply(text=text, status=ToolStatus.UNKNOWN_TOOL)
        try:
            request = build_request(operation.form, arguments)
            url = httpx.URL(operation.base_url + request.target)
        except (BadArgument, httpx.InvalidURL) as error:  # an address may be 65,536 characters long
            return _bad_argument(error)
        headers = httpx.Headers(request.headers)
        headers.update(self._headers.get(operation.host, {}))  # whatever the policy says, ours hold
        response = await self._http.send(
            request.method,
            url,
            timeout_s=timeout_s,
            headers=headers,
            content=request.body,
        )
        if 200 <= response.status < 300:
            return Reply(text=response.text)
        said = f"error: HTTP {response.status} {response.reason}".rstrip()
        if response.elsewhere:
            said += f", a redirect to {response.elsewhere} that is not followed"
        return Reply(text=f"{said}: {response.text[:_TOLD]}", status=ToolStatus.TOOL_ERROR)

    async def close(self) -> None:
        """End the connections."""
        await self._http.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation and where it is served."""

    form: RequestForm
    base_url: str  # without a "/" at its end
    host: str  # as in HttpToolsConfig.allowed_hosts


def _operation(tool_id: str, prefix: str, form: RequestForm, config: HttpToolsConfig) -> Operation:
    base_url = config.base_urls.get(prefix, form.server).rstrip("/")
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        problem = f"{tool_id}: its server {base_url!r} is no http address"
        raise UserError(f"{problem}; give one in http.base_urls under {prefix!r}")
    if not form.path.startswith("/"):
        raise UserError(f'{tool_id}: its path {form.path!r} does not begin with "/"; mend the document')
    host = next((host for host in (parts.netloc, parts.hostname) if host in config.allowed_hosts), None)
    if host is None:
        raise UserError(
            f"{tool_id}: its server {base_url} is not among http.allowed_hosts ({', '.join(config.allowed_hosts)}); "
            f"add {parts.hostname}, or give another in http.base_urls under {prefix!r}"
        )
    return Operation(form=form, base_url=base_url, host=host)


def _from_environment(host: str, headers: Mapping[str, str]) -> dict[str, str]:
    for name, variable in headers.items():
        if variable not in os.environ:
            raise UserError(f"http.headers: {name} of {host} is in the environment variable {variable}; export it")
    return {name: os.environ[variable] for name, variable in headers.items()}


def _bad_argument(error: Exception) -> Reply:
    return Reply(text=f"error: {error}", status=ToolStatus.TOOL_ERROR)


def _netloc(url: httpx.URL | str) -> str:
    return urlsplit(str(url)).netloc


def _same_server(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
