"""MCP servers, real ones: what they list, what calls of them give, and that no fault of a server outlives its call."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from envs.config import EnvConfig
from envs.executors.backend import Reply
from envs.executors.build import build_executor
from envs.executors.call_key import CallKey
from envs.executors.config import ExecutorConfig, RecordConfig
from envs.executors.executor import Executor
from envs.executors.mcp_config import McpServerConfig, read_mcp_config
from envs.executors.mcp_servers import McpServers
from envs.executors.record import RecordPolicy
from envs.executors.record_store import Record, RecordStore
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import ToolResult, ToolStatus
from launch import run as command_line
from retriever.base.errors import DataError, InfraError, UserError
from retriever.catalogue import Catalogue
from retriever.readers.read import read_tools
from retriever.tools import ToolDoc

ROOT = Path(__file__).parents[1]
FAULTS = McpServerConfig(
    name="faults", command=sys.executable, args=(str(ROOT / "tests" / "mcp_server_main.py"),), env={"MODE": "test"}
)
CLOCK = McpServerConfig(name="time", command=sys.executable, args=("-m", "mcp_server_time", "--local-timezone", "UTC"))
NODE_PACKAGES = tuple(
    f"@modelcontextprotocol/server-{name}@2026.8.31" for name in ("everything", "filesystem", "memory")
)


def tool(tool_id: str) -> ToolDoc:
    return ToolDoc(id=tool_id, name=tool_id, description="", parameters={"additionalProperties": True}, origin="mcp")


@asynccontextmanager
async def executor_of(*servers: McpServerConfig, timeout_s: float = 10.0, retries: int = 2) -> AsyncIterator[Executor]:
    executor = RoutedExecutor(
        {"mcp": McpServers(servers)}, CallLimits(timeout_s=timeout_s, infra_retries=retries, observation_chars=10_000)
    )
    try:
        yield executor
    finally:
        await executor.close()


async def call(executor: Executor, tool_id: str, **arguments: Any) -> ToolResult:
    return await executor.call(tool(tool_id), arguments)


async def pid_of(executor: Executor, server: str = "faults") -> int:
    return int((await call(executor, f"{server}/pid")).text)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="session")
def node_server(request: pytest.FixtureRequest) -> Callable[..., McpServerConfig]:
    """Servers of npm packages, fetched once into pytest's cache, or those that TOOLSCOUT_NODE_SERVERS holds."""
    folder = Path(os.environ.get("TOOLSCOUT_NODE_SERVERS") or request.config.cache.mkdir("mcp_node_servers"))
    programs = folder / "node_modules" / ".bin"
    if shutil.which("npm") is None:
        pytest.skip("needs Node: no npm on PATH")
    if not (programs / "mcp-server-memory").exists():
        install = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
        try:
            subprocess.run(
                [*install, "--prefix", str(folder), *NODE_PACKAGES], capture_output=True, timeout=120, check=True
            )
        except subprocess.SubprocessError as error:
            pytest.skip(f"needs Node packages, and npm cannot fetch them: {error}")

    def server(name: str, **fields: Any) -> McpServerConfig:
        return McpServerConfig(name=name, command=str(programs / f"mcp-server-{name}"), **fields)

    return server


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ([], "field 'mcpServers': expected"),
        ({}, "field 'mcpServers': names no server"),
        ({"a": {"command": "x", "disabled": True}}, "disabled ones only"),
        ({"a": 3}, "field 'mcpServers.a': expected an object, got 3"),
        ({"a": {}}, "field 'mcpServers.a.command': expected either a command to start or a url to call"),
        ({"a": {"command": "x", "url": "http://h"}}, "either a command to start or a url"),
        ({"a": {"command": "x", "headers": {"k": "v"}}}, "field 'mcpServers.a.headers': means nothing beside command"),
        ({"a": {"url": "http://h", "env": {"k": "v"}}}, "field 'mcpServers.a.env': means nothing beside url"),
        ({"a": {"url": "ftp://h"}}, "field 'mcpServers.a.url': expected http://host… or https://host…"),
        ({"a": {"url": "http://[h"}}, "field 'mcpServers.a.url': expected http://host… or https://host…"),
        ({"a": {"url": "${NOWHERE_SET}"}}, "'mcpServers.a.url': the environment variable NOWHERE_SET is not set"),
        ({"a": {"command": "x", "args": ["y", "${NOWHERE_SET}"]}}, "'mcpServers.a.args[1]': the environment variable"),
        ({"a": {"command": "x", "args": "-v"}}, "field 'mcpServers.a.args': expected a list of strings"),
        ({"a": {"command": "x", "env": {"k": 1}}}, "field 'mcpServers.a.env': expected an object of strings"),
        (
            {"a": {"command": "x", "env": {"k": "${NOWHERE_SET}"}}},
            "'mcpServers.a.env.k': the environment variable NOWH",
        ),
        ({"a": {"command": "x", "hiden": ["r"]}}, "field 'mcpServers.a.hiden': unknown (did you mean 'hidden'?)"),
        ({"a": {"command": "x", "session": "task"}}, '\'mcpServers.a.session\': expected "shared" or "episode", got'),
        ({"a": {"type": "sse", "url": "http://h"}}, "field 'mcpServers.a.type': 'sse' is not spoken here"),
        ({" ": {"command": "x"}}, "its name is empty"),
    ],
)
def test_a_config_that_cannot_work_is_told_with_its_field(servers: Any, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    with pytest.raises(DataError) as error:
        read_mcp_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert problem in str(error.value)


def test_a_config_reads_as_others_clients_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "s3cret-of-the-shop")
    path = tmp_path / "mcp.json"
    servers = {
        "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}, "autoApprove": [], "timeout": 60},
        "shop": {"type": "http", "url": "https://shop/mcp", "headers": {"Authorization": "Bearer ${SHOP_TOKEN}"}},
        "old": {"command": "old", "disabled": True},
        "notes": {"command": "notes", "session": "episode", "hidden": ["reset*"], "cwd": "${SESSION_DIR}"},
    }
    path.write_text(json.dumps({"mcpServers": servers, "inputs": []}))
    time_server, shop, notes = read_mcp_config(path)
    assert (time_server.command, time_server.args, time_server.env) == ("uvx", ("mcp-server-time",), {"TZ": "UTC"})
    assert (shop.url, shop.headers) == ("https://shop/mcp", {"Authorization": "Bearer s3cret-of-the-shop"})
    assert "s3cret" not in repr(shop)
    assert (notes.session, notes.hides("reset_all"), notes.hides("add")) == ("episode", True, False)
    assert (notes.wants_folder, notes.in_folder("/f").cwd) == (True, "/f")


def test_what_is_told_of_a_server_has_no_secret_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "sk-filled-12345678")
    path = tmp_path / "mcp.json"
    says = "import os, sys; sys.exit(' '.join(['refused', *sys.argv[2:], os.environ['T'].split()[1]]))"
    secret = {
        "program": {
            "command": sys.executable,
            "args": ["-c", says, "--api-key", "sk-literal-1234", "--token=sk-joined-1234", "${SHOP_KEY}", "visible"],
            "env": {"T": "Bearer sk-header-1234"},
        },
        "address": {
            "url": "http://ann:sk-person-1234@127.0.0.1:9/sk-filled-12345678/mcp?apiKey=${SHOP_KEY}&x=sk%2Dq-12"
        },
    }
    path.write_text(json.dumps({"mcpServers": secret}))
    program, address = read_mcp_config(path)
    assert program.args[5] == "sk-filled-12345678"
    assert program.started_by == f"{sys.executable}, 7 arguments"
    assert address.url.endswith("?apiKey=sk-filled-12345678&x=sk%2Dq-12")
    assert address.started_by == "http://127.0.0.1:9/***/mcp"
    assert "sk-" not in repr(program) + repr(address)

    async def told() -> list[str]:
        executor = RoutedExecutor({"mcp": McpServers([program, address])}, CallLimits(timeout_s=5, infra_retries=0))
        try:
            return [(await executor.call(tool(f"{name}/x"), {})).text for name in ("program", "address")]
        finally:
            await executor.close()

    of_program, of_address = asyncio.run(told())
    assert "refused *** *** *** visible ***" in of_program.replace("--token=***", "***")
    assert "MCP server 'address' (http://127.0.0.1:9/***/mcp) did not start" in of_address
    assert "sk-" not in of_program + of_address


def test_a_replay_needs_neither_the_servers_secrets_nor_their_file(tmp_path: Path) -> None:
    config, record = tmp_path / "mcp.json", tmp_path / "calls.sqlite"
    headers, remembers = {"Authorization": "Bearer ${NOWHERE_SET}"}, {"command": "x", "args": ["${NOWHERE_SET}"]}
    servers = {"shop": {"url": "${NOWHERE_SET}", "headers": headers}, "notes": {**remembers, "session": "episode"}}
    config.write_text(json.dumps({"mcpServers": servers}))
    count = tool("notes/count")
    first = CallKey.of(count, {})
    keys = (first, CallKey.of(count, {}, history=first.digest))  # the second time in an episode
    store = RecordStore(record)
    store.put_all(Record(key=key, reply=Reply(text=text)) for key, text in zip(keys, ("1", "2"), strict=True))
    store.close()

    def built(policy: RecordPolicy) -> RoutedExecutor | None:
        wanted = ExecutorConfig(mcp=str(config), record=RecordConfig(path=str(record), policy=policy))
        return build_executor(wanted, EnvConfig(), origins={"mcp"})

    async def replayed() -> list[str]:
        executor = built("replay_only")
        assert executor is not None
        async with executor.session() as own:
            texts = [(await own.call(count, {})).text for _ in range(2)]
        await executor.close()
        return texts

    with pytest.raises(DataError, match="the environment variable NOWHERE_SET is not set; export it"):
        built("replay_then_call")
    assert asyncio.run(replayed()) == ["1", "2"]
    config.unlink()
    assert asyncio.run(replayed()) == ["1", "2"]


def test_a_live_server_gives_the_tools_that_its_saved_list_gives(tmp_path: Path) -> None:
    handshake = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": handshake},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    with subprocess.Popen(
        [CLOCK.command, *CLOCK.args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
    path = tmp_path / "time.json"
    path.write_text(json.dumps(answers[1]))

    async def live() -> tuple[ToolDoc, ...]:
        servers = McpServers([CLOCK])
        try:
            return await servers.list_tools()
        finally:
            await servers.close()

    listed = asyncio.run(live())
    assert [tool.id for tool in listed] == ["time/get_current_time", "time/convert_time"]
    (saved,) = read_tools(path)
    assert [tool.to_dict() for tool in listed] == [tool.to_dict() for tool in saved.tools]


def test_the_time_server_replies_errs_and_knows_what_it_has() -> None:
    async def play() -> None:
        async with executor_of(CLOCK) as executor:
            times = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Asia/Kolkata"}
            result = await call(executor, "time/convert_time", **times)
            assert result.status is ToolStatus.OK
            assert json.loads(result.text)["time_difference"] == "-3.5h"
            result = await call(executor, "time/get_current_time", timezone="Nowhere")
            assert (result.status, "Invalid timezone" in result.text) == (ToolStatus.TOOL_ERROR, True)
            assert (await call(executor, "time/tick")).status is ToolStatus.UNKNOWN_TOOL
            assert (await call(executor, "clock/convert_time")).status is ToolStatus.UNKNOWN_TOOL

    asyncio.run(play())


def test_both_styles_of_error_are_the_tools_own() -> None:
    async def play() -> None:
        async with executor_of(FAULTS) as executor:
            told = await call(executor, "faults/refuse", politely=True)
            assert (told.status, told.text) == (ToolStatus.TOOL_ERROR, "Error executing tool refuse: not today")
            raised = await call(executor, "faults/refuse", politely=False)
            assert (raised.status, raised.text) == (ToolStatus.TOOL_ERROR, "error: not today either")
            unknown = await call(executor, "faults/nothing")
            assert unknown.status is ToolStatus.UNKNOWN_TOOL
            assert unknown.text == "error: MCP server 'faults' has no tool 'nothing'"

    asyncio.run(play())


def test_everything_reads_as_text() -> None:
    async def play() -> None:
        async with executor_of(FAULTS) as executor:
            assert (await call(executor, "faults/everything")).text.splitlines() == [
                "plain",
                "[image image/png, 10 bytes]",
                "[audio audio/wav, 10 bytes]",
                "a note",
                "[resource blob://1, image/gif, 10 bytes]",
                "[resource file:///readme, text/markdown]",
            ]
            assert (await call(executor, "faults/structured")).text == '{"grad": "°", "value": 7}'

    asyncio.run(play())


def test_a_late_call_is_dropped_by_the_server_too() -> None:
    async def play() -> None:
        async with executor_of(FAULTS, timeout_s=4.0) as executor:
            pid = await pid_of(executor)
            began = time.monotonic()
            late, other = await asyncio.gather(
                call(executor, "faults/wait", seconds=600), call(executor, "faults/add", a=1, b=2)
            )
            assert (late.status, late.text) == (ToolStatus.TIMEOUT, "error: no reply within 4 s")
            assert time.monotonic() - began < 60  # of the tool's 600
            assert (other.status, other.text) == (ToolStatus.OK, "3")  # nobody waits for a slow call
            while (dropped := await call(executor, "faults/dropped")).text != "1":  # the notice may be on its way
                assert time.monotonic() - began < 60, f"dropped {dropped.text}, {await pid_of(executor)} was {pid}"
                await asyncio.sleep(0.05)
            assert await pid_of(executor) == pid  # a server that answers is kept

    asyncio.run(play())


def test_a_server_that_hangs_is_replaced() -> None:
    async def play() -> None:
        async with executor_of(FAULTS, timeout_s=20.0) as executor:
            pid = await pid_of(executor)
            servers = executor._backends["mcp"]  # type: ignore[attr-defined]
            with pytest.raises(TimeoutError):
                await servers.run(tool("faults/hang"), {"seconds": 60}, timeout_s=0.5)
            assert await pid_of(executor) != pid
        assert not lives(pid)

    asyncio.run(play())


def test_a_server_killed_in_a_call_is_back_for_the_retry() -> None:
    async def play() -> None:
        async with executor_of(FAULTS, timeout_s=20.0) as executor:
            pid = await pid_of(executor)
            waiting = asyncio.create_task(call(executor, "faults/wait", seconds=0.6))
            await asyncio.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            result = await waiting
            assert (result.status, result.text) == (ToolStatus.OK, "late")
            assert result.latency_s > 0.9  # 0.3 s of the first server, 0.6 s of the second
            assert await pid_of(executor) != pid

    asyncio.run(play())


def test_a_call_that_kills_its_server_is_our_failure_and_the_next_one_runs() -> None:
    async def play() -> None:
        async with executor_of(FAULTS, timeout_s=20.0, retries=1) as executor:
            result = await call(executor, "faults/die", code=3)
            assert result.status is ToolStatus.INFRA_ERROR
            assert "MCP server 'faults'" in result.text
            assert result.text.endswith("its stderr ends:\na last word")
            assert (await call(executor, "faults/add", a=2, b=2)).text == "4"

    asyncio.run(play())


def episodes(**fields: Any) -> McpServerConfig:
    return McpServerConfig(name="faults", command=FAULTS.command, args=FAULTS.args, session="episode", **fields)


def test_each_episode_has_a_server_of_its_own_that_ends_with_it() -> None:
    async def episode(executor: Executor, name: str) -> tuple[str, int]:
        async with executor.session() as own:
            await call(own, "faults/remember", note=name)
            pid = await pid_of(own)
            assert lives(pid)
            return (await call(own, "faults/remember", note="end")).text, pid

    async def play() -> None:
        async with executor_of(episodes()) as executor:
            async with executor.session():
                pass  # no call, no server
            played = await asyncio.gather(episode(executor, "a"), episode(executor, "b"))
            assert [notes for notes, _ in played] == ["a,end", "b,end"]
            assert not any(lives(pid) for _, pid in played)
        async with executor_of(FAULTS) as executor:
            shared = [await episode(executor, name) for name in ("a", "b")]
            assert [notes for notes, _ in shared] == ["a,end", "a,end,b,end"]
            assert shared[0][1] == shared[1][1]

    asyncio.run(play())


def test_a_cancelled_episode_leaves_no_server() -> None:
    async def episode(executor: Executor, pids: list[int]) -> None:
        async with executor.session() as own:
            pids.append(await pid_of(own))
            await call(own, "faults/wait", seconds=60)

    async def starting(executor: Executor) -> None:
        async with executor.session() as own:
            await pid_of(own)

    async def play() -> list[int]:
        async with executor_of(episodes(), timeout_s=60.0) as executor:
            pids: list[int] = []
            playing = asyncio.create_task(episode(executor, pids))
            while not pids:
                await asyncio.sleep(0.02)
            early = asyncio.create_task(starting(executor))
            await asyncio.sleep(0.1)  # its server is on the way
            for task in (playing, early):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            open_ = executor._backends["mcp"]._open  # type: ignore[attr-defined]
            assert (lives(pids[0]), len(open_)) == (False, 0)
            return pids

    assert len(asyncio.run(play())) == 1


def test_an_episode_whose_server_is_lost_is_not_played_on() -> None:
    async def play() -> None:
        async with executor_of(episodes()) as executor, executor.session() as own:
            assert (await call(own, "faults/remember", note="a")).text == "a"
            os.kill(await pid_of(own), signal.SIGKILL)
            for _ in range(2):
                result = await call(own, "faults/remember", note="b")
                assert result.status is ToolStatus.INFRA_ERROR
            assert "ended before its episode" in result.text

    asyncio.run(play())


def test_a_session_folder_is_new_and_goes_with_its_server() -> None:
    async def play() -> None:
        config = episodes(env={"PLACE": "${SESSION_DIR}"}, cwd="${SESSION_DIR}")
        async with executor_of(config) as executor:
            seen = []
            for _ in range(2):
                async with executor.session() as own:
                    seen.append(Path(os.readlink(f"/proc/{await pid_of(own)}/cwd")))
                    assert list(seen[-1].iterdir()) == []
            assert seen[0] != seen[1]
            assert not any(folder.exists() for folder in seen)

    asyncio.run(play())


def test_a_server_sees_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-trainer")

    async def play() -> None:
        async with executor_of(FAULTS) as executor:
            names = set((await call(executor, "faults/variables")).text.split())
            assert "MODE" in names
            assert names <= {"MODE", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE"}

    asyncio.run(play())


def test_hidden_tools_are_neither_called_nor_listed() -> None:
    async def play() -> None:
        config = McpServerConfig(name="faults", command=FAULTS.command, args=FAULTS.args, hidden=("reset*", "die"))
        async with executor_of(config) as executor:
            assert (await call(executor, "faults/reset_notes")).status is ToolStatus.UNKNOWN_TOOL
            assert (await call(executor, "faults/add", a=1, b=1)).status is ToolStatus.OK
            listed = await executor._backends["mcp"].list_tools()  # type: ignore[attr-defined]
            assert {"faults/reset_notes", "faults/die"}.isdisjoint(tool.id for tool in listed)
            assert len(listed) == 11

    asyncio.run(play())


def test_a_tool_is_resolved_from_the_end_of_its_id() -> None:
    async def play() -> None:
        nested = McpServerConfig(name="a.org/faults", command=FAULTS.command, args=FAULTS.args)
        async with executor_of(nested) as executor:
            for place in ("a.org/faults", "folder/of/a.org/faults"):
                assert (await call(executor, f"{place}/add", a=1, b=2)).text == "3"
            for stranger in ("faults/add", "add", "a.org/faults"):
                assert (await call(executor, stranger, a=1, b=2)).status is ToolStatus.UNKNOWN_TOOL
            below = await call(executor, "a.org/faults/sub/add", a=1, b=2)
            assert below.text == "error: MCP server 'a.org/faults' has no tool 'sub/add'"

    asyncio.run(play())


def test_a_server_outlasts_the_event_loop_and_ends_with_close() -> None:
    servers = McpServers([FAULTS])

    def played(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run(work())

    async def pid() -> int:
        return int((await servers.run(tool("faults/pid"), {}, timeout_s=10)).text)

    first = played(pid)
    assert played(pid) == first
    played(servers.close)
    assert not lives(first)
    second = played(pid)
    assert second != first
    played(servers.close)
    assert not lives(second)
    played(servers.close)  # twice does no harm


def test_who_forgets_to_close_leaves_no_server() -> None:
    code = (
        "import asyncio, sys; from tests.test_mcp import *; servers = McpServers([FAULTS])\n"
        "print(asyncio.run(servers.run(tool('faults/pid'), {}, timeout_s=30)).text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert not lives(int(done.stdout))
    assert done.stderr == ""


def test_what_servers_write_reaches_no_screen(capfd: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        async with executor_of(FAULTS) as executor:
            assert (await call(executor, "faults/chatter", lines=50_000)).text == "said"  # no full pipe either

    asyncio.run(play())
    assert capfd.readouterr() == ("", "")


def test_a_server_that_does_not_start_is_told_with_its_command_and_its_last_words() -> None:
    wordy = (
        "import os, sys; print('starting', os.environ['KEY'], file=sys.stderr); print('no such port', file=sys.stderr)"
    )
    failing = McpServerConfig(
        name="failing", command=sys.executable, args=("-c", f"{wordy}; sys.exit(1)"), env={"KEY": "k3y-of-the-shop"}
    )
    missing = McpServerConfig(name="missing", command="no-such-program")
    nobody = McpServerConfig(name="nobody", url="http://127.0.0.1:9/mcp")

    async def play() -> None:
        servers = McpServers([failing, missing, nobody])
        bad: list[DataError] = []
        assert await servers.list_tools(on_bad=bad.append) == ()
        texts = [str(error) for error in bad]
        assert "field 'mcpServers.failing': MCP server 'failing'" in texts[0]
        assert sys.executable in texts[0]
        assert texts[0].endswith("its stderr ends:\nstarting ***\nno such port")
        assert "MCP server 'missing' (no-such-program) did not start: [Errno 2]" in texts[1]
        assert "MCP server 'nobody' (http://127.0.0.1:9/mcp) did not start: All connection attempts failed" in texts[2]
        with pytest.raises(UserError):
            await servers.list_tools("missing")
        with pytest.raises(InfraError):
            await servers.run(tool("missing/x"), {}, timeout_s=5)
        await servers.close()

    asyncio.run(play())


def test_a_slow_start_is_our_failure_and_goes_on_for_the_next_call() -> None:
    slowly = f"import runpy, time; time.sleep(1.5); runpy.run_path({FAULTS.args[0]!r}, run_name='__main__')"
    slow = McpServerConfig(name="faults", command=sys.executable, args=("-c", slowly))

    async def play() -> None:
        async with executor_of(slow, timeout_s=0.8) as executor:
            result = await call(executor, "faults/add", a=1, b=2)
            assert result.status is ToolStatus.INFRA_ERROR
            assert "its share of a call's time; raise env.call_timeout_s" in result.text
            assert result.latency_s < 1.5
            ends = time.monotonic() + 30
            while (result := await call(executor, "faults/add", a=1, b=2)).status is not ToolStatus.OK:
                assert time.monotonic() < ends
            assert result.text == "3"

    asyncio.run(play())


@pytest.fixture
def http_server() -> Iterator[tuple[McpServerConfig, Callable[[], subprocess.Popen[bytes]]]]:
    """A config, and a function that starts the server that it names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [FAULTS.command, *FAULTS.args, "--http", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return process
            time.sleep(0.05)

    yield McpServerConfig(name="web", url=f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer x"}), start
    for process in started:
        process.kill()
        process.wait()


def test_a_server_over_http_is_called_lost_and_found(
    http_server: tuple[McpServerConfig, Callable[[], subprocess.Popen[bytes]]],
) -> None:
    config, start = http_server
    process = start()

    async def play() -> None:
        async with executor_of(config, retries=0) as executor:
            assert (await call(executor, "web/add", a=20, b=3)).text == "23"
            assert (await call(executor, "web/nothing")).status is ToolStatus.UNKNOWN_TOOL
            assert (await call(executor, "web/refuse", politely=False)).status is ToolStatus.TOOL_ERROR
            assert await pid_of(executor, "web") == process.pid
            waiting = asyncio.create_task(call(executor, "web/wait", seconds=60))
            await asyncio.sleep(0.3)
            process.kill()
            process.wait()
            assert (await waiting).status is ToolStatus.INFRA_ERROR
            assert (await call(executor, "web/add", a=1, b=1)).status is ToolStatus.INFRA_ERROR
            start()
            assert (await call(executor, "web/add", a=1, b=1)).text == "2"

    asyncio.run(play())


def test_the_everything_server_of_npm(node_server: Callable[..., McpServerConfig]) -> None:
    async def play() -> None:
        async with executor_of(node_server("everything")) as executor:
            assert len(await executor._backends["mcp"].list_tools()) == 13  # type: ignore[attr-defined]
            assert (await call(executor, "everything/echo", message="hello")).text == "Echo: hello"
            image = await call(executor, "everything/get-tiny-image")
            assert image.text.splitlines()[1] == "[image image/png, 4033 bytes]"
            assert (await call(executor, "everything/echo")).status is ToolStatus.TOOL_ERROR
            assert (await call(executor, "everything/no")).status is ToolStatus.UNKNOWN_TOOL

    asyncio.run(play())


def test_the_filesystem_server_of_npm_in_a_folder_of_the_episode(
    node_server: Callable[..., McpServerConfig], tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("not yours")

    async def play() -> None:
        config = node_server("filesystem", args=("${SESSION_DIR}",), session="episode")
        async with executor_of(config) as executor, executor.session() as own:
            allowed = (await call(own, "filesystem/list_allowed_directories")).text
            folder = allowed.splitlines()[-1]
            written = await call(own, "filesystem/write_file", path=f"{folder}/a.txt", content="seven")
            assert written.status is ToolStatus.OK
            assert (await call(own, "filesystem/read_text_file", path=f"{folder}/a.txt")).text == "seven"
            refused = await call(own, "filesystem/read_text_file", path=str(outside))
            assert (refused.status, "not yours" in refused.text) == (ToolStatus.TOOL_ERROR, False)
        assert not Path(folder).exists()

    asyncio.run(play())


def test_the_memory_server_of_npm_remembers_within_an_episode(node_server: Callable[..., McpServerConfig]) -> None:
    async def episode(executor: Executor, name: str) -> list[str]:
        async with executor.session() as own:
            entity = {"name": name, "entityType": "person", "observations": ["likes tea"]}
            await call(own, "memory/create_entities", entities=[entity])
            graph = json.loads((await call(own, "memory/read_graph")).text)
            return [entity["name"] for entity in graph["entities"]]

    async def play() -> None:
        env = {"MEMORY_FILE_PATH": "${SESSION_DIR}/memory.jsonl"}
        async with executor_of(node_server("memory", env=env, session="episode")) as executor:
            assert await asyncio.gather(*(episode(executor, name) for name in ("Ada", "Bo"))) == [["Ada"], ["Bo"]]

    asyncio.run(play())


def test_a_catalogue_is_made_from_live_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "mcp.json", tmp_path / "tools.jsonl"
    servers: dict[str, Any] = {
        name: {"command": config.command, "args": list(config.args)}
        for name, config in (("time", CLOCK), ("f", FAULTS))
    }
    servers["f"]["hidden"] = ["reset*"]
    path.write_text(json.dumps({"mcpServers": servers}))
    assert command_line.main(["catalogue", "import", str(path), "--out", str(out)]) == 0
    catalogue = Catalogue.load(out)
    assert [tool.id for tool in catalogue][:3] == ["time/get_current_time", "time/convert_time", "f/add"]
    assert (len(catalogue), {tool.origin for tool in catalogue}) == (14, {"mcp"})
    told = capsys.readouterr().out
    assert f"time: starting {sys.executable}, 4 arguments" in told
    assert "time: 2 tools in " in told

    path.write_text(json.dumps({"mcpServers": {"gone": {"command": "no-such-program"}, "time": servers["time"]}}))
    assert command_line.main(["catalogue", "import", str(path), "--out", str(out), "--overwrite"]) == 2
    assert "field 'mcpServers.gone': MCP server 'gone' (no-such-program) did not start" in capsys.readouterr().err
    skipping = ["catalogue", "import", str(path), "--out", str(out), "--overwrite", "--skip-bad"]
    assert command_line.main(skipping) == 0
    assert "bad entries left out: 1" in capsys.readouterr().out


def test_a_program_that_never_speaks_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mcp_connection", "mcp_servers"):
        monkeypatch.setattr(f"envs.executors.{module}.START_S", 1.0)
    mark = f"1000.{os.getpid()}"
    config = McpServerConfig(name="mute", command="sleep", args=(mark,))

    async def listed() -> None:
        servers = McpServers([config])
        try:
            await servers.list_tools()
        finally:
            await servers.close()

    with pytest.raises(DataError, match=r"mute.* gave no answer in 1 s$|mute.*did not start"):
        asyncio.run(asyncio.wait_for(listed(), 30))
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
