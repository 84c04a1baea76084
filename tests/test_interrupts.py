"""A run that is interrupted mid-rollout leaves nothing: no process (so no port), and nothing in shared memory."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from launch.interrupts import ended_in_order
from rollout.ray_broadcast import ReceivingWorker
from tests.test_ray_pool import alive_after, processes

BATCH_OF_MINUTES = (
    *("retriever.kind=bm25", "grpo.tasks_per_batch=400", "grpo.group_size=6", "grpo.max_steps=1"),
    "grpo.max_policy_lag=1",
)
ROOT = Path(__file__).parents[1]


def begun_by(process: int) -> set[int]:
    """It, and every living process that it started, directly or not."""
    parents, found = processes(), {process}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def shared_by(pids: set[int]) -> set[Path]:
    """The files in shared memory that these processes have open or mapped; others on this machine have theirs."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # it is gone
            found |= {
                row.split(None, 5)[5]
                for row in Path(f"/proc/{pid}/maps").read_text().splitlines()
                if "/dev/shm/" in row
            }
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                found.add(os.readlink(descriptor))
    return {Path(name) for name in found if name.startswith("/dev/shm/")}


def workers_at_work(pids: set[int]) -> int:
    """How many of these are rollout workers that have computed for a few seconds beyond their start."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,cputimes=,args="], check=True, capture_output=True, text=True).stdout
    split = [row.split(None, 2) for row in rows.splitlines()]
    return sum(
        int(pid) in pids and f"ray::{ReceivingWorker.__name__}" in args and int(cpu_s) > 12
        for pid, cpu_s, args in split
    )


@pytest.mark.drill
@pytest.mark.parametrize(
    ("signals", "group", "code"),
    [
        pytest.param([signal.SIGINT], True, 130, id="ctrl-c"),
        pytest.param([signal.SIGINT] * 4, True, 130, id="ctrl-c-again-and-again"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], False, 143, id="sigterm"),
        pytest.param([signal.SIGKILL], False, -9, id="crash"),
    ],
)
def test_everything_is_gone_after(tmp_path: Path, signals: list[signal.Signals], group: bool, code: int) -> None:
    shared: set[Path] = set()
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.run", "grpo", "quickstart", *BATCH_OF_MINUTES, f"output_dir={tmp_path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while workers_at_work(begun_by(process.pid)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        shared |= shared_by(begun_by(process.pid))
        time.sleep(0.2)
    begun, send = begun_by(process.pid), os.killpg if group else os.kill
    assert len(begun) > 5
    shared |= shared_by(begun)
    at = time.monotonic()
    for number in signals:
        send(process.pid, number)
        time.sleep(0.3 if len(signals) > 1 else 0)
    assert not alive_after(begun, timeout_s=30)
    print(f"gone after {time.monotonic() - at:.1f} s")
    assert process.wait(timeout=10) == code
    assert [file for file in shared if file.exists()] == []
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


CLOSES = """
import time
from launch.interrupts import ended_in_order

with ended_in_order():
    try:
        print("begun", flush=True)
        time.sleep(100)
    finally:
        time.sleep({closing_s})
        print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("closing_s", "said"),
    [pytest.param(1, "closed\n", id="in-time"), pytest.param(100, "", id="too-long", marks=pytest.mark.drill)],
)
def test_the_first_signal_counts_and_closing_has_a_deadline(closing_s: int, said: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSES.format(closing_s=closing_s)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.wait(timeout=60) == 143
    assert process.stdout.read() == said


def test_without_a_signal_the_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ended_in_order():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
