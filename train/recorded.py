"""Scored records: what a run wrote of a generation batch, read back, scored again, and written.

A record's key "reward" is its row of one group: {"objective", "advantage", "total", "parts"}; an evaluation's is
{objective: {"total", "parts"}}, for it has no groups. Rewards are never taken from there but to be compared with.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from rewards.parts import Reward
from rollout.batch_files import Played, task_rollouts
from rollout.records import Record, RecordReader
from rollout.renderer import Renderer
from rollout.types import TaskRollouts, Trajectory
from train.config import GrpoConfig
from train.objectives import ScoredGroup
from train.segments import Objective, token_rows

_COMPARED_TURNS = 16  # whose text tells whether the tokenizer is the one that wrote the ids


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedReward:
    """What a row had earned when it was recorded."""

    reward: Reward
    advantage: float | None
    grouped: bool  # False: of an evaluation, which has no advantages


Rows = Mapping[tuple[Objective, str], RecordedReward]
"""(objective, trajectory id) → what was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBatch:
    """The records of one file."""

    path: Path
    played: Played | None  # None: written by an older version
    rollouts: tuple[TaskRollouts, ...]
    rows: Rows = field(hash=False)

    @property
    def policy_versions(self) -> frozenset[int]:
        """The versions that the recording run counted, of every completion."""
        trajectories = (t for r in self.rollouts for t in (*r.retrieval, *r.executions))
        return frozenset(turn.completion.policy_version for t in trajectories for turn in t.turns)


def scored_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """(1-based line number, record) of a file. Raises DataError, for what its "reward" holds too."""
    reader = RecordReader(path)
    for record in reader:
        try:
            list(_rows(record))
        except ValueError as error:
            raise DataError(f"{error}; give a file as a run wrote it", path=path, line=reader.line) from None
        yield reader.line, record


def read_batch(path: Path) -> RecordedBatch:
    """All records of a file. Raises DataError: a bad line, no record at all, an episode twice, an end that is torn."""
    trajectories: list[Trajectory] = []
    rows: dict[tuple[Objective, str], RecordedReward] = {}
    played = None
    for line, record in scored_lines(path):
        try:
            found = Played.of(record.extra)
        except ValueError as error:
            raise DataError(f"{error}; give a file as a run wrote it", path=path, line=line) from None
        if trajectories and found != played:
            raise DataError("another collection than the lines above; one file, one batch", path=path, line=line)
        rows.update(_rows(record))
        played = found
        trajectories.append(record.trajectory)
    if not trajectories:
        raise DataError("there is no record in it; leave it out", path=path)
    try:
        rollouts = task_rollouts(trajectories)
    except ValueError as error:
        raise DataError(f"{error}; one file, one batch", path=path) from None
    return RecordedBatch(path=path, played=played, rollouts=tuple(rollouts), rows=rows)


def scored_records(groups: Sequence[ScoredGroup], played: Played | None, *, segments: bool = False) -> Iterator[Record]:
    """One record a row, in the order of groups; `segments` adds what is trained, in plain lists."""
    for group in groups:
        for row in group.rows:
            earned = {"advantage": row.advantage, **asdict(row.reward)}
            reward: dict[str, Any] = {"objective": group.objective.value, **earned}
            if group.lost:  # the whole group, and why
                reward["dropped"] = group.lost
            extra: dict[str, Any] = {"reward": reward, **(played.as_extra() if played is not None else {})}
            if segments:
                trained = row.advantage if group.informative else None
                extra["segments"] = token_rows(row.trajectory, group.objective, trained)
            yield Record(trajectory=row.trajectory, extra=extra)


def check_scorable(batch: RecordedBatch, config: GrpoConfig, catalogue: Catalogue) -> None:
    """Raises UserError where `config` or `catalogue` cannot score what was recorded."""
    for rollouts in batch.rollouts:
        parents = [execution.parent_id for execution in rollouts.executions]
        if config.update == "coupled" and len(set(parents)) < len(parents):
            raise UserError(
                f"{batch.path}: task {rollouts.task.id} has two executions of one retrieval (grpo.execution_group="
                "refill), which grpo.update=coupled cannot score; give grpo.update=separated"
            )
        for allowed in rollouts.task.allowed_calls or ():
            if allowed.name not in catalogue:
                raise UserError(
                    f"{batch.path}: task {rollouts.task.id} asks for the tool {allowed.name!r}, which the catalogue "
                    "of this config does not hold; give the world.… of the run that recorded it"
                )


def check_tokenizer(batch: RecordedBatch, renderer: Renderer, *, vocabulary: int, model: str) -> None:
    """Raises UserError when the recorded ids are not of this tokenizer: they read otherwise, or are beyond it."""
    trajectories = [t for r in batch.rollouts for t in (*r.retrieval, *r.executions)]
    turns = [(t.id, number, turn) for t in trajectories for number, turn in enumerate(t.turns, start=1)]
    remedy = f"give the model that played them, or one with its tokenizer, not {model}"
    for id, number, turn in turns:
        ids = (*turn.prompt_ids, *turn.completion.ids)
        if strange := [id for id in (min(ids, default=0), max(ids, default=0)) if not 0 <= id < vocabulary]:
            raise UserError(
                f"{batch.path}: episode {id}, turn {number} holds the token {strange[0]}, beyond the {vocabulary} of "
                f"the vocabulary; {remedy}"
            )
    for id, number, turn in turns[:_COMPARED_TURNS]:
        if (text := renderer.completion_text(turn.completion.ids)) != turn.text:
            raise UserError(
                f"{batch.path}: episode {id}, turn {number} was {turn.text[:60]!r}, and its ids now read "
                f"{text[:60]!r}; {remedy}"
            )


def catalogue_note(batch: RecordedBatch, catalogue: Catalogue) -> str | None:
    """One line where the batch was played over another catalogue than this one."""
    if batch.played is None or batch.played.catalogue == catalogue.content_hash:
        return None
    return (
        f"{batch.path.name} was played over another catalogue (content hash {batch.played.catalogue[:12]}) than that "
        f"of this config ({catalogue.content_hash[:12]}, {len(catalogue)} tools)"
    )


def _rows(record: Record) -> Iterator[tuple[tuple[Objective, str], RecordedReward]]:
    """The record's rewards by objective. Raises ValueError."""
    reward, id = record.extra.get("reward"), record.trajectory.id
    if reward is None:
        return
    if not isinstance(reward, Mapping):
        raise ValueError('"reward" is not an object')
    by_objective = [(reward["objective"], reward)] if "objective" in reward else list(reward.items())
    for name, value in by_objective:
        if name not in list(Objective):
            raise ValueError(f'reward is of no known objective: "{str(name)[:60]}"')
        # An evaluation's one record has both phases' rewards: that of retrieval is of the phase that it continued.
        continued = "objective" not in reward and name == Objective.RETRIEVAL
        row = (record.trajectory.parent_id or id) if continued else id
        yield (Objective(name), row), _recorded_reward(value)


def _recorded_reward(value: Any) -> RecordedReward:
    parts = value.get("parts") if isinstance(value, Mapping) else None
    if not isinstance(parts, Mapping):
        raise ValueError("a reward has no parts")
    numbers = {"total": value.get("total"), "advantage": value.get("advantage"), **parts}
    for name, number in numbers.items():
        if number is not None and not (isinstance(number, int | float) and abs(number) <= sys.float_info.max):
            raise ValueError(f"reward.{name} is {str(number)[:60]!r}, not a finite number")
    reward = Reward(total=value.get("total"), parts=parts)
    return RecordedReward(reward=reward, advantage=value.get("advantage"), grouped="advantage" in value)
