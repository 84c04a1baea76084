"""Ray workers: the same rollouts as in one process, through corrupted weights and killed workers."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.types import Task
from envs.worlds.world import build_world
from retriever.base.errors import InfraError, IntegrityError
from retriever.config import RetrieverConfig
from rollout.config import GroupPlan, ModelConfig
from rollout.policy import load_model, trainable
from rollout.pool import Pool
from rollout.ray_pool import RayPool
from rollout.types import TaskRollouts
from rollout.weights import WeightUpdate, weight_update
from rollout.worker import LocalPool, WorkerSpec
from tests.ranks_main import ENV, ROLLOUT, SAMPLING, WORLD
from train.nano.base import BASE

SPEC = WorkerSpec(
    model_path=str(BASE),
    model=ModelConfig(),
    world=WORLD,
    retriever=RetrieverConfig(kind="bm25"),
    env=ENV,
    rollout=replace(ROLLOUT, workers=2),
)
PLAN = GroupPlan(group_size=3, gate="off")


def update(version: int) -> WeightUpdate:
    """The base, a little changed, so that a worker which never got the weights plays otherwise."""
    model = load_model(str(BASE), ModelConfig())
    return weight_update(version, {name: parameter * 1.05 for name, parameter in trainable(model).items()})


def tasks(count: int) -> tuple[Task, ...]:
    return build_world(WORLD).tasks("train", count, 5)


def played(rollouts: Sequence[TaskRollouts]) -> list[Any]:
    """What must not depend on who plays: all but the seconds."""
    return [
        (
            trajectory.id,
            trajectory.stop,
            trajectory.selection,
            trajectory.answer,
            [(turn.prompt_ids, turn.completion, turn.message, turn.observation.texts) for turn in trajectory.turns],
        )
        for found in rollouts
        for trajectory in (*found.retrieval, *found.executions)
    ]


def collect(pool: Pool, chosen: Sequence[Task], **others: Any) -> list[TaskRollouts]:
    return pool.collect(chosen, PLAN, sampling=SAMPLING, seed=11, **others)


def processes() -> dict[int, int]:
    """Every living process, and the one that started it."""
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in lines.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def started_here() -> set[int]:
    """Every living process that this one started, directly or not."""
    parents, found = processes(), {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def listening(pids: set[int]) -> set[str]:
    """The addresses that these processes listen on, each as the kernel writes it in hexadecimal."""
    inodes = set()
    for descriptor in (path for pid in pids for path in Path(f"/proc/{pid}/fd").glob("*")):
        with suppress(OSError):
            inodes.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


def alive_after(pids: set[int], *, timeout_s: float) -> set[int]:
    """Those still alive when the time is over, or none as soon as all are gone."""
    end = time.monotonic() + timeout_s
    while (alive := pids & processes().keys()) and time.monotonic() < end:
        time.sleep(0.1)
    return alive


@pytest.fixture(scope="module")
def local() -> LocalPool:
    return LocalPool(SPEC)


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    pool = RayPool(SPEC)
    yield pool
    pool.close()


def test_a_worker_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match=r"raised in its creation task: model.path=.*: no tokenizer could be loaded"):
        RayPool(replace(SPEC, model_path=str(tmp_path)))


def test_two_workers_play_as_one_process_does(pool: RayPool, local: LocalPool) -> None:
    chosen = tasks(5)
    pids = pool.process_ids
    assert len({os.getpid(), *pids}) == 3
    for worker in (pool, local):
        worker.push(update(1))
    finished: list[int] = []
    found, wanted = collect(pool, chosen, progress=finished.append), collect(local, chosen)
    assert [r.task.id for r in found] == [task.id for task in chosen]
    assert finished == [1] * 5  # task by task
    assert played(found) == played(wanted)
    assert sum(len(r.executions) for r in found) > 5
    versions = {turn.completion.policy_version for r in found for t in r.retrieval for turn in t.turns}
    assert versions == {1}
    assert played(collect(pool, chosen[:1])) == played(wanted[:1])  # one worker has nothing to do


def test_nobody_on_the_network_can_reach_the_cluster(pool: RayPool) -> None:
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    found = listening({os.getpid(), *started_here()})
    assert found
    assert found <= loopback


def test_corrupted_weights_are_refused_in_the_driver(pool: RayPool, local: LocalPool) -> None:
    sound = update(2)
    name, tensor = max(sound.tensors.items(), key=lambda item: item[1].numel())
    changed = tensor.clone()
    changed.view(-1)[1000] += 1e-4
    with pytest.raises(IntegrityError, match=r"weights of policy version 2 arrived corrupted: hash \w{12}, expected"):
        pool.push(replace(sound, tensors={**sound.tensors, name: changed}))
    pool.push(sound)
    local.push(sound)
    assert played(collect(pool, tasks(2))) == played(collect(local, tasks(2)))


@pytest.mark.drill
def test_a_killed_worker_is_replaced_and_its_tasks_are_played_again(pool: RayPool, local: LocalPool) -> None:
    chosen = tasks(40)
    for worker in (pool, local):
        worker.push(update(3))
    before = pool.process_ids

    def kill() -> None:
        time.sleep(0.5)  # both are at work: a collection of this size takes several seconds
        os.kill(before[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = collect(pool, chosen)
    killer.join()
    after = pool.process_ids
    assert before[0] not in after
    assert before[1] in after
    assert [r.task.id for r in found] == [task.id for task in chosen]
    assert played(found) == played(collect(local, chosen))
    # And between two collections: whoever died is found out by the next push.
    os.kill(after[1], signal.SIGKILL)
    assert not alive_after({after[1]}, timeout_s=10)
    pool.push(update(4))
    assert after[1] not in pool.process_ids
    assert {t.turns[0].completion.policy_version for r in collect(pool, chosen[:4]) for t in r.retrieval} == {4}


@pytest.mark.drill
def test_one_worker_plays_the_same_and_leaves_no_process_behind(pool: RayPool, local: LocalPool) -> None:
    pool.close()  # a process has one cluster at a time
    others = started_here()
    alone = RayPool(replace(SPEC, rollout=replace(SPEC.rollout, workers=1)))
    for worker in (alone, local):
        worker.push(update(5))
    assert played(collect(alone, tasks(5))) == played(collect(local, tasks(5)))
    started = started_here() - others
    assert alone.process_ids[0] in started
    assert len(started) >= 3  # the worker, and Ray's own
    alone.close()
    assert not alive_after(started, timeout_s=20)
