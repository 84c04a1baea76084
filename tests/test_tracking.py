"""Tracking: rows that survive kills and resumes, numbers that are not numbers, W&B offline, episodes for people."""

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from retriever.base.errors import UserError
from tests.test_evaluation import SOLVED, TASK
from train.tracking import (
    EpisodeLog,
    JsonlTracker,
    Trackers,
    TrackingConfig,
    WandbTracker,
    episode_text,
    flat_numbers,
    read_metrics,
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def steps(path: Path) -> list[tuple[str, int]]:
    return [(row["stage"], row["step"]) for row in read_metrics(path)]


def test_a_row_is_on_disk_when_log_returns(tmp_path: Path) -> None:
    clock = Clock()
    tracker = JsonlTracker(tmp_path / "run" / "metrics.jsonl", clock=clock)
    clock.now += 1.5
    tracker.log("rl", 0, {"reward/retrieval": 0.25, "tokens": 7})
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (
        '{"stage": "rl", "step": 0, "seconds": 1.5, "reward/retrieval": 0.25, "tokens": 7.0}\n'
    )


def test_what_is_no_number_is_null_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    with caplog.at_level(logging.WARNING):
        tracker.log("sft", 3, {"loss": math.nan, "gap": math.inf, "lr": 0.1})
        tracker.log("sft", 4, {"loss": -math.inf})
    tracker.close()
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (first["loss"], first["gap"], first["lr"], second["loss"]) == (None, None, 0.1, None)
    assert tracker.non_finite == 3
    assert [record.getMessage() for record in caplog.records] == [
        "loss is nan in sft step 3; written as null, as any further one will be"
    ]


def test_a_resumed_run_writes_each_step_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "metrics.jsonl", Clock()
    tracker = JsonlTracker(path, clock=clock)
    for stage, step in [("sft", 0), ("sft", 1), ("rl", 0), ("rl", 1), ("dev", 1), ("rl", 2), ("dev", 2)]:
        clock.now += 10
        tracker.log(stage, step, {"x": 1.0})
    tracker.close()

    clock = Clock(5000.0)  # another process, whose clock began elsewhere
    tracker = JsonlTracker(path, clock=clock)
    assert tracker.truncate_from("rl", 2) == 2  # rl 2, and dev 2 that came after it
    clock.now += 4
    tracker.log("rl", 2, {"x": 2.0})
    tracker.close()
    assert steps(path) == [("sft", 0), ("sft", 1), ("rl", 0), ("rl", 1), ("dev", 1), ("rl", 2)]
    assert [row["seconds"] for row in read_metrics(path)][-2:] == [50.0, 54.0]


def test_nothing_to_undo_is_fine(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    assert tracker.truncate_from("rl", 0) == 0
    tracker.log("sft", 0, {"x": 1.0})
    assert tracker.truncate_from("rl", 0) == 0
    assert steps(tmp_path / "metrics.jsonl") == [("sft", 0)]


def test_a_torn_last_row_is_dropped_and_a_bad_one_before_it_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log("rl", 0, {"x": 1.0})
    tracker.log("rl", 1, {"x": 1.0})
    tracker.close()
    path.write_text(path.read_text()[:-9])
    assert steps(path) == [("rl", 0)]
    tracker = JsonlTracker(path)
    tracker.log("rl", 1, {"x": 2.0})
    tracker.close()
    assert steps(path) == [("rl", 0), ("rl", 1)]
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: .*; delete this line"):
        read_metrics(path)
    path.write_text('{"step": 1}\n')
    with pytest.raises(UserError, match="not a row of metrics"):
        read_metrics(path)


def test_a_metric_may_not_take_a_rows_own_name(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "metrics.jsonl")
    with pytest.raises(AssertionError, match="seconds"):
        tracker.log("rl", 0, {"seconds": 1.0})


class Listed:
    """A tracker that keeps rows in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.closed = False

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.append((stage, step, dict(metrics)))

    def truncate_from(self, stage: str, step: int) -> int:
        before = len(self.rows)
        self.rows = [row for row in self.rows if row[:2] < (stage, step)]
        return before - len(self.rows)

    def close(self) -> None:
        self.closed = True


def test_several_trackers_hear_the_same() -> None:
    one, other = Listed(), Listed()
    trackers = Trackers(one, other)
    trackers.log("rl", 1, {"x": 2.0})
    trackers.log("rl", 2, {"x": 3.0})
    assert trackers.truncate_from("rl", 2) == 2
    trackers.close()
    assert one.rows == other.rows == [("rl", 1, {"x": 2.0})]
    assert one.closed
    assert other.closed


def test_wandb_is_offline_by_default_and_stays_in_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    tracker = WandbTracker(project="toolscout", name="test", run_dir=tmp_path / "run", config={"seed": 1})
    tracker.log("sft", 5, {"loss": 1.0})
    tracker.log("rl", 0, {"loss": math.nan, "reward/retrieval": 0.5})  # a new stage begins again at 0
    tracker.close()
    (written,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 20  # the service writes its file behind our back
    while b"rl/step" not in written.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert b"rl/reward/retrieval" in written.read_bytes()


def test_an_unknown_wandb_mode_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(UserError, match="WANDB_MODE='onlin' is not known"):
        WandbTracker(project="toolscout", name="test", run_dir=tmp_path)


def test_tracking_config_refuses_nonsense() -> None:
    with pytest.raises(UserError, match="episodes_logged_every=-1"):
        TrackingConfig(episodes_logged_every=-1)
    with pytest.raises(UserError, match="project is empty"):
        TrackingConfig(wandb=True, project="")


def test_an_episode_reads_turn_by_turn(tmp_path: Path) -> None:
    reward = {"retrieval": {"total": 0.75, "parts": {"recall": 1, "ndcg": None}}, "note": "text is no number"}
    text = episode_text(SOLVED, reward)
    lines = text.splitlines()
    assert lines[0] == "t/0 · train, chained"
    assert lines[1] == f"task: {TASK.instruction}"
    assert [line.split("]")[0] for line in lines if line.startswith("[")] == [
        "[1 retrieval",
        "[2 retrieval",
        "[3 execution",
        "[4 execution",
    ]
    assert lines[-4:] == [
        "stop: answered",
        "selected: sum, root, add · gold: add, root",
        "answer: 3.0 · gold: 3",
        "reward: retrieval.total 0.750, retrieval.parts.recall 1.000, retrieval.parts.ndcg –",
    ]
    log = EpisodeLog(tmp_path / "run" / "episodes.log", every=10)
    assert [step for step in range(25) if log.due(step)] == [0, 10, 20]
    assert not EpisodeLog(tmp_path / "e", every=0).due(0)
    log.write("rl", 10, SOLVED, reward)
    log.write("rl", 10, SOLVED)
    assert (tmp_path / "run" / "episodes.log").read_text().count("=== rl step 10 · t/0") == 2


def test_numbers_are_found_by_their_path() -> None:
    assert flat_numbers({"a": {"b": 1, "c": {"d": None}}, "e": "x", "f": 0.5}) == {"a.b": 1, "a.c.d": None, "f": 0.5}
