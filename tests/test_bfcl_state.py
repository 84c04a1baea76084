"""What BFCL's classes must not do to one another, or to the process: on small ones with their habits."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from envs.executors.backend import Reply
from envs.executors.bfcl_state import BfclStateBackend
from envs.executors.executor import Stateless
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import Task, ToolStatus
from retriever.base.errors import InfraError
from retriever.tools import ToolDoc

CARDS: dict[str, dict[str, int]] = {"card": {"balance": 10}}  # of the module, as the package's for long contexts


class Travel:
    """As the package's TravelAPI: it takes what its module holds for its own."""

    def _load_scenario(self, scenario: dict[str, Any], long_context: bool = False) -> None:
        self.cards = {**scenario, **CARDS}

    def pay(self) -> int:
        self.cards["card"]["balance"] -= 1
        return self.cards["card"]["balance"]


class Math:
    """As the package's MathAPI."""

    def round_number(self, number: float, decimal_places: int = 0) -> dict[str, float]:
        return {"result": round(number, decimal_places)}


class Slow(dict[str, Any]):
    """Written down so slowly that another thread comes between."""

    def items(self) -> Any:
        time.sleep(0.01)
        return super().items()


class Vehicle:
    """As the package's VehicleControlAPI: its reply is one of its module's."""

    weather = Slow()

    def _load_scenario(self, scenario: dict[str, Any], long_context: bool = False) -> None:
        self.number = scenario.get("number", 0)

    def temperature(self) -> dict[str, Any]:
        self.weather["outside"] = self.number
        return self.weather


class Folder:
    """As the package's directories."""

    def __init__(self, **contents: "Folder") -> None:
        self.contents = contents


class Files:
    """As the package's file system: a copy shares what it holds, so that each doubles what is seen."""

    ended = threading.Event()

    def _load_scenario(self, scenario: dict[str, Any], long_context: bool = False) -> None:
        self.root = Folder()

    def double(self) -> None:
        self.root = Folder(a=self.root, b=self.root)

    def deepen(self) -> None:
        self.root = Folder(a=self.root)

    def wait(self) -> None:
        self.ended.wait(60)
        self.root = Folder(late=Folder())


CLASSES = {"TravelAPI": Travel, "MathAPI": Math, "VehicleControlAPI": Vehicle, "GorillaFileSystem": Files}


def tool(id: str, **types: str) -> ToolDoc:
    parameters = {"type": "object", "properties": {name: {"type": kind} for name, kind in types.items()}}
    return ToolDoc(id=f"bfcl/{id}", name=id.partition(".")[2], description="", parameters=parameters, origin="bfcl")


ROUND = tool("MathAPI.round_number", number="number", decimal_places="integer")
PAY, TEMPERATURE = tool("TravelAPI.pay"), tool("VehicleControlAPI.temperature")
DOUBLE, DEEPEN, WAIT = (tool(f"GorillaFileSystem.{name}") for name in ("double", "deepen", "wait"))


def task(number: int = 0) -> Task:
    begins = {"classes": [*CLASSES], "load": {"VehicleControlAPI": {"number": number}}, "long_context": True}
    return Task(id="t", instruction="…", initial_state={"bfcl": begins})


def within(play: Callable[[RoutedExecutor], Awaitable[Any]], *, number: int = 0, timeout_s: float = 10.0) -> Any:
    executor = RoutedExecutor({"bfcl": BfclStateBackend(CLASSES)}, CallLimits(timeout_s=timeout_s))

    async def played() -> Any:
        async with executor.session(task(number)) as session:
            return await play(session)

    return asyncio.run(played())


def test_what_one_episode_does_to_what_its_class_shares_no_other_sees() -> None:
    async def pay(session: RoutedExecutor) -> str:
        return (await session.call(PAY, {})).text

    assert [within(pay) for _ in range(3)] == ["9", "9", "9"]
    assert CARDS == {"card": {"balance": 10}}


@pytest.mark.parametrize("places", [-(10**7), 10**7, -10_001])
def test_no_count_of_digits_holds_the_process(places: int) -> None:
    """Rounding to -10**7 digits takes seconds, and nothing else of the process runs meanwhile."""

    async def played(session: RoutedExecutor) -> Any:
        return await session.call(ROUND, {"number": 5, "decimal_places": places})

    result = within(played)
    assert (result.status, "decimal_places is beyond 10000" in result.text) == (ToolStatus.TOOL_ERROR, True)


def test_a_reply_is_written_down_before_another_session_writes_into_it() -> None:
    backend = BfclStateBackend(CLASSES)

    async def one(number: int) -> list[str]:
        async with backend.session(task(number)) as session:
            return [(await session.run(TEMPERATURE, {}, timeout_s=60)).text for _ in range(3)]

    async def side_by_side() -> list[list[str]]:
        return await asyncio.gather(*map(one, range(4)))

    assert asyncio.run(side_by_side()) == [[f'{{"outside": {number}}}'] * 3 for number in range(4)]


class TestGrowth:
    @staticmethod
    def grown(tool: ToolDoc, times: int) -> tuple[list[ToolStatus], Mapping[str, Any]]:
        async def played(session: RoutedExecutor) -> Any:
            return [(await session.call(tool, {})).status for _ in range(times)], await session.state()

        found: tuple[list[ToolStatus], Mapping[str, Any]] = within(played)
        return found

    def test_a_state_that_doubles_is_refused_and_then_not_seen(self) -> None:
        """After n calls there are 2**(n+1) - 1 folders, each of some 10 characters: 14 are within the limit."""
        statuses, state = self.grown(DOUBLE, 40)
        assert set(statuses[20:]) == {ToolStatus.TOOL_ERROR}
        assert 10 < statuses.count(ToolStatus.OK) < 20
        assert state == {}

    def test_a_state_may_not_be_deeper_than_can_be_written(self) -> None:
        statuses, state = self.grown(DEEPEN, 400)
        assert 40 < statuses.count(ToolStatus.OK) < 60  # a folder and its contents are two
        assert state == {}

    def test_what_is_small_is_seen(self) -> None:
        statuses, state = self.grown(DOUBLE, 1)
        empty: dict[str, Any] = {"contents": {}}
        assert statuses == [ToolStatus.OK]
        assert state["bfcl"]["GorillaFileSystem"] == {"root": {"contents": {"a": empty, "b": empty}}}


class TestDeadlines:
    def test_after_a_call_that_did_not_end_no_other_runs_and_the_state_is_nobodys(self) -> None:
        Files.ended.clear()

        async def played(session: RoutedExecutor) -> Any:
            first = await session.call(WAIT, {})
            second = await session.call(DOUBLE, {})
            state = await session.state()
            Files.ended.set()
            return first.status, second.status, state, await session.state()

        found = within(played, timeout_s=0.2)
        assert found == (ToolStatus.TIMEOUT, ToolStatus.TIMEOUT, {}, {})

    def test_a_state_that_is_not_there_in_time_is_ours_to_answer_for(self) -> None:
        class Stuck(Stateless):
            async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
                return Reply(text="")

            async def state(self) -> Mapping[str, Any]:
                await asyncio.sleep(60)
                return {}

        executor = RoutedExecutor({"bfcl": Stuck()}, CallLimits(timeout_s=0.05))
        with pytest.raises(InfraError, match=r"the state of bfcl's tools was not there within 0.05 s"):
            asyncio.run(executor.state())
