"""The config of a run: every floor's own part, composed. Nothing below this folder imports it."""

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from configs.load import PRESETS, load_config
from envs.chat_client import ChatConfig
from envs.config import EnvConfig
from envs.executors.config import ExecutorConfig
from envs.making.make import MakingConfig
from envs.worlds.world import WorldConfig
from retriever.base.errors import UserError
from retriever.config import EncoderTrainingConfig, RetrieverConfig
from rewards.config import RewardConfig
from rollout.config import NO_TRAINING, ModelConfig, RolloutConfig
from train.config import EvaluationConfig, GrpoConfig, SftConfig, zero_stage
from train.tracking import TrackingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides a run. Each floor receives its own part."""

    name: str  # the run's folder is output_dir/name
    seed: int = 0
    output_dir: str = "runs"
    model: ModelConfig = field(default_factory=ModelConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise UserError(f"name={self.name!r} cannot name a folder; use letters, digits, '_', '-' and '.'")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} is negative; give 0 or more")

    @property
    def executes(self) -> bool:
        """Whether tools can be called, and not only searched and selected."""
        return self.world.executes or self.executor.executes

    def check_playable(self) -> None:
        """Raises UserError for training batches that could not be played."""
        if not self.executes and self.grpo.gate != "closed":
            raise UserError(
                f"grpo.gate={self.grpo.gate}: nothing runs the tools of world.kind={self.world.kind}; say in executor "
                "what does, or give grpo.gate=closed to train searching and selecting alone"
            )

    def check_trainable(self) -> None:
        """Raises UserError for a GRPO run that could only fail, or train nothing, later on."""
        grpo, model = self.grpo, self.model
        if self.rollout.engine == "openai":
            raise UserError(NO_TRAINING)
        if grpo.records is None:
            self.check_playable()
        if model.dtype == "bfloat16" and not model.lora and grpo.deepspeed is None:
            raise UserError(
                "model.dtype=bfloat16 with all weights trained: steps of grpo.lr would be rounded away; give "
                "model.dtype=float32 or model.lora=true, or use launch/train_deepspeed.sh, which keeps fp32 weights"
            )
        if model.dtype == "bfloat16" and model.lora and zero_stage(grpo.deepspeed) == 3:
            raise UserError("grpo.deepspeed: ZeRO-3 does not take a LoRA adapter over bfloat16 weights; give ZERO=2")

    def check_placement(self, *, ranks: int) -> None:
        """Raises UserError where trainer and workers would meet on a GPU unasked. Rank r trains on GPU r."""
        rollout, trainer = self.rollout, range(ranks)
        named = f"rollout.devices={list(rollout.devices)}"
        if rollout.placement == "colocated":
            if self.grpo.max_policy_lag:
                raise UserError(
                    f"rollout.placement=colocated with grpo.max_policy_lag={self.grpo.max_policy_lag}: workers and "
                    "trainer take turns there and cannot overlap; give grpo.max_policy_lag=0, or placement=split"
                )
            if apart := [device for device in rollout.devices if device not in trainer]:
                raise UserError(
                    f"{named}: rollout.placement=colocated shares the GPUs of {ranks} trainer rank(s), and {apart[0]} "
                    "is none of them; leave rollout.devices empty, or give rollout.placement=split"
                )
        elif rollout.gpus_per_worker and rollout.ray_address is None:
            if not rollout.devices:
                raise UserError(
                    "rollout.placement=split without rollout.devices: name the GPUs of the workers, beside those of "
                    f"{ranks} trainer rank(s), e.g. [{ranks}]; or share them with rollout.placement=colocated"
                )
            if shared := [device for device in rollout.devices if device in trainer]:
                raise UserError(
                    f"{named}: GPU {shared[0]} is a trainer rank's, of which there are {ranks}; name others, or share "
                    "them with rollout.placement=colocated"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """What `toolscout retriever …` reads: the tools, how they are searched, and the tasks whose words search them."""

    seed: int = 0
    world: WorldConfig = field(default_factory=WorldConfig)
    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)
    split: str = "test"
    max_queries: int = 1_000

    def __post_init__(self) -> None:
        if self.max_queries < 1:
            raise UserError(f"max_queries={self.max_queries} is below 1; give the number of queries, e.g. 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRunConfig(RetrievalConfig):
    """What `toolscout retriever train` reads: those, and how the encoder is fine-tuned."""

    training: EncoderTrainingConfig = field(default_factory=EncoderTrainingConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMakingConfig:
    """What `toolscout tasks make` reads: what runs the tools, what is made, and who writes."""

    env: EnvConfig = field(default_factory=EnvConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    making: MakingConfig = field(default_factory=MakingConfig)
    teacher: ChatConfig | None = None  # a language model; None: templates


def preset_names() -> list[str]:
    """The presets that ship with Toolscout."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def config_path(name: str) -> Path:
    """A preset's name (`quickstart`) or a file's path as a path. Raises UserError for neither."""
    presets = preset_names()
    if name in presets:
        return PRESETS / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.is_file():
        return path
    near = get_close_matches(path.stem, presets, n=1)
    hint = f"did you mean {near[0]}?" if near else f"presets: {', '.join(presets)}"
    raise UserError(f"config {name}: neither a file nor a preset; {hint}")


def load_run_config(name: str, overrides: list[str]) -> RunConfig:
    """The config `name` (preset or file) with `key.sub=value` overrides. Raises UserError."""
    return load_config(RunConfig, config_path(name), overrides)
