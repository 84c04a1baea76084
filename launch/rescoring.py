"""Recorded rollouts scored again under other reward weights: a table of what changes, and new records."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from rich import box
from rich.markup import escape
from rich.table import Table

from configs.schema import RunConfig
from envs.worlds.world import build_world
from launch.display import Display, new_console, printable
from launch.rollout_records import given_records
from retriever.base.errors import UserError
from rollout.records import write_records
from train.recorded import catalogue_note, check_scorable, read_batch, scored_records
from train.rescore import TOTAL, Change, add_changes, part_names
from train.scoring import BatchScoring
from train.segments import Objective

READ = ("reward.", "grpo.", "world.")


def rescore(
    places: Sequence[str], overrides: Sequence[str], *, config: str | None, out: Path | None, segments: bool
) -> None:
    """Score every file again; print the table, and write the new records to the folder `out`."""
    for override in overrides:
        if not override.startswith(READ):
            raise UserError(f"{override}: rescoring reads {', '.join(f'{k}…' for k in READ)} alone; leave it out")
    given = given_records(places, overrides, config=config)
    targets = _targets(given.files, out)
    catalogue, display = build_world(given.config.world).catalogue, Display(new_console())
    for note in given.notes:
        display.say(f"note: {note}")
    changes: dict[Objective, Change] = {}
    told = False
    with display.bar("rescoring files", len(given.files)) as advance:
        for file, target in zip(given.files, targets, strict=True):
            batch = read_batch(file)
            check_scorable(batch, given.config.grpo, catalogue)
            if not told and (said := catalogue_note(batch, catalogue)):
                display.say(f"note: {said}; parts that read schemas (provenance, ast_match) may differ by that")
                told = True
            by_objective = BatchScoring(given.config.grpo, given.config.reward, catalogue).by_objective(batch.rollouts)
            groups = [group for groups in by_objective for group in groups]
            add_changes(changes, batch.rows, groups)
            if target is not None:
                write_records(target, scored_records(groups, batch.played, segments=segments))
            advance(1)
    for objective, change in changes.items():
        display.console.print(_table(objective, change, given.config))
        display.say(_summary(objective, change))
    if out is not None:
        display.say(f"written: {len(targets)} files in {out}")


def _targets(files: Sequence[Path], out: Path | None) -> list[Path | None]:
    """Where each file's new records go. Raises UserError for a name that is given twice, or taken."""
    if out is None:
        return [None] * len(files)
    taken: dict[str, Path] = {}
    for file in files:
        if (other := taken.setdefault(file.name, file)) != file:
            raise UserError(f"{other} and {file} have one name; rescore them one after the other, each to its --out")
        if (out / file.name).exists():
            raise UserError(f"--out {out}: {file.name} is there already; give another folder")
    return [out / file.name for file in files]


def _table(objective: Objective, change: Change, config: RunConfig) -> Table:
    weights = _weights(objective, config)
    table = Table(title=f"{objective.value}: {change.rows} rows", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("part")
    for title in ("weight", "recorded", "now", "change"):
        table.add_column(title, justify="right")
    for name in part_names(change):
        old, new = (fmean(values) if values else None for values in (change.old.get(name), change.new.get(name)))
        weight = "" if name == TOTAL else f"{weights.get(name, 0.0):g}"
        difference = "" if old is None or new is None else f"{new - old:+.4f}"
        table.add_row(
            escape(printable(name)), weight, _number(old), _number(new), difference, end_section=name == TOTAL
        )
    return table


def _weights(objective: Objective, config: RunConfig) -> dict[str, float]:
    retrieval, execution = asdict(config.reward.retrieval), asdict(config.reward.execution)
    if objective is Objective.COUPLED:
        named = (("retrieval_", retrieval), ("execution_", execution))
        return {f"{prefix}{name}": weight for prefix, weights in named for name, weight in weights.items()}
    return retrieval if objective is Objective.RETRIEVAL else execution


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _summary(objective: Objective, change: Change) -> str:
    if change.recorded == 0:
        return f"{objective.value}: no reward of this objective was recorded"
    if change.same:
        return f"{objective.value}: all {change.rows} rewards and advantages are bit for bit those recorded"
    lacking = f", {change.rows - change.recorded} rows had none" if change.recorded < change.rows else ""
    return (
        f"{objective.value}: {change.rewards} of {change.recorded} rewards and {change.advantages} advantages changed"
        f"{lacking}; of {change.groups} groups {change.woken} had no variance and have some now, "
        f"{change.stilled} the other way round"
    )
