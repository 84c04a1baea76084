"""The policy and how its rollouts are collected, as configuration."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from envs.chat_client import ChatConfig
from retriever.base.errors import UserError

NO_TRAINING = (
    "rollout.engine=openai: a server gives no token ids and takes no weights, so it can be evaluated (toolscout eval), "
    "not trained; give rollout.engine=transformers or vllm"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The policy: the shipped nano base, or any Hugging Face causal LM by path or Hub name."""

    path: str = "nano"
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: bool = False
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.lora_rank < 1:
            raise UserError(f"model.lora_rank={self.lora_rank} is below 1; give e.g. 16")
        if self.lora_alpha < 1:
            raise UserError(f"model.lora_alpha={self.lora_alpha} is below 1; give e.g. 32")
        if "lm_head" in self.lora_targets:
            raise UserError("model.lora_targets names lm_head, which TRL cannot train through LoRA; remove it")


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmConfig:
    """vLLM, where it generates: its own environment, and what it may take."""

    python: str = ".venv-vllm/bin/python"  # its environment's interpreter; relative to the repository
    memory_share: float = 0.5  # of a GPU's memory, for its weights and its cache together
    cpu_cache_gib: int = 1  # keys and values, where there is no GPU
    eager: bool = True  # false: compiles and captures CUDA graphs for minutes, then decodes faster

    def __post_init__(self) -> None:
        if not self.python:
            raise UserError("rollout.vllm.python is empty; give the interpreter of vLLM's environment")
        if not 0 < self.memory_share <= 1:
            raise UserError(f"rollout.vllm.memory_share={self.memory_share} is no share; give e.g. 0.5")
        if self.cpu_cache_gib < 1:
            raise UserError(f"rollout.vllm.cpu_cache_gib={self.cpu_cache_gib} is below 1; give e.g. 4")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A server of OpenAI's chat protocol whose model is evaluated; how much it writes is `rollout.max_new_tokens`."""

    base_url: str  # up to the version: http://127.0.0.1:8000/v1
    model: str  # the name that the server knows it by
    api_key_variable: str | None = None  # the environment variable that holds the key; the key is in no config
    timeout_s: float = 120.0  # of one try
    retries: int = 4  # after a connection that failed, a try that took too long, HTTP 429 or 5xx

    def __post_init__(self) -> None:
        self.chat()

    def chat(self) -> ChatConfig:
        """For the client. Raises UserError for what it cannot take."""
        return ChatConfig(
            base_url=self.base_url,
            model=self.model,
            api_key_variable=self.api_key_variable,
            timeout_s=self.timeout_s,
            retries=self.retries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """Ray workers, sampling and limits."""

    # transformers: the reference, anywhere; vllm: faster on a GPU; openai: somebody's server, to evaluate its model
    engine: Literal["transformers", "vllm", "openai"] = "transformers"
    vllm: VllmConfig = field(default_factory=VllmConfig)
    server: ServerConfig | None = None  # of engine=openai
    workers: int = 2
    threads_per_worker: int = 1
    gpus_per_worker: float = 0.0
    # split: workers have `devices` to themselves; colocated: they and the trainer take turns on the trainer's
    placement: Literal["split", "colocated"] = "split"
    devices: tuple[int, ...] = ()  # GPUs of this machine for the workers; trainer ranks take 0, 1, …
    ray_address: str | None = None  # HOST:PORT of a cluster to join; None: one of its own, on loopback
    # broadcast: from trainer to workers, by NCCL where each has a GPU of its own, else by gloo
    weight_transport: Literal["object_store", "broadcast"] = "object_store"
    heartbeat_timeout_s: float = 120.0  # a worker silent for longer is replaced; an engine step may block its answer
    start_timeout_s: float = 600.0  # without any worker for so long the run stops
    max_concurrent: int = 64  # episodes that decode together in one worker; KV memory grows with it
    max_context: int = 2048  # tokens
    kv_cache_gb: float = 0.0  # of keys and values in one worker; 0: as much as max_concurrent contexts take
    prefill_tokens: int = 2048  # computed between two decode steps at the most; longer prompts are cut into chunks
    cuda_graphs: bool = True  # for decoding, on a GPU
    max_new_tokens: int = 128  # per turn
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    # of engine=transformers on the CPU: passes are padded so that tokens do not depend on batch neighbours
    deterministic: bool = True
    # What is ours to answer for: while a call is out, whose tool has env.call_timeout_s, both stand still.
    turn_timeout_s: float = 180.0  # from the request to the observation; a retriever's service is waited for for 120
    episode_timeout_s: float = 300.0
    infra_retries: int = 1  # whole-episode retries after a failure of ours
    max_lost_share: float = 0.1  # of a batch's episodes; more of them lost to failures of ours stop the run

    def __post_init__(self) -> None:
        for name in (
            "workers",
            "threads_per_worker",
            "max_concurrent",
            "max_context",
            "max_new_tokens",
            "prefill_tokens",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"rollout.{name}={getattr(self, name)} is below 1; give a positive number")
        for name in ("gpus_per_worker", "infra_retries", "kv_cache_gb"):
            if not getattr(self, name) >= 0:
                raise UserError(f"rollout.{name}={getattr(self, name)} is negative; give 0 or more")
        for name, example in (
            *(("turn_timeout_s", 180), ("episode_timeout_s", 300)),
            *(("heartbeat_timeout_s", 120), ("start_timeout_s", 600)),
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"rollout.{name}={getattr(self, name)} is not positive and finite; give e.g. {example}")
        self._check_devices()
        self._check_engine()
        if not 0 <= self.max_lost_share < 1:
            raise UserError(f"rollout.max_lost_share={self.max_lost_share} is not a share below 1; give e.g. 0.1")
        if self.max_new_tokens >= self.max_context:
            raise UserError(
                f"rollout.max_new_tokens={self.max_new_tokens} does not fit "
                f"rollout.max_context={self.max_context}; lower it"
            )
        if self.temperature <= 0:
            raise UserError(f"rollout.temperature={self.temperature}: training rollouts must sample; give e.g. 1.0")
        if (self.top_p, self.top_k, self.min_p) != (1.0, 0, 0.0):
            raise UserError(
                "rollout.top_p, top_k and min_p must stay 1.0, 0 and 0.0 for training: the behaviour log-probs of a "
                "truncated distribution are not the policy's"
            )

    def _check_devices(self) -> None:
        if len(set(self.devices)) < len(self.devices) or any(device < 0 for device in self.devices):
            raise UserError(f"rollout.devices={list(self.devices)}: give each GPU once, by its number from 0")
        if self.ray_address is not None and not re.fullmatch(r"[^\s:]+:\d{1,5}", self.ray_address):
            raise UserError(f"rollout.ray_address={self.ray_address}: expected HOST:PORT of a cluster's head")
        if self.ray_address is not None and (self.devices or self.placement == "colocated"):
            raise UserError(
                f"rollout.ray_address={self.ray_address}: a cluster that is joined gives out its own devices; leave "
                "rollout.devices empty and rollout.placement=split"
            )
        if self.devices and not self.gpus_per_worker:
            raise UserError(
                f"rollout.devices={list(self.devices)} with rollout.gpus_per_worker=0, which uses no GPU; give e.g. 1.0"
            )
        wanted = self.workers * self.gpus_per_worker
        if self.devices and wanted > len(self.devices):
            raise UserError(
                f"rollout.workers={self.workers} × rollout.gpus_per_worker={self.gpus_per_worker:g} asks for "
                f"{wanted:g} GPUs, rollout.devices names {len(self.devices)}; lower either, or name more"
            )

    def _check_engine(self) -> None:
        if (self.engine == "openai") != (self.server is not None):
            raise UserError(
                f"rollout.engine={self.engine} and rollout.server={self.server}: engine=openai asks a server, and no "
                "other does; give both rollout.engine=openai and rollout.server.base_url and model, or neither"
            )
        if self.engine == "openai" and self.weight_transport != "object_store":
            raise UserError(
                f"rollout.weight_transport={self.weight_transport} with rollout.engine=openai: a server takes no "
                "weights; leave rollout.weight_transport out"
            )
        if self.engine == "vllm" and self.gpus_per_worker > 1:
            raise UserError(
                f"rollout.gpus_per_worker={self.gpus_per_worker:g}: a worker's vLLM runs on one GPU; give at most 1, "
                "and more rollout.workers"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """How many episodes a task gets, and which of them may execute."""

    group_size: int = 5
    # gold: only a selection that holds every gold tool executes; off: any valid one; closed: none, retrieval alone
    gate: Literal["gold", "off", "closed"] = "gold"
    execution_group: Literal["survivors", "refill"] = "survivors"
    hidden: frozenset[str] = frozenset()  # ids of tools that no search shows: held out of training

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise UserError(f"group_size={self.group_size} is below 1; give at least 2 for training")
