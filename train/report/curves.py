"""Which metrics make which chart. The keys decide: what shares everything before the last "/" shares one chart.

No metric has to be known here to be drawn; the tables below only order and explain the known ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from train.report.charts import Series
from train.tracking import RESERVED

FIRST = (
    "reward",
    "reward/retrieval",
    "reward/execution",
    "reward/coupled",
    "gate",
    "advantage",
    "loss",
    "policy/entropy",
    "policy/clip_ratio/region_mean",
    "update",
    "engine",
)
CAPTIONS = {
    "reward": "Mean total reward of each objective's scored episodes.",
    "reward/retrieval": "Parts of the retrieval reward, each between 0 and 1.",
    "reward/execution": "Parts of the execution reward, each between 0 and 1.",
    "gate": "How many retrievals pass the gate and may execute.",
    "advantage": "Spread of the group-normalised advantages; groups without any give no gradient.",
    "loss": "Training loss.",
    "policy/entropy": "Entropy of the policy at the tokens under the update, in nats.",
    "policy/clip_ratio/region_mean": "Share of the tokens under the update whose ratio was clipped.",
    "update": "What the optimizer did, and the steps that it skipped.",
    "engine": "Difference of the engine's and the trainer's log-probs before the first update of a batch, in nats.",
    "policy": "How far the policy is from the one that played the batch, before its first update, in nats.",
    "rollout": "Episodes (each phase that is played is one), how fast they were played, and what became of them.",
    "tokens": "Tokens generated and trained on; decoded, prefilled and found in a cache by the engines.",
    "time": "Seconds that each part of a batch took; queue_s, decode_s and tool_s: of an episode, on average.",
}
STAGE_TITLES = {
    "sft": "Cold start: supervised fine-tuning",
    "rl": "Reinforcement learning: GRPO",
    "collect": "Collected rollouts",
}
MAX_RATIO = 5.0  # series of one chart whose sizes differ by more are drawn apart: the small one would be a flat line


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart to draw."""

    stage: str
    title: str
    caption: str
    series: tuple[Series, ...]


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The charts of one run, stage by stage in the order of the rows."""
    found = []
    for stage, columns in _columns(rows).items():
        for group, keys in _grouped(columns).items():
            # Rewards and their parts all live in [0, 1]: a small one is meant to look small.
            apart = not group.startswith("reward")
            parts = _by_size(keys, {key: _size(columns[key]) for key in keys}) if apart else [keys]
            for part in parts:
                lines = enumerate(part)
                series = tuple(Series(name=_leaf(key), points=tuple(columns[key]), colour=i) for i, key in lines)
                title = part[0] if len(part) == 1 else group
                caption = CAPTIONS.get(group, "") if part is parts[0] else ""
                found.append(Panel(stage=stage, title=title, caption=caption, series=series))
    return found


def overlaid_panels(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """One chart per metric, one line per run, a run's colour the same in all of them."""
    columns = {name: _columns(rows) for name, rows in runs.items()}
    colours = {name: index for index, name in enumerate(runs)}
    stages = dict.fromkeys(stage for found in columns.values() for stage in found)
    found = []
    for stage in stages:
        of_stage = {name: by_stage[stage] for name, by_stage in columns.items() if stage in by_stage}
        keys = dict.fromkeys(key for by_key in of_stage.values() for key in by_key)
        for group, members in _grouped(keys).items():
            found += [
                Panel(
                    stage=stage,
                    title=key,
                    caption=CAPTIONS.get(group, "") if key == members[0] else "",
                    series=tuple(
                        Series(name=name, points=tuple(by_key[key]), colour=colours[name])
                        for name, by_key in of_stage.items()
                        if key in by_key
                    ),
                )
                for key in members
            ]
    return found


def stage_title(stage: str) -> str:
    """The heading of a stage's charts."""
    return STAGE_TITLES.get(stage, stage.replace("_", " ").capitalize())


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float | None]]]]:
    """stage → metric → (step, value)."""
    columns: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    for row in rows:
        by_key = columns.setdefault(str(row["stage"]), {})
        for key, value in row.items():
            if key not in RESERVED and (value is None or isinstance(value, int | float)):
                by_key.setdefault(key, []).append((float(row["step"]), None if value is None else float(value)))
    return columns


def _grouped(keys: Mapping[str, Any]) -> dict[str, list[str]]:
    """group → its keys; the known groups first, then the others by name. A key without "/" is its own group."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.rpartition("/")[0] or key, []).append(key)
    return {group: groups[group] for group in sorted(groups, key=_order)}


def _order(group: str) -> tuple[int, str]:
    return (FIRST.index(group), "") if group in FIRST else (len(FIRST), group)


def _by_size(keys: Sequence[str], sizes: Mapping[str, float]) -> list[list[str]]:
    """The keys in as few charts as their sizes allow, largest first; a series of zeros goes anywhere."""
    parts: list[list[str]] = []
    for key in sorted(keys, key=lambda key: -sizes[key]):
        if parts and (sizes[key] == 0 or sizes[parts[-1][0]] / sizes[key] <= MAX_RATIO):
            parts[-1].append(key)
        else:
            parts.append([key])
    return [sorted(part, key=list(keys).index) for part in parts]


def _size(points: Sequence[tuple[float, float | None]]) -> float:
    return max((abs(value) for _, value in points if value is not None), default=0.0)


def _leaf(key: str) -> str:
    return key.rpartition("/")[2]
