"""Recorded episodes for people: a line each, or turn by turn."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.display import Display, new_console
from launch.rollout_records import files_of_batch, files_with_episode
from rollout.records import Record
from train.recorded import scored_lines
from train.tracking import episode_text


def show(places: Sequence[str], *, batch: int | None, episode: str | None) -> None:
    """Print the episodes, or the one of that id in each file that has it. Raises UserError."""
    files = files_of_batch(places, batch)
    display = Display(new_console())
    if episode is not None:
        for file in files_with_episode(files, episode):
            for _, record in scored_lines(file):
                if record.trajectory.id == episode:
                    display.say(f"=== {file.name} · {episode_text(record.trajectory, _reward(record))}")
        return
    for line in _lines(files):
        display.say(line)


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        yield f"{file.name}: episode, turns, stop, reward, task"
        empty = True
        for _, record in scored_lines(file):
            empty, found = False, record.trajectory
            yield f"  {found.id}  {len(found.turns)}  {found.stop}  {_totals(record)}  {found.task.instruction[:60]!r}"
        if empty:
            yield "  (no record in it)"


def _reward(record: Record) -> Mapping[str, Any] | None:
    reward = record.extra.get("reward")
    return reward if isinstance(reward, Mapping) else None


def _totals(record: Record) -> str:
    """Objective, total and advantage of a row; of an evaluation both phases' totals."""
    reward = _reward(record) or {}
    rows = {reward["objective"]: reward} if "objective" in reward else reward
    shown = []
    for name, row in rows.items():
        numbers = [("", row.get("total")), ("advantage ", row.get("advantage"))] if isinstance(row, Mapping) else []
        told = ", ".join(f"{label}{value:.3f}" for label, value in numbers if isinstance(value, int | float))
        shown.append(f"{name} {told or '–'}")
    return "; ".join(shown) or "–"
