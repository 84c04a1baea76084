"""The evaluation at a glance: tiles and bars, from a summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from train.evaluation.tables import RAW, split_name, stage_name
from train.report.charts import Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number, and how far it moved."""

    title: str
    value: str
    delta: str | None
    better: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A bar chart: split → its bars."""

    title: str
    caption: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]


def tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """The last stage's pass rate of each split, with what it gained over the stage before."""
    stages = summary.get("stages", {})
    if not stages:
        return []
    last, before = list(stages)[-1], list(stages)[-2] if len(stages) > 1 else None
    found = []
    for split, block in stages[last].items():
        if (value := block.get("pass_rate")) is None:
            continue
        earlier = stages[before].get(split, {}).get("pass_rate") if before else None
        gain = None if earlier is None else 100 * (value - earlier)
        note = f"pass rate {stage_name(last)}" + (
            f", from {100 * earlier:.1f} {stage_name(before)}" if before and earlier is not None else ""
        )
        found.append(
            Tile(
                title=split_name(split),
                value=f"{100 * value:.1f}%",
                delta=None if gain is None else f"{gain:+.1f}",
                better=gain is not None and gain >= 0,
                note=note,
            )
        )
    return found


def evaluation_figures(summary: Mapping[str, Any]) -> list[Figure]:
    """Pass rate and all-gold selection by split and stage, the raw instruction's search beside the latter."""
    return [
        Figure(
            title="Pass rate",
            caption="The answer check holds and every gold call was executed. Whiskers: 95% intervals over tasks.",
            groups=_groups(summary, "pass_rate", ()),
        ),
        Figure(
            title="All gold tools selected",
            caption=(
                "The thick mark: selecting as many tools, on average, as the last stage does, from one search with the "
                "raw instruction."
            ),
            groups=_groups(summary, "all_gold_selected", (RAW,)),
        ),
    ]


def _groups(
    summary: Mapping[str, Any], metric: str, baselines: Sequence[str]
) -> tuple[tuple[str, tuple[Bar, ...]], ...]:
    stages, baseline = summary.get("stages", {}), summary.get("baseline", {})
    groups = []
    for split in dict.fromkeys(split for blocks in stages.values() for split in blocks):
        bars = []
        for index, (stage, blocks) in enumerate(stages.items()):
            block = blocks.get(split, {})
            if (value := block.get(metric)) is not None:
                low, high = block.get("intervals", {}).get(metric, (None, None))
                bars.append(Bar(name=stage_name(stage), value=value, low=low, high=high, colour=index))
        sized = baseline.get(split, {}).get("equal_size", {})
        if baselines and sized:
            value = sized[list(sized)[-1]][metric]
            bars.append(Bar(name=RAW, value=value, baseline=True))
        groups.append((split_name(split), tuple(bars)))
    return tuple(groups)
