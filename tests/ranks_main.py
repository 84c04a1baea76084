"""Small real policies, segments that were really sampled, and GRPO over them: in this process, or on launched ranks.

    torchrun --nproc_per_node 2 -m tests.ranks_main POLICY OUT [--rollouts ray] [--lora] [--deepspeed CONFIG]

Not a test: `test_grpo`, `test_ranks` and `test_resume` build on it. A run leaves `final.safetensors` (the trainable
parameters, whole) and `metrics.jsonl` (a line per generation batch) in OUT, and its checkpoints in OUT/checkpoints.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from envs.config import EnvConfig
from envs.worlds.world import WorldConfig, build_world
from launch.checkpoints import last_checkpoint
from retriever.base.seeds import derive_seed
from retriever.config import RetrieverConfig
from rewards.config import RewardConfig
from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model, load_tokenizer
from rollout.pool import Pool
from rollout.ray_pool import RayPool
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling
from rollout.weights import WeightUpdate
from rollout.worker import LocalPool, WorkerSpec
from train.ahead import ahead
from train.config import GrpoConfig
from train.distributed import exit_rank, full_weights
from train.grpo import DecoupledGrpoTrainer
from train.nano.curriculum import tokenizer_texts
from train.nano.model import nano_config, new_nano, train_tokenizer
from train.segments import Objective, Segment
from train.source import BatchSource, GenerationBatch, ObjectiveSegments, RolloutSource

WORLD = WorldConfig(kind="embedded")
ENV = EnvConfig(candidate_line="{label}. {description}", aliases="names", max_format_errors=1)
ROLLOUT = RolloutConfig(workers=2, max_context=1024, max_new_tokens=48, temperature=0.8)
SAMPLING = Sampling(temperature=ROLLOUT.temperature, max_new_tokens=ROLLOUT.max_new_tokens)


def tiny_policy(*, hidden: int = 32, layers: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """(model, tokenizer): the nano architecture, smaller yet, with random weights."""
    torch.set_num_threads(1)  # bits depend on it, a rank has one, and matrices this small gain nothing from two
    tokenizer = train_tokenizer(tokenizer_texts(0, 60))
    torch.manual_seed(seed)
    model = new_nano(nano_config(tokenizer, hidden=hidden, layers=layers)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)  # as it comes, a tied model of random weights says its last token again
    return model, tokenizer


def save_tiny_policy(folder: Path) -> str:
    """The tiny policy as a folder that `rollout.policy` loads."""
    for part in tiny_policy():
        part.save_pretrained(folder)
    return str(folder)


def sampled(
    model: Any, objective: Objective, advantages: Sequence[float], *, seed: int = 0, temperature: float = 1.0
) -> ObjectiveSegments:
    """A segment of two turns for each advantage, its prompt random, its completions sampled by the engine."""
    engine = TransformersEngine(model, stop_ids=[], config=RolloutConfig())
    sampling = Sampling(temperature=temperature, max_new_tokens=10)

    async def one(index: int, advantage: float) -> Segment:
        random = Random(derive_seed(seed, objective, index))
        ids: list[int] = []
        mask: list[bool] = []
        logprobs: list[float] = []
        for turn, length in enumerate((random.randint(5, 40), random.randint(1, 6))):
            said = [random.randrange(2000) for _ in range(length)]
            request = GenerationRequest(session=str(index), ids=(*ids, *said), sampling=sampling, seed=seed + turn)
            completion = await engine.generate(request)
            ids += [*said, *completion.ids]
            mask += [False] * length + [True] * len(completion.ids)
            logprobs += [0.0] * length + [*completion.logprobs]
        engine.close_session(str(index))
        return Segment(
            ids=tuple(ids),
            action_mask=tuple(mask),
            behaviour_logprobs=tuple(logprobs),
            advantages=tuple(advantage if acts else 0.0 for acts in mask),
            objective=objective,
        )

    async def together() -> list[Segment]:
        return await asyncio.gather(*(one(index, advantage) for index, advantage in enumerate(advantages)))

    return ObjectiveSegments(objective=objective, segments=tuple(asyncio.run(together())))


@dataclass(kw_only=True)
class Recorded:
    """A `BatchSource` that gives prepared batches, whatever the weights are by then."""

    batches: Sequence[Sequence[Sequence[ObjectiveSegments]]]  # batch → update → objectives
    pushed: list[WeightUpdate] = field(default_factory=list)

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """See `BatchSource`."""
        self.pushed.append(weights)
        return GenerationBatch(index=index, updates=tuple(tuple(u) for u in self.batches[index]), metrics={})


def recorded(model: Any) -> Recorded:
    """Two batches. In the first one segment executes, so one of two ranks has no work there; in the second,
    retrieval has nothing to learn at all."""
    retrieval = sampled(model, Objective.RETRIEVAL, (1.5, -0.5, 0.25, -1.0, -0.25))
    nothing = ObjectiveSegments(objective=Objective.RETRIEVAL, segments=())
    one, three = (sampled(model, Objective.EXECUTION, a, seed=5) for a in ((1.0,), (0.5, -1.0, 0.75)))
    return Recorded(batches=(((retrieval,), (one,)), ((nothing,), (three,))))


def played(policy: str, config: GrpoConfig, *, ray: bool) -> tuple[BatchSource, Pool]:
    """Real rollouts in the embedded world: by Ray workers, or in this process."""
    spec = WorkerSpec(
        model_path=policy,
        model=ModelConfig(),
        world=WORLD,
        retriever=RetrieverConfig(kind="bm25"),
        env=ENV,
        rollout=ROLLOUT,
    )
    pool: Pool = RayPool(spec) if ray else LocalPool(spec)
    tasks, count = build_world(WORLD).tasks("train", 100, 1), config.tasks_per_batch
    source = RolloutSource(
        pool=pool,
        tasks=lambda batch: tasks[batch * count : (batch + 1) * count],
        sampling=SAMPLING,
        rollout=ROLLOUT,
        rewards=RewardConfig(),
        config=config,
        seed=3,
    )
    return ahead(source, config), pool


def grpo_trainer(
    model: Any, tokenizer: Any, source: BatchSource | None, config: GrpoConfig, out: Path, **others: Any
) -> DecoupledGrpoTrainer:
    """The trainer under test; its log is `metrics.jsonl` in `out`, and `logged` in memory."""
    logged: list[Mapping[str, float]] = []

    def log(number: int, metrics: Mapping[str, float]) -> None:
        logged.append(dict(metrics))
        out.mkdir(parents=True, exist_ok=True)
        with (out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"batch": number, **metrics}) + "\n")

    others = {"temperature": 1.0, "seed": 7, **others}
    trainer = DecoupledGrpoTrainer(
        model=model, tokenizer=tokenizer, source=source, config=config, out=out / "checkpoints", log=log, **others
    )
    trainer.logged = logged
    return trainer


class DieAt(TrainerCallback):
    """The process is killed, as by the kernel when memory runs out, when it is about to begin update `number`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The Trainer's hook."""
        if state.global_step == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def run(
    policy: str,
    out: Path,
    config: GrpoConfig,
    *,
    rollouts: str = "recorded",
    lora: bool = False,
    die_at: int | None = None,
) -> dict[str, Tensor]:
    """Train from `policy`, from the last checkpoint in `out` where there is one; returns the final parameters."""
    torch.set_num_threads(1)
    tokenizer, model = load_tokenizer(policy), load_model(policy, ModelConfig(lora=lora))
    source: BatchSource | None = None
    pool: Pool | None = None
    if int(os.environ.get("RANK", "0")) == 0:
        if rollouts == "recorded":
            source = recorded(load_model(policy, ModelConfig()))
        else:
            source, pool = played(policy, config, ray=rollouts == "ray")
    temperature = 1.0 if rollouts == "recorded" else ROLLOUT.temperature
    try:
        trainer = grpo_trainer(model, tokenizer, source, config, out, temperature=temperature)
        if die_at is not None:
            trainer.add_callback(DieAt(die_at))
        start = last_checkpoint(out / "checkpoints")
        trainer.train(resume_from_checkpoint=str(start) if start else None)
        final = full_weights(trainer.accelerator.unwrap_model(trainer.model))
    finally:
        if pool is not None:
            pool.close()
    if trainer.accelerator.is_main_process:
        save_file({name: tensor.contiguous() for name, tensor in final.items()}, out / "final.safetensors")
    return final


def main() -> None:
    """One rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("policy")
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=json.loads, default={}, help="JSON of GrpoConfig")
    parser.add_argument("--rollouts", choices=("recorded", "local", "ray"), default="recorded")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--die-at", type=int)
    args = parser.parse_args()
    run(
        args.policy,
        args.out,
        GrpoConfig(**args.config),
        rollouts=args.rollouts,
        lora=args.lora,
        die_at=args.die_at,
    )
    exit_rank(0)


if __name__ == "__main__":
    main()
