"""The study: the quickstart over several seeds, and whether RL is worth its time.

For each seed, on the same evaluation tasks: the cold start and RL; more SFT on the same expert for as long as RL took
(control 1); the same on a competent expert (control 2). Resumable: what lies in a seed's folder is not made again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from configs.schema import RunConfig
from launch.checkpoints import trained_seconds
from launch.clock import running_clock
from launch.display import Display
from launch.stages import stages_of
from retriever.base.files import read_json, write_json
from train.evaluation.summary import build_summary
from train.report.render import write_comparison, write_report
from train.tracking import JsonlTracker

# stage → how it is called in tables, in the order shown
ARMS = {
    "base": "base",
    "sft": "cold start",
    "rl": "cold start + RL",
    "more_sft": "control: more SFT",
    "competent_sft": "control: competent expert",
}
GAINED = ("pass_rate", "all_gold_selected", "toolset_size")
SHOWN = (*GAINED, "selection_precision", "recall_union", "format_rate")
# In the tables also, of chained tasks: what passed, what was found, and what one search with the task's own words would
# have found at the same toolset size.
OF_CHAINED = ("pass_rate", "all_gold_selected")
RAW = "raw instruction"


def run_study(config: RunConfig, folder: Path, *, seeds: Sequence[int], display: Display) -> Path:
    """Run what is missing of every seed; write study.json and study.html; returns the latter."""
    folders = []
    for seed in seeds:
        display.say(f"seed {seed}")
        folders.append(folder / f"seed-{seed}")
        _run_seed(replace(config, seed=seed), folders[-1], display)
    summaries = [read_json(path / "summary.json", what="summary") for path in folders]
    write_json(folder / "study.json", study_summary(dict(zip(map(str, seeds), summaries, strict=True))))
    for table in study_tables(summaries):
        display.console.print(table)
    return write_comparison(folders, folder / "study.html", title=f"Toolscout study “{config.name}”")


def _run_seed(config: RunConfig, folder: Path, display: Display) -> None:
    if (folder / "summary.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    metrics = JsonlTracker(folder / "metrics.jsonl")
    with running_clock(folder) as seconds, stages_of(config, folder, display=display, tracker=metrics) as stages:
        scores = {"base": stages.evaluate("base", stages.start_path)} if "base" in config.evaluation.stages else {}
        cold = stages.sft()
        scores["sft"] = stages.evaluate("sft", cold)
        rl = stages.grpo(cold)
        scores["rl"] = stages.evaluate("rl", rl)
        # Both controls train for the cold start's time and RL's together.
        longer = round(1 + trained_seconds(rl) / max(1.0, trained_seconds(cold)), 2)
        scores["more_sft"] = stages.evaluate("more_sft", stages.sft(name="more_sft", longer=longer))
        competent = stages.sft(name="competent_sft", expert_skill=1.0, longer=longer)
        scores["competent_sft"] = stages.evaluate("competent_sft", competent)
        summary = build_summary(seconds=seconds(), stages=scores, baseline=stages.baseline(), seed=config.seed)
        summary["controls_trained_longer"] = longer
    metrics.close()
    write_json(folder / "summary.json", summary)
    write_report(folder)


def study_summary(seeds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every seed's summary, the means over seeds, and RL's gains over each other arm; None where nothing is known."""
    stages = [summary["stages"] for summary in seeds.values()]
    means = {
        arm: {split: {metric: _mean(_values(stages, arm, split, metric)) for metric in SHOWN} for split in splits}
        for arm, splits in stages[0].items()
    }
    gains = {
        f"rl_over_{other}": {
            split: {metric: _mean(_gains(stages, other, split, metric)) for metric in GAINED} for split in means["rl"]
        }
        for other in means
        if other not in ("base", "rl")
    }
    return {"means": means, "gains": gains, "seeds": dict(seeds)}


def study_tables(summaries: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a split: every arm, the mean over seeds with each seed behind it. Then RL's gains over the others.

    In percent, but for the size of toolsets.
    """
    stages = [summary["stages"] for summary in summaries]
    chained = [_of_chained(summary) for summary in summaries]
    tables = []
    for split in stages[0]["rl"]:
        table = _table(
            split.replace("_", " "), "policy", (*SHOWN, *(f"chained {metric}" for metric in (*OF_CHAINED, RAW)))
        )
        for arm in stages[0]:
            shown = [_cell(_values(stages, arm, split, metric), metric) for metric in SHOWN]
            shown += [_cell(_values(chained, arm, split, metric), metric) for metric in (*OF_CHAINED, RAW)]
            table.add_row(ARMS[arm], *shown)
        tables.append(table)
    gains = _table("RL's gains", "over, on", GAINED)
    for other in (arm for arm in stages[0] if arm not in ("base", "rl")):
        for split in stages[0]["rl"]:
            cells = (_cell(_gains(stages, other, split, metric), metric, sign="+") for metric in GAINED)
            gains.add_row(f"{ARMS[other]}, {split.replace('_', ' ')}", *cells)
    return [*tables, gains]


def _of_chained(summary: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """arm → split → metrics of the chained tasks alone, with the all-gold rate of the raw instruction at equal size."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for arm, splits in summary["stages"].items():
        for split, block in splits.items():
            raw = (
                summary.get("baseline", {})
                .get(split, {})
                .get("groups", {})
                .get("chained", {})
                .get("equal_size", {})
                .get(arm, {})
            )
            metrics = dict(block.get("groups", {}).get("chained", {}))
            if "all_gold_selected" in raw:
                metrics[RAW] = raw["all_gold_selected"]
            found.setdefault(arm, {})[split] = metrics
    return found


def _table(title: str, first: str, metrics: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for metric in metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    return table


def _values(stages: Sequence[Mapping[str, Any]], arm: str, split: str, metric: str) -> list[float]:
    """A metric of an arm, a value a seed; without the seeds where it applied to no task."""
    return [value for seed in stages if (value := seed[arm][split].get(metric)) is not None]


def _gains(stages: Sequence[Mapping[str, Any]], other: str, split: str, metric: str) -> list[float]:
    pairs = [(seed["rl"][split].get(metric), seed[other][split].get(metric)) for seed in stages]
    return [after - before for after, before in pairs if after is not None and before is not None]


def _mean(values: Sequence[float]) -> float | None:
    return round(mean(values), 4) if values else None


def _cell(values: Sequence[float], metric: str, *, sign: str = "") -> str:
    """The mean, and each seed: "55.0 (50 60)"."""
    if not values:
        return "–"
    if metric == "toolset_size":
        return f"{mean(values):{sign}.2f} ({' '.join(f'{value:{sign}.2f}' for value in values)})"
    return f"{100 * mean(values):{sign}.1f} ({' '.join(f'{100 * value:{sign}.0f}' for value in values)})"
