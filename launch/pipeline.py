"""What each command does, as a sequence of stages. Every function may be called again on an interrupted run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.load import to_dict
from launch.checkpoints import TRAINED
from launch.clock import running_clock
from launch.display import Display, new_console
from launch.run_folder import RunFolder, first_rank
from launch.stages import Stages, stages_of
from launch.study import run_study
from retriever.base.errors import UserError
from retriever.base.files import read_json, write_json
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from train.evaluation.summary import build_summary
from train.evaluation.tables import rich_tables
from train.export import ModelCard, export_model, push_to_hub
from train.report.render import write_comparison, write_report
from train.tracking import JsonlTracker, Tracker, Trackers, WandbTracker


def quickstart(run: RunFolder) -> None:
    """World, expert, SFT, GRPO, an evaluation after each, export and report; ends with a table and paths."""
    with _stages(run) as (stages, clock):
        scores = {}
        wanted = run.config.evaluation.stages
        if "base" in wanted:
            scores["base"] = stages.evaluate("base", stages.start_path)
        sft_path = stages.sft()
        if "sft" in wanted:
            scores["sft"] = stages.evaluate("sft", sft_path)
        rl_path = stages.grpo(sft_path)
        if "rl" in wanted:
            scores["rl"] = stages.evaluate("rl", rl_path)
        baseline = stages.baseline()
        summary = build_summary(seconds=clock(), stages=scores, baseline=baseline, seed=run.config.seed)
        write_json(run.path / "summary.json", summary)
        made = [run.path / "summary.json", export(run, stage="rl", out=run.path / "export"), report(run)]
        made += [run.path / "metrics.jsonl", run.path / "episodes.log", run.path / "rollouts"]
        show(stages.display, summary, [path for path in made if path.exists()])  # a short run logs no episode


def sft(run: RunFolder) -> None:
    """The cold start alone."""
    with _stages(run) as (stages, _):
        stages.display.say(stages.sft())


def grpo(run: RunFolder) -> None:
    """GRPO alone, from model.path; under torchrun and deepspeed on every rank."""
    with _stages(run) as (stages, _):
        stages.display.say(stages.grpo(stages.start_path))


def collect(run: RunFolder) -> None:
    """Rollouts of model.path alone."""
    with _stages(run) as (stages, _):
        stages.display.say(str(stages.collect(stages.start_path)))


def evaluate(run: RunFolder) -> None:
    """Evaluate model.path; writes summary.json with the stage `model`."""
    with _stages(run) as (stages, clock):
        scores = {"model": stages.evaluate("model", stages.start_path)}
        summary = build_summary(seconds=clock(), stages=scores, baseline=stages.baseline(), seed=run.config.seed)
        write_json(run.path / "summary.json", summary)
        show(stages.display, summary, [run.path / "summary.json", report(run)])


def study(run: RunFolder, *, seeds: tuple[int, ...]) -> None:
    """The quickstart over several seeds, with controls of RL's extra time."""
    display = Display(new_console())
    display.say(f"\n{run_study(run.config, run.path, seeds=seeds, display=display)}")


def export(run: RunFolder, *, stage: str, out: Path) -> Path:
    """The policy after `stage` as a plain Hugging Face folder with a model card."""
    checkpoint = run.path / "checkpoints" / stage
    if not (checkpoint / TRAINED).is_file():
        raise UserError(f"{run.path} holds no finished policy of stage {stage}; finish the run with --resume")
    config = run.config.model
    model = load_model(str(checkpoint), ModelConfig(path=str(checkpoint), dtype=config.dtype))
    card = ModelCard(
        name=f"{run.config.name}-{stage}",
        base_model="nano base of Toolscout" if config.path == "nano" else config.path,
        summary=_json_or_empty(run.path / "summary.json"),
        manifest=_json_or_empty(run.path / "manifest.json"),
        stage=stage,
        dialect=run.config.env.dialect,
    )
    return export_model(model, load_tokenizer(str(checkpoint)), out, card=card)


def push(folder: Path, *, repo: str, private: bool, dry_run: bool) -> None:
    """Upload an exported policy."""
    print(push_to_hub(folder, repo, private=private, dry_run=dry_run).text())


def report(run: RunFolder) -> Path:
    """The run's self-contained HTML report."""
    return write_report(run.path)


def compare(runs: Sequence[RunFolder], *, out: Path) -> Path:
    """The curves and the last stages of several runs on one page."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return write_comparison([run.path for run in runs], out)


def show(display: Display, summary: Mapping[str, Any], made: list[Path]) -> None:
    """The table that a run ends with, and what it made."""
    for table in rich_tables(summary, width=display.console.width):
        display.console.print(table)
    display.say(f"\n{summary['seconds']:.0f} seconds. What was made:")
    for path in made:
        display.say(f"  {path}")


@contextmanager
def _stages(run: RunFolder) -> Iterator[tuple[Stages, Any]]:
    """The stages of a run, its trackers closed and its seconds kept over interruptions; yields (stages, clock)."""
    if not first_rank():  # it trains along, and says and writes nothing
        with stages_of(run.config, run.path, display=Display(Console(quiet=True)), tracker=Trackers()) as stages:
            yield stages, time.perf_counter
        return
    display = Display(new_console())
    metrics = JsonlTracker(run.path / "metrics.jsonl")
    others: list[Tracker] = []
    if run.config.tracking.wandb:
        tracking = run.config.tracking
        others.append(
            WandbTracker(project=tracking.project, name=run.config.name, run_dir=run.path, config=to_dict(run.config))
        )
    tracker = Trackers(metrics, *others)
    try:
        with (
            running_clock(run.path) as seconds,
            stages_of(run.config, run.path, display=display, tracker=tracker) as stages,
        ):
            yield stages, seconds
    finally:
        tracker.close()


def _json_or_empty(path: Path) -> dict[str, Any]:
    return dict(read_json(path, what=path.name)) if path.is_file() else {}
