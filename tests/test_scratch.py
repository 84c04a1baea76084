"""The folder that goes with its owner, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envs.executors.scratch import Scratch

# Prints the folder, and what ends it; then waits, beside a child of its own where one is asked for.
OWNER = """
import os, signal, sys, time
from envs.executors.scratch import Scratch

signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup` and a shell's `&` have them passed over
signal.signal(signal.SIGHUP, signal.SIG_DFL)
scratch = Scratch("toolscout-test-")
open(scratch.path + "/file", "w").close()
if sys.argv[1] == "forks" and os.fork() == 0:
    os.setsid()
    os.close(1)
    time.sleep(120)
    os._exit(0)
print(scratch.path, scratch._keeper.pid, flush=True)
time.sleep(600)
"""


@contextmanager
def owner(does: str) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    with subprocess.Popen([sys.executable, "-c", OWNER, does], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            path, keeper = process.stdout.readline().split()
            assert (Path(path) / "file").exists()
            yield process, Path(path), int(keeper)
        finally:
            process.kill()


def is_gone(path: Path) -> bool:
    for _ in range(400):  # far less than the child of an owner waits
        if not path.exists():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_goes_when_owner_and_keeper_are_ended_together(end: signal.Signals) -> None:
    with owner("waits") as (process, path, keeper):
        os.kill(keeper, end)
        process.send_signal(end)
        assert is_gone(path)


def test_it_goes_before_a_child_that_its_owner_forked() -> None:
    with owner("forks") as (process, path, _):
        process.kill()
        assert is_gone(path)


def test_it_can_be_removed_twice() -> None:
    scratch = Scratch("toolscout-test-")
    scratch.remove()
    scratch.remove()
    assert not Path(scratch.path).exists()
