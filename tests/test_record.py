"""Record and replay: what is recorded, what a replay gives, statefulness, and nothing lost to a SIGKILL."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.executors.backend import Backend, Reply
from envs.executors.call_key import CallKey
from envs.executors.executor import Stateless
from envs.executors.record import Recorded, RecordPolicy
from envs.executors.record_store import Record, RecordStore
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import Task, ToolResult, ToolStatus
from retriever.base.canonical import canonical_json
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc
from tests import record_main

ROOT = Path(__file__).parents[1]
ANY = {"type": "object", "additionalProperties": True}


def tool(name: str, version: str = "1") -> ToolDoc:
    return ToolDoc(id=f"t.{name}", name=name, description="", parameters=ANY, version=version)


ECHO, COUNT = tool("echo"), tool("count")


class Counting(Stateless):
    """Says its arguments and how often it was called, by whomever."""

    def __init__(self, status: ToolStatus = ToolStatus.OK) -> None:
        self.calls, self._status = 0, status

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        self.calls += 1
        await asyncio.sleep(0)
        return Reply(text=f"{json.dumps(arguments)} {self.calls}", status=self._status)


class Failing(Stateless):
    """Raises what it is given, in turn, and then says "at last"."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        if self._errors:
            raise self._errors.pop(0)
        return Reply(text="at last")


class Counters(Stateless):
    """A stateful backend: each session counts from 0. `add` says the sum, an unreachable number fails."""

    def __init__(self, start: int = 0) -> None:
        self.runs, self._start = 0, start

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Any]:
        yield _Counter(self, self._start)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        raise AssertionError("a stateful backend is run in sessions")


class _Counter(Stateless):
    def __init__(self, of: Counters, start: int) -> None:
        self._of, self._sum = of, start

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        self._of.runs += 1
        if arguments.get("fail") == "timeout":
            self._sum += 100  # it may well have happened
            raise TimeoutError
        self._sum += arguments.get("add", 0)
        return Reply(text=f"{self._sum}")


def recorded(path: Path, backend: Backend | None, policy: RecordPolicy, *, stateful: bool = False) -> Recorded:
    return Recorded(backend, RecordStore(path), policy=policy, stateful=stateful)


def played(backend: Backend, *episodes: list[tuple[ToolDoc, dict[str, Any]]]) -> list[list[ToolResult]]:
    """What each episode read, all of them at once, call by call."""

    async def play() -> list[list[ToolResult]]:
        executor = RoutedExecutor({"python": backend}, CallLimits(timeout_s=5, infra_retries=1))

        async def episode(calls: list[tuple[ToolDoc, dict[str, Any]]]) -> list[ToolResult]:
            async with executor.session() as session:
                return [await session.call(tool, arguments) for tool, arguments in calls]

        results = await asyncio.gather(*map(episode, episodes))
        await executor.close()
        return results

    return asyncio.run(play())


def texts(results: list[list[ToolResult]]) -> list[list[str]]:
    return [[result.text for result in episode] for episode in results]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "calls.sqlite"


class TestPolicies:
    def test_a_miss_is_called_once_and_replayed_from_then_on(self, path: Path) -> None:
        backend = Counting()
        front = recorded(path, backend, "replay_then_call")
        ((first, second, other),) = played(front, [(ECHO, {"a": 1, "b": 2}), (ECHO, {"b": 2, "a": 1}), (ECHO, {})])
        assert (first.text, first.served_from) == ('{"a": 1, "b": 2} 1', "live")
        assert (second.text, second.served_from) == (first.text, "replay")
        assert (other.text, backend.calls) == ("{} 2", 2)
        assert (front.stats.hits, front.stats.misses, front.stats.recorded) == (1, 2, 2)
        assert front.stats.hit_rate == pytest.approx(1 / 3)

    def test_another_version_of_a_tool_is_another_tool(self, path: Path) -> None:
        backend = Counting()
        played(recorded(path, backend, "replay_then_call"), [(ECHO, {}), (tool("echo", "2"), {}), (COUNT, {})])
        assert backend.calls == 3

    def test_always_called_the_last_reply_counts(self, path: Path) -> None:
        front = recorded(path, Counting(), "call_and_record")
        assert texts(played(front, [(ECHO, {})] * 3)) == [["{} 1", "{} 2", "{} 3"]]
        assert front.stats.hit_rate is None
        ((replayed,),) = played(recorded(path, None, "replay_only"), [(ECHO, {})])
        assert (replayed.text, replayed.served_from, replayed.status) == ("{} 3", "replay", ToolStatus.OK)

    def test_a_replay_without_a_record_is_our_failure_and_says_so(self, path: Path) -> None:
        backend = Counting()
        front = recorded(path, backend, "replay_only")
        ((result,),) = played(front, [(ECHO, {})])
        assert result.status is ToolStatus.INFRA_ERROR
        assert "this call of t.echo (version 1) is not in" in result.text
        assert "record it with replay_then_call" in result.text
        assert (backend.calls, front.stats.misses) == (0, 1)  # asked once: another try would find no more

    def test_a_policy_that_calls_needs_something_to_call(self, path: Path) -> None:
        with pytest.raises(UserError, match="use replay_only"):
            recorded(path, None, "replay_then_call")

    @pytest.mark.parametrize("status", [ToolStatus.TOOL_ERROR, ToolStatus.UNKNOWN_TOOL])
    def test_errors_of_the_tool_are_replayed(self, path: Path, status: ToolStatus) -> None:
        played(recorded(path, Counting(status), "replay_then_call"), [(ECHO, {})])
        ((replayed,),) = played(recorded(path, None, "replay_only"), [(ECHO, {})])
        assert (replayed.status, replayed.text) == (status, "{} 1")

    def test_what_cannot_come_again_is_not_recorded(self, path: Path) -> None:
        backend = Failing(TimeoutError(), InfraError("gone"))
        ((late, then),) = played(recorded(path, backend, "replay_then_call"), [(ECHO, {}), (ECHO, {})])
        assert (late.status, then.status) == (ToolStatus.TIMEOUT, ToolStatus.OK)  # the failure of ours was tried again
        ((replayed,),) = played(recorded(path, None, "replay_only"), [(ECHO, {})])
        assert replayed.text == "at last"
        store = RecordStore(path)
        assert len(store) == 1
        store.close()

    def test_equal_calls_at_once_all_read_the_reply_that_is_recorded(self, path: Path) -> None:
        live = played(recorded(path, Counting(), "replay_then_call"), *[[(ECHO, {"x": 1})]] * 20)
        assert len(set(map(str, texts(live)))) == 1
        again = played(recorded(path, None, "replay_only"), *[[(ECHO, {"x": 1})]] * 20)
        assert texts(again) == texts(live)


class TestStateful:
    ADDS: tuple[tuple[ToolDoc, dict[str, Any]], ...] = tuple((COUNT, {"add": number}) for number in (1, 1, 5, 1))

    def test_the_same_call_later_in_the_episode_is_another_one(self, path: Path) -> None:
        backend = Counters()
        live = played(recorded(path, backend, "replay_then_call", stateful=True), list(self.ADDS))
        assert texts(live) == [["1", "2", "7", "8"]]
        again = played(recorded(path, None, "replay_only", stateful=True), list(self.ADDS), list(self.ADDS[:2]))
        assert texts(again) == [["1", "2", "7", "8"], ["1", "2"]]
        assert {result.served_from for episode in again for result in episode} == {"replay"}

    def test_a_miss_after_hits_finds_the_state_that_the_episode_has_seen(self, path: Path) -> None:
        played(recorded(path, Counters(), "replay_then_call", stateful=True), list(self.ADDS[:3]))
        backend = Counters()
        front = recorded(path, backend, "replay_then_call", stateful=True)
        ((*replayed, new, newer),) = played(front, [*self.ADDS[:3], (COUNT, {"add": 10}), (COUNT, {"add": 1})])
        assert [result.served_from for result in replayed] == ["replay"] * 3
        assert (new.text, new.served_from, newer.text) == ("17", "live", "18")
        assert backend.runs == 5  # three that were replayed, then the two
        assert (front.stats.hits, front.stats.misses) == (3, 2)

    def test_a_backend_in_another_state_than_recorded_is_not_mixed_in(self, path: Path) -> None:
        played(recorded(path, Counters(), "replay_then_call", stateful=True), list(self.ADDS[:1]))
        other = recorded(path, Counters(start=50), "replay_then_call", stateful=True)
        ((first, second, third),) = played(other, [*self.ADDS[:1], (COUNT, {"add": 3}), (COUNT, {"add": 3})])
        assert first.text == "1"
        assert second.status is third.status is ToolStatus.INFRA_ERROR
        assert "says something else than what is recorded" in second.text

    def test_after_a_timeout_nothing_is_recorded_for_nobody_knows_the_state(self, path: Path) -> None:
        calls: list[tuple[ToolDoc, dict[str, Any]]] = [
            (COUNT, {"add": 1}),
            (COUNT, {"fail": "timeout"}),
            (COUNT, {"add": 1}),
        ]
        ((first, late, then),) = played(recorded(path, Counters(), "replay_then_call", stateful=True), calls)
        assert (first.text, late.status, then.text) == ("1", ToolStatus.TIMEOUT, "102")
        store = RecordStore(path)
        assert len(store) == 1
        store.close()

    def test_a_replayed_call_that_fails_when_run_again_is_our_failure(self, path: Path) -> None:
        store = RecordStore(path)
        store.put_all([Record(key=CallKey.of(COUNT, {"fail": "timeout"}), reply=Reply(text="0"))])
        front = Recorded(Counters(), store, policy="replay_then_call", stateful=True)
        ((first, second),) = played(front, [(COUNT, {"fail": "timeout"}), (COUNT, {"add": 1})])
        assert (first.text, second.status) == ("0", ToolStatus.INFRA_ERROR)
        assert "could not be run again" in second.text

    def test_always_called_stateful_episodes_replay_too(self, path: Path) -> None:
        live = played(recorded(path, Counters(), "call_and_record", stateful=True), list(self.ADDS))
        assert texts(played(recorded(path, None, "replay_only", stateful=True), list(self.ADDS))) == texts(live)


@given(
    st.recursive(
        st.text(max_size=5) | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
    st.randoms(),
)
def test_a_key_is_the_content_not_the_order(value: Any, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    key = CallKey.of(ECHO, {"v": value})
    assert CallKey.of(ECHO, shuffled({"w": 0, "v": value})).digest == CallKey.of(ECHO, {"v": value, "w": 0}).digest
    assert CallKey.of(ECHO, json.loads(canonical_json({"v": value}))) == key  # written and read, it is the same call
    assert CallKey.of(ECHO, {"v": [value]}).digest != key.digest


def test_keys_tell_apart_what_a_tool_may_tell_apart() -> None:
    different: list[dict[str, Any]] = [
        {"x": 1},
        {"x": 1.0},
        {"x": True},
        {"x": "1"},
        {"x": None},
        {},
        {"x": "\ud800"},
        {"x": "?"},
    ]
    assert len({CallKey.of(ECHO, arguments).digest for arguments in different}) == len(different)
    assert CallKey.of(ECHO, {}, history="a").digest != CallKey.of(ECHO, {}).digest


class TestStore:
    def test_keeps_any_text_as_it_is(self, path: Path) -> None:
        said = "é \ud800 \0 \r\n" + "x" * 100_000

        async def kept() -> tuple[Reply, Reply | None]:
            store = RecordStore(path)
            key = CallKey.of(ECHO, {"x": "\udfff"})
            put = await store.put(Record(key=key, reply=Reply(text=said, served_from="simulator")), replace=False)
            store.close()
            again = RecordStore(path, create=False)
            found = await again.get(key)
            again.close()
            return put, found

        put, found = asyncio.run(kept())
        assert put == found == Reply(text=said, served_from="simulator")

    def test_serves_one_event_loop_after_the_other(self, path: Path) -> None:
        store = RecordStore(path)
        for number in range(3):
            key = CallKey.of(ECHO, {"x": number})
            asyncio.run(store.put(Record(key=key, reply=Reply(text=f"{number}")), replace=False))
            assert asyncio.run(store.get(key)) == Reply(text=f"{number}")
        assert len(store) == 3
        store.close()
        store.close()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path: path.write_text("not a database, " * 100), "file is not a database"),
            (lambda path: sqlite(path, "CREATE TABLE t(x)"), "no record of tool calls; give another path"),
            (lambda path: sqlite(path, "PRAGMA user_version=9"), "no record of tool calls; give another path"),
            (
                lambda path: sqlite(path, "PRAGMA application_id=0x54534352", "PRAGMA user_version=2"),
                "a record of version 2, this release reads 1",
            ),
            (lambda path: path.mkdir(), "unable to open database file"),
            (lambda path: None, "no record of tool calls at"),
        ],
    )
    def test_a_file_that_is_something_else_is_refused_and_left(
        self, tmp_path: Path, make: Callable[[Path], object], message: str
    ) -> None:
        path = tmp_path / "file"
        make(path)
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(UserError, match=message):
            RecordStore(path, create=False)
        assert before == (path.read_bytes() if path.is_file() else None)

    def test_a_full_disk_is_our_failure(self, path: Path) -> None:
        store = RecordStore(path)
        store._writing.execute("PRAGMA max_page_count=3")
        record = Record(key=CallKey.of(ECHO, {}), reply=Reply(text="x" * 100_000))
        with pytest.raises(InfraError, match="is full"):
            asyncio.run(store.put(record, replace=False))
        store._writing.execute("PRAGMA max_page_count=1000")
        assert asyncio.run(store.put(record, replace=False)) == record.reply  # and it goes on after that
        store.close()

    def test_a_cancelled_write_harms_no_other(self, path: Path) -> None:
        async def cancelled() -> None:
            writes = [
                asyncio.ensure_future(
                    store.put(Record(key=CallKey.of(ECHO, {"x": x}), reply=Reply(text=f"{x}")), replace=False)
                )
                for x in range(200)
            ]
            await asyncio.sleep(0)
            for write in writes[::2]:
                write.cancel()
            await asyncio.gather(*writes, return_exceptions=True)
            assert [(await writes[x]).text for x in range(1, 200, 2)] == [f"{x}" for x in range(1, 200, 2)]

        store = RecordStore(path)
        asyncio.run(cancelled())
        store.close()

    def test_many_processes_make_one_file(self, path: Path) -> None:
        path.parent.mkdir()
        code = "import sys; from envs.executors.record_store import RecordStore as R; sys.stdin.read(); R(sys.argv[1])"
        processes = [
            subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, cwd=ROOT) for _ in range(6)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(60) for process in processes] == [0] * 6
        store = RecordStore(path, create=False)
        assert len(store) == 0
        store.close()

    def test_a_file_that_another_is_just_making_is_never_somebody_elses(self, path: Path) -> None:
        path.parent.mkdir()
        together = threading.Barrier(6)

        def made(name: str) -> int:
            together.wait()
            store = RecordStore(path.with_name(name))
            try:
                return len(store)
            finally:
                store.close()

        with ThreadPoolExecutor(6) as threads:
            for round_ in range(60):
                assert list(threads.map(made, [f"{round_}.sqlite"] * 6)) == [0] * 6


def sqlite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("stateful", [False, True])
def test_a_file_that_another_process_holds_is_a_failure_of_ours_and_calls_no_tool_twice(
    path: Path, stateful: bool
) -> None:
    counters, counting = Counters(), Counting()
    backend = recorded(path, counters if stateful else counting, "replay_then_call", stateful=stateful)
    executor = RoutedExecutor({"python": backend}, CallLimits(timeout_s=1, infra_retries=2))

    async def play() -> list[ToolResult]:
        async with executor.session() as session:
            with held(path):
                locked = await session.call(COUNT, {"add": 1})
            return [locked, await session.call(COUNT, {"add": 2})]

    locked, after = asyncio.run(play())
    assert locked.status is ToolStatus.INFRA_ERROR
    assert str(path) in locked.text
    assert locked.latency_s < 0.95
    assert after.status is ToolStatus.OK
    assert (counters.runs, counting.calls) == ((2, 0) if stateful else (0, 2))
    asyncio.run(executor.close())


def test_a_file_that_cannot_be_read_in_time_is_a_failure_of_ours(path: Path) -> None:
    backend = recorded(path, None, "replay_only")
    executor = RoutedExecutor({"python": backend}, CallLimits(timeout_s=0.5, infra_retries=0))
    backend._book.store._reader.submit(time.sleep, 1)  # as a read does that waits for a lock
    result = asyncio.run(executor.call(COUNT, {}))
    assert result.status is ToolStatus.INFRA_ERROR
    assert f"the record of tool calls {path}: no answer within 0.4 s" in result.text
    asyncio.run(executor.close())


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process writes to the file, and does not come to an end."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_to_a_kill(path: Path, tmp_path: Path, kills: int) -> None:
    """One writer goes on, the other is killed and started again; both write some of the same calls."""
    steady = writing(path, tmp_path / "steady", "steady")
    for number in range(kills):
        killed = writing(path, tmp_path / f"killed {number}", f"killed {number}")
        wait_for_lines(tmp_path / f"killed {number}", 20 + 7 * number % 50)
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait(30) == -signal.SIGKILL
        acknowledged = (tmp_path / f"killed {number}").read_text().splitlines()
        assert len(acknowledged) >= 20
    assert steady.poll() is None
    steady.send_signal(signal.SIGKILL)
    steady.wait(30)

    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    store = RecordStore(path, create=False)
    lost = 0
    for file in sorted(tmp_path.iterdir()):
        if file.is_file():
            lost += sum(asyncio.run(missing(store, line)) for line in file.read_text().split("\n")[:-1])
    assert lost == 0
    assert len(store) > 20 * kills
    store.close()


def writing(path: Path, acknowledged: Path, name: str) -> subprocess.Popen[bytes]:
    acknowledged.touch()
    return subprocess.Popen([sys.executable, "-m", "tests.record_main", str(path), str(acknowledged), name], cwd=ROOT)


def wait_for_lines(file: Path, count: int) -> None:
    ends = time.monotonic() + 60
    while file.read_bytes().count(b"\n") < count:
        assert time.monotonic() < ends
        time.sleep(0.01)


async def missing(store: RecordStore, line: str) -> bool:
    arguments, said = json.loads(line)
    found = await store.get(CallKey.of(record_main.TOOL, arguments))
    return found is None or found.text != said
