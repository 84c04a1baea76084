"""What a run writes while it goes: metrics as JSONL (always), to Weights & Biases (when enabled), and sample episodes.

The one module that imports wandb. Metrics never steer: nothing here is read back to decide anything.

Keys are paths: what shares everything before the last "/" is drawn as one chart of the report. Ours are
`reward/<objective>`, `reward/<objective>/<part>`, `gate/<what>`, `groups/<objective>_<what>`, `advantage/<what>`,
`loss/<objective>`, `policy/<what>/<objective>`, `update/<what>`, `engine/<what>`, `rollout/<what>`, `tools/<what>`,
`tokens/<what>`, `time/<what>`, and plain names such as `learning_rate`. Those of a collection, where each phase that
is played is an episode:

- `rollout/episodes_per_s`; `episodes_retried`: played again after a failure of ours; `dropped_groups`: not trained, for
  an episode was lost for good; `tasks_without_signal`: none of their groups has rewards that differ; `extra_tasks`:
  drawn in their place (`grpo.extra_tasks`);
- `tokens/decoded`, `prefilled`, and `cached` (of contexts that went on: not computed again), as engines count them;
  `decode_per_s` and `prefill_per_s` of all workers together;
- `time/queue_s`, `decode_s`, `tool_s`: the mean episode's, waiting for the engine, being generated, and waiting for
  searches or calls.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retriever.base.errors import UserError
from retriever.base.files import write_atomically
from rollout.types import Trajectory, Turn

log = logging.getLogger(__name__)

RESERVED = frozenset({"stage", "step", "seconds"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """What is written beside the JSONL."""

    wandb: bool = False  # offline unless WANDB_MODE says otherwise
    project: str = "toolscout"
    episodes_logged_every: int = 10  # generation batches between sample episodes; 0: none
    keep_rollouts: int = 0  # newest generation batches whose records are kept; 0: all

    def __post_init__(self) -> None:
        if self.episodes_logged_every < 0:
            raise UserError(
                f"tracking.episodes_logged_every={self.episodes_logged_every} is negative; 0 logs no episodes"
            )
        if self.keep_rollouts < 0:
            raise UserError(f"tracking.keep_rollouts={self.keep_rollouts} is negative; 0 keeps every batch's records")
        if self.wandb and not self.project:
            raise UserError("tracking.project is empty; give Weights & Biases a project name")


class Tracker(Protocol):
    """Takes the metrics of one step of one stage."""

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Write `metrics` of `step`, which each stage counts by itself."""
        ...

    def truncate_from(self, stage: str, step: int) -> int:
        """Forget, where that is possible, what a resumed run will log again; how many rows went."""
        ...

    def close(self) -> None:
        """Nothing will be logged any more."""
        ...


class JsonlTracker:
    """One row a step: {"stage", "step", "seconds" since the run began, **metrics}, flushed.

    A number that is not finite is written as null, since JSON has no other word for it, and counted in `non_finite`.
    On opening a file of an earlier run a torn last row is dropped, and the clock goes on from the last whole one.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self.non_finite = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keep(read_metrics(path))

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row."""
        assert not RESERVED & metrics.keys(), f"metrics may not be called {sorted(RESERVED & metrics.keys())}"
        seconds = round(self._seconds_before + self._clock() - self._opened, 3)
        row: dict[str, Any] = {"stage": stage, "step": step, "seconds": seconds}
        for name, value in metrics.items():
            row[name] = value = float(value)
            if not math.isfinite(value):
                row[name] = None
                self._warn(stage, step, name, value)
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def truncate_from(self, stage: str, step: int) -> int:
        """Forget what a resumed run is about to write again: the first row of `stage` at or beyond `step`, and every
        row behind it. How many rows went."""
        self._file.close()
        rows = read_metrics(self._path)
        undone = [row["stage"] == stage and row["step"] >= step for row in rows]
        kept = rows[: undone.index(True)] if True in undone else rows
        self._keep(kept)
        return len(rows) - len(kept)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make `rows` the file's content, and go on behind them."""
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        if not self._path.exists() or self._path.read_bytes() != text.encode():
            write_atomically(self._path, text)
        self._seconds_before = float(rows[-1]["seconds"]) if rows else 0.0
        self._opened = self._clock()
        self._file = self._path.open("a", encoding="utf-8")

    def _warn(self, stage: str, step: int, name: str, value: float) -> None:
        self.non_finite += 1
        if self.non_finite == 1:
            log.warning("%s is %s in %s step %d; written as null, as any further one will be", name, value, stage, step)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, [] without one. A torn last row is left out; any other bad row raises UserError."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not row.keys() >= RESERVED:
                raise ValueError("not a row of metrics")
        except ValueError as error:
            if number == len(lines):  # no newline behind it: the writer was killed
                break
            raise UserError(f"{path}:{number}: {error}; delete this line") from None
        rows.append(row)
    return rows


class WandbTracker:
    """Weights & Biases: offline by default, into the run's folder; WANDB_MODE=online sends, with the user's login."""

    def __init__(self, *, project: str, name: str, run_dir: Path, config: Mapping[str, Any] | None = None) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode not in ("online", "offline", "disabled"):
            raise UserError(f"WANDB_MODE={mode!r} is not known; give online, offline or disabled")
        try:
            import wandb
        except ImportError:
            raise UserError(
                "tracking.wandb=true needs the package wandb; install it, or set tracking.wandb=false"
            ) from None
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=project,
                name=name,
                dir=os.environ.get("WANDB_DIR", str(run_dir)),
                mode=mode,  # type: ignore[arg-type]
                config=dict(config or {}),
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"Weights & Biases did not start ({reason}); log in, or set WANDB_MODE=offline") from None
        self._stages: set[str] = set()

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Each stage is a section of its own, drawn over its own steps: W&B's global step may not go back."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({f"{stage}/step": step, **{f"{stage}/{name}": float(value) for name, value in metrics.items()}})

    def truncate_from(self, stage: str, step: int) -> int:
        """W&B forgets nothing: a resumed run logs its steps again."""
        return 0

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


class Trackers:
    """Several trackers as one; the first gets each row first."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = trackers

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """To each of them."""
        for tracker in self._trackers:
            tracker.log(stage, step, metrics)

    def truncate_from(self, stage: str, step: int) -> int:
        """In each of them; the sum."""
        return sum(tracker.truncate_from(stage, step) for tracker in self._trackers)

    def close(self) -> None:
        """Each of them."""
        for tracker in self._trackers:
            tracker.close()


class EpisodeLog:
    """Sample episodes as text that people read: `episodes.log`."""

    def __init__(self, path: Path, *, every: int) -> None:
        self._path, self._every = path, every
        path.parent.mkdir(parents=True, exist_ok=True)

    def due(self, step: int) -> bool:
        """Whether episodes of this step are to be written."""
        return self._every > 0 and step % self._every == 0

    def write(self, stage: str, step: int, trajectory: Trajectory, reward: Mapping[str, Any] | None = None) -> None:
        """Append one episode; `reward` holds numbers or None, nested by objective as the caller likes."""
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"=== {stage} step {step} · {episode_text(trajectory, reward)}\n")


def episode_text(trajectory: Trajectory, reward: Mapping[str, Any] | None = None) -> str:
    """One episode turn by turn: phase, what was written, what came back; then the outcome and the reward's parts."""
    task = trajectory.task
    lines = [f"{trajectory.id} · {', '.join((task.split, *task.tags))}", f"task: {task.instruction}"]
    for number, turn in enumerate(trajectory.turns, start=1):
        lines += [f"[{number} {turn.phase}] {_indented(turn.text)}", *_observed(turn)]
    lines.append(f"stop: {trajectory.stop}" + (f" ({trajectory.failure})" if trajectory.failure else ""))
    lines.append(f"selected: {_names(trajectory.selection)} · gold: {_names(task.gold_tools)}")
    if trajectory.executed or trajectory.answer is not None:
        lines.append(f"answer: {_indented(str(trajectory.answer))} · gold: {_indented(str(task.gold_answer))}")
    if reward is not None:
        parts = flat_numbers(reward)
        lines.append("reward: " + ", ".join(f"{k} {'–' if v is None else f'{v:.3f}'}" for k, v in parts.items()))
    return "\n".join(lines) + "\n"


def flat_numbers(nested: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """The numbers of a nested mapping by their path; whatever is neither a number nor None is left out."""
    flat: dict[str, float | None] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flat_numbers(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def _observed(turn: Turn) -> list[str]:
    lines = [f"    → {_indented(text)}" for text in turn.observation.texts]
    if turn.observation.request is not None:
        lines.append(f"    user: {_indented(turn.observation.request)}")
    if turn.observation.format_error:
        lines.append(f"    ! format error: {_indented(turn.observation.format_error)}")
    return lines


def _indented(text: str) -> str:
    return text.replace("\n", "\n      ")


def _names(tools: Sequence[str] | None) -> str:
    return "none" if not tools else ", ".join(tools)
