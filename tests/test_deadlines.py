"""Deadlines and cancellation: whose time it was, that nothing hangs, and that nothing is left behind."""

import asyncio
import textwrap
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.config import EnvConfig
from envs.executors import system_calls
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import PolicyMessage, StopReason, Task, ToolCall, ToolResult, ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import Candidate, ToolDoc
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.deadlines import Clock
from rollout.engine import Engine, GenerationRequest
from rollout.records import trajectory_from_dict, trajectory_to_dict
from rollout.transformers_engine import TransformersEngine
from rollout.types import Completion, Sampling, TaskRollouts, Trajectory
from tests.ranks_main import tiny_policy
from tests.test_collect import ACTING, BOTH, TASK, TOOLS, Cast, renderer, search

LIMITS = RolloutConfig(max_new_tokens=32, turn_timeout_s=5.0, episode_timeout_s=8.0, infra_retries=0)
ENV = EnvConfig(call_timeout_s=10.0)
ONE = GroupPlan(group_size=1)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits for a timer: when nothing else is to be done, it is already that late."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if due and not self._ready:  # type: ignore[attr-defined]
            self.now = max(self.now, min(due))
        super()._run_once()  # type: ignore[misc]


class Slow(Stateless):
    """An `Executor` whose calls wait, and then run, as long as they are told to. It keeps to its deadline, or not."""

    def __init__(self, *, waits_s: float = 0.0, runs_s: float = 0.0, keeps: bool = True, late_s: float = 0.0) -> None:
        self.waits_s, self.runs_s, self.keeps, self.late_s = waits_s, runs_s, keeps, late_s

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        await asyncio.sleep(self.waits_s)
        runs_s = min(self.runs_s, ENV.call_timeout_s) if self.keeps else self.runs_s
        await asyncio.sleep(runs_s + self.late_s)
        status = ToolStatus.OK if self.runs_s <= ENV.call_timeout_s else ToolStatus.TIMEOUT
        asked = ToolCall(name=tool.id, arguments=arguments)
        return ToolResult(call=asked, status=status, text="", latency_s=runs_s + self.late_s)


def collector(engine: Engine, executor: Any, search: Any = search, limits: RolloutConfig = LIMITS) -> Collector:
    return Collector(engine=engine, renderer=renderer(), search=search, executor=executor, env=ENV, rollout=limits)


def played(of: Collector, *, plan: GroupPlan = ONE) -> tuple[TaskRollouts, float]:
    """The rollouts, and the seconds that they would have taken."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        (rollouts,) = runner.run(of.collect([TASK], plan, sampling=Sampling(max_new_tokens=32), seed=0))
        return rollouts, runner.get_loop().time()


def execution(executor: Any) -> tuple[Trajectory, float]:
    """Of an episode whose engine takes no time: two turns with a call each, then the answer."""
    rollouts, seconds = played(collector(Cast(BOTH), executor))
    return rollouts.executions[0], seconds


# ---- whose time it was: turns have 5 s, episodes 8 s, calls 10 s


def test_a_slow_tool_is_no_failure_of_ours() -> None:
    trajectory, seconds = execution(Slow(runs_s=9))
    assert (trajectory.stop, trajectory.failure, seconds) == (StopReason.ANSWERED, None, 18)
    assert [result.status for result in trajectory.results] == [ToolStatus.OK, ToolStatus.OK]


def test_a_tool_that_never_returns_is_a_timeout_that_the_policy_reads() -> None:
    trajectory, seconds = execution(Slow(runs_s=1e9))
    assert (trajectory.stop, seconds) == (StopReason.ANSWERED, 20)
    assert [result.status for result in trajectory.results] == [ToolStatus.TIMEOUT, ToolStatus.TIMEOUT]


def test_calls_that_wait_for_few_workers_make_a_run_slow_and_do_not_spoil_it() -> None:
    """A policy that calls what never returns, in many episodes at once, must not look like a failure of ours."""
    trajectory, seconds = execution(Slow(waits_s=7.9, runs_s=1e9))
    assert trajectory.stop is StopReason.ANSWERED
    assert seconds == pytest.approx(2 * (7.9 + 10))


@pytest.mark.parametrize("slow", [Slow(runs_s=1e9, keeps=False), Slow(waits_s=1e9)], ids=["runs on", "never begins"])
def test_a_call_that_never_ends_is_ours(slow: Slow) -> None:
    """An executor that forgets its deadline, or never begins: given up a call's and an episode's time later."""
    trajectory, seconds = execution(slow)
    assert trajectory.failure == "add: error: its call did not end within 18 s; give tools like it more workers"
    assert (trajectory.stop, seconds) == (StopReason.INFRA_FAILURE, 18)


def test_what_is_left_of_a_deadline_is_left_after_a_call() -> None:
    """Of the episode's 8 s the engine takes 2.6 in each of three turns, and 2.7 are too much; calls between take 9."""
    for slow_s, stop, seconds in (
        (2.6, StopReason.ANSWERED, 5 * 2.6 + 2 * 9),
        (2.7, StopReason.INFRA_FAILURE, 2 * 2.7 + 8 + 2 * 9),
    ):
        engine = Cast(BOTH)
        engine.slow_s = slow_s
        rollouts, took = played(collector(engine, Slow(runs_s=9)))
        assert rollouts.executions[0].stop is stop
        assert took == pytest.approx(seconds)


@pytest.mark.parametrize("calls", [(100, 50), (50, 100), (50, 50)])
def test_calls_that_overlap_stop_a_clock_once(calls: tuple[float, float]) -> None:
    async def call(clock: Clock, seconds: float) -> None:
        with clock.stopped():
            await asyncio.sleep(seconds)

    async def then(clock: Clock, seconds: float) -> None:
        async with clock.limit(5, "outlived"):
            await asyncio.gather(*(call(clock, out_s) for out_s in calls))
            await asyncio.sleep(seconds)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(then(Clock(), 4.9))
        with pytest.raises(InfraError, match="outlived"):
            runner.run(then(Clock(), 5.1))


def test_a_deadline_that_was_noticed_late_is_ours() -> None:
    """The reply may have been there while the event loop was held up."""
    trajectory, _ = execution(Slow(runs_s=1e9, late_s=3))
    assert trajectory.stop is StopReason.INFRA_FAILURE
    assert "noticed after 13.0 s" in str(trajectory.failure)
    assert execution(Slow(runs_s=1e9, late_s=0.5))[0].stop is StopReason.ANSWERED


@pytest.mark.parametrize(
    ("slow_s", "stops", "seconds"),
    [
        (2.6, [StopReason.SELECTED, StopReason.ANSWERED], 5 * 2.6),
        (2.7, [StopReason.SELECTED, StopReason.INFRA_FAILURE], 2 * 2.7 + 8),  # three turns of 2.7 are over 8
        (5.1, [StopReason.INFRA_FAILURE], 5),
    ],
)
def test_a_slow_engine_is_ours(slow_s: float, stops: list[StopReason], seconds: float) -> None:
    engine = Cast(BOTH)
    engine.slow_s = slow_s
    rollouts, took = played(collector(engine, Slow()))
    assert [t.stop for t in (*rollouts.retrieval, *rollouts.executions)] == stops
    assert took == pytest.approx(seconds)
    assert not engine.open


def test_a_search_that_never_returns_is_ours() -> None:
    async def silent(query: str, k: int) -> Sequence[Candidate]:
        await asyncio.sleep(1e9)
        return []

    rollouts, seconds = played(collector(Cast(BOTH), Slow(), silent, replace(LIMITS, infra_retries=2)))
    assert rollouts.retrieval[0].failure == "turn 1 of its phase outlived rollout.turn_timeout_s=5"
    assert (rollouts.retrieval[0].turns, seconds) == ((), 15)  # three tries


def test_a_session_that_cannot_begin_is_ours() -> None:
    class Shut(Slow):
        def session(self, task: Task | None = None) -> Any:
            raise InfraError("the servers do not start")

    trajectory, _ = execution(Shut())
    assert (trajectory.stop, trajectory.failure) == (StopReason.INFRA_FAILURE, "the servers do not start")


def test_another_timeout_inside_is_told_as_itself() -> None:
    async def main() -> None:
        async with Clock().limit(5, "outlived"):
            raise TimeoutError("the socket's")

    with pytest.raises(InfraError, match="timed out: the socket's"):
        asyncio.run(main())


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["turn_timeout_s", "episode_timeout_s"])
def test_deadlines_are_positive(name: str, seconds: float) -> None:
    with pytest.raises(UserError, match=rf"rollout.{name}=.* is not positive and finite; give e.g."):
        RolloutConfig(**{name: seconds})  # type: ignore[arg-type]


# ---- cancellation, and bugs of ours


async def cancelled(work: Awaitable[Any], *, when: Callable[[], bool]) -> None:
    """Cancel `work` when `when()` holds, and wait until no task but this one is left."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(120):
        while not when():
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


def test_cancelling_ends_every_request_of_the_engine() -> None:
    """The policy is untrained and may not stop: 24 episodes decode or wait for one of the 16 places."""
    limits = RolloutConfig(max_new_tokens=1500, max_concurrent=16)
    engine = TransformersEngine(tiny_policy()[0], stop_ids=[-1], config=limits)
    of = collector(engine, None, limits=limits)
    plan = GroupPlan(group_size=24, gate="closed")
    collecting = of.collect([TASK], plan, sampling=Sampling(max_new_tokens=1500), seed=0)

    def decoding() -> bool:
        return engine.status().running == 16 and engine.decoded_tokens > 100

    asyncio.run(cancelled(collecting, when=decoding))
    status = engine.status()
    assert (status.running, status.waiting, engine._sessions) == (0, 0, {})
    assert all(row.session is None and row.job is None for row in engine._rows)
    assert (of.counts.episodes_running, of.counts.episodes_waiting, of.counts.episodes_finished) == (0, 0, 0)
    # and it goes on as if nothing had been
    (rollouts,) = asyncio.run(of.collect([TASK], plan, sampling=Sampling(max_new_tokens=2), seed=0))
    assert {t.stop for t in rollouts.retrieval} == {StopReason.LENGTH}


PYTHON = pytest.mark.skipif(
    system_calls.missing() is not None, reason=f"needs a kernel sandbox: {system_calls.missing()}"
)
PYTHON_TOOLS = {name: replace(tool, id=f"slow/{name}", origin="python") for name, tool in TOOLS.items()}


class Sandbox:
    """Real tools in real processes: `add` and `root` never return, `sound` does."""

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        source = """
            import time

            def add(x: int): time.sleep(1000)

            def root(x: int):
                while True: pass

            def sound(): return "sound"
        """
        (folder / "slow.py").write_text(textwrap.dedent(source), encoding="utf-8")
        self.pool = PythonPool(PythonConfig(folder=str(folder), workers=2))
        self.executor = RoutedExecutor({"python": self.pool}, CallLimits(timeout_s=timeout_s), fewer={"python": 2})

    async def healthy(self) -> None:
        """No call is left, and others are answered."""
        assert not self.pool._busy
        tool = replace(PYTHON_TOOLS["add"], id="slow/sound")
        assert await self.pool.run(tool, {}, timeout_s=60) == Reply(text="sound")

    async def search(self, query: str, k: int) -> Sequence[Candidate]:
        tools = enumerate(list(PYTHON_TOOLS.values())[:k], start=1)
        return [Candidate(tool=tool, score=-rank, rank=rank) for rank, tool in tools]

    def collector(self, env: EnvConfig = ENV) -> Collector:
        engine = Cast(*[BOTH] * 6, lines={f"t/x{index}": ACTING for index in range(6)})
        return Collector(
            engine=engine,
            renderer=renderer(),
            search=self.search,
            executor=self.executor,
            env=env,
            rollout=RolloutConfig(max_new_tokens=32),
        )


@PYTHON
def test_real_tools_that_never_return_are_timeouts(tmp_path: Path) -> None:
    async def main() -> TaskRollouts:
        sandbox = Sandbox(tmp_path, timeout_s=2.0)
        of = sandbox.collector(replace(ENV, call_timeout_s=2.0))
        try:
            plan = GroupPlan(group_size=1, gate="off")
            (rollouts,) = await of.collect([TASK], plan, sampling=Sampling(max_new_tokens=32), seed=0)
            await sandbox.healthy()
        finally:
            await sandbox.executor.close()
        return rollouts

    (trajectory,) = asyncio.run(main()).executions
    assert (trajectory.stop, trajectory.answer) == (StopReason.ANSWERED, "3")
    assert [result.status for result in trajectory.results] == [ToolStatus.TIMEOUT, ToolStatus.TIMEOUT]
    assert {result.text for result in trajectory.results} == {"error: no reply within 2 s"}


@PYTHON
def test_cancelling_ends_every_call(tmp_path: Path) -> None:
    """Six episodes: the calls of two run in the pool's two processes, those of four wait for one."""

    async def main() -> None:
        sandbox = Sandbox(tmp_path, timeout_s=1000.0)
        of = sandbox.collector(replace(ENV, call_timeout_s=1000.0))
        plan = GroupPlan(group_size=6, gate="off")
        try:
            collecting = of.collect([TASK], plan, sampling=Sampling(max_new_tokens=32), seed=0)
            await cancelled(collecting, when=lambda: len(sandbox.pool._busy) == 2)
            await sandbox.healthy()
        finally:
            await sandbox.executor.close()

    asyncio.run(main())


def test_a_bug_of_ours_ends_all_other_episodes_before_it_is_told() -> None:
    async def main() -> None:
        engine = Cast(BOTH, BOTH, lines={"t/2/r": []})  # whose turn raises IndexError
        engine.hanging = {"t/0/r", "t/1/r"}
        with pytest.raises(IndexError):
            await collector(engine, Slow()).collect(
                [TASK], GroupPlan(group_size=3), sampling=Sampling(max_new_tokens=32), seed=0
            )
        assert len(asyncio.all_tasks()) == 1
        assert not engine.open

    asyncio.run(main())


def test_a_bug_in_one_call_ends_the_others_of_its_message_before_it_is_told() -> None:
    class Broken(Stateless):
        async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
            await asyncio.sleep(0)
            assert tool.id == "add", "a bug"
            await asyncio.sleep(60)
            raise AssertionError

    async def main() -> None:
        both = PolicyMessage(calls=tuple(ToolCall(name=name, arguments={"x": 1}) for name in ("add", "root")))
        of = collector(Cast(BOTH, lines={"t/x0": [both]}), Broken())
        with pytest.raises(AssertionError, match="a bug"):
            await of.collect([TASK], ONE, sampling=Sampling(max_new_tokens=64), seed=0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


# ---- what is counted


def test_turns_say_where_their_time_went() -> None:
    engine = Cast(BOTH)
    of = collector(engine, Slow())
    rollouts, _ = played(of)
    (trajectory,) = rollouts.executions
    assert all(turn.generation_s >= 0 and turn.tool_s >= 0 for turn in trajectory.turns)
    slower = replace(trajectory.turns[0], generation_s=9.0, tool_s=9.0)
    assert slower == trajectory.turns[0], "a clock makes no two turns different"
    written = trajectory_to_dict(replace(trajectory, turns=(slower,)))
    (read,) = trajectory_from_dict(written).turns
    assert (read.generation_s, read.tool_s, read.completion.queue_s) == (9.0, 9.0, 0.0)
    for name in ("generation_s", "tool_s"):  # as in the records of earlier versions
        del written["turns"][0][name]
    assert trajectory_from_dict(written).turns[0].generation_s == 0.0
    assert of.counts.tool_s == pytest.approx(sum(turn.tool_s for turn in trajectory.turns))
    assert of.counts.decode_s == pytest.approx(sum(turn.generation_s for turn in trajectory.turns))


def test_an_engine_says_how_long_a_request_waited() -> None:
    engine = TransformersEngine(tiny_policy()[0], stop_ids=[-1], config=RolloutConfig(max_concurrent=1))

    async def ask(session: str) -> Completion:
        request = GenerationRequest(session=session, ids=(1, 2), sampling=Sampling(max_new_tokens=3), seed=0)
        completion = await engine.generate(request)
        await asyncio.sleep(0.02)  # in which the only place is kept
        engine.close_session(session)
        return completion

    async def both() -> list[Completion]:
        return list(await asyncio.gather(ask("first"), ask("second")))

    first, second = asyncio.run(both())
    assert first.queue_s >= 0
    assert second.queue_s - first.queue_s >= 0.02


def test_episodes_are_counted() -> None:
    engine = Cast(BOTH, ("A", "C"), BOTH)
    engine.failures.update({"t/0/r": 1, "t/x0": 2, "t/1/r": 1})  # of two tries each
    of = collector(engine, Slow(), limits=replace(LIMITS, infra_retries=1))
    played(of, plan=GroupPlan(group_size=3))
    counts = of.counts
    assert (counts.episodes_finished, counts.episodes_retried, counts.episodes_lost) == (5, 3, 1)
    assert (counts.gate_judged, counts.gate_passed) == (3, 2)
    assert (counts.episodes_running, counts.episodes_waiting) == (0, 0)
    engine.failures.update({"t/0/r": 2})
    played(of, plan=GroupPlan(group_size=3))
    assert (counts.episodes_lost, counts.gate_judged, counts.gate_passed) == (2, 5, 3), "a lost one is not judged"


def test_waiting_and_running_episodes_are_told_while_they_are() -> None:
    engine = Cast(*[BOTH] * 5)
    engine.hanging = {f"t/{index}/r" for index in range(5)}
    of = collector(engine, Slow(), limits=replace(LIMITS, max_concurrent=2))
    seen: list[tuple[int, int]] = []

    def two_run() -> bool:
        seen.append((of.counts.episodes_running, of.counts.episodes_waiting))
        return seen[-1] == (2, 3)

    plan = GroupPlan(group_size=5)
    collecting = of.collect([TASK], plan, sampling=Sampling(max_new_tokens=32), seed=0)
    asyncio.run(cancelled(collecting, when=two_run))
    assert (of.counts.episodes_running, of.counts.episodes_waiting) == (0, 0)
