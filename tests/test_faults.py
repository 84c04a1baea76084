"""Failures on purpose: what each does, how often, and that a seed makes the same ones again."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from envs.executors.backend import Reply
from envs.executors.call_key import CallKey
from envs.executors.executor import Stateless
from envs.executors.faults import Fault, FaultConfig, Faulty, draw
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import ToolResult, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

TOOL = ToolDoc(id="t", name="t", description="", parameters={"type": "object", "additionalProperties": True})
SAID = "The weather in Oslo is cold and clear."


class Saying(Stateless):
    def __init__(self, status: ToolStatus = ToolStatus.OK) -> None:
        self.calls, self._status = 0, status

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        self.calls += 1
        return Reply(text=SAID, status=self._status)


def one(backend: Saying, *, timeout_s: float = 5.0, **shares: Any) -> Reply:
    return asyncio.run(Faulty(backend, FaultConfig(**shares)).run(TOOL, {}, timeout_s=timeout_s))


def test_without_shares_nothing_happens() -> None:
    assert one(Saying()) == Reply(text=SAID)


def test_a_timeout_takes_its_time_and_does_not_reach_the_tool() -> None:
    backend, started = Saying(), time.perf_counter()
    with pytest.raises(TimeoutError):
        one(backend, timeout_s=0.2, timeout_share=1.0)
    assert 0.19 < time.perf_counter() - started < 1
    assert backend.calls == 0


def test_errors_do_not_reach_the_tool() -> None:
    backend = Saying()
    assert one(backend, tool_error_share=1.0).status is ToolStatus.TOOL_ERROR
    with pytest.raises(InfraError, match="t: a failure made up by faults.infra_error_share"):
        one(backend, infra_error_share=1.0)
    assert backend.calls == 0


def test_truncated_is_a_beginning() -> None:
    replies = [one(Saying(), truncation_share=1.0, seed=seed) for seed in range(50)]
    assert all(SAID.startswith(reply.text) and len(reply.text) < len(SAID) for reply in replies)
    assert len({reply.text for reply in replies}) > 10
    assert {(reply.status, reply.served_from) for reply in replies} == {(ToolStatus.OK, "fault")}


def test_garbage_is_as_long_and_another_text_each_time() -> None:
    texts = {one(Saying(), garbage_share=1.0, seed=seed).text for seed in range(20)}
    assert len(texts) == 20
    assert {len(text) for text in texts} == {len(SAID)}


def test_latency_comes_on_top_and_counts_against_the_deadline() -> None:
    started = time.perf_counter()
    assert one(Saying(), latency_share=1.0, latency_s=0.2) == Reply(text=SAID)
    assert 0.19 < time.perf_counter() - started < 1
    with pytest.raises(TimeoutError):
        one(Saying(), timeout_s=0.1, latency_share=1.0, latency_s=60.0)


def test_a_failure_of_ours_behind_it_stays_one() -> None:
    reply = one(Saying(ToolStatus.INFRA_ERROR), garbage_share=1.0)
    assert reply == Reply(text=SAID, status=ToolStatus.INFRA_ERROR)


def test_shares_are_kept() -> None:
    config = FaultConfig(
        latency_share=0.5,
        latency_s=2.0,
        timeout_share=0.05,
        tool_error_share=0.1,
        infra_error_share=0.02,
        truncation_share=0.2,
        garbage_share=0.03,
    )
    draws = [draw(config, CallKey.of(TOOL, {"x": x}), nth) for x in range(2000) for nth in range(5)]
    counts = Counter(drawn.fault for drawn in draws)
    for fault in Fault:
        expected = 10_000 * config.share(fault)
        assert abs(counts[fault] - expected) < 4 * math.sqrt(expected), fault  # four standard deviations
    assert counts[None] == 10_000 - sum(counts[fault] for fault in Fault)
    late = sum(drawn.delay_s == 2.0 for drawn in draws)
    assert abs(late - 5000) < 200
    assert abs(sum(drawn.delay_s == 2.0 for drawn in draws if drawn.fault) / late - 0.4) < 0.03  # independent


def test_all_shares_may_add_up_to_one() -> None:
    shares: dict[str, Any] = dict.fromkeys([f"{fault}_share" for fault in Fault], 0.2)
    config = FaultConfig(**shares)
    counts = Counter(draw(config, CallKey.of(TOOL, {"x": x}), 0).fault for x in range(1000))
    assert set(counts) == set(Fault)


CONFIG = FaultConfig(seed=3, tool_error_share=0.2, infra_error_share=0.2, truncation_share=0.2, garbage_share=0.2)


def episodes(config: FaultConfig, numbers: list[int]) -> dict[int, list[ToolResult]]:
    """Each episode makes ten calls, five of them the same."""

    async def play() -> dict[int, list[ToolResult]]:
        executor = RoutedExecutor({"python": Faulty(Saying(), config)}, CallLimits(infra_retries=0))

        async def episode(number: int) -> list[ToolResult]:
            async with executor.session() as session:
                return [await session.call(TOOL, {"x": max(0, step - 5), "e": number}) for step in range(10)]

        return dict(zip(numbers, await asyncio.gather(*map(episode, numbers)), strict=True))

    return asyncio.run(play())


def outcomes(results: Mapping[int, list[ToolResult]]) -> dict[int, list[tuple[ToolStatus, str]]]:
    return {number: [(result.status, result.text) for result in results[number]] for number in sorted(results)}


def test_a_seed_makes_the_same_faults_in_any_order_of_episodes() -> None:
    first = outcomes(episodes(CONFIG, list(range(8))))
    assert first == outcomes(episodes(CONFIG, list(range(7, -1, -1))))
    assert first != outcomes(episodes(FaultConfig(tool_error_share=0.2), list(range(8))))
    assert len(set(first[0][:6])) > 1  # the same call, several outcomes


def test_a_call_that_is_tried_again_may_succeed() -> None:
    async def tries() -> int:
        backend, count = Faulty(Saying(), FaultConfig(infra_error_share=0.5)), 0
        while True:
            count += 1
            with suppress(InfraError):
                await backend.run(TOOL, {}, timeout_s=1)
                return count

    assert asyncio.run(tries()) < 20


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"timeout_share": 1.5}, "faults.timeout_share=1.5 is no share"),
        ({"garbage_share": -0.1}, "faults.garbage_share=-0.1 is no share"),
        ({"latency_share": math.nan}, "faults.latency_share=nan is no share"),
        ({"latency_s": -1.0}, "faults.latency_s=-1.0 is no time"),
        ({"latency_s": math.inf}, "faults.latency_s=inf is no time"),
        ({"latency_share": 0.1}, "without a faults.latency_s"),
        ({"timeout_share": 0.6, "tool_error_share": 0.6}, "add up to 1.2"),
    ],
)
def test_bad_shares_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FaultConfig(**bad)
