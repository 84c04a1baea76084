"""The cold start: supervised fine-tuning on trajectories, through TRL, on the very ids that the renderer wrote.

Nothing is tokenised here. Loss falls on the policy's tokens only; a segment whose trajectory went wrong is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from envs.types import StopReason
from rollout.types import TaskRollouts
from train.config import SftConfig
from train.segments import Objective, Segment, segments_of
from train.trl_api import SFTConfig, SFTTrainer, one_device, score_labelled_positions_alone

StepLog = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step with (1-based step, steps in all, metrics)."""


def sft_segments(rollouts: Sequence[TaskRollouts]) -> list[Segment]:
    """Both phases of every rollout that ended as it should, as one segment per context."""
    segments: list[Segment] = []
    for task in rollouts:
        for trajectory in task.retrieval:
            if trajectory.stop is StopReason.SELECTED:
                segments += segments_of(trajectory, Objective.RETRIEVAL)
        for execution in task.executions:
            if execution.stop is StopReason.ANSWERED:
                segments += segments_of(execution, Objective.EXECUTION)
    return segments


def run_sft(
    *,
    model: Any,
    tokenizer: Any,
    segments: Sequence[Segment],
    config: SftConfig,
    out: Path,
    seed: int,
    log: StepLog | None = None,
    bf16: bool = False,
) -> Any:
    """Train `model` on `segments` and return it, in place. `bf16`: compute in it, over fp32 weights."""
    score_labelled_positions_alone()
    dataset = Dataset.from_dict(
        {
            "input_ids": [list(segment.ids) for segment in segments],
            "assistant_masks": [[int(acts) for acts in segment.action_mask] for segment in segments],
        }
    )
    trainer = SFTTrainer(
        model=model,
        args=one_device(_arguments(config, out, seed, bf16)),
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[_StepLogger(log)] if log else [],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model


def _arguments(config: SftConfig, out: Path, seed: int, bf16: bool) -> Any:
    return SFTConfig(
        output_dir=str(out),
        seed=seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.lr,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup,  # below 1: a share of the steps
        weight_decay=config.weight_decay,
        max_length=None,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        logging_steps=5,
        report_to=[],
        disable_tqdm=True,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=False,  # `load_model` has switched it on where it is wanted
    )


class _StepLogger(TrainerCallback):
    """Hands the Trainer's own logs on."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The Trainer's hook."""
        metrics = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
        self._log(state.global_step, state.max_steps, metrics)
