"""The same seed, the same trajectories: in another process, in another order, in other company, for one worker or two.

That two Ray workers play as one process does is in tests/test_ray_pool.py; that a request's neighbours change no bit of
it, in tests/test_engine.py.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from envs.types import Task
from envs.worlds.world import build_world
from retriever.config import RetrieverConfig
from rollout.config import GroupPlan, ModelConfig
from rollout.types import TaskRollouts
from rollout.worker import LocalPool, WorkerSpec
from tests.ranks_main import ENV, ROLLOUT, SAMPLING, WORLD
from train.nano.base import BASE

TASKS = 3
PLAN = GroupPlan(group_size=2, gate="off")
SPEC = WorkerSpec(
    model_path=str(BASE),
    model=ModelConfig(),
    world=WORLD,
    retriever=RetrieverConfig(kind="bm25"),
    env=replace(ENV, shuffle_candidates=True),
    rollout=replace(ROLLOUT, workers=1),
)


def tasks(count: int) -> tuple[Task, ...]:
    return build_world(WORLD).tasks("train", count, 5)


def collect(chosen: Sequence[Task], *, seed: int = 11, together: int = 64) -> list[TaskRollouts]:
    """By a worker that has played nothing yet."""
    torch.set_num_threads(1)
    pool = LocalPool(replace(SPEC, rollout=replace(SPEC.rollout, max_concurrent=together)))
    try:
        return pool.collect(chosen, PLAN, sampling=SAMPLING, seed=seed)
    finally:
        pool.close()


def told(rollouts: Sequence[TaskRollouts]) -> dict[str, str]:
    """By trajectory: every token, every bit of its log-prob, every text; but no time."""
    return {
        trajectory.id: json.dumps(
            [
                [trajectory.stop, trajectory.selection, trajectory.answer, trajectory.failure],
                [
                    (
                        turn.prompt_ids,
                        turn.completion.ids,
                        [logprob.hex() for logprob in turn.completion.logprobs],
                        turn.text,
                        turn.observation.texts,
                    )
                    for turn in trajectory.turns
                ],
            ]
        )
        for found in rollouts
        for trajectory in (*found.retrieval, *found.executions)
    }


def digest() -> str:
    """Of all trajectories."""
    return hashlib.sha256(json.dumps(told(collect(tasks(TASKS)))).encode()).hexdigest()


@pytest.fixture(scope="module")
def once() -> dict[str, str]:
    return told(collect(tasks(TASKS)))


@pytest.mark.timeout(900)
def test_the_same_seed_gives_the_same_trajectories_in_another_process(once: dict[str, str]) -> None:
    assert len(once) > TASKS * PLAN.group_size  # some executed
    root = Path(__file__).parents[1]
    code = "from tests.test_determinism import digest; print(digest())"
    # Sets of strings come in another order there.
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    assert run.stdout.split()[-1] == hashlib.sha256(json.dumps(once).encode()).hexdigest()


@pytest.mark.parametrize("together", [64, 5])
def test_an_episode_is_the_same_whichever_worker_plays_it_beside_whatever_others(
    once: dict[str, str], together: int
) -> None:
    chosen = tasks(TASKS)
    shared = told(collect(chosen[::2], together=together)) | told(collect(chosen[1::2], together=together))
    assert shared == once
    assert told(collect(chosen[::-1], together=together)) == once


def test_another_seed_gives_other_trajectories(once: dict[str, str]) -> None:
    other = told(collect(tasks(TASKS), seed=12))
    retrieved = [id for id in once if "/x" not in id]
    assert sum(other[id] == once[id] for id in retrieved) < len(retrieved) / 2
