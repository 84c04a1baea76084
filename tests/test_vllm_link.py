"""The process behind the vLLM engine, without vLLM: started, asked, killed, ended. A stand-in answers in its place."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.schema import load_run_config
from launch.preflight import preflight
from retriever.base.errors import InfraError, UserError
from rollout.vllm_environment import vllm_interpreter
from rollout.vllm_link import VllmLink

ROOT = Path(__file__).parents[1]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An "interpreter" that runs the stand-in, whatever module it is told to run."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/vllm_stand_in.py "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def link(python: Path) -> Iterator[VllmLink]:
    made = VllmLink(python, {}, {})
    yield made
    made.close()


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def soon_gone(process: int) -> bool:
    """A minute for a busy machine."""
    for _ in range(600):
        if gone(process):
            return True
        time.sleep(0.1)
    return False


def test_questions_are_answered_in_any_order_to_whoever_asked(link: VllmLink) -> None:
    _, never = link.ask({"op": "wait"})
    numbered = [link.ask({"op": "double", "ids": [index]}) for index in range(50)]
    assert [answer.result(60)["ids"] for _, answer in numbered] == [[2 * index] for index in range(50)]
    assert len({number for number, _ in numbered}) == 50
    assert not never.done()


def test_what_is_forgotten_is_told_and_harms_nobody(link: VllmLink) -> None:
    async def cancelled() -> None:
        number, answer = link.ask({"op": "wait"})
        waiting = asyncio.ensure_future(asyncio.wrap_future(answer))
        await asyncio.sleep(0)
        waiting.cancel()
        link.forget(number)

    asyncio.run(cancelled())
    assert link.ask({"op": "double", "ids": [4]})[1].result(60)["ids"] == [8]


def test_everybody_who_waits_hears_of_the_death_and_its_last_words(link: VllmLink) -> None:
    waiting = [link.ask({"op": "wait"})[1] for _ in range(3)]
    link.ask({"op": "die"})
    for answer in waiting:
        with pytest.raises(InfraError, match=r"ended with code 3: loading the model \| ValueError: no room for it"):
            answer.result(60)
    with pytest.raises(InfraError, match="code 3"):  # and so does who asks later
        link.ask({"op": "double"})[1].result(60)
    assert link.failure is not None


def test_a_killed_process_is_an_infra_failure(link: VllmLink) -> None:
    _, answer = link.ask({"op": "wait"})
    os.kill(link.process_id, signal.SIGKILL)
    with pytest.raises(InfraError, match="ended with code -9"):
        answer.result(60)


@pytest.mark.parametrize(("op", "told"), [("half", r"code -9: .*'\{\"id\": '"), ("babble", r"code 0: .*'\[1, 2\]\\n'")])
def test_what_is_no_answer_ends_it_for_everybody(link: VllmLink, op: str, told: str) -> None:
    waiting = [link.ask({"op": "wait"})[1], link.ask({"op": op})[1]]
    for answer in waiting:
        with pytest.raises(InfraError, match=told):
            answer.result(20)
    assert gone(link.process_id)
    with pytest.raises(InfraError, match=told):
        link.ask({"op": "double"})[1].result(20)


def test_a_start_that_fails_shows_the_last_words(python: Path) -> None:
    with pytest.raises(InfraError, match=r"vLLM did not start .*ValueError: no room for it"):
        VllmLink(python, {"start": "fail"}, {})


def test_closing_leaves_nothing(python: Path) -> None:
    files = set(os.listdir("/proc/self/fd"))
    link = VllmLink(python, {}, {})
    _, never = link.ask({"op": "wait"})
    folder = Path(link.ask({"op": "double"})[1].result(60)["folder"])
    assert folder.is_dir()
    link.close()
    link.close()
    assert gone(link.process_id)
    assert not folder.exists()
    assert len(os.listdir("/proc/self/fd")) <= len(files)
    with pytest.raises(InfraError, match="closed"):
        never.result(60)


def test_it_ends_with_whoever_started_it(python: Path) -> None:
    program = f"""
import os, signal, sys, time
from pathlib import Path
from rollout.vllm_link import VllmLink
link = VllmLink(Path({str(python)!r}), {{}}, {{}})
print(link.process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert soon_gone(int(ran.stdout))


def test_an_environment_that_is_missing_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no interpreter .*/nope; make it with bash launch/vllm_environment.sh"):
        vllm_interpreter(str(tmp_path / "nope"))
    with pytest.raises(UserError, match="no interpreter"):
        vllm_interpreter(str(tmp_path))
    with pytest.raises(UserError, match="has no vLLM"):
        vllm_interpreter(sys.executable)
    config = load_run_config("quickstart", ["rollout.engine=vllm", f"rollout.vllm.python={tmp_path}/nope"])
    with pytest.raises(UserError, match="no interpreter"):
        preflight("grpo", config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollout.vllm.memory_share=1.5", "memory_share=1.5 is no share"),
        ("rollout.vllm.cpu_cache_gib=0", "cpu_cache_gib=0 is below 1"),
        ("rollout.vllm.python=''", "python is empty"),
        ("rollout.gpus_per_worker=2", "runs on one GPU"),
    ],
)
def test_what_vllm_cannot_take_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_run_config("quickstart", ["rollout.engine=vllm", override])
