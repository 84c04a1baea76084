"""The stages of a run, each from files to files, so that an interrupted run goes on with the first one unfinished.

expert → SFT → GRPO, with an evaluation after each; what a stage leaves lies in the run's folder:
checkpoints/sft, checkpoints/grpo/checkpoint-*, checkpoints/rl, evaluation/<stage>/<split>.jsonl.gz
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from configs.schema import RunConfig
from envs.dialects import DIALECTS
from envs.types import StopReason, Task
from envs.worlds.world import World, build_world
from launch.checkpoints import TRAINED, last_checkpoint, save_policy
from launch.display import Display
from launch.rollout_log import RolloutLog
from launch.watching import watching
from retriever.base.errors import UserError
from retriever.base.seeds import derive_seed
from retriever.batching import BatchedSearch
from retriever.build import build_retriever, embedding_told
from retriever.search import Retriever
from rollout.batch_files import FOLDER, Played, batch_number, batches_in, forget_from, record_files
from rollout.collect import Collector, refuse_losses
from rollout.config import GroupPlan
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.policy import load_model, load_tokenizer, load_trainable, trainable
from rollout.pool import Pool
from rollout.ray_pool import RayPool
from rollout.renderer import Renderer
from rollout.types import Sampling, TaskRollouts
from rollout.weights import weight_update, weights_hash
from rollout.worker import WorkerSpec
from train.ahead import ahead
from train.distributed import forget_deepspeed, full_weights
from train.evaluation.metrics import TaskScore, raw_instruction_baseline
from train.evaluation.store import evaluation_path, read_scores, write_evaluation
from train.grpo import DecoupledGrpoTrainer
from train.nano.base import base_path
from train.objectives import ScoredGroup, decoupled_groups
from train.recorded_source import RecordedSource
from train.sft import run_sft, sft_segments
from train.source import BatchSource, Listener, RolloutSource, updates_per_batch
from train.tracking import Tracker, read_metrics

BATCH_SECONDS = ("time/generation_s", "time/gap_s", "time/update_")  # metrics that add up to a generation batch's time


class Stages:
    """One run's config and folder, and what its stages share: the world, the retriever, the rollout workers."""

    def __init__(self, config: RunConfig, folder: Path, *, display: Display, tracker: Tracker) -> None:
        self.config, self.folder, self.display, self.tracker = config, folder, display, tracker
        self.world: World = build_world(config.world)
        self.start_path = base_path() if config.model.path == "nano" else config.model.path
        self._pool: tuple[str, Pool] | None = None

    @cached_property
    def retriever(self) -> Retriever:
        """What is searched here; the workers have their own. Built when it is first asked for."""
        if told := embedding_told(self.config.retriever, len(self.world.catalogue)):
            self.display.say(told)
        return build_retriever(self.config.retriever, self.world.catalogue)

    # --- evaluation --------------------------------------------------------------------------------------------------

    def evaluate(self, stage: str, model_path: str) -> dict[str, list[TaskScore]]:
        """An episode a task on every split; written once, read again when they are there."""
        scores, weights = {}, None
        for split in self.config.evaluation.splits:
            path = evaluation_path(self.folder, stage, split)
            if not path.is_file():
                weights = weights or self._pushed(model_path)
                rollouts = self._play(model_path, self.evaluation_tasks(split), f"evaluate {stage}: {split}")
                played = Played(
                    batch=None,
                    seed=self.config.seed,
                    temperature=self.config.evaluation.temperature,
                    weights=weights,
                    catalogue=self.world.catalogue.content_hash,
                )
                write_evaluation(path, rollouts, [self._rewards(found) for found in rollouts], played)
            found = read_scores(path)
            if not self.config.executes:  # no episode could pass, and none failed to
                found = [replace(score, metrics={**score.metrics, "pass_rate": None}) for score in found]
            scores[split] = found
        return scores

    def evaluation_tasks(self, split: str) -> tuple[Task, ...]:
        """The tasks of `split` that this run is evaluated on, the same after each stage."""
        config = self.config
        return self.world.tasks(split, config.evaluation.tasks_per_split, derive_seed(config.seed, "evaluation"))

    def baseline(self) -> dict[str, list[TaskScore]]:
        """One search with the raw instruction, on the same tasks."""
        k = self.config.env.candidates_per_search
        return {
            split: raw_instruction_baseline(self.evaluation_tasks(split), self.retriever, k)
            for split in self.config.evaluation.splits
        }

    def _rewards(self, rollouts: TaskRollouts) -> dict[str, Any]:
        """What the episode would have earned, by objective."""
        groups = decoupled_groups(rollouts, self.config.reward, self.world.catalogue)
        return {group.objective.value: asdict(row.reward) for group in groups for row in group.rows}

    def _pushed(self, model_path: str) -> str:
        """Have the workers hold the policy at `model_path`; the hash of its weights."""
        if self.config.rollout.engine == "openai":  # the server's own model: that of no tensors, which no other has
            return weights_hash({})
        model = load_model(model_path, self.config.model)  # before any worker tries, who could tell less what is wrong
        update = weight_update(0, trainable(model))
        self.pool(model_path).push(update)
        return update.content_hash

    def _play(self, model_path: str, tasks: Sequence[Task], what: str) -> list[TaskRollouts]:
        """What the policy does with each task, sampled as evaluations are."""
        config, pool = self.config, self.pool(model_path)
        plan = GroupPlan(group_size=1, gate="off" if self.config.executes else "closed")
        sampling = config.evaluation.sampling(config.rollout.max_new_tokens)
        with self.display.bar(what, len(tasks)) as advance, watching(pool, self.display):
            rollouts = pool.collect(tasks, plan, sampling=sampling, seed=config.seed, progress=advance)
        refuse_losses(rollouts, config.rollout, what=what)
        episodes = [trajectory for found in rollouts for trajectory in (*found.retrieval, *found.executions)]
        if lost := [trajectory for trajectory in episodes if trajectory.stop is StopReason.INFRA_FAILURE]:
            self.display.say(
                f"{what}: {len(lost)} of {len(episodes)} lost to failures of ours; first: {lost[0].failure}"
            )
        return rollouts

    # --- the cold start ----------------------------------------------------------------------------------------------

    def sft(self, *, name: str = "sft", expert_skill: float | None = None, longer: float = 1.0) -> str:
        """Imitate the expert from the starting policy; returns the checkpoint's path.

        `longer` times as long as the config says: on more tasks or, where a set has no more of them, in more epochs.
        """
        out = self.folder / "checkpoints" / name
        if (out / TRAINED).is_file():
            return str(out)
        config = self.config
        skill = config.sft.expert_skill if expert_skill is None else expert_skill
        wanted = round(config.sft.tasks * longer)
        rollouts = self.expert_rollouts(wanted, skill)
        epochs = config.sft.epochs * wanted / max(1, len(rollouts)) if longer > 1 else config.sft.epochs
        settings = replace(config.sft, expert_skill=skill, tasks=wanted, epochs=epochs)
        segments = sft_segments(rollouts)
        if not segments:
            raise UserError("the expert solved no task; sft.tasks is 0, or the world's tasks name no gold tools")
        if left_out := sum(not sft_segments([found]) for found in rollouts):
            self.display.say(
                f"{left_out} of {len(rollouts)} expert episodes are not imitated: they did not end in a selection "
                f"(too long for rollout.max_context={config.rollout.max_context}, most likely)"
            )
        # Of all weights, an optimizer needs fp32 ones: in bfloat16 its small steps would be rounded away.
        mixed = config.model.dtype == "bfloat16" and not config.model.lora
        loaded = replace(config.model, dtype="float32") if mixed else config.model
        tokenizer, model = load_tokenizer(self.start_path), load_model(self.start_path, loaded)
        self.tracker.truncate_from(name, 0)  # of an attempt that was interrupted
        started = time.perf_counter()
        with self.display.steps(f"SFT on {len(segments)} segments") as step:

            def log(number: int, steps: int, metrics: Any) -> None:
                self.tracker.log(
                    name, number, {key: metrics[key] for key in ("loss", "learning_rate") if key in metrics}
                )
                step(number, steps, f"loss {metrics['loss']:.3f}" if "loss" in metrics else "")

            trained = run_sft(
                model=model,
                tokenizer=tokenizer,
                segments=segments,
                config=settings,
                out=out,
                seed=derive_seed(config.seed, name) % 2**31,
                log=log,
                bf16=mixed,
            )
        save_policy(trained, tokenizer, out, seconds=time.perf_counter() - started)
        return str(out)

    def expert_rollouts(self, count: int, skill: float) -> list[TaskRollouts]:
        """What the scripted expert does with the first `count` training tasks of the cold start."""
        config = self.config
        tasks = self.world.tasks("train", count, derive_seed(config.seed, "sft"))
        tools = {tool.id: tool for tool in self.world.catalogue}
        expert = Expert(tasks, tools, env=config.env, skill=skill)
        renderer = Renderer(load_tokenizer(self.start_path), DIALECTS[config.env.dialect])
        executor = self.world.executor(config.env, config.executor)
        collector = Collector(
            engine=ScriptedEngine(renderer, expert),
            renderer=renderer,
            search=BatchedSearch(self.retriever).search,
            executor=executor,
            env=config.env,
            rollout=config.rollout,
        )
        gate: Literal["gold", "closed"] = "gold" if config.executes else "closed"
        plan = GroupPlan(group_size=1, gate=gate, hidden=self.world.unseen_tools)
        sampling = Sampling(max_new_tokens=config.rollout.max_new_tokens)

        async def played() -> list[TaskRollouts]:
            try:
                return await collector.collect(tasks, plan, sampling=sampling, seed=config.seed)
            finally:
                if executor is not None:
                    await executor.close()

        with self.display.bar("expert trajectories", 1) as advance:
            rollouts = asyncio.run(played())
            advance(1)
        refuse_losses(rollouts, config.rollout, what="expert")
        return rollouts

    # --- reinforcement learning --------------------------------------------------------------------------------------

    def grpo(self, start: str) -> str:
        """Decoupled GRPO from the policy at `start`, on every rank that runs this; returns the checkpoint's path."""
        out = self.folder / "checkpoints" / "rl"
        if (out / TRAINED).is_file():
            return str(out)
        config, first = self.config, int(os.environ.get("RANK", "0")) == 0
        checkpoints = self.folder / "checkpoints" / "grpo"
        resume_from = last_checkpoint(checkpoints)
        done = 0 if resume_from is None else int(resume_from.name.split("-")[1]) // updates_per_batch(config.grpo)
        forgotten = self.tracker.truncate_from("rl", done + 1)
        if resume_from is not None:
            self.display.say(f"resuming GRPO from {resume_from}: {done} of {config.grpo.max_steps} batches are done")
        elif forgotten:
            self.display.say("no checkpoint was saved before the interruption: GRPO starts again at its first batch")
        tokenizer, model = load_tokenizer(start), load_model(start, config.model)
        plays = first and config.grpo.records is None
        if plays:  # else the newest batches, which are kept, would be of what is undone
            forget_from(self.folder / FOLDER, done + 1)
        watched = watching(self.pool(start), self.display) if plays else nullcontext()
        with self.display.steps("GRPO") as step, watched:

            def log(number: int, metrics: Any) -> None:
                self.tracker.log("rl", number, metrics)
                step(number, config.grpo.max_steps, reward_line(metrics))

            trainer = DecoupledGrpoTrainer(
                model=model,
                tokenizer=tokenizer,
                source=self._source(start, tokenizer, model) if first else None,
                config=config.grpo,
                temperature=config.rollout.temperature,
                out=checkpoints,
                seed=derive_seed(config.seed, "grpo") % 2**31,
                log=log,
                bf16=config.model.dtype == "bfloat16",
                gradient_checkpointing=config.model.gradient_checkpointing,
            )
            step(done, config.grpo.max_steps, "")
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        weights = full_weights(trainer.accelerator.unwrap_model(trainer.model))
        if first:
            forget_deepspeed()  # under ZeRO-3 a model would be loaded in pieces, and this rank alone loads one
            fresh = load_model(start, config.model)
            load_trainable(fresh, weights, source=str(checkpoints))
            batches = [row for row in read_metrics(self.folder / "metrics.jsonl") if row["stage"] == "rl"]
            # Of each batch once, however often the run was interrupted.
            parts = {key for row in batches for key in row if key.startswith(BATCH_SECONDS)}
            save_policy(fresh, tokenizer, out, seconds=sum(row.get(key, 0.0) for row in batches for key in parts))
        return str(out)

    def collect(self, start: str) -> Path:
        """The generation batches of GRPO as the policy at `start` plays them, recorded and not trained on.

        The first is the very one that GRPO begins with. A batch whose file is there is not played again.
        """
        config, folder = self.config, self.folder / FOLDER
        done = max((number for path in batches_in(folder) if (number := batch_number(path))), default=0)
        self.tracker.truncate_from("collect", done + 1)
        forget_from(folder, done + 1)
        if done:
            self.display.say(f"{min(done, config.grpo.max_steps)} of {config.grpo.max_steps} batches are recorded")
        weights = weight_update(0, trainable(load_model(start, config.model)))
        groups: list[ScoredGroup] = []
        source = self._rollout_source(start, lambda _, scored, __: groups.extend(scored))
        record = RolloutLog(self.folder, config, self.world.catalogue)
        with self.display.steps("collecting batches") as step, watching(self.pool(start), self.display):
            for index in range(done, config.grpo.max_steps):
                groups.clear()
                metrics = source.batch(index, weights).metrics
                self.tracker.log("collect", index + 1, metrics)  # first: what has its file is done
                record(index, groups, weights.content_hash)
                step(index + 1, config.grpo.max_steps, reward_line(metrics))
        return folder

    def _source(self, start: str, tokenizer: Any, model: Any) -> BatchSource:
        """Where the batches of GRPO come from: records where `grpo.records` names some, else the workers."""
        config = self.config
        if config.grpo.records is None:
            return ahead(
                self._rollout_source(start, RolloutLog(self.folder, config, self.world.catalogue)), config.grpo
            )
        return RecordedSource(
            record_files(config.grpo.records),
            renderer=Renderer(tokenizer, DIALECTS[config.env.dialect]),
            vocabulary=model.get_input_embeddings().num_embeddings,
            model=start,
            rollout=config.rollout,
            rewards=config.reward,
            config=config.grpo,
            catalogue=self.world.catalogue,
            say=self.display.say,
        )

    def _rollout_source(self, start: str, listener: Listener) -> RolloutSource:
        config = self.config
        return RolloutSource(
            pool=self.pool(start),
            tasks=lambda batch: self.world.tasks(
                "train",
                config.grpo.tasks_per_batch + config.grpo.extra_tasks,  # more of them begin with the same ones
                derive_seed(config.seed, "grpo", batch),
            ),
            sampling=Sampling(temperature=config.rollout.temperature, max_new_tokens=config.rollout.max_new_tokens),
            rollout=config.rollout,
            rewards=config.reward,
            config=config.grpo,
            seed=config.seed,
            hidden=self.world.unseen_tools,
            catalogue=self.world.catalogue,
            listener=listener,
        )

    # --- workers -----------------------------------------------------------------------------------------------------

    def pool(self, model_path: str) -> Pool:
        """The rollout workers. With full weights one pool serves every stage; an adapter needs workers on its base."""
        anchor = model_path if self.config.model.lora else self.start_path
        if self._pool is None or self._pool[0] != anchor:
            self.close()
            config = self.config
            told = embedding_told(config.retriever, len(self.world.catalogue))
            self.display.say(f"starting {config.rollout.workers} rollout workers" + (told and f", each {told}"))
            spec = WorkerSpec(
                model_path=anchor,
                model=config.model,
                world=config.world,
                retriever=config.retriever,
                env=config.env,
                rollout=config.rollout,
                executor=config.executor,
            )
            self._pool = (anchor, RayPool(spec))
        return self._pool[1]

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool[1].close()
            self._pool = None


@contextmanager
def stages_of(config: RunConfig, folder: Path, *, display: Display, tracker: Tracker) -> Iterator[Stages]:
    """Stages whose workers are gone afterwards, whatever happens."""
    stages = Stages(config, folder, display=display, tracker=tracker)
    try:
        yield stages
    finally:
        stages.close()


def reward_line(metrics: Any) -> str:
    """The live line of a GRPO run."""
    shown = []
    for label, key in (
        ("retrieval", "reward/retrieval"),
        ("execution", "reward/execution"),
        ("reward", "reward/coupled"),
        ("gate", "gate/pass_rate"),
        ("tools", "rollout/toolset_size"),
    ):
        if key in metrics:
            shown.append(f"{label} {metrics[key]:.2f}")
    return " · ".join(shown)
