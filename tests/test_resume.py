"""Killed and resumed, a run ends with the very bits that it would have ended with."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from launch.checkpoints import last_checkpoint
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from tests.ranks_main import Recorded, grpo_trainer, run, sampled, save_tiny_policy
from train.config import GrpoConfig
from train.distributed import full_weights
from train.nano.base import BASE
from train.segments import Objective

ROOT = Path(__file__).parents[1]
# Two updates a batch, a checkpoint every other batch: checkpoint-4 and checkpoint-8.
CONFIG = GrpoConfig(
    max_steps=4, tasks_per_batch=3, group_size=3, gate="off", lr=2e-5, adam_eps=1e-6, save_every=2, micro_batch=16
)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Bitwise."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def killed(out: Path, *, at_update: int) -> None:
    """A process that rolls out and trains until it is killed."""
    arguments = [str(BASE), str(out), "--config", json.dumps(asdict(CONFIG)), "--rollouts", "local"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ranks_main", *arguments, "--die-at", str(at_update)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-4000:]


def batches_logged(out: Path) -> list[int]:
    return [json.loads(line)["batch"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """Four batches of real rollouts in one go."""
    out = tmp_path_factory.mktemp("straight")
    final = run(str(BASE), out, CONFIG, rollouts="local")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    skipped = [line[f"update/skipped_{phase}"] for line in lines for phase in ("retrieval", "execution")]
    assert sum(skipped) <= 2  # the base finds something to learn in nearly every update
    return out, final


@pytest.mark.parametrize(
    ("at_update", "finished"),
    [
        pytest.param(5, [1, 2], id="between the two updates of a batch"),
        pytest.param(6, [1, 2, 3], id="between batches", marks=pytest.mark.drill),
    ],
)
def test_killed_and_resumed_it_ends_with_the_same_bits(
    straight: tuple[Path, dict[str, Tensor]], tmp_path: Path, at_update: int, finished: list[int]
) -> None:
    killed(tmp_path, at_update=at_update)
    assert batches_logged(tmp_path) == finished
    assert not (tmp_path / "final.safetensors").exists()
    assert last_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-4"
    final = run(str(BASE), tmp_path, CONFIG, rollouts="local")
    assert batches_logged(tmp_path) == [*finished, 3, 4]
    assert same(final, straight[1])
    # Every number of the batches played again is the same too, times apart.
    again, before = (
        [
            {
                name: value
                for name, value in json.loads(line).items()
                if not name.startswith("time/") and not name.endswith("_per_s")
            }
            for line in (out / "metrics.jsonl").read_text().splitlines()[-2:]
        ]
        for out in (tmp_path, straight[0])
    )
    assert again == before


def test_a_finished_run_is_left_as_it_is(straight: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    out, final = straight
    shutil.copytree(out, tmp_path / "copy")
    assert same(run(str(BASE), tmp_path / "copy", CONFIG, rollouts="local"), final)
    assert batches_logged(tmp_path / "copy") == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


@pytest.mark.parametrize(
    ("lora", "changes"),
    [
        pytest.param(False, {"schedule": "cosine", "warmup_steps": 1, "weight_decay": 0.1}, id="full"),
        pytest.param(True, {}, id="lora"),
        pytest.param(False, {"beta": 0.5}, id="kl"),
        pytest.param(True, {"beta": 0.5}, id="lora-kl"),
        pytest.param(False, {"update": "combined"}, id="combined"),
        pytest.param(False, {"ratio": "recompute"}, id="recompute"),
    ],
)
def test_every_kind_of_run_resumes_to_the_bit(policy: str, tmp_path: Path, lora: bool, changes: dict[str, Any]) -> None:
    config = replace(CONFIG, max_engine_gap=10.0, **changes)
    model = load_model(policy, ModelConfig())
    pair = [sampled(model, objective, (1.0, -0.5, 0.5)) for objective in (Objective.RETRIEVAL, Objective.EXECUTION)]
    updates = [tuple(pair)] if config.update == "combined" else [(objective,) for objective in pair]
    half = 2 * len(updates)

    def train(out: Path) -> tuple[dict[str, Tensor], Recorded]:
        source = Recorded(batches=[updates] * 4)
        tokenizer, policy_model = load_tokenizer(policy), load_model(policy, ModelConfig(lora=lora))
        trainer = grpo_trainer(policy_model, tokenizer, source, config, out)
        start = last_checkpoint(out / "checkpoints")
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        return full_weights(trainer.model), source

    wanted, source = train(tmp_path / "straight")
    assert [update.version for update in source.pushed] == [0, 1, 2, 3]
    shutil.copytree(
        tmp_path / "straight" / "checkpoints" / f"checkpoint-{half}",
        tmp_path / "resumed" / "checkpoints" / f"checkpoint-{half}",
    )
    final, resumed = train(tmp_path / "resumed")
    assert same(final, wanted)
    assert [update.version for update in resumed.pushed] == [2, 3]
    assert [u.content_hash for u in resumed.pushed] == [u.content_hash for u in source.pushed[2:]]


def test_the_last_checkpoint_is_the_newest_complete_one(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "gone") is None
    for number, complete in ((4, True), (8, True), (20, True), (24, False)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")
        if complete:
            (folder / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-20"
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"global_step": 2')  # killed while it was written
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
