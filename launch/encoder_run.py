"""`toolscout retriever train`: from tasks and rollouts to queries with gold tools, and to a fine-tuned encoder."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from configs.load import dump_yaml, is_override, load_config, to_dict
from configs.schema import EncoderRunConfig
from envs.worlds.world import World, build_world
from launch.display import Display, new_console
from launch.manifest import attempt
from launch.run_folder import MANIFEST, read_run
from retriever.base.errors import UserError
from retriever.base.files import write_json
from retriever.encoder_training import MEASURE, train_encoder
from retriever.evaluation import LabelledQuery
from rollout.records import read_records
from rollout.types import Trajectory


def train(
    overrides: Sequence[str],
    *,
    with_tasks: bool,
    without: Sequence[str],
    rollouts: Path | None,
    out: Path,
    dry_run: bool,
) -> None:
    """Fine-tune, and tell what came of it. Raises UserError."""
    for text in overrides:
        if not is_override(text):
            raise UserError(f"{text!r}: expected key=value, e.g. training.epochs=3")
    config = load_config(EncoderRunConfig, None, overrides)
    if rollouts is not None and not with_tasks:
        world = build_world(read_run(rollouts).config.world)
    else:
        world = build_world(config.world)
    queries = list(_instructions(world, config, without)) if with_tasks else []
    if rollouts is not None:
        queries += _searches(rollouts, world)
    if dry_run:
        print(f"# {len(queries)} queries with gold tools, {len(world.catalogue)} tools; written to {out}")
        print(dump_yaml(config), end="")
        return
    display = Display(new_console())
    with display.steps(f"fine-tuning on {len(queries)} queries") as step:
        latest = 0.0

        def log(number: int, steps: int, metrics: object) -> None:
            nonlocal latest
            assert isinstance(metrics, dict)
            latest = metrics.get(MEASURE, latest)
            loss = f" · loss {metrics['loss']:.3f}" if "loss" in metrics else ""
            step(number, steps, f"validation {MEASURE} {100 * latest:.1f}{loss}")

        note = train_encoder(
            config.retriever,
            catalogue=world.catalogue,
            queries=queries,
            config=config.training,
            out=out,
            seed=config.seed,
            log=log,
        )
    write_json(out / MANIFEST, {"config": to_dict(config), "without": list(without), **attempt(sys.argv)})
    figures = note[f"validation_{MEASURE}"]
    display.say(
        f"{MEASURE} on {note['validation_queries']} held-out queries: {100 * figures['before']:.1f} → "
        f"{100 * figures['after']:.1f}; kept: {note['kept']}\nwritten: {out} (use it: retriever.encoder={out})"
    )


def _instructions(world: World, config: EncoderRunConfig, without: Sequence[str]) -> Iterator[LabelledQuery]:
    """The tasks' own words, but for the groups that are left out and every query that reads like one of theirs."""
    tasks = [task for task in world.tasks(config.split, config.max_queries, config.seed) if task.gold_tools]
    group_of = {task.id: (*task.tags, task.split)[0] for task in tasks}
    groups = sorted({*group_of.values()})
    for group in without:
        if group not in groups:
            raise UserError(f"--without {group}: no such group; there are {', '.join(groups)}")
    hidden = {task.asked for task in tasks if group_of[task.id] in without}
    for task in tasks:
        if task.asked not in hidden:
            assert task.gold_tools
            yield LabelledQuery(text=task.asked, gold=task.gold_tools, group=group_of[task.id])


def _searches(run: Path, world: World) -> list[LabelledQuery]:
    """What the policy of a run wrote as queries while it was trained, each with the gold tools that it surfaced."""
    files = sorted((run / "rollouts").glob("*.jsonl.gz"))
    if not files:
        raise UserError(f"--rollouts {run}: no rollouts/*.jsonl.gz there; give the folder of a run that was trained")
    found: dict[tuple[str, tuple[str, ...]], LabelledQuery] = {}
    for file in files:
        for trajectory in read_records(file):
            for query in _surfaced(trajectory, world):
                found.setdefault((query.text, query.gold), query)
    return list(found.values())


def _surfaced(trajectory: Trajectory, world: World) -> Iterator[LabelledQuery]:
    for search in trajectory.searches:
        gold = tuple(id for id in trajectory.task.gold_tools or () if id in search.tool_ids and id in world.catalogue)
        if gold and search.query.strip():
            yield LabelledQuery(text=search.query.strip(), gold=gold, group="rollouts")
