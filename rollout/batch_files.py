"""Generation batches on disk: `batch-000001.jsonl.gz` and on, each whole or not there; and what played them.

Not here: rewards. A batch file is made at once, when all its groups are complete, so it is never torn.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from envs.types import Phase, StopReason
from retriever.base.errors import UserError
from rollout.types import TaskRollouts, Trajectory

FOLDER = "rollouts"  # of a run
_HASH = re.compile("[0-9a-f]*")
_NAME = re.compile(r"batch-(\d{6,})\.jsonl(\.gz)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What played a record: the key "played" beside its trajectory. With it, and the run's config, it plays again."""

    batch: int | None  # 1-based number of the generation batch; None: an evaluation, to which no tool is hidden
    seed: int  # of the collection
    temperature: float  # of the sampling; 0: greedy, its log-probs those at 1
    weights: str  # weights_hash of the trainable parameters
    catalogue: str  # content hash

    def as_extra(self) -> dict[str, Any]:
        """To be written beside a trajectory."""
        return {"played": asdict(self)}

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> Self | None:
        """What a record says; None where it says nothing, as those of older versions. Raises ValueError."""
        value = extra.get("played")
        if value is None:
            return None
        names = {item.name for item in fields(cls)}
        if not isinstance(value, Mapping) or value.keys() != names:
            raise ValueError(f'"played" is not an object of {", ".join(sorted(names))}')
        kinds = {"batch": int | None, "seed": int, "temperature": float | int, "weights": str, "catalogue": str}
        for name, kind in kinds.items():
            if not isinstance(value[name], kind):
                raise ValueError(f"played.{name} is {str(value[name])[:60]!r}")
        for name in ("weights", "catalogue"):  # they are printed
            if not _HASH.fullmatch(value[name]):
                raise ValueError(f"played.{name} is no hash: {value[name][:60]!r}")
        return cls(**value)


def batch_file(folder: Path, number: int) -> Path:
    """The file of a generation batch, counted from 1."""
    return folder / f"batch-{number:06d}.jsonl.gz"


def batch_number(path: Path) -> int | None:
    """The number in the name of a batch file; None for any other file."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def batches_in(folder: Path) -> list[Path]:
    """The batch files of a folder, in order."""
    found = [(number, path) for path in folder.glob("batch-*") if (number := batch_number(path)) is not None]
    return [path for _, path in sorted(found)]


def record_files(place: str | Path) -> list[Path]:
    """The files that a user means by a run's folder, a folder of batch files, or a file. Raises UserError for none."""
    path = Path(place).expanduser()
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"{place}: no such file or folder; give a run's folder, or a file of its {FOLDER}/")
    if found := batches_in(path) or batches_in(path / FOLDER):
        return found
    raise UserError(
        f"{place}: no batch-*.jsonl.gz there and none in {FOLDER}/; give the folder of a run that was trained or "
        "collected, or a file of an evaluation/"
    )


def keep_newest(folder: Path, count: int) -> None:
    """Delete all batch files but the `count` with the highest numbers; 0 keeps all."""
    for path in batches_in(folder)[: -count or None] if count else ():
        path.unlink()


def forget_from(folder: Path, number: int) -> None:
    """Delete what a resumed run will write again: batch `number` and on, and what a killed writer left half written."""
    for path in batches_in(folder):
        if (batch_number(path) or 0) >= number:
            path.unlink()
    for partial in folder.glob(".batch-*"):
        partial.unlink()


def task_rollouts(trajectories: Sequence[Trajectory]) -> list[TaskRollouts]:
    """The rollouts of each task, as they were collected.

    A retrieval phase that is recorded inside its executions alone, as in `update: coupled` and evaluations, is cut out
    of the first of them. Raises ValueError for an id that is there twice.
    """
    alone = {trajectory.id for trajectory in trajectories if not trajectory.executed}
    retrieval: dict[str, dict[str, Trajectory]] = {}
    executions: dict[str, dict[str, Trajectory]] = {}
    for trajectory in trajectories:
        starts, goes_on = (found.setdefault(trajectory.task.id, {}) for found in (retrieval, executions))
        here = goes_on if trajectory.executed else starts
        if trajectory.id in here:
            raise ValueError(f"episode {trajectory.id!r} is there twice")
        here[trajectory.id] = trajectory
        if trajectory.executed and trajectory.parent_id not in alone:
            start = retrieval_of(trajectory)
            starts.setdefault(start.id, start)
    tasks = {trajectory.task.id: trajectory.task for trajectory in trajectories}
    return [
        TaskRollouts(task=task, retrieval=tuple(retrieval[id].values()), executions=tuple(executions[id].values()))
        for id, task in tasks.items()
    ]


def retrieval_of(execution: Trajectory) -> Trajectory:
    """The retrieval phase that an execution continued; its seconds are not known apart."""
    assert execution.parent_id is not None
    return replace(
        execution,
        id=execution.parent_id,
        parent_id=None,
        turns=tuple(turn for turn in execution.turns if turn.phase is Phase.RETRIEVAL),
        stop=StopReason.SELECTED,
        answer=None,
        failure=None,
        seconds=0.0,
    )
