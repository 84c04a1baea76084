"""Supervised fine-tuning, GRPO and evaluation, as configuration."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retriever.base.errors import UserError
from rollout.types import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """The cold start: imitation of the scripted expert."""

    tasks: int = 600
    expert_skill: float = 0.4  # share of tasks that the expert plays well; 1.0 is the competent expert
    epochs: float = 1.0
    batch_size: int = 8  # segments
    lr: float = 5e-4
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.expert_skill <= 1:
            raise UserError(f"sft.expert_skill={self.expert_skill} is not between 0 and 1; give a share, e.g. 0.4")
        if not 0 < self.epochs < math.inf or not 0 <= self.warmup < 1 or not 0 < self.lr < math.inf:
            raise UserError(
                f"sft.epochs={self.epochs}, sft.warmup={self.warmup}, sft.lr={self.lr}: give epochs and lr above 0 "
                "and finite, and warmup as a share of the steps, from 0 to below 1"
            )
        if self.tasks < 0 or self.batch_size < 1:
            raise UserError(
                f"sft.tasks={self.tasks}, sft.batch_size={self.batch_size}: give tasks ≥ 0 and batch_size ≥ 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoConfig:
    """Decoupled multi-objective GRPO. Steps, saves and lags count generation batches."""

    max_steps: int = 40
    tasks_per_batch: int = 10
    # that a batch may draw in place of those of whose groups none has rewards that differ (dynamic sampling); 0: none
    extra_tasks: int = 0
    group_size: int = 6
    gate: Literal["gold", "off", "closed"] = "gold"  # see GroupPlan
    execution_group: Literal["survivors", "refill"] = "survivors"
    update: Literal["separated", "combined", "coupled"] = "separated"
    lr: float = 1.5e-4
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    adam_eps: float = 1e-8  # 1e-6 keeps rounding noise in near-zero gradients from becoming steps of the size of lr
    loss: Literal["dapo", "cispo"] = "dapo"
    clip_low: float = 0.2
    clip_high: float = 0.28
    beta: float = 0.0  # weight of the KL penalty to the initial policy
    ratio: Literal["engine", "recompute"] = "engine"
    ratio_cap: float = 2.0  # of the truncated π_old / π_engine under `recompute`
    max_engine_gap: float = 1e-4  # nats; `ratio: engine` beyond it stops the run
    max_policy_lag: int = 0  # batches that a rollout's weights may be behind; 1: rollouts overlap updates
    micro_batch: int = 16  # rows of one forward and backward pass
    save_every: int = 10
    keep_checkpoints: int = 2
    deepspeed: str | None = None  # path of a DeepSpeed config
    records: str | None = None  # a run, or a folder of its batch files: trained on in place of rollouts

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise UserError(f"grpo.group_size={self.group_size}: fewer than two have no baseline; give at least 2")
        for name in ("max_steps", "tasks_per_batch", "micro_batch", "save_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise UserError(f"grpo.{name}={getattr(self, name)} is below 1; give a positive number")
        if self.max_policy_lag < 0:
            raise UserError(f"grpo.max_policy_lag={self.max_policy_lag} is negative; give 0 (on-policy) or e.g. 1")
        if self.records is not None and self.max_policy_lag:
            raise UserError(f"grpo.max_policy_lag={self.max_policy_lag}: grpo.records are played already; give 0")
        if self.extra_tasks < 0:
            raise UserError(f"grpo.extra_tasks={self.extra_tasks} is negative; give 0 (none), or a cap such as 10")
        if self.update == "coupled" and (self.gate != "off" or self.execution_group == "refill"):
            raise UserError(
                "grpo.update=coupled is vanilla GRPO, which has no gate; "
                "give grpo.gate=off and grpo.execution_group=survivors"
            )
        if not 0 < self.lr < math.inf:
            raise UserError(f"grpo.lr={self.lr} is not positive and finite; give e.g. 1e-5")
        for name in (
            *("clip_low", "clip_high", "beta", "warmup_steps", "weight_decay"),
            *("max_grad_norm", "adam_eps", "ratio_cap", "max_engine_gap"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                default = type(self).__dataclass_fields__[name].default
                raise UserError(
                    f"grpo.{name}={getattr(self, name)} is negative or not finite; give 0 or more, e.g. {default}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is evaluated after each stage, and how the policy samples there: greedily, unless told otherwise."""

    splits: tuple[str, ...] = ("held_out", "unseen_paraphrases", "unseen_tools")
    tasks_per_split: int = 100
    stages: tuple[Literal["base", "sft", "rl"], ...] = ("base", "sft", "rl")
    temperature: float = 0.0  # 0: greedy, which the next three are nothing to
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()  # strings that end a turn, kept in it

    def __post_init__(self) -> None:
        if not self.splits:
            raise UserError("evaluation.splits is empty; give at least one, e.g. [held_out]")
        if self.tasks_per_split < 1:
            raise UserError(f"evaluation.tasks_per_split={self.tasks_per_split} is below 1; give a positive number")
        for name, fits, remedy in (
            ("temperature", 0 <= self.temperature < math.inf, "0 (greedy) or more, e.g. 0.7"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1, e.g. 0.8"),
            ("top_k", self.top_k >= 0, "0 (all) or more, e.g. 20"),
            ("min_p", 0 <= self.min_p <= 1, "0 (all) to 1, e.g. 0.05"),
            ("stop", all(self.stop), "strings with something in them, or []"),
        ):
            if not fits:
                raise UserError(f"evaluation.{name}={getattr(self, name)}: give {remedy}")
        if self.temperature == 0 and self.sampling(1).truncated:
            raise UserError(
                "evaluation.top_p, top_k and min_p change nothing at evaluation.temperature=0, which is greedy; "
                "give e.g. evaluation.temperature=0.7"
            )

    def sampling(self, max_new_tokens: int) -> Sampling:
        """For an engine; `max_new_tokens` per turn."""
        return Sampling(
            temperature=self.temperature,
            max_new_tokens=max_new_tokens,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            stop=self.stop,
        )


def check_enough(files: Sequence[Path], config: GrpoConfig) -> None:
    """Raises UserError when there are fewer recorded batches than steps: none is trained on twice."""
    if len(files) < config.max_steps:
        raise UserError(
            f"grpo.max_steps={config.max_steps} exceeds the {len(files)} batches recorded in {config.records}; "
            f"give grpo.max_steps={len(files)}, or collect more"
        )


def zero_stage(path: str | None) -> int:
    """The ZeRO stage of a DeepSpeed config, 0 without one. Raises UserError for a file that cannot be read."""
    if path is None:
        return 0
    try:
        return int(json.loads(Path(deepspeed_file(path)).read_text())["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"grpo.deepspeed={path}: no DeepSpeed config with zero_optimization.stage ({error})") from None


def deepspeed_file(path: str) -> str:
    """A DeepSpeed config's path; those that ship with us are found from any folder."""
    ours = Path(__file__).parents[1] / path
    return str(ours) if not Path(path).is_file() and ours.is_file() else path
