"""Where evaluated episodes lie in a run's folder, so that reports and later metrics read what was played.

`evaluation/<stage>/<split>.jsonl.gz`: one record a task, its metrics (and rewards, where given) beside the trajectory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.batch_files import Played
from rollout.records import Record, RecordReader, write_records
from rollout.types import TaskRollouts
from train.evaluation.metrics import TaskScore, final_trajectory, task_score

SUFFIX = ".jsonl.gz"


def evaluation_path(run_dir: Path, stage: str, split: str) -> Path:
    """The file of one evaluated stage and split."""
    return run_dir / "evaluation" / stage / f"{split}{SUFFIX}"


def write_evaluation(
    path: Path,
    rollouts: Sequence[TaskRollouts],
    rewards: Sequence[Mapping[str, Any]] | None = None,
    played: Played | None = None,
) -> list[TaskScore]:
    """Write one record a task, the whole file or nothing; the scores. `rewards[i]` belongs to `rollouts[i]`."""
    scores, records = [], []
    for index, found in enumerate(rollouts):
        trajectory = final_trajectory(found)
        scores.append(task_score(trajectory))
        extra: dict[str, Any] = {"metrics": dict(scores[-1].metrics)}
        if rewards is not None:
            extra["reward"] = rewards[index]
        records.append(Record(trajectory=trajectory, extra=extra | (played.as_extra() if played is not None else {})))
    write_records(path, records)
    return scores


def read_scores(path: Path) -> list[TaskScore]:
    """The scores of a written evaluation, by today's definitions: they are computed again, never trusted."""
    return [task_score(record.trajectory) for record in RecordReader(path)]


def evaluations(run_dir: Path) -> Iterator[tuple[str, str, Path]]:
    """(stage, split, file) of every evaluation in a run's folder, by name."""
    for path in sorted((run_dir / "evaluation").glob(f"*/*{SUFFIX}")):
        if not path.name.startswith("."):
            yield path.parent.name, path.name.removesuffix(SUFFIX), path


def read_records_by_task(path: Path) -> dict[str, Record]:
    """The records of a written evaluation by task id."""
    return {record.trajectory.task.id: record for record in RecordReader(path)}
