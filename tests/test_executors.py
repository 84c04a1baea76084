"""What holds for every call, whatever runs it: schema, deadline, retries, places, length, a session an episode."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.executors.arguments import invalid_arguments
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.routed import CallLimits, RoutedExecutor, cut
from envs.types import Task, ToolResult, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc


def tool(name: str = "echo", *, origin: str = "here") -> ToolDoc:
    properties = {"x": {"type": "integer"}}
    return ToolDoc(
        id=f"demo/{name}",
        name=name,
        description="",
        parameters={"type": "object", "properties": properties, "required": ["x"]},
        origin=origin,
    )


class Scripted(Stateless):
    """Does what the tool's name says, and counts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.calls, self.running, self.most = failures, 0, 0, 0

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if tool.name == "hang":
                await asyncio.sleep(60)
            if tool.name == "nap":
                await asyncio.sleep(0.1)
            if self.calls <= self.failures:
                raise InfraError("the line is down")
        finally:
            self.running -= 1
        if tool.name == "refuse":
            return Reply(text="error: no", status=ToolStatus.TOOL_ERROR)
        return Reply(text=f"{arguments['x']}" * (1000 if tool.name == "chatter" else 1), served_from="replay")


class Counting(Stateless):
    """Counts up within a session; knows how many are open."""

    def __init__(self) -> None:
        self.open, self.value, self.closed = 0, 0, False

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Any]:
        self.open += 1
        try:
            yield Counting()
        finally:
            self.open -= 1

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        self.value += arguments["x"]
        await asyncio.sleep(60 if tool.name == "hang" else 0)
        return Reply(text=str(self.value))

    async def close(self) -> None:
        self.closed = True


def result(backend: Scripted, called: ToolDoc, arguments: Mapping[str, Any], **limits: Any) -> ToolResult:
    return asyncio.run(RoutedExecutor({"here": backend}, CallLimits(**limits)).call(called, arguments))


def test_a_reply_becomes_a_result_by_the_tools_id() -> None:
    found = result(Scripted(), tool(), {"x": 7})
    assert (found.status, found.text, found.served_from) == (ToolStatus.OK, "7", "replay")
    assert (found.call.name, found.call.arguments) == ("demo/echo", {"x": 7})
    assert result(Scripted(), tool("refuse"), {"x": 7}).status is ToolStatus.TOOL_ERROR


def test_nothing_runs_with_arguments_that_do_not_fit_or_where_nothing_runs_such_tools() -> None:
    backend = Scripted()
    assert result(backend, tool(), {"x": "7"}).status is ToolStatus.INVALID_ARGUMENTS
    assert result(backend, tool(), {}).text == "error: invalid arguments: 'x' is a required property"
    nowhere = result(backend, tool(origin="elsewhere"), {"x": 7})
    assert (nowhere.status, nowhere.text) == (ToolStatus.UNKNOWN_TOOL, "error: 'echo' cannot be called here")
    assert backend.calls == 0


def test_a_tool_whose_schema_changed_is_held_to_the_new_one() -> None:
    executor = RoutedExecutor({"here": Scripted()}, CallLimits())
    changed = ToolDoc(id="demo/echo", name="echo", description="", parameters={"type": "object"}, origin="here")

    async def both() -> list[ToolResult]:
        return [await executor.call(tool(), {"x": 1}), await executor.call(changed, {"x": 1})]

    assert [found.status for found in asyncio.run(both())] == [ToolStatus.OK, ToolStatus.INVALID_ARGUMENTS]


@pytest.mark.parametrize(
    ("failures", "retries", "status", "calls"),
    [(0, 2, "ok", 1), (2, 2, "ok", 3), (3, 2, "infra_error", 3), (1, 0, "infra_error", 1)],
)
def test_only_failures_of_ours_are_tried_again(failures: int, retries: int, status: str, calls: int) -> None:
    backend = Scripted(failures)
    found = result(backend, tool("refuse" if failures == 0 else "echo"), {"x": 1}, infra_retries=retries)
    assert (found.status.value, backend.calls) == (status if failures else "tool_error", calls)
    if found.status is ToolStatus.INFRA_ERROR:
        assert found.text == "error: the line is down"


def test_tries_share_one_deadline() -> None:
    backend = Scripted(failures=1000)
    found = result(backend, tool(), {"x": 1}, infra_retries=1000, timeout_s=0.6)
    assert found.status is ToolStatus.INFRA_ERROR
    assert backend.calls == 4  # pauses of 0.05, 0.1 and 0.2 s; the next would end behind the deadline
    assert found.latency_s < 30


def test_a_call_ends_at_its_deadline() -> None:
    backend = Scripted()
    found = result(backend, tool("hang"), {"x": 1}, timeout_s=0.1)
    assert (found.status, found.text) == (ToolStatus.TIMEOUT, "error: no reply within 0.1 s")
    assert backend.running == 0
    assert 0.1 <= found.latency_s < 30


def test_calls_beyond_the_places_wait_and_waiting_is_not_their_time() -> None:
    backend = Scripted()
    executor = RoutedExecutor({"here": backend}, CallLimits(timeout_s=5), fewer={"here": 3})

    async def many() -> list[ToolResult]:
        async def episode() -> ToolResult:
            async with executor.session() as own:
                return await own.call(tool("nap"), {"x": 1})

        return await asyncio.gather(*(episode() for _ in range(12)))

    for _ in range(2):  # event loops one after another
        found = asyncio.run(many())
        assert backend.most == 3
        assert sum(one.latency_s for one in found) < 2 * 12 * 0.1  # with the waiting it would be 3 s
        assert {one.status for one in found} == {ToolStatus.OK}


@pytest.mark.parametrize("in_order", [(), ("here",)])
def test_calls_of_an_episode_run_side_by_side_but_where_order_matters(in_order: tuple[str, ...]) -> None:
    backend = Scripted()
    executor = RoutedExecutor({"here": backend}, CallLimits(), in_order=in_order)

    async def episode() -> list[str]:
        async with executor.session() as own:
            calls = [own.call(tool("nap"), {"x": number}) for number in range(5)]
            return [result.text for result in await asyncio.gather(*calls)]

    async def two() -> list[list[str]]:
        return list(await asyncio.gather(episode(), episode()))

    assert asyncio.run(two()) == [["0", "1", "2", "3", "4"]] * 2
    assert backend.most == (2 if in_order else 10)  # episodes do not wait for each other


def test_each_episode_has_a_session_of_its_own_which_ends_with_it() -> None:
    backend = Counting()
    executor = RoutedExecutor({"here": backend}, CallLimits())

    async def episode(step: int) -> list[str]:
        async with executor.session() as own:
            return [(await own.call(tool("count"), {"x": step})).text for _ in range(3)]

    async def several() -> list[list[str]]:
        found = await asyncio.gather(*map(episode, (1, 2, 5)))
        hanging = asyncio.create_task(_hang(executor))
        while not backend.open:
            await asyncio.sleep(0.01)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        await executor.close()
        return found

    assert asyncio.run(several()) == [["1", "2", "3"], ["2", "4", "6"], ["5", "10", "15"]]
    assert (backend.open, backend.closed) == (0, True)


async def _hang(executor: RoutedExecutor) -> None:
    async with executor.session() as own:
        await own.call(tool("hang"), {"x": 1})


def test_a_long_text_is_cut() -> None:
    found = result(Scripted(), tool("chatter"), {"x": 1}, observation_chars=40)
    assert found.text == "1" * 12 + "… [cut from 1000 characters]"


@given(st.text(st.characters(), max_size=60), st.integers(1, 50))
def test_what_is_cut_is_short_and_can_be_written(text: str, limit: int) -> None:
    found = cut(text, limit)
    assert len(found) <= limit
    found.encode()


@given(st.lists(st.sampled_from(["a", "é", "\ud800", "\U0001f600"]), max_size=30).map("".join))
def test_half_a_surrogate_pair_is_replaced(text: str) -> None:
    assert cut(text, 100) == text.replace("\ud800", "?")


@pytest.mark.parametrize(
    "wrong", [{"timeout_s": 0}, {"observation_chars": 0}, {"concurrency": 0}, {"infra_retries": -1}]
)
def test_limits_that_allow_nothing_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=name):
        CallLimits(**wrong)


def test_a_fault_of_a_backend_is_ours() -> None:
    class Faulty(Stateless):
        async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
            raise KeyError("nobody thought of it")

    found = asyncio.run(RoutedExecutor({"here": Faulty()}, CallLimits()).call(tool(), {"x": 1}))
    assert (found.status, found.text) == (ToolStatus.INFRA_ERROR, "error: KeyError: 'nobody thought of it'")


def test_patterns_of_a_schema_end() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "string", "pattern": "^(a|aa)+$"}},
        "patternProperties": {"^y_(b|bb)+$": {"type": "integer"}},
    }
    started = time.perf_counter()
    assert invalid_arguments(schema, {"x": "a" * 5000 + "b"}) is not None
    assert invalid_arguments(schema, {"y_" + "b" * 5000 + "c": 1}) is not None
    assert time.perf_counter() - started < 60
    assert invalid_arguments(schema, {"x": "aaa", "y_bb": 1}) is None
    assert invalid_arguments(schema, {"y_bb": "1"}) == "error: invalid arguments: '1' is not of type 'integer'"
    assert "'z' was unexpected" in str(invalid_arguments({"type": "object"}, {"z": 1}))
    assert "does not match" in str(invalid_arguments(schema, {"x": "c"}))
