"""Who has which GPU: known to be wrong, or right, before anything is started."""

import os
from typing import Any

import pytest

from configs.schema import RunConfig, load_run_config
from launch.plan import plan_text
from retriever.base.errors import UserError
from rollout.config import RolloutConfig
from rollout.ray_cluster import _visible
from train.config import GrpoConfig


def config(*, lag: int = 0, **rollout: Any) -> RunConfig:
    return RunConfig(name="x", rollout=RolloutConfig(**rollout), grpo=GrpoConfig(max_policy_lag=lag))


@pytest.mark.parametrize(
    ("rollout", "ranks", "message"),
    [
        ({"gpus_per_worker": 1.0}, 2, r"without rollout.devices: .* beside those of 2 trainer rank\(s\), e.g. \[2\]"),
        ({"gpus_per_worker": 1.0, "devices": (3, 1)}, 2, r"devices=\[3, 1\]: GPU 1 is a trainer rank's"),
        ({"gpus_per_worker": 1.0, "devices": (0, 4), "placement": "colocated"}, 2, "and 4 is none of them"),
        ({"placement": "colocated", "lag": 1}, 1, "colocated with grpo.max_policy_lag=1: .* cannot overlap"),
    ],
)
def test_meeting_on_a_gpu_unasked_is_refused(rollout: dict[str, Any], ranks: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**rollout).check_placement(ranks=ranks)


@pytest.mark.parametrize(
    ("rollout", "ranks"),
    [
        ({}, 8),  # workers on cores
        ({"gpus_per_worker": 1.0, "devices": (2, 3), "lag": 1}, 2),
        ({"gpus_per_worker": 0.5, "devices": (1,)}, 1),
        ({"gpus_per_worker": 1.0, "placement": "colocated"}, 2),
        ({"gpus_per_worker": 1.0, "placement": "colocated", "devices": (0, 1)}, 2),
        ({"gpus_per_worker": 1.0, "ray_address": "10.0.0.1:6379", "lag": 1}, 2),  # the cluster knows its GPUs
    ],
)
def test_what_keeps_apart_or_says_that_it_shares_is_taken(rollout: dict[str, Any], ranks: int) -> None:
    config(**rollout).check_placement(ranks=ranks)


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ({"devices": (1, 1), "gpus_per_worker": 1.0}, "give each GPU once"),
        ({"devices": (-1,), "gpus_per_worker": 1.0}, "give each GPU once"),
        ({"devices": (1, 2)}, "gpus_per_worker=0, which uses no GPU"),
        ({"devices": (1,), "gpus_per_worker": 1.0}, "asks for 2 GPUs, rollout.devices names 1"),
        ({"devices": (1, 2), "gpus_per_worker": 1.0, "ray_address": "h:1"}, "gives out its own devices"),
        ({"placement": "colocated", "ray_address": "h:1"}, "gives out its own devices"),
        ({"ray_address": "auto"}, "ray_address=auto: expected HOST:PORT"),
        ({"heartbeat_timeout_s": 0.0}, "heartbeat_timeout_s=0.0 is not positive and finite"),
        ({"start_timeout_s": float("inf")}, "start_timeout_s=inf is not positive and finite"),
    ],
)
def test_devices_and_deadlines_must_make_sense(rollout: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RolloutConfig(**rollout)


def test_the_presets_are_placed_and_the_plan_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, apart = load_run_config("qwen3_4b_lora_1gpu", []), load_run_config("qwen3_4b_full_8gpu", [])
    shared.check_placement(ranks=1)
    apart.check_placement(ranks=4)
    with pytest.raises(UserError, match="GPU 4 is a trainer rank's"):
        apart.check_placement(ranks=5)
    monkeypatch.setenv("TOOLSCOUT_WORLD_SIZE", "4")
    assert "split: 4 trainer rank(s), on GPU 0 and up where there are any; 4 Ray workers on 4 GPUs (4, 5, 6, 7);" in (
        plan_text("grpo", apart)
    )
    assert "# overlap " not in plan_text("grpo", apart)
    ahead = load_run_config("quickstart", ["grpo.max_policy_lag=2"])
    assert "overlap    rollouts go on during updates, with weights at most 2 batch(es) old" in plan_text("grpo", ahead)


def test_ray_sees_the_workers_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with _visible((2, 3)):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,GPU-a")
    with _visible((0, 2)):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,GPU-a"
    with _visible(()):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,5,GPU-a"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,5,GPU-a"
