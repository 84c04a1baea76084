"""The seconds of a run add up over its attempts, however they end."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.clock import SECONDS, running_clock
from retriever.base.files import read_json


def noted(folder: Path) -> float:
    return float(read_json(folder / SECONDS, what="seconds")["seconds"])


def test_a_killed_attempt_counts(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from launch.clock import running_clock\n"
        "with running_clock(Path(sys.argv[1]), every_s=0.1): time.sleep(60)"
    )
    root = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=root)
    deadline = time.monotonic() + 60
    while not (tmp_path / SECONDS).is_file() or noted(tmp_path) < 0.3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = noted(tmp_path)
    with running_clock(tmp_path) as seconds:
        assert killed_at <= seconds() < killed_at + 5
        time.sleep(0.2)
    assert noted(tmp_path) >= killed_at + 0.1


def test_an_attempt_that_fails_counts(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), running_clock(tmp_path):
        time.sleep(0.2)
        raise ZeroDivisionError
    assert noted(tmp_path) >= 0.2


def test_a_full_disk_is_no_matter_of_the_clocks_thread(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with running_clock(folder, every_s=0.01):
        shutil.rmtree(folder)
        folder.write_text("a file, where nothing can be made")
        time.sleep(0.2)  # a thread that ends by an exception fails the test
        folder.unlink()
    assert noted(folder) >= 0.2
