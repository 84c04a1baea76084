"""What `--dry-run` prints: stages, tokens, placement and memory of a run, and its config. Estimates, not promises.

Every line but the config's is a YAML comment, so that the output is itself a config.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.load import dump_yaml
from configs.schema import RunConfig
from envs.worlds.world import build_world
from launch.manifest import memory_bytes, usable_cores
from launch.run_folder import folder_of, folder_state
from train.config import zero_stage
from train.nano.base import BASE

STAGES = {
    "quickstart": "world, expert, SFT, GRPO, an evaluation after each of {stages}, export, report",
    "study": "the quickstart's, more SFT instead of RL, SFT on a competent expert; below: one seed's quickstart",
    "sft": "world, expert, SFT",
    "grpo": "world, GRPO from model.path",
    "eval": "world, evaluation of model.path",
    "rollouts collect": "world, GRPO's generation batches played by model.path and recorded",
}
EXPERT_TOKENS = 260  # sampled by the policy in one expert episode, both phases; measured on the embedded world
TURNS = 5  # of a typical episode: two searches, a selection, a call, an answer
WORKER_BASE_BYTES = 0.6e9  # a Ray worker with torch imported and nothing loaded
VLLM_BASE_BYTES = 0.8e9  # vLLM's process beside it, with nothing loaded; measured, the CPU build

# Parameters (billions), layers, hidden size, bytes of KV cache a token in bfloat16; from each model's config.json.
_QWEN3 = {
    "0.6b": (0.6, 28, 1024, 114_688),
    "1.7b": (1.7, 28, 2048, 114_688),
    "4b": (4.0, 36, 2560, 147_456),
    "8b": (8.2, 36, 4096, 147_456),
    "14b": (14.8, 40, 5120, 163_840),
    "32b": (32.8, 64, 5120, 262_144),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What memory depends on."""

    parameters: int
    layers: int
    hidden: int
    kv_bytes: int  # a token, in bfloat16


def launched_ranks() -> int:
    """The processes that the launcher said it would start."""
    return int(os.environ.get("TOOLSCOUT_WORLD_SIZE", "1"))


def plan_text(command: str, config: RunConfig) -> str:
    """The plan as YAML comments, and the config under it."""
    shape = model_shape(config.model.path)
    lines = [
        f"toolscout {command}: the plan; nothing was run",
        f"folder     {folder_of(config)} ({folder_state(config)})",
        f"stages     {STAGES[command].format(stages=', '.join(config.evaluation.stages) or 'none')}",
        f"model      {_model_line(config, shape)}",
        f"engine     {_engine_line(config)}",
        *_token_lines(command, config),
        *_placement_lines(config),
        *_memory_lines(config, shape),
    ]
    return "".join(f"# {line}\n" for line in lines) + dump_yaml(config)


def _model_line(config: RunConfig, shape: ModelShape | None) -> str:
    size = "size unknown until it is loaded" if shape is None else f"about {_amount(shape.parameters)} parameters"
    how = f"LoRA of rank {config.model.lora_rank}" if config.model.lora else "all weights trained"
    return f"{config.model.path}: {size}, {config.model.dtype}, {how}"


def _engine_line(config: RunConfig) -> str:
    rollout = config.rollout
    if rollout.server is not None:
        return f"{rollout.server.model} at {rollout.server.base_url} plays; model.path gives the tokenizer that counts"
    if rollout.engine == "vllm":
        return f"vllm by {rollout.vllm.python}; rollout.deterministic is not kept"
    return "transformers, deterministic" if rollout.deterministic else "transformers"


def _token_lines(command: str, config: RunConfig) -> Iterator[str]:
    grpo, sampled = config.grpo, config.rollout.max_new_tokens
    if command in ("quickstart", "study", "sft"):
        yield f"SFT        about {_amount(config.sft.tasks * config.sft.epochs * EXPERT_TOKENS)} trained tokens"
    if grpo.records is not None and command in ("quickstart", "study", "grpo"):
        yield f"GRPO       {grpo.max_steps} batches recorded in {grpo.records}; none is played"
    elif command in ("quickstart", "study", "grpo", "rollouts collect"):
        episodes = grpo.max_steps * grpo.tasks_per_batch * grpo.group_size
        turns = config.env.max_search_rounds + 1 + config.env.max_calls + 1
        yield (
            f"GRPO       {grpo.max_steps} batches, {_amount(episodes)} episodes, about "
            f"{_amount(episodes * TURNS * sampled / 3)} sampled tokens, at most {_amount(episodes * turns * sampled)}"
        )
    if command in ("quickstart", "study", "eval"):
        stages = 1 if command == "eval" else len(config.evaluation.stages)
        yield f"evaluation {_evaluated(config) * stages} episodes"


def _evaluated(config: RunConfig) -> int:
    """Tasks of all splits: the embedded world makes as many as are wanted, of files there are so many."""
    splits, most = config.evaluation.splits, config.evaluation.tasks_per_split
    if config.world.kind == "embedded":
        return len(splits) * most
    world = build_world(config.world)
    return sum(len(world.tasks(split, most, 0)) for split in splits)


def _placement_lines(config: RunConfig) -> Iterator[str]:
    ranks, rollout = launched_ranks(), config.rollout
    gpus = rollout.workers * rollout.gpus_per_worker
    where = f"{gpus:g} GPUs" if gpus else f"{rollout.workers * rollout.threads_per_worker} threads"
    if rollout.devices:
        where += f" ({', '.join(map(str, rollout.devices))})"
    if rollout.ray_address is not None:
        where += f" of the cluster at {rollout.ray_address}"
    yield (
        f"placement  {rollout.placement}: {ranks} trainer rank(s), on GPU 0 and up where there are any; "
        f"{rollout.workers} Ray workers on {where}; {usable_cores()} cores here"
    )
    if lag := config.grpo.max_policy_lag:
        yield f"overlap    rollouts go on during updates, with weights at most {lag} batch(es) old"
    if rollout.ray_address is not None:
        return
    seen = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if gpus > seen:
        yield f"warning    {seen} GPUs are seen here; on such a machine this config cannot be run"
    if not gpus and rollout.workers * rollout.threads_per_worker > usable_cores():
        yield "warning    more rollout threads than cores; lower rollout.workers or rollout.threads_per_worker"


def _memory_lines(config: RunConfig, shape: ModelShape | None) -> Iterator[str]:
    if shape is None:
        yield "memory     unknown: the model's size is not known before it is loaded"
        return
    trainer, worker = trainer_bytes(config, shape), worker_bytes(config, shape)
    here = memory_bytes()
    yield (
        f"memory     a trainer rank about {trainer / 1e9:.1f} GB, each of {config.rollout.workers} workers about "
        f"{worker / 1e9:.1f} GB; this machine has {here / 1e9:.1f} GB"
    )
    if config.rollout.gpus_per_worker == 0 and trainer + config.rollout.workers * worker > here:
        yield "warning    that does not fit; lower rollout.max_concurrent, grpo.micro_batch or rollout.workers"
    cache, context = config.rollout.kv_cache_gb * 1e9, config.rollout.max_context * _kv_bytes(config, shape)
    if config.rollout.engine == "transformers" and 0 < cache < context:
        yield (
            f"warning    rollout.kv_cache_gb={cache / 1e9:g} has no room for one context of "
            f"{config.rollout.max_context} tokens, {context / 1e9:.2g} GB; no worker starts with it"
        )


def trainer_bytes(config: RunConfig, shape: ModelShape) -> float:
    """Weights, gradients, optimizer state and activations of one rank."""
    width = 2 if config.model.dtype == "bfloat16" else 4
    # An adapter of rank 16 on every linear layer is 0.8% of a 4B model.
    trained = shape.parameters * (0.008 * config.model.lora_rank / 16 if config.model.lora else 1.0)
    weights, gradients = float(shape.parameters * width), trained * width
    # Adam's two moments; DeepSpeed keeps them, and a copy of the weights, in fp32 beside bfloat16
    state = trained * (12 if config.grpo.deepspeed and width == 2 else 2 * width)
    ranks, stage = launched_ranks(), zero_stage(config.grpo.deepspeed)
    weights /= ranks if stage == 3 else 1
    gradients /= ranks if stage >= 2 else 1
    state /= ranks if stage >= 1 else 1
    tokens = config.grpo.micro_batch * config.rollout.max_context
    kept = 2 if config.model.gradient_checkpointing else 34  # activations a token, layer and channel (Korthikanti 2022)
    return weights + gradients + state + tokens * shape.layers * shape.hidden * kept * width / 2


def worker_bytes(config: RunConfig, shape: ModelShape) -> float:
    """Weights and the KV cache of one rollout worker: as large as it may be, or of as many contexts as may be full."""
    width = 2 if config.model.dtype == "bfloat16" else 4
    rollout = config.rollout
    if rollout.engine == "openai":
        return WORKER_BASE_BYTES
    if rollout.engine == "vllm":
        cache_bytes = rollout.vllm.cpu_cache_gib * 2**30
        return WORKER_BASE_BYTES + VLLM_BASE_BYTES + shape.parameters * width + cache_bytes
    full = rollout.max_concurrent * rollout.max_context * _kv_bytes(config, shape)
    cache = min(full, rollout.kv_cache_gb * 1e9 or full)
    return WORKER_BASE_BYTES + shape.parameters * width + cache


def _kv_bytes(config: RunConfig, shape: ModelShape) -> float:
    """Of a token, as wide as the model's numbers are."""
    return shape.kv_bytes * (1 if config.model.dtype == "bfloat16" else 2)


def model_shape(path: str) -> ModelShape | None:
    """The shape of a model folder, or of a known Hub name; None when it cannot be known offline."""
    folder = BASE if path == "nano" else Path(path).expanduser()
    if (folder / "config.json").is_file():
        return _shape_of(json.loads((folder / "config.json").read_text()))
    match = re.search(r"qwen3-([\d.]+b)", path.lower())
    if match is None or match[1] not in _QWEN3:
        return None
    billions, layers, hidden, kv_bytes = _QWEN3[match[1]]
    return ModelShape(parameters=int(billions * 1e9), layers=layers, hidden=hidden, kv_bytes=kv_bytes)


def _shape_of(config: dict[str, Any]) -> ModelShape | None:
    try:
        layers, hidden, heads = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
        inner, vocabulary = config["intermediate_size"], config["vocab_size"]
    except KeyError:  # another family's spelling
        return None
    kv_heads, head = config.get("num_key_value_heads", heads), config.get("head_dim") or hidden // heads
    attention = hidden * head * (2 * heads + 2 * kv_heads)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    parameters = embeddings + layers * (attention + 3 * hidden * inner)
    return ModelShape(parameters=parameters, layers=layers, hidden=hidden, kv_bytes=4 * layers * kv_heads * head)


def _amount(number: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"
