"""Search over HTTP, through a real server on a real port: same results, limits, changes, and nothing that breaks it."""

import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from envs.dialects import SEARCH, SELECT
from envs.types import SearchRecord, StopReason, Task
from launch.run import main
from retriever.base.errors import InfraError, UserError
from retriever.batching import BatchedSearch
from retriever.build import build_index, build_retriever
from retriever.catalogue import Catalogue
from retriever.client import RemoteRetriever
from retriever.config import RetrieverConfig
from retriever.encoder import PACKAGED, load_encoder
from retriever.live import LiveRetriever
from retriever.search import IndexedRetriever, Retriever
from retriever.service import ServiceConfig, listening, make_app
from retriever.tools import Candidate, ToolDoc
from rollout.config import GroupPlan
from tests.test_collect import Cast, call, collect
from tests.test_retriever import TOOLS, WordEncoder, ids, tool

ROOT = Path(__file__).parents[1]
QUERIES = [
    *("weather of a city", "send a message", "amount", "zzz", "", " \x00", "flights 東京 \ud800", "a" * 100_000),
    *("weather of a city\nsend a message. Then\tmore", "send.\ud800a message"),
]


def index(catalogue: Catalogue) -> IndexedRetriever:
    return build_index(RetrieverConfig(kind="hybrid"), catalogue, encoder=WordEncoder())


@contextmanager
def serving(live: LiveRetriever, config: ServiceConfig | None = None, **options: Any) -> Iterator[str]:
    """The address of a service that runs in a thread."""
    taken = listening("127.0.0.1", 0)
    app = make_app(live, config or ServiceConfig(), **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def live() -> LiveRetriever:
    return LiveRetriever(TOOLS, index)


def remote(url: str, queries: Sequence[str], k: int = 5, **options: Any) -> list[tuple[Candidate, ...]]:
    return RemoteRetriever(url, TOOLS, **options).search(queries, k)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(0)` … `work(count - 1)`, each in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


class Slow:
    """A retriever that takes its time, and tells how many queries it was given at once."""

    def __init__(self, inner: IndexedRetriever, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds
        self.batches: list[int] = []

    @property
    def catalogue(self) -> Catalogue:
        return self._inner.catalogue

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
        self.batches.append(len(queries))
        time.sleep(self._seconds)
        return self._inner.search(queries, k)

    def following(self, catalogue: Catalogue) -> "Slow":
        return Slow(self._inner.following(catalogue), self._seconds)

    def rebuilt(self, catalogue: Catalogue) -> "Slow":
        return Slow(self._inner.rebuilt(catalogue), self._seconds)


class TestSearch:
    def test_gives_what_the_retriever_gives_in_process(self, live: LiveRetriever) -> None:
        by_sentence = RetrieverConfig(kind="hybrid", sentence_weight=0.5)
        sentences = LiveRetriever(TOOLS, lambda tools: build_index(by_sentence, tools, encoder=WordEncoder()))
        for served in (live, sentences):
            with serving(served) as url:
                assert remote(url, QUERIES, k=3) == served.search(QUERIES, k=3)
                assert remote(url, [], k=3) == []
                assert remote(url, QUERIES * 3, k=1_000) == served.search(QUERIES * 3, k=1_000)

    def test_queries_that_come_together_are_one_batch(self) -> None:
        slow = Slow(index(TOOLS), 0.05)
        with serving(LiveRetriever(TOOLS, lambda _: slow), ServiceConfig(batch_window_ms=20)) as url:
            client = RemoteRetriever(url, TOOLS)
            at_once(32, lambda number: client.search([f"city {number}"], 3))
        assert sum(slow.batches) == 32
        assert len(slow.batches) <= 8, slow.batches

    def test_what_nobody_waits_for_any_more_is_not_searched(self) -> None:
        slow = Slow(index(TOOLS), 0.3)
        with serving(LiveRetriever(TOOLS, lambda _: slow), ServiceConfig(timeout_s=0.2, max_waiting=400)) as url:
            asked = {"queries": ["city"] * 200}
            assert httpx.post(f"{url}/search", json=asked).status_code == 504
            time.sleep(0.5)
        assert slow.batches == [64]

    def test_answers_in_search_r1s_protocol(self, live: LiveRetriever) -> None:
        with serving(live) as url:
            asked = {"queries": ["send a message"], "topk": 1, "return_scores": True}
            ((found,),) = httpx.post(f"{url}/retrieve", json=asked).json()["result"]
            ((plain,),) = httpx.post(f"{url}/retrieve", json={"queries": ["send a message"], "topk": 1}).json()[
                "result"
            ]
        assert found["document"] == plain
        assert plain["id"] == "send_email"
        title, text, parameters = plain["contents"].split("\n")
        assert (title, text) == ('"send_email"', "Send a message to an address")
        assert set(json.loads(parameters)["properties"]) == {"address", "text"}
        assert found["score"] == live.search(["send a message"], k=1)[0][0].score


class TestChanges:
    def test_count_from_the_next_search_on(self, live: LiveRetriever) -> None:
        song = tool("play_song", "Play music from the library").to_dict()
        with serving(live) as url:
            assert httpx.post(f"{url}/tools", json={"tools": [song]}).json() == {"version": 2, "tools": 5}
            assert ids(remote(url, ["play music"], k=1)[0]) == ["play_song"]
            assert httpx.get(f"{url}/tools/play_song").json() == song
            louder = {**song, "description": "Trumpet fanfare"}
            assert httpx.put(f"{url}/tools", json={"tools": [louder]}).json()["version"] == 3
            assert ids(remote(url, ["trumpet"], k=1)[0]) == ["play_song"]
            removed = httpx.request("DELETE", f"{url}/tools", json={"ids": ["play_song"]})
            assert removed.json() == {"version": 4, "tools": 4}
            assert "play_song" not in ids(remote(url, ["trumpet"], k=9)[0])
            assert httpx.get(f"{url}/tools/play_song").status_code == 404
            assert httpx.get(f"{url}/health").json() == {"status": "ok", "version": 4, "tools": 4, "waiting": 0}

    def test_a_wrong_tool_is_refused_with_its_place_and_nothing_changes(self, live: LiveRetriever) -> None:
        good = tool("play_song").to_dict()
        with serving(live) as url:
            for tools, said in (
                ([good, {"id": "x", "name": "x"}], "request:2: field 'description': missing"),
                ([good, good], "'play_song' is there already"),
                ([{**good, "parameters": {"type": "array"}}], "field 'parameters'"),
                ([{**good, "description": "\ud800"}], "half a surrogate pair"),
            ):
                body = json.dumps({"tools": tools})
                answer = httpx.post(f"{url}/tools", content=body, headers={"content-type": "application/json"})
                assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
            assert httpx.request("DELETE", f"{url}/tools", json={"ids": ["nobody"]}).status_code == 422
            assert httpx.get(f"{url}/health").json()["version"] == 1

    def test_a_catalogue_is_read_again_without_losing_a_request(self, live: LiveRetriever) -> None:
        """Searches are answered, without a second try, while the real encoder embeds 300 tools and others wait."""
        encoder = load_encoder(PACKAGED)
        config = RetrieverConfig(kind="dense", query_cache_size=0)
        live = LiveRetriever(TOOLS, lambda tools: build_index(config, tools, encoder=encoder))
        new = Catalogue.of(tool(f"t{number}", f"Play music number {number} " * 20) for number in range(300))
        during: list[tuple[int, float]] = []
        with serving(live, ServiceConfig(timeout_s=5), reload=lambda: new) as url:
            done = threading.Event()

            def reloads() -> None:
                answers = at_once(4, lambda _: httpx.post(f"{url}/reload", timeout=60).status_code)
                assert set(answers) <= {200, 503}, answers
                done.set()

            thread = threading.Thread(target=reloads)
            thread.start()
            number = 0
            while not done.is_set():
                number += 1
                started = time.monotonic()
                answer = httpx.post(f"{url}/search", json={"queries": [f"weather {number}"]}, timeout=60)
                during.append((answer.status_code, time.monotonic() - started))
            thread.join()
            assert httpx.get(f"{url}/health").json()["tools"] == 300
        assert {status for status, _ in during} == {200}
        assert len(during) > 3, during

    def test_without_a_file_there_is_nothing_to_read_again(self, live: LiveRetriever) -> None:
        with serving(live) as url:
            assert httpx.post(f"{url}/reload").status_code == 404


class Full:
    """A log on a disk that is full."""

    def changed(self, *, add: Sequence[ToolDoc], remove: Sequence[str]) -> None:
        raise InfraError("the change was not made: it cannot be kept in x (No space left on device)")

    def replaced(self, catalogue: Catalogue) -> None:
        self.changed(add=[], remove=[])


def test_a_change_that_cannot_be_kept_is_answered_503_and_not_made() -> None:
    full = LiveRetriever(TOOLS, index, log=Full())
    with serving(full, reload=lambda: Catalogue.of([tool("a")])) as url:
        for answer in (
            httpx.post(f"{url}/tools", json={"tools": [tool("play_song").to_dict()]}),
            httpx.post(f"{url}/reload"),
        ):
            assert (answer.status_code, "No space left" in answer.json()["detail"]) == (503, True)
        assert httpx.get(f"{url}/health").json()["version"] == 1
        assert "GET /health" in httpx.get(url).json()["paths"]
    assert full.catalogue.tools == TOOLS.tools


class TestLimits:
    def test_too_many_waiting_queries_are_answered_429_and_clients_come_again(self) -> None:
        slow = Slow(index(TOOLS), 0.1)
        config = ServiceConfig(max_waiting=4, batch_window_ms=0)
        with serving(LiveRetriever(TOOLS, lambda _: slow), config) as url:
            statuses = at_once(6, lambda _: httpx.post(f"{url}/search", json={"queries": ["city"] * 3}).status_code)
            assert set(statuses) == {200, 429}
            found = at_once(12, lambda _: ids(remote(url, ["weather city"], k=1)[0]))
            assert found == [["get_weather"]] * 12
            metrics = httpx.get(f"{url}/metrics").text
        assert 'toolscout_retriever_requests_total{path="/search",status="429"}' in metrics
        assert "toolscout_retriever_waiting_queries 0.0" in metrics
        assert "toolscout_retriever_tools 4.0" in metrics

    def test_a_request_that_takes_too_long_is_answered_504(self) -> None:
        slow = Slow(index(TOOLS), 0.5)
        with serving(LiveRetriever(TOOLS, lambda _: slow)) as url:
            answer = httpx.post(f"{url}/search", json={"queries": ["city"], "timeout_s": 0.05})
            assert answer.status_code == 504
            assert "no answer within 0.05 s" in answer.json()["detail"]
            assert httpx.post(f"{url}/search", json={"queries": ["city"]}).status_code == 200

    def test_a_body_beyond_the_limit_is_answered_413_whatever_its_header_says(self, live: LiveRetriever) -> None:
        def chunks() -> Iterator[bytes]:  # sent without a length
            for _ in range(100):
                yield b"x" * 1_000

        with serving(live, ServiceConfig(max_body_bytes=10_000)) as url:
            assert httpx.post(f"{url}/search", content=chunks()).status_code == 413
            assert httpx.post(f"{url}/search", json={"queries": ["city"]}).status_code == 200

    def test_with_a_token_only_health_is_open(self, live: LiveRetriever) -> None:
        with serving(live, ServiceConfig(token="sesame")) as url:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xff".encode("latin-1")}):
                answer = httpx.post(f"{url}/search", json={"queries": ["city"]}, headers=headers)  # type: ignore[arg-type]
                assert answer.status_code == 401
            assert httpx.get(f"{url}/health").status_code == 200
            assert ids(remote(url, ["weather city"], k=1, token="sesame")[0]) == ["get_weather"]
            with pytest.raises(UserError, match="refused a search: HTTP 401: this service wants its bearer token"):
                remote(url, ["weather"])

    @pytest.mark.parametrize(
        ("option", "value"), [("max_waiting", 0), ("timeout_s", 0.0), ("batch_window_ms", -1.0), ("token", "")]
    )
    def test_limits_that_cannot_be_are_refused(self, option: str, value: Any) -> None:
        with pytest.raises(UserError):
            ServiceConfig(**{option: value})

    def test_too_many_results_at_once_are_refused(self, live: LiveRetriever) -> None:
        with serving(live) as url:
            answer = httpx.post(f"{url}/search", json={"queries": ["city"] * 21, "k": 1_000})
            assert (answer.status_code, "exceed 20000 results" in answer.json()["detail"]) == (422, True)

    def test_a_search_that_shows_some_tools_alone_finds_those_far_down(self) -> None:
        tools = Catalogue([replace(tool(f"city{number}"), description="a city") for number in range(5_000)])
        task = Task(id="t", instruction="where?", offered_tools=("city4999",))
        with serving(LiveRetriever(tools, index)) as url:
            for retriever in (index(tools), RemoteRetriever(url, tools)):  # 64, 512, 4,096 and 32,768 are asked for
                searching = BatchedSearch(retriever).search
                (found,) = collect(Cast(("A",)), GroupPlan(group_size=1), tasks=[task], search=searching)
                assert found.retrieval[0].surfaced == {"city4999"}

    def test_a_tool_nested_deeply_is_given_back_as_it_came(self, live: LiveRetriever) -> None:
        nested: Any = 1
        for _ in range(260):
            nested = {"a": nested}
        entry = tool("deep").to_dict() | {"parameters": {"type": "object", "properties": {"a": {"default": nested}}}}
        with serving(live) as url:
            httpx.post(f"{url}/tools", json={"tools": [entry]}).raise_for_status()
            assert httpx.get(f"{url}/tools/deep").json() == entry
            assert json.loads(httpx.get(f"{url}/tools").text.splitlines()[-1]) == entry
            assert any(one.tool.parameters == entry["parameters"] for one in remote(url, ["deep"], k=9)[0])

    def test_what_fails_inside_is_counted(self) -> None:
        class Broken(Slow):
            def search(self, queries: Sequence[str], k: int) -> list[tuple[Candidate, ...]]:
                raise RuntimeError("broken")

        def build(tools: Catalogue) -> Slow:
            return Broken(index(tools), 0)

        with serving(LiveRetriever(TOOLS, build)) as url:
            assert httpx.post(f"{url}/search", json={"queries": ["city"]}).status_code == 500
            assert 'requests_total{path="/search",status="500"} 1.0' in httpx.get(f"{url}/metrics").text


class TestClient:
    def test_its_patience_ends_with_an_infra_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(InfraError, match=rf"127.0.0.1:{port} gave no answer in 0.2 s \(ConnectError"):
            remote(f"http://127.0.0.1:{port}", ["city"], patience_s=0.2)

    def test_another_service_is_told_apart(self, live: LiveRetriever) -> None:
        with serving(live) as url, pytest.raises(UserError, match="HTTP 404"):
            remote(f"{url}/elsewhere", ["city"])
        with pytest.raises(UserError, match="retriever.url='localhost' is no address"):
            RetrieverConfig(url="localhost")

    def test_an_address_where_nothing_of_ours_answers_is_told_at_once(
        self, live: LiveRetriever, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("retriever.client._CHECK_S", 0.1)
        with pytest.raises(UserError, match=r"retriever.url=http://127.0.0.1:9: no retriever of ours answers there"):
            build_retriever(RetrieverConfig(url="http://127.0.0.1:9"), TOOLS)
        with serving(live) as url:
            with pytest.raises(UserError, match="no retriever of ours answers there"):
                build_retriever(RetrieverConfig(url=f"{url}/elsewhere"), TOOLS)
            other = Catalogue.of([*TOOLS.tools[1:], tool("another")])
            with pytest.raises(UserError, match=r"serves other tools \(4\) than this world's \(4\)"):
                build_retriever(RetrieverConfig(url=url), other)
        with (
            serving(live, ServiceConfig(token="sesame")) as url,
            pytest.raises(UserError, match="TOOLSCOUT_RETRIEVER_TOKEN"),
        ):
            build_retriever(RetrieverConfig(url=url), TOOLS)

    def test_an_evaluation_searches_there(
        self, live: LiveRetriever, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        TOOLS.save(tmp_path / "tools.jsonl")
        task = {"id": "1", "instruction": "send a message", "gold_tools": ["send_email"], "split": "test"}
        (tmp_path / "tasks.jsonl").write_text(
            json.dumps(task) + "\n" + json.dumps({**task, "id": "2", "gold_tools": []})
        )
        command = [
            "retriever",
            "eval",
            "--data",
            str(tmp_path),
            "retriever.encoder=nowhere",
        ]  # only the service has one
        with serving(live) as url:
            assert main([*command, f"retriever.url={url}"]) == 0
            assert 'path="/search",status="200"' in httpx.get(f"{url}/metrics").text
        assert "1 of 2 tasks name no gold tools and are left out" in capsys.readouterr().out

    def test_a_config_with_an_address_searches_there(
        self, live: LiveRetriever, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOOLSCOUT_RETRIEVER_TOKEN", "sesame")
        with serving(live, ServiceConfig(token="sesame")) as url:
            found = build_retriever(RetrieverConfig(url=url, kind="bm25"), TOOLS).search(QUERIES * 40, 2)
        assert found == live.search(QUERIES * 40, 2)  # more than one request holds


def test_a_listening_socket_is_known_to_be_tcp_so_that_answers_do_not_wait() -> None:
    with listening("127.0.0.1", 0) as taken:
        assert taken.proto == socket.IPPROTO_TCP


def odd_request(random: random.Random) -> tuple[str, str, bytes]:
    """Method, path and body of a request that nobody means."""
    values: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1e308,
        "",
        "\ud800",
        "\x00",
        [],
        {},
        ["a"],
        [["a"]],
        {"a": []},
        "é" * 9,
    ]
    keys = ["queries", "k", "topk", "tools", "ids", "timeout_s", "return_scores", "id", "name", "x\ud83d"]

    def value(depth: int) -> Any:
        if depth and random.random() < 0.5:
            return {random.choice(keys): value(depth - 1) for _ in range(random.randint(0, 4))}
        return random.choice([*values, [random.choice(values) for _ in range(random.randint(0, 5))]])

    method = random.choice(["POST", "POST", "POST", "PUT", "DELETE", "GET", "PATCH"])
    path = random.choice(
        ["/search", "/retrieve", "/tools", "/tools/%00", "/tools/..%2f", "/reload", "/health", "/", "/%ff"]
    )
    body = json.dumps(value(3)).encode()
    kind = random.random()
    if kind < 0.2:
        body = body[: random.randint(0, len(body))]
    elif kind < 0.3:
        body = random.randbytes(random.randint(0, 200))
    elif kind < 0.32:
        body = b'{"queries": ["' + b"x" * 300_000 + b'"]}'
    elif kind < 0.34:
        body = b"[" * 50_000
    return method, path, body


def fuzz(count: int) -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    _fuzz(count)
    gc.collect()
    assert threading.active_count() <= threads + 8  # the pools of executors, which stay
    assert len(os.listdir("/proc/self/fd")) <= files + 8


def _fuzz(count: int) -> None:
    live = LiveRetriever(TOOLS, index)
    with serving(live, ServiceConfig(max_body_bytes=200_000)) as url, httpx.Client() as client:
        draws = random.Random(7)
        for number in range(count):
            method, path, body = odd_request(draws)
            headers = {"content-type": draws.choice(["application/json", "text/plain", "application/x-nothing"])}
            answer = client.request(method, f"{url}{path}", content=body, headers=headers)
            assert answer.status_code < 500, (number, method, path, body[:200], answer.text)
        assert client.get(f"{url}/health").json()["waiting"] == 0
        assert "weather" in remote(url, ["weather of a city"], k=1)[0][0].tool.id


def test_odd_requests_are_answered_and_leave_nothing_behind() -> None:
    fuzz(300)


@pytest.mark.slow
def test_ten_thousand_odd_requests() -> None:
    fuzz(10_000)


class TestCommand:
    @pytest.fixture
    def catalogue(self, tmp_path: Path) -> Path:
        path = tmp_path / "tools.jsonl"
        TOOLS.save(path)
        return path

    @staticmethod
    def start(catalogue: Path, *options: str, port: int = 0) -> tuple["subprocess.Popen[str]", str]:
        command = [sys.executable, "-m", "launch.run", "retriever", "serve", str(catalogue), "--port", str(port)]
        process = subprocess.Popen(
            [*command, "retriever.kind=bm25", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serving 4 tools" in line, line
        return process, line.split()[-1]

    def test_clients_live_through_a_service_that_is_killed_and_started_again(self, catalogue: Path) -> None:
        process, url = self.start(catalogue)
        expected = build_retriever(RetrieverConfig(kind="bm25"), TOOLS)
        queries = [f"{word} {number}" for number in range(100) for word in ("weather", "message", "flights", "amount")]

        client = RemoteRetriever(url, TOOLS, patience_s=60)

        def load(worker: int) -> bool:
            mine = queries[worker::8]
            found = []
            for query in mine:
                time.sleep(0.02)
                found += client.search([query], 3)
            return found == expected.search(mine, k=3)

        restarted: list[subprocess.Popen[str]] = []

        def kill() -> None:
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            restarted.append(self.start(catalogue, port=int(url.rsplit(":", 1)[1]))[0])

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert at_once(8, load) == [True] * 8
        finally:
            killer.join()
            for started in restarted:
                started.send_signal(signal.SIGTERM)
                assert started.wait(15) in (0, -signal.SIGTERM)  # uvicorn ends in order, then by the signal itself
        assert restarted, "the load was over before the kill"

    def test_episodes_live_through_a_service_that_is_gone_for_five_seconds(self, catalogue: Path) -> None:
        tasks = [Task(id=f"task {number}", instruction="Write a mail.") for number in range(12)]
        words = ("weather", "message", "flights", "amount")
        turns = [*(call(SEARCH, query=f"{word} of a city") for word in words), call(SELECT, names=["A"])]
        lines = {f"{task.id}/{index}/r": turns for task in tasks for index in range(2)}

        def played(retriever: Retriever) -> list[tuple[str, StopReason, tuple[SearchRecord, ...]]]:
            engine = Cast(lines=lines)
            engine.slow_s = 0.2
            plan = GroupPlan(group_size=2, gate="closed")
            found = collect(engine, plan, tasks=tasks, search=BatchedSearch(retriever).search)
            return [(t.id, t.stop, t.searches) for rollouts in found for t in rollouts.retrieval]

        process, url = self.start(catalogue)
        client = RemoteRetriever(url, TOOLS, patience_s=60)
        restarted: list[subprocess.Popen[str]] = []
        over = threading.Event()

        def kill() -> None:
            time.sleep(0.5)  # in the third turn or so
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(5)
            assert not over.is_set(), "the episodes did without the service"
            restarted.append(self.start(catalogue, port=int(url.rsplit(":", 1)[1]))[0])

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            found = played(client)
        finally:
            over.set()
            killer.join()
            for started in restarted:
                started.kill()
                started.wait()
        assert restarted
        assert found == played(build_retriever(RetrieverConfig(kind="bm25"), TOOLS))
        assert {stop for _, stop, _ in found} == {StopReason.SELECTED}
        assert len(found) == 24

    def test_changes_outlive_a_kill_where_they_are_kept(self, catalogue: Path, tmp_path: Path) -> None:
        options = ("--journal", str(tmp_path / "changes.jsonl"))
        song = tool("play_song", "Play music")
        process, url = self.start(catalogue, *options)
        httpx.post(f"{url}/tools", json={"tools": [song.to_dict()]}).raise_for_status()
        httpx.request("DELETE", f"{url}/tools", json={"ids": ["get_weather"]}).raise_for_status()
        expected = httpx.get(f"{url}/tools").text
        process.kill()
        process.wait()
        process, url = self.start(catalogue, *options)
        try:
            assert httpx.get(f"{url}/tools").text == expected
            assert httpx.get(f"{url}/health").json()["version"] == 3
            assert ids(remote(url, ["play music"], k=1)[0]) == ["play_song"]
            assert "get_weather" not in ids(remote(url, ["weather of a city"], k=9)[0])
            (tmp_path / "saved.jsonl").write_text(expected, encoding="utf-8")
            assert song in Catalogue.load(tmp_path / "saved.jsonl").tools
        finally:
            process.terminate()
            process.wait(15)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nowhere.jsonl"], "no file at nowhere.jsonl"),
            (["a.jsonl", "b.jsonl"], "expected one catalogue, got 2"),
            (["a.jsonl", "--host", "0.0.0.0"], "it asks for no token"),
            (["a.jsonl", "--port", "70000"], "outside 0 to 65535"),
            (["a.jsonl", "--max-waiting", "0"], "max_waiting=0 is below 1"),
            (["a.jsonl", "retriever.knd=bm25"], "did you mean retriever.kind?"),
        ],
    )
    def test_mistakes_are_one_line(
        self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TOOLSCOUT_RETRIEVER_TOKEN", raising=False)
        assert main(["retriever", "serve", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def test_a_port_that_is_taken_is_known_before_anything_is_built(
        self, catalogue: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["retriever", "serve", str(catalogue), "--port", str(port)]) == 2
        assert "give another port" in capsys.readouterr().err


def test_a_removed_tool_is_never_served_after_its_removal_was_acknowledged() -> None:
    live = LiveRetriever(TOOLS, index, compact_after=10)  # the index is built anew again and again meanwhile
    failures: list[str] = []

    def changes(url: str, worker: int) -> None:
        with httpx.Client() as client:
            for number in range(15):
                entry = ToolDoc(
                    id=f"{worker}-{number}", name="song", description="Play music", parameters={"type": "object"}
                )
                client.post(f"{url}/tools", json={"tools": [entry.to_dict()]}).raise_for_status()
                client.request("DELETE", f"{url}/tools", json={"ids": [entry.id]}).raise_for_status()
                found = client.post(f"{url}/search", json={"queries": ["play music"], "k": 100}).json()["results"][0]
                failures.extend(entry.id for one in found if one["tool"]["id"] == entry.id)

    with serving(live) as url:
        threads = [threading.Thread(target=changes, args=(url, worker)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert live.catalogue.tools == TOOLS.tools
