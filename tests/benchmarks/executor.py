"""Tool calls of many episodes at once, against one after another; and what a replayed call costs.

python -m tests.benchmarks.executor

waiting   64 episodes of 6 calls through `RoutedExecutor`; the tools take 0, 50 or 200 ms, and 2% of the calls 5 s.
          Which call takes what is fixed by a hash of (episode, turn). The peer makes the same calls with blocking tools
          in the order of TRL's loop: turn by turn, over the batch, one call after the other. Really: it takes a minute.
          Target: all of it in 1.3 times the longest episode's own time, which no dispatch can beat.
python    what a call of a sandboxed Python function costs, beside an interpreter started for each call.
replay    what a recorded call costs, of 20,000 in the record, and a write that is on the disk when it returns.

The last line printed is JSON: {"benchmark", "ours", "peer", "targets"}.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from envs.executors.backend import Reply
from envs.executors.call_key import CallKey
from envs.executors.executor import Stateless
from envs.executors.python_config import PythonConfig
from envs.executors.python_pool import PythonPool
from envs.executors.record import Recorded
from envs.executors.record_store import Record, RecordStore
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import ToolStatus
from retriever.base.seeds import derive_random
from retriever.tools import ToolDoc
from tests.benchmarks.timing import print_figures

EPISODES, TURNS = 64, 6
LATENCIES_S = (0.0, 0.05, 0.2)
STRAGGLER_SHARE, STRAGGLER_S = 0.02, 5.0
RECORDED, CALLS, INTERPRETERS = 20_000, 2_000, 50
ONE_INTEGER = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
TOOL = ToolDoc(
    id="wait",
    name="wait",
    description="Waits as long as it is told",
    parameters={"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One section's part of the last line."""

    ours: dict[str, float]
    peer: dict[str, float] = field(default_factory=dict)
    targets: dict[str, tuple[float, str, bool]] = field(default_factory=dict)


# --- waiting: many episodes at once ---


class Waiting(Stateless):
    """A tool that waits without holding anything, as a server's answer is waited for."""

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        await asyncio.sleep(arguments["seconds"])
        return Reply(text="waited")


def latency_s(episode: int, turn: int) -> float:
    """What this call takes."""
    random = derive_random("latency", episode, turn)
    return STRAGGLER_S if random.random() < STRAGGLER_SHARE else random.choice(LATENCIES_S)


async def at_once() -> list[float]:
    """Play all episodes; returns what each call took beyond its tool's own time, seconds."""
    executor = RoutedExecutor({"python": Waiting()}, CallLimits())

    async def play(episode: int) -> list[float]:
        overheads = []
        async with executor.session() as session:
            for turn in range(TURNS):
                seconds = latency_s(episode, turn)
                result = await session.call(TOOL, {"seconds": seconds})
                assert result.status is ToolStatus.OK, result
                overheads.append(result.latency_s - seconds)
        return overheads

    return [one for overheads in await asyncio.gather(*map(play, range(EPISODES))) for one in overheads]


def one_after_another() -> None:
    """The same calls, blocking, turn by turn over the batch."""
    for turn in range(TURNS):
        for episode in range(EPISODES):
            time.sleep(latency_s(episode, turn))


def waiting() -> Figures:
    """Both, and the longest episode's own time."""
    calls = [[latency_s(episode, turn) for turn in range(TURNS)] for episode in range(EPISODES)]
    longest = max(map(sum, calls))
    stragglers = sum(seconds == STRAGGLER_S for episode in calls for seconds in episode)
    print(f"{EPISODES} episodes of {TURNS} calls, {stragglers} of them stragglers; the longest takes {longest:.2f} s")
    started = time.perf_counter()
    overheads = asyncio.run(at_once())
    wall = time.perf_counter() - started
    print(f"at once: {wall:.2f} s, {wall / longest:.3f} times the longest; overhead of a call: {_told(overheads)}")
    started = time.perf_counter()
    one_after_another()
    peer = time.perf_counter() - started
    print(f"one after another: {peer:.2f} s, {peer / wall:.1f} times as long")
    ratio = round(wall / longest, 3)
    return Figures(
        ours={
            "wall_s": round(wall, 2),
            "longest_episode_s": round(longest, 2),
            "call_overhead_p50_ms": _p50_ms(overheads),
        },
        peer={"wall_s": round(peer, 2)},
        targets={"wall_over_longest_episode": (ratio, "≤ 1.3", ratio <= 1.3)},
    )


# --- replay: what a recorded call costs ---


def replay() -> Figures:
    """Look-ups and durable writes, one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(Path(folder) / "record.sqlite")
        store.put_all(_record(number) for number in range(RECORDED))
        hits, writes = asyncio.run(_timed(store))
        store.close()
    print(f"replayed call: {_told(hits)}; a record written to the disk: {_told(writes)}")
    p50 = _p50_ms(hits)
    return Figures(
        ours={"replay_p50_ms": p50, "record_p50_ms": _p50_ms(writes)}, targets={"replay_p50_ms": (p50, "< 1", p50 < 1)}
    )


async def _timed(store: RecordStore) -> tuple[list[float], list[float]]:
    front, hits, writes = Recorded(None, store, policy="replay_only"), [], []
    for number in range(CALLS):
        started = time.perf_counter()
        reply = await front.run(TOOL, {"seconds": number * 7}, timeout_s=1)
        hits.append(time.perf_counter() - started)
        assert reply.status is ToolStatus.OK
    for number in range(CALLS):
        record = _record(RECORDED + number)
        started = time.perf_counter()
        await store.put(record, replace=False)
        writes.append(time.perf_counter() - started)
    return hits, writes


def _record(number: int) -> Record:
    return Record(key=CallKey.of(TOOL, {"seconds": number}), reply=Reply(text="x" * 1000))


# --- python: what a call of a sandboxed function costs ---


def python() -> Figures:
    """Through the whole executor, one call at a time; beside it the plain way, an interpreter for each call."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trivial.py").write_text("def echo(x: int) -> int:\n    return x\n")
        pool = PythonPool(PythonConfig(folder=folder, workers=1))
        ours = asyncio.run(_called(RoutedExecutor({"python": pool}, CallLimits())))
        command = [sys.executable, "-c", "import json, sys, trivial; print(trivial.echo(**json.loads(sys.argv[1])))"]
        theirs = []
        for number in range(INTERPRETERS):
            started = time.perf_counter()
            subprocess.run([*command, f'{{"x": {number}}}'], cwd=folder, check=True, capture_output=True)
            theirs.append(time.perf_counter() - started)
    print(f"sandboxed Python function: {_told(ours)}; an interpreter for each call: {_told(theirs)}")
    p50 = _p50_ms(ours)
    return Figures(
        ours={"python_p50_ms": p50},
        peer={"python_p50_ms": _p50_ms(theirs)},
        targets={"python_p50_ms": (p50, "< 3", p50 < 3)},
    )


async def _called(executor: RoutedExecutor) -> list[float]:
    tool = ToolDoc(id="trivial/echo", name="echo", description="", parameters=ONE_INTEGER)
    taken = []
    for number in range(CALLS + 1):
        started = time.perf_counter()
        result = await executor.call(tool, {"x": number})
        taken.append(time.perf_counter() - started)
        assert (result.status, result.text) == (ToolStatus.OK, str(number))
    await executor.close()
    return taken[1:]  # the first starts a worker


# --- all of it ---


SECTIONS = (waiting, replay, python)  # what else is measured of executors is one more function here


def main() -> None:
    """Print every section's figures, then the line."""
    parts = [section() for section in SECTIONS]
    print_figures(
        "executor",
        ours={name: value for part in parts for name, value in part.ours.items()},
        peer={name: value for part in parts for name, value in part.peer.items()},
        targets={name: list(value) for part in parts for name, value in part.targets.items()},
    )


def _p50_ms(seconds: list[float]) -> float:
    return round(median(seconds) * 1000, 3)


def _told(seconds: list[float]) -> str:
    return f"p50 {median(seconds) * 1000:.2f} ms, p99 {quantiles(seconds, n=100)[-1] * 1000:.2f} ms"


if __name__ == "__main__":
    main()
