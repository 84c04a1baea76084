"""Rollouts ahead of the trainer: which weights play which batch, and that no token is trained that is too old."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retriever.base.errors import InfraError, IntegrityError, UserError
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from rollout.weights import WeightUpdate, weight_update
from tests.ranks_main import ROLLOUT, Recorded, grpo_trainer, played, recorded, run, save_tiny_policy, tiny_policy
from tests.test_resume import same
from train.ahead import Ahead, ahead
from train.config import GrpoConfig
from train.distributed import full_weights
from train.grpo import policy_lags
from train.nano.base import BASE
from train.segments import Objective
from train.source import GenerationBatch, ObjectiveSegments

CONFIG = GrpoConfig(max_steps=4, tasks_per_batch=2, group_size=2, gate="off", lr=2e-5, adam_eps=1e-6, save_every=2)
NOTHING = (ObjectiveSegments(objective=Objective.RETRIEVAL, segments=()),)


def weights(version: int) -> WeightUpdate:
    return weight_update(version, {"w": torch.tensor([float(version)])})


class Played:
    """A source that notes what it is asked, and can be held up."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []  # (batch, version)
        self.idle, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def batch(self, index: int, update: WeightUpdate) -> GenerationBatch:
        self.began.append((index, update.version))
        self.idle.release()
        assert self.go.acquire(timeout=60)
        return GenerationBatch(index=index, updates=(NOTHING,), metrics={}, versions={update.version: 1})


def test_with_a_lag_of_one_the_next_batch_is_played_while_one_is_trained() -> None:
    source = Played()
    source.go.release(3)
    source_ahead = Ahead(source, lag=1, batches=3)
    assert source_ahead.batch(0, weights(0)).versions == {0: 1}
    for _ in range(2):
        assert source.idle.acquire(timeout=60)
    assert source.began == [(0, 0), (1, 0)]  # version 1 will train batch 1, so version 0 may play it
    assert not source.idle.acquire(timeout=0.2)  # but not batch 2
    assert source_ahead.batch(1, weights(1)).versions == {0: 1}
    assert source_ahead.batch(2, weights(2)).versions in ({1: 1}, {2: 1})  # the newest when it was begun
    assert [index for index, _ in source.began] == [0, 1, 2]  # no batch after the last


def test_a_larger_lag_plays_further_ahead_with_the_newest_weights() -> None:
    source = Played()
    source.go.release(4)
    source_ahead = Ahead(source, lag=3, batches=10)
    source_ahead.batch(0, weights(0))
    for _ in range(4):
        assert source.idle.acquire(timeout=60)
    assert source.began == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert not source.idle.acquire(timeout=0.2)
    source_ahead.batch(1, weights(1))
    assert source.idle.acquire(timeout=60)
    assert source.began[-1] == (4, 1)


def test_slow_rollouts_are_played_with_the_newest_weights_not_the_oldest_allowed() -> None:
    source = Played()
    source_ahead = Ahead(source, lag=5, batches=10)
    source.go.release(1)
    source_ahead.batch(0, weights(0))
    for _ in range(2):
        assert source.idle.acquire(timeout=60)  # batch 1 is under way, with version 0
    waiter = threading.Thread(target=lambda: source_ahead.batch(1, weights(1)))
    waiter.start()
    while source_ahead.newest_version < 1:
        time.sleep(0.01)
    source.go.release(1)
    waiter.join(60)
    assert source.idle.acquire(timeout=60)
    assert source.began[-1] == (2, 1)


def test_with_no_lag_nothing_is_played_before_its_weights_are_there() -> None:
    source = Played()
    source.go.release(3)
    source_ahead = Ahead(source, lag=0, batches=3)
    for index in range(3):
        assert source_ahead.batch(index, weights(index)).index == index
        assert source.idle.acquire(timeout=60)
        assert not source.idle.acquire(timeout=0.1)
    assert source.began == [(0, 0), (1, 1), (2, 2)]
    assert ahead(source, CONFIG) is source


def test_what_breaks_in_the_thread_is_raised_where_the_batch_is_waited_for() -> None:
    class Broken:
        def batch(self, index: int, update: WeightUpdate) -> GenerationBatch:
            if index == 1:
                raise InfraError("out of workers")
            return GenerationBatch(index=index, updates=(NOTHING,), metrics={})

    source = Ahead(Broken(), lag=1, batches=5)
    source.batch(0, weights(0))
    for _ in range(2):
        with pytest.raises(InfraError, match="out of workers"):
            source.batch(1, weights(1))


def test_lags_are_counted_by_token_and_bounded() -> None:
    assert policy_lags({5: 30, 4: 10}, 5, limit=1) == {"rollout/policy_lag_max": 1.0, "rollout/policy_lag_mean": 0.25}
    assert policy_lags({}, 5, limit=0) == {"rollout/policy_lag_max": 0.0, "rollout/policy_lag_mean": 0.0}
    with pytest.raises(IntegrityError, match=r"batch 6 holds tokens sampled with policy version 3.*max_policy_lag=1"):
        policy_lags({5: 30, 3: 1}, 5, limit=1)
    with pytest.raises(IntegrityError, match="policy version 6"):
        policy_lags({6: 1}, 5, limit=1)
    with pytest.raises(UserError, match="max_policy_lag=-1 is negative"):
        GrpoConfig(max_policy_lag=-1)
    with pytest.raises(UserError, match="max_policy_lag=1: grpo.records are played already; give 0"):
        GrpoConfig(max_policy_lag=1, records="runs/quickstart")


class Old:
    """A source whose batches claim to be sampled with version 0."""

    def __init__(self, source: Recorded) -> None:
        self._source = source

    def batch(self, index: int, update: WeightUpdate) -> GenerationBatch:
        return replace(self._source.batch(index, update), versions={0: 10})


def test_the_trainer_refuses_a_batch_older_than_the_bound(tmp_path: Path) -> None:
    for lag, refused in ((0, True), (1, False)):
        model, tokenizer = tiny_policy()
        config = GrpoConfig(max_steps=2, group_size=2, lr=1e-4, max_policy_lag=lag)
        trainer = grpo_trainer(model, tokenizer, Old(recorded(model)), config, tmp_path / str(lag))
        if refused:
            with pytest.raises(IntegrityError, match="sampled with policy version 0"):
                trainer.train()
            continue
        trainer.train()
        first, second = trainer.logged
        # Where both hold the same weights a gap stops the run; after an update it is a drift, and may be large.
        assert first["engine/gap_max"] < 1e-5
        assert "policy/drift_max" not in first
        assert second["policy/drift_max"] > config.max_engine_gap
        assert "engine/gap_max" not in second


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def trained(out: Path, config: GrpoConfig, *, lag: int | None) -> Any:
    """Real rollouts in this process; `lag` None: without `Ahead`."""
    torch.set_num_threads(1)
    source, pool = played(str(BASE), replace(config, max_policy_lag=0), ray=False)
    if lag is not None:
        source = Ahead(source, lag=lag, batches=config.max_steps)
    model, tokenizer = load_model(str(BASE), ModelConfig()), load_tokenizer(str(BASE))
    trainer = grpo_trainer(model, tokenizer, source, config, out, temperature=ROLLOUT.temperature)
    trainer.train()
    pool.close()
    return full_weights(trainer.accelerator.unwrap_model(trainer.model))


def test_lag_0_is_the_synchronous_run_to_the_bit_and_lag_1_is_not(tmp_path: Path) -> None:
    config = replace(CONFIG, max_steps=3)
    plain = trained(tmp_path / "plain", config, lag=None)
    assert same(trained(tmp_path / "zero", config, lag=0), plain)
    one = trained(tmp_path / "one", replace(config, max_policy_lag=1), lag=1)
    assert not same(one, plain)
    for name, lags in (("plain", [0, 0, 0]), ("zero", [0, 0, 0]), ("one", [0, 1, 1])):
        assert [line["rollout/policy_lag_max"] for line in lines(tmp_path / name)] == lags
        assert [line["rollout/policy_lag_mean"] for line in lines(tmp_path / name)] == lags
    assert [line["policy_version"] for line in lines(tmp_path / "one")] == [0, 0, 1]
    plain_lines, zero_lines = (
        [
            {k: v for k, v in line.items() if not k.startswith("time/") and not k.endswith("_per_s")}
            for line in lines(out)
        ]
        for out in (tmp_path / "plain", tmp_path / "zero")
    )
    assert plain_lines == zero_lines


def test_a_resumed_run_plays_again_what_was_in_flight(tmp_path: Path) -> None:
    policy, config = save_tiny_policy(tmp_path / "policy"), replace(CONFIG, max_policy_lag=1, max_engine_gap=1e-3)
    run(policy, tmp_path / "run", replace(config, max_steps=2, schedule="constant"), rollouts="local")
    assert [line["rollout/policy_lag_max"] for line in lines(tmp_path / "run")] == [0, 1]
    run(policy, tmp_path / "run", replace(config, schedule="constant"), rollouts="local")
    # The checkpoint's own weights play the first batch after it, whose gap is therefore checked again.
    assert [line["rollout/policy_lag_max"] for line in lines(tmp_path / "run")] == [0, 1, 0, 1]
    assert [line["batch"] for line in lines(tmp_path / "run")] == [1, 2, 3, 4]
