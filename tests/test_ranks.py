"""Two ranks end with the parameters of one process: DDP, ZeRO-2, ZeRO-3, full, LoRA, and a rank without work."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from retriever.base.errors import UserError
from rollout.config import ModelConfig
from rollout.policy import load_model, trainable
from tests.ranks_main import recorded, run, save_tiny_policy
from train.batches import micro_batches
from train.config import GrpoConfig
from train.distributed import check_world_size
from train.nano.base import BASE

ROOT = Path(__file__).parents[1]
# adam_eps: ranks add their gradients in another order than one process does. With 1e-8 Adam turns that rounding noise,
# where a gradient is nearly zero, into steps of the size of lr, and nothing would be equal.
CONFIG = GrpoConfig(max_steps=2, lr=1e-3, schedule="constant", adam_eps=1e-4, micro_batch=2, save_every=100)
REPLAYED = {**asdict(CONFIG), "max_engine_gap": 10.0}  # recorded segments are the first weights', not the later ones'
PLAYED = {**asdict(CONFIG), "lr": 2e-5, "tasks_per_batch": 4, "group_size": 4, "gate": "off", "micro_batch": 8}
ZERO = {stage: str(ROOT / "configs" / "deepspeed" / f"zero{stage}.json") for stage in (2, 3)}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def on_two_ranks(
    policy: str, out: Path, config: dict[str, Any], *options: str, zero: int | None = None, world_size: int = 2
) -> subprocess.CompletedProcess[str]:
    """Start `ranks_main` as `launch/train_torchrun.sh` and `launch/train_deepspeed.sh` start the real thing."""
    if zero is None:
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    else:
        config = {**config, "deepspeed": ZERO[zero]}
        ports = ["--master_addr", "127.0.0.1", "--master_port", free_port()]
        launcher = ["deepspeed.launcher.runner", "--num_gpus", "2", "--no_local_rank", *ports, "--module"]
    command = [sys.executable, "-m", *launcher, "tests.ranks_main", policy, str(out), "--config", json.dumps(config)]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # DeepSpeed's ninja is there
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TOOLSCOUT_WORLD_SIZE": str(world_size),
    }
    return subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def ended(done: subprocess.CompletedProcess[str], out: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """(final parameters, metrics of each batch) of a run that went well."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return load_file(out / "final.safetensors"), [json.loads(line) for line in lines]


def difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.fixture(scope="module")
def alone(policy: str, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[dict[str, Tensor], list[Any]]]:
    """What one process ends with, full and LoRA."""
    ends = {}
    for lora in (False, True):
        out = tmp_path_factory.mktemp("alone")
        final = run(policy, out, GrpoConfig(**REPLAYED), lora=lora)
        start = trainable(load_model(policy, ModelConfig(lora=lora)))
        assert difference(final, {name: tensor.detach() for name, tensor in start.items()}) > 1e-4
        ends[lora] = (final, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()])
    return ends


def test_a_rank_without_work_is_part_of_the_recording(policy: str) -> None:
    _, (execution,) = recorded(load_model(policy, ModelConfig())).batches[0]
    shares = [micro_batches(execution.segments, rank=rank, world_size=2, rows=2, pad_id=0) for rank in range(2)]
    assert [[int(batch.loss_mask.sum()) for batch in batches] for batches in shares] == [[20], [0]]


def test_the_world_must_be_as_large_as_the_launcher_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLSCOUT_WORLD_SIZE", raising=False)
    check_world_size(1)
    monkeypatch.setenv("TOOLSCOUT_WORLD_SIZE", "2")
    check_world_size(2)
    with pytest.raises(UserError, match="1 ranks are running, the launcher was to start 2; use launch/train_torchrun"):
        check_world_size(1)


FREED_LATE = """
import atexit, sys, time, torch, torch.distributed as dist
from launch.run import run_process

class Late:
    # Python takes itself apart, and a thread of gloo's has a tensor yet to free: as on a machine that is busy.
    def __init__(self):
        self.group, self.ones, self.sleep = dist.group.WORLD, torch.ones, time.sleep

    def __del__(self):
        self.group.allreduce([self.ones(8)])
        self.sleep(0.5)

atexit.register(print, "told at the exit")
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
late = Late()
run_process()
"""


@pytest.mark.parametrize(("config", "code"), [("quickstart", 0), ("quickest", 2)])
def test_a_rank_ends_with_its_code_though_its_group_has_tensors_to_free(tmp_path: Path, config: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED_LATE, "grpo", config, "--dry-run", f"output_dir={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, "told at the exit"), done.stderr
    assert code == 0 or "quickest" in done.stderr


CASES = [
    pytest.param(None, False, id="torchrun-full", marks=pytest.mark.slow),
    pytest.param(2, True, id="zero2-lora", marks=pytest.mark.slow),
    pytest.param(3, False, id="zero3-full", marks=pytest.mark.slow),
    pytest.param(None, True, id="torchrun-lora", marks=pytest.mark.drill),
    pytest.param(2, False, id="zero2-full", marks=pytest.mark.drill),
    pytest.param(3, True, id="zero3-lora", marks=pytest.mark.drill),
]


@pytest.mark.parametrize(("zero", "lora"), CASES)
def test_two_ranks_end_where_one_process_ends(
    policy: str,
    alone: dict[bool, tuple[dict[str, Tensor], list[Any]]],
    tmp_path: Path,
    zero: int | None,
    lora: bool,
) -> None:
    done = on_two_ranks(policy, tmp_path, REPLAYED, *(["--lora"] if lora else []), zero=zero)
    final, metrics = ended(done, tmp_path)
    wanted, expected = alone[lora]
    assert difference(final, wanted) < 1e-6
    for found, known in zip(metrics, expected, strict=True):
        for name in ("update/skipped_retrieval", "update/skipped_execution"):
            assert found[name] == known[name]
        for name in ("engine/gap_max", "engine/gap_mean", "loss/retrieval", "loss/execution"):
            assert found[name] == pytest.approx(known[name], abs=1e-5), name


@pytest.mark.drill
def test_a_launcher_that_starts_too_few_ranks_is_found_out(policy: str, tmp_path: Path) -> None:
    done = on_two_ranks(policy, tmp_path, REPLAYED, world_size=4)
    assert done.returncode != 0
    assert "2 ranks are running, the launcher was to start 4" in done.stderr
    assert not (tmp_path / "final.safetensors").exists()


def played_alone_and_on_two(tmp_path: Path, *, zero: int | None) -> None:
    torch.set_num_threads(1)
    wanted = run(str(BASE), tmp_path / "alone", GrpoConfig(**PLAYED), rollouts="ray")
    out = tmp_path / "two"
    final, metrics = ended(on_two_ranks(str(BASE), out, PLAYED, "--rollouts", "ray", zero=zero), out)
    assert difference(final, wanted) < 1e-6
    start = trainable(load_model(str(BASE), ModelConfig()))
    assert difference(final, {name: tensor.detach() for name, tensor in start.items()}) > 1e-5
    assert all(found["engine/gap_mean"] < 1e-5 for found in metrics)
    assert [found["policy_version"] for found in metrics] == [0, 1]


@pytest.mark.drill
def test_ray_rollouts_under_torchrun(tmp_path: Path) -> None:
    played_alone_and_on_two(tmp_path, zero=None)


@pytest.mark.drill
@pytest.mark.parametrize("zero", [2, 3])
def test_ray_rollouts_under_deepspeed(tmp_path: Path, zero: int) -> None:
    played_alone_and_on_two(tmp_path, zero=zero)


@pytest.mark.slow
def test_the_launch_script_trains_under_zero3_and_saves_a_whole_policy(tmp_path: Path) -> None:
    small = ["grpo.max_steps=1", "grpo.tasks_per_batch=4", "grpo.group_size=4", "grpo.gate=off", "retriever.kind=bm25"]
    done = subprocess.run(
        ["bash", "launch/train_deepspeed.sh", "quickstart", "name=zero3", f"output_dir={tmp_path}", *small],
        cwd=ROOT,
        env={**os.environ, "ZERO": "3", "NPROC": "2", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    start = trainable(load_model(str(BASE), ModelConfig()))
    final = trainable(load_model(str(tmp_path / "zero3" / "checkpoints" / "rl"), ModelConfig()))
    moved = difference(
        {name: tensor.detach() for name, tensor in final.items()},
        {name: tensor.detach() for name, tensor in start.items()},
    )
    assert 1e-6 < moved < 1e-2


@pytest.mark.drill
@pytest.mark.parametrize("zero", [None, 3])
def test_a_gap_ends_all_ranks(policy: str, tmp_path: Path, zero: int | None) -> None:
    strict = {**REPLAYED, "max_engine_gap": 1e-4}  # the second batch's recorded log-probs are not the weights' any more
    done = on_two_ranks(policy, tmp_path, strict, zero=zero)
    assert done.returncode != 0
    assert "trainer and engine disagree by" in done.stderr
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.drill
def test_an_error_on_the_first_rank_leaves_no_other_waiting(policy: str, tmp_path: Path) -> None:
    done = on_two_ranks(policy, tmp_path, {**REPLAYED, "max_steps": 3})  # there is no third batch
    assert done.returncode != 0
    assert "IndexError" in done.stderr
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
