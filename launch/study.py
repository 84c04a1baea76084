"""The study: the quickstart over several seeds, and whether RL is worth its time.

For each seed, on the same evaluation tasks: the cold start and RL; more SFT on the same expert for as long as RL took
(control 1); the same on a competent expert (control 2). Resumable: what lies in a seed's folder is not made again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from configs.schema import RunConfig
from launch.display import Display
from launch.stages import stages_of, trained_seconds
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
SHOWN = ("pass_rate", "all_gold_selected", "toolset_size", "selection_precision", "recall_union", "format_rate")


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
    with stages_of(config, folder, display=display, tracker=metrics) as stages:
        started = time.perf_counter()
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
        summary = build_summary(
            seconds=time.perf_counter() - started, stages=scores, baseline=stages.baseline(), seed=config.seed
        )
        summary["controls_trained_longer"] = longer
    metrics.close()
    write_json(folder / "summary.json", summary)
    write_report(folder)


def study_summary(seeds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every seed's summary, the means over seeds, and RL's gains over the cold start and over control 1."""
    stages = [summary["stages"] for summary in seeds.values()]
    means = {
        arm: {
            split: {metric: round(mean(s[arm][split][metric] for s in stages), 4) for metric in SHOWN}
            for split in stages[0][arm]
        }
        for arm in stages[0]
    }
    gains = {
        f"rl_over_{other}": {
            split: {
                metric: round(means["rl"][split][metric] - means[other][split][metric], 4)
                for metric in ("pass_rate", "all_gold_selected", "toolset_size")
            }
            for split in means["rl"]
        }
        for other in ("sft", "more_sft", "competent_sft")
    }
    return {"means": means, "gains": gains, "seeds": dict(seeds)}


def study_tables(summaries: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table a split: every arm, the mean over seeds with each seed behind it."""
    tables = []
    for split in summaries[0]["stages"]["rl"]:
        table = Table(title=split.replace("_", " "))
        table.add_column("policy")
        for metric in SHOWN:
            table.add_column(metric.replace("_", " "), justify="right")
        for arm in summaries[0]["stages"]:
            cells = []
            for metric in SHOWN:
                values = [summary["stages"][arm][split][metric] for summary in summaries]
                cells.append(f"{mean(values):.3f} ({' '.join(f'{value:.2f}' for value in values)})")
            table.add_row(ARMS[arm], *cells)
        tables.append(table)
    return tables
