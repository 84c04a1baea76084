"""Tools behind HTTP, against real servers: what is sent, what is read, and where nothing is sent to."""

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from envs.executors.http_tools import HttpToolsConfig, OpenApiTools, VirtualServer
from envs.executors.openapi_requests import BadArgument, build_request
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import ToolResult, ToolStatus
from retriever.base.errors import DataError, InfraError, UserError
from retriever.readers.openapi import ArgumentPlace, RequestForm
from retriever.readers.read import read_request_forms, read_tools
from retriever.tools import ToolDoc

PETS = """
openapi: 3.0.3
servers: [{url: "SERVER/{version}", variables: {version: {default: v1}}}]
paths:
  /pets/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get:
      operationId: getPet
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string}}}
        - {name: X-Trace, in: header, schema: {type: string}}
        - {name: session, in: cookie, schema: {type: string}}
    put:
      operationId: changePet
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, properties: {id: {type: string}, age: {type: integer}}, required: [age]}
  /pets:
    post:
      operationId: addPets
      requestBody: {content: {application/json: {schema: {type: array, items: {type: string}}}}}
  /forms:
    post:
      operationId: sendForm
      requestBody:
        content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {a: {type: string}}}}}
  /files:
    servers: [{url: "SERVER/files"}]
    post:
      operationId: sendFile
      requestBody: {content: {multipart/form-data: {schema: {type: object, properties: {note: {type: string}}}}}}
  /say/{what}:
    get:
      operationId: say
      parameters: [{name: what, in: path, required: true, schema: {type: string}}]
"""


class Server:
    """Answers as `answer` says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.answer: Callable[[str], tuple[int, Mapping[str, str], bytes]] = lambda path: (200, {}, b"fine")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = outer.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def pets(server: Server, tmp_path: Path, **config: Any) -> OpenApiTools:
    path = tmp_path / "pets.yaml"
    path.write_text(PETS.replace("SERVER", server.url))
    return OpenApiTools.read([path], HttpToolsConfig(**{"allowed_hosts": (server.host,), **config}))


def call(tools: OpenApiTools, name: str, *, timeout_s: float = 5.0, **arguments: Any) -> ToolResult:
    """One call through an executor that tries once."""
    limits = CallLimits(timeout_s=timeout_s, infra_retries=0)
    tool = ToolDoc(id=name, name=name, description="", parameters={"additionalProperties": True}, origin="http")
    return asyncio.run(RoutedExecutor({"http": tools}, limits).call(tool, arguments))


def test_each_argument_goes_to_its_place(server: Server, tmp_path: Path) -> None:
    tools = pets(server, tmp_path)
    arguments: dict[str, Any] = {"id": "a/b c", "fields": ["name", "age"], "X-Trace": "t1", "session": "s;1"}
    assert call(tools, "pets/getPet", **arguments).text == "fine"
    method, path, headers, body = server.asked[0]
    assert (method, path, body) == ("GET", "/v1/pets/a%2Fb%20c?fields=name&fields=age", b"")
    assert (headers["X-Trace"], headers["Cookie"]) == ("t1", "session=s%3B1")

    assert call(tools, "pets/changePet", id="7", id_body="8", age=3).status is ToolStatus.OK
    method, path, headers, body = server.asked[1]
    assert (method, path, headers["Content-Type"]) == ("PUT", "/v1/pets/7", "application/json")
    assert json.loads(body) == {"id": "8", "age": 3}

    call(tools, "pets/addPets", body=["Rex", "Ünal"])
    assert json.loads(server.asked[2][3]) == ["Rex", "Ünal"]
    call(tools, "pets/sendForm", a="1 & 2")
    assert server.asked[3][3] == b"a=1+%26+2"
    call(tools, "pets/sendFile", note="hello")
    method, path, headers, body = server.asked[4]
    assert (path, headers["Content-Type"].split(";")[0]) == ("/files/files", "multipart/form-data")
    assert b'name="note"\r\n\r\nhello\r\n--' in body


def test_the_ids_of_the_operations_are_those_of_the_tools(tmp_path: Path) -> None:
    folder = tmp_path / "apis"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "pets.yaml").write_text(PETS)
    (folder / "other.json").write_text(json.dumps({"tools": [{"name": "t", "inputSchema": {}}]}))
    tools = [tool for file in read_tools(folder) for tool in file.tools if tool.origin == "http"]
    forms = read_request_forms(folder)
    assert list(forms) == [tool.id for tool in tools]
    assert next(iter(forms)) == "shop/pets/getPet"
    for tool in tools:
        assert forms[tool.id][1].arguments.keys() == tool.parameters["properties"].keys()


@pytest.mark.parametrize(
    ("place", "value", "target"),
    [
        (ArgumentPlace(name="q", where="query", style="form", explode=True), True, "/x?q=true"),
        (ArgumentPlace(name="q", where="query", style="form", explode=True), 1.5, "/x?q=1.5"),
        (ArgumentPlace(name="q", where="query", style="form", explode=True), {"a": 1, "b": "c"}, "/x?a=1&b=c"),
        (ArgumentPlace(name="q", where="query", style="form"), ["a", "b,c"], "/x?q=a%2Cb%2Cc"),
        (ArgumentPlace(name="q", where="query", style="form"), {"a": 1, "b": 2}, "/x?q=a%2C1%2Cb%2C2"),
        (ArgumentPlace(name="q", where="query", style="pipeDelimited"), [1, 2], "/x?q=1%7C2"),
        (ArgumentPlace(name="q", where="query", style="spaceDelimited"), [1, 2], "/x?q=1%202"),
        (ArgumentPlace(name="q", where="query", style="deepObject", explode=True), {"a": 1}, "/x?q%5Ba%5D=1"),
        (ArgumentPlace(name="q", where="query", style="form", as_json=True), {"a": 1}, "/x?q=%7B%22a%22%3A%201%7D"),
    ],
)
def test_the_styles_of_a_query(place: ArgumentPlace, value: Any, target: str) -> None:
    form = RequestForm(method="get", path="/x", server="", media_type="", arguments={"q": place})
    assert build_request(form, {"q": value}).target == target


@pytest.mark.parametrize(("where", "value"), [("path", ".."), ("path", "."), ("path", ""), ("header", "a\r\nHost: b")])
def test_a_value_cannot_break_out_of_its_place(where: str, value: str) -> None:
    place = ArgumentPlace(name="q", where=where, style="simple")
    form = RequestForm(method="get", path="/x/{q}/y", server="", media_type="", arguments={"q": place})
    with pytest.raises(BadArgument):
        build_request(form, {"q": value})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"X-Trace": " lead"}, "error: 'X-Trace' may not begin or end with a blank: it stands in a header"),
        ({"X-Trace": "trail "}, "error: 'X-Trace' may not begin or end with a blank: it stands in a header"),
        ({"X-Trace": "é"}, "error: 'X-Trace' may hold printable ASCII only: it stands in a header"),
        ({"id": "x" * 70_000}, "error: URL too long"),
        ({"id": "é" * 12_000}, "error: URL too long"),  # six characters each
        ({"id": "\ud800"}, "error: 'id' holds half of a surrogate pair"),
        ({"fields": ["a", "\udfff"]}, "error: 'fields' holds half of a surrogate pair"),
        ({"session": "\ud800"}, "error: 'session' holds half of a surrogate pair"),
    ],
)
def test_what_a_request_cannot_carry_is_the_policys_error_and_is_not_sent(
    arguments: dict[str, Any], problem: str, server: Server, tmp_path: Path
) -> None:
    result = call(pets(server, tmp_path), "pets/getPet", **{"id": "7", **arguments})
    assert result.status is ToolStatus.TOOL_ERROR
    assert result.text.startswith(problem)
    assert server.asked == []


def test_what_a_body_cannot_carry_is_the_policys_error_and_is_not_sent(server: Server, tmp_path: Path) -> None:
    tools = pets(server, tmp_path)
    arguments: dict[str, dict[str, Any]] = {
        "pets/addPets": {"body": ["\ud800"]},
        "pets/changePet": {"id": "7", "age": 3, "id_body": "\ud800"},
        "pets/sendForm": {"a": "\ud800"},
        "pets/sendFile": {"note": "\ud800"},
    }
    assert [call(tools, name, **given).status for name, given in arguments.items()] == [ToolStatus.TOOL_ERROR] * 4
    assert virtual(server.url, team="\ud800").status is ToolStatus.TOOL_ERROR
    assert server.asked == []


def test_a_header_may_be_empty_and_one_with_no_header_s_name_is_told(server: Server, tmp_path: Path) -> None:
    empty: dict[str, Any] = {"id": "7", "X-Trace": ""}
    assert call(pets(server, tmp_path), "pets/getPet", **empty).status is ToolStatus.OK
    place = ArgumentPlace(name="X Träce", where="header", style="simple")
    form = RequestForm(method="get", path="/x", server="", media_type="", arguments={"q": place})
    with pytest.raises(BadArgument, match="'X Träce', which no header is called"):
        build_request(form, {"q": "1"})


def test_a_policy_sets_neither_the_host_nor_our_header(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETS_KEY", "k3y")
    path = tmp_path / "a.yaml"
    parameters: list[dict[str, Any]] = [{"name": name, "in": "header", "schema": {}} for name in ("x-api-key", "Host")]
    document = {"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "a", "parameters": parameters}}}}
    path.write_text(yaml.safe_dump(document))
    tools = OpenApiTools.read(
        [path],
        HttpToolsConfig(
            allowed_hosts=(server.host,),
            base_urls={"a": f"{server.url}/base/"},
            headers={server.host: {"X-API-Key": "PETS_KEY"}},
        ),
    )
    stolen: dict[str, Any] = {"x-api-key": "stolen", "Host": "evil"}
    call(tools, "a/a", **stolen)
    _, path_asked, headers, _ = server.asked[0]
    assert path_asked == "/base/a"
    assert {name.lower(): value for name, value in headers.items()}["x-api-key"] == "k3y"
    assert [name.lower() for name in headers].count("x-api-key") == 1
    assert headers["Host"] == server.host
    assert "k3y" not in repr(call(tools, "a/a"))


def test_only_allowed_hosts_are_ever_called(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"pets/getPet: its server http://127.* is not among http.allowed_hosts \(b.example"
    ):
        pets(server, tmp_path, allowed_hosts=("b.example",))
    with pytest.raises(UserError, match="in the environment variable NOWHERE_SET; export it"):
        pets(server, tmp_path, headers={server.host: {"X-Key": "NOWHERE_SET"}})
    with pytest.raises(UserError, match="not among http.allowed_hosts; add it"):
        HttpToolsConfig(allowed_hosts=(), headers={"a.example": {}})
    for server_url in ("ftp://a", "http://user@127.0.0.1", "/v1", ""):
        with pytest.raises(UserError, match="is no http address; give one in http.base_urls under 'pets'"):
            pets(server, tmp_path, base_urls={"pets": server_url})
    other = Server()
    try:
        server.answer = lambda path: (302, {"Location": f"{other.url}/secret"}, b"")
        result = call(pets(server, tmp_path), "pets/getPet", id="1")
        assert result.status is ToolStatus.TOOL_ERROR
        assert result.text.startswith("error: HTTP 302 Found, a redirect to 127.0.0.1 that is not followed")
        assert other.asked == []
    finally:
        other.stop()


def test_a_redirect_within_the_server_is_followed_and_not_for_ever(server: Server, tmp_path: Path) -> None:
    server.answer = lambda path: (200, {}, b"there") if path == "/new" else (307, {"Location": "/new"}, b"")
    assert call(pets(server, tmp_path), "pets/addPets", body=[]).text == "there"
    assert [(method, path) for method, path, _, _ in server.asked] == [("POST", "/v1/pets"), ("POST", "/new")]
    server.answer = lambda path: (302, {"Location": path}, b"")
    server.asked.clear()
    assert call(pets(server, tmp_path), "pets/getPet", id="1").status is ToolStatus.TOOL_ERROR
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected", "text"),
    [
        (201, {"Content-Type": "application/json"}, b'{"a": "\xc3\xbc"}', ToolStatus.OK, '{"a": "ü"}'),
        (204, {}, b"", ToolStatus.OK, "[no content, HTTP 204]"),
        (200, {"Content-Type": "image/png"}, b"0123456789", ToolStatus.OK, "[image/png, 10 bytes]"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"packed"), ToolStatus.OK, "packed"),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 9_000), ToolStatus.OK, "0" * 1_000),
        (200, {}, b"x" * 9_000, ToolStatus.OK, "x" * 1_000),
        (404, {}, b"no pet 7", ToolStatus.TOOL_ERROR, "error: HTTP 404 Not Found: no pet 7"),
        (500, {}, b"y" * 900, ToolStatus.TOOL_ERROR, "error: HTTP 500 Internal Server Error: " + "y" * 500),
        (503, {}, b"", ToolStatus.INFRA_ERROR, "error: no reply from HOST: HTTP 503"),
    ],
)
def test_what_a_response_becomes(
    status: int,
    headers: dict[str, str],
    content: bytes,
    expected: ToolStatus,
    text: str,
    server: Server,
    tmp_path: Path,
) -> None:
    server.answer = lambda path: (status, headers, content)
    result = call(pets(server, tmp_path, max_body_bytes=1_000), "pets/say", what="it")
    assert (result.status, result.text) == (expected, text.replace("HOST", server.host))


def test_late_lost_and_unknown(server: Server, tmp_path: Path) -> None:
    tools = pets(server, tmp_path)
    released = threading.Event()

    def late(path: str) -> tuple[int, Mapping[str, str], bytes]:
        released.wait(10)
        return 200, {}, b""

    server.answer = late
    began = time.monotonic()
    assert call(tools, "pets/say", timeout_s=0.3, what="it").status is ToolStatus.TIMEOUT
    assert time.monotonic() - began < 8  # of the 10 that the server takes
    released.set()
    assert call(tools, "pets/nothing").status is ToolStatus.UNKNOWN_TOOL
    assert call(tools, "pets/say", what="..").text == "error: 'what' may not be '..': it stands in the address"
    assert call(tools, "pets/say", other="it").status is ToolStatus.TOOL_ERROR
    server.stop()
    assert call(tools, "pets/say", what="it").status is ToolStatus.INFRA_ERROR
    asyncio.run(tools.close())


def test_connections_outlast_event_loops(server: Server, tmp_path: Path) -> None:
    tools = pets(server, tmp_path)
    ports: list[int] = []
    handled = server._http.RequestHandlerClass.handle_one_request  # type: ignore[attr-defined]

    def noted(handler: Any) -> None:
        ports.append(handler.client_address[1])
        handled(handler)

    server._http.RequestHandlerClass.handle_one_request = noted  # type: ignore[attr-defined]
    for _ in range(3):
        assert call(tools, "pets/say", what="it").status is ToolStatus.OK
    assert len(set(ports)) == 1
    asyncio.run(tools.close())
    assert call(tools, "pets/say", what="it").status is ToolStatus.OK  # begun anew
    asyncio.run(tools.close())
    assert len(set(ports)) == 2


def test_documents_without_operations_and_bad_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.write_text(json.dumps({"openapi": "3.1.0", "paths": {}}))
    with pytest.raises(UserError, match="no operation in .*none.json; give OpenAPI 3 documents"):
        OpenApiTools.read([path], HttpToolsConfig(allowed_hosts=()))
    path.write_text(json.dumps({"openapi": "3.1.0", "servers": [3], "paths": {"/a": {"get": {}}}}))
    with pytest.raises(DataError, match="expected a server with a url, got 3"):
        OpenApiTools.read([path], HttpToolsConfig(allowed_hosts=()))


def virtual(url: str, tool_id: str = "Sports/Live Sports%2FBet/get scores", **arguments: Any) -> ToolResult:
    async def play() -> ToolResult:
        executor = RoutedExecutor({"simulator": VirtualServer(url, toolbench_key="k")}, CallLimits(infra_retries=0))
        tool = ToolDoc(
            id=tool_id, name="x", description="", parameters={"additionalProperties": True}, origin="simulator"
        )
        try:
            return await executor.call(tool, arguments)
        finally:
            await executor.close()

    return asyncio.run(play())


def test_a_virtual_server_is_asked_as_stabletoolbench_does(server: Server) -> None:
    server.answer = lambda path: (200, {}, b'{"error": "", "response": {"score": 3}}')
    result = virtual(server.url, team="A")
    assert (result.status, result.text, result.served_from) == (ToolStatus.OK, '{"score": 3}', "simulator")
    method, path, _, body = server.asked[0]
    assert (method, path) == ("POST", "/virtual")
    assert json.loads(body) == {
        "category": "Sports",
        "tool_name": "Live Sports/Bet",
        "api_name": "get scores",
        "tool_input": {"team": "A"},
        "strip": "truncate",
        "toolbench_key": "k",
    }
    server.answer = lambda path: (200, {}, b'{"error": "", "response": "plain"}')
    assert virtual(server.url).text == "plain"


def test_a_virtual_server_errs_as_the_tool_and_fails_as_ours(server: Server) -> None:
    server.answer = lambda path: (200, {}, b'{"error": "Rate limit", "response": ""}')
    result = virtual(server.url)
    assert (result.status, result.text) == (ToolStatus.TOOL_ERROR, "error: Rate limit")
    assert virtual(server.url, "no/api").status is ToolStatus.UNKNOWN_TOOL
    for answer in ((200, b"[]"), (200, b"<html>"), (500, b"{}"), (422, b'{"detail": []}'), (502, b"")):
        server.answer = lambda path, answer=answer: (answer[0], {}, answer[1])  # type: ignore[misc]
        assert virtual(server.url).status is ToolStatus.INFRA_ERROR
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert virtual(nobody).status is ToolStatus.INFRA_ERROR

    async def raised() -> None:
        tool = ToolDoc(id="a/b/c", name="x", description="", parameters={}, origin="simulator")
        with pytest.raises(InfraError, match="no reply from 127.0.0.1"):
            await VirtualServer(nobody).run(tool, {}, timeout_s=5)

    asyncio.run(raised())
