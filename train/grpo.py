"""Decoupled GRPO on top of TRL's trainer.

TRL brings the model wrapping, the optimizer, the launchers, the clipped token-level loss and its metrics. Ours is what
it has no room for: batches whose number of sequences varies with the gate, several objectives with their own token
counts, one optimizer step for each, and no step at all for an objective that has nothing to learn.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback

from retriever.base.bars import without_bars
from retriever.base.errors import IntegrityError
from rollout.weights import weight_update
from train.batches import Batch, micro_batches
from train.config import GrpoConfig, deepspeed_file
from train.distributed import check_world_size, full_weights, on_first_rank, reduced_max, reduced_sum
from train.source import BatchSource, GenerationBatch, updates_per_batch
from train.trl_api import GRPOConfig, GRPOTrainer, one_device, score_labelled_positions_alone

BatchLog = Callable[[int, Mapping[str, float]], None]
"""Called on rank 0 with (1-based number of the finished generation batch, its metrics)."""


class DecoupledGrpoTrainer(GRPOTrainer):
    """`GRPOTrainer` whose training step is one update of one generation batch."""

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: Any,
        source: BatchSource | None,  # None on every rank but the first
        config: GrpoConfig,
        temperature: float,
        out: Path,
        seed: int,
        log: BatchLog | None = None,
        bf16: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        self._config = config
        self._source = source
        self._batch_log = log
        self._updates = updates_per_batch(config)
        self._batch: GenerationBatch | None = None
        self._batch_metrics: dict[str, float] = {}
        self._micro: list[list[Batch]] = []
        self._gap = _Gap()
        self._logprobs_of_loss: Tensor | None = None
        self._old_logprobs: dict[int, Tensor] = {}
        self._skip_update = False
        self._stale = False  # whether the batch was sampled by older weights than it trains
        self.optimizer: Any
        self.lr_scheduler: Any
        arguments = one_device(grpo_arguments(config, temperature=temperature, out=out, seed=seed, bf16=bf16))
        arguments.gradient_checkpointing = gradient_checkpointing
        steps = config.max_steps * self._updates
        score_labelled_positions_alone()
        super().__init__(
            model=model,
            reward_funcs=[_never_called],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [""] * max(2, steps)}),
            processing_class=tokenizer,
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_OnUpdateEnd(self._finish_update))
        check_world_size(self.accelerator.num_processes)

    # --- what the Trainer's loop calls -------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One empty item per update: what is trained comes from the source."""
        items: Any = [{}] * (self._config.max_steps * self._updates)
        return DataLoader(items, batch_size=1, collate_fn=lambda items: {})

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: items are empty."""
        return 0

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **kwargs)
        # The loop steps both unconditionally. A zero gradient is not "no update": Adam's momentum would still move the
        # weights. (Under DeepSpeed the engine steps in `backward`, which a skipped update never reaches.)
        self.optimizer = _Skippable(self.optimizer, lambda: self._skip_update)
        self.lr_scheduler = _Skippable(self.lr_scheduler, lambda: self._skip_update)
        return prepared

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One update: every micro-batch of its objectives, gradients synchronised on the last."""
        number, update = divmod(self.state.global_step, self._updates)
        if update == 0:
            self._begin_batch(model, number)
        assert self._batch is not None
        assert self._batch.index == number
        started = perf_counter()
        micro = self._micro[update]
        self._skip_update = not micro
        for objective in self._batch.updates[update]:
            skipped = f"update/skipped_{objective.objective.value}"
            self._batch_metrics[skipped] = float(not objective.segments)
        model.train()
        total = torch.zeros((), device=self.accelerator.device)
        for position, batch in enumerate(micro):
            last = position == len(micro) - 1
            self.accelerator.gradient_state._set_sync_gradients(last)
            with contextlib.nullcontext() if last or self.is_deepspeed_enabled else self.accelerator.no_sync(model):
                loss = self._compute_loss(model, self._inputs(batch))
                if update == 0 and self._config.ratio == "engine":
                    self._gap.add(batch, self._logprobs_of_loss)
                    if last:
                        self._check_gap()  # before `backward`, in which a DeepSpeed engine steps
                self.accelerator.backward(loss, **({"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}))
            total += loss.detach()
        self.accelerator.gradient_state._set_sync_gradients(True)
        self._step += 1
        name = "_".join(objective.objective.value for objective in self._batch.updates[update])
        self._batch_metrics[f"time/update_{name}_s"] = perf_counter() - started
        self._batch_metrics[f"loss/{name}"] = reduced_sum(float(total)) / self.accelerator.num_processes
        for what, values in self._metrics["train"].items():  # a mean over micro-batches; TRL's are means over tokens
            if finite := [value for value in values if value == value]:
                self._batch_metrics[f"policy/{what}/{name}"] = sum(finite) / len(finite)
        self._metrics["train"].clear()
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Metrics go to `log` once a generation batch, not through the Trainer's reporting."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with without_bars():
            super(GRPOTrainer, self)._save_checkpoint(model, trial)  # TRL's writes a model card of its own into each

    # --- one generation batch ----------------------------------------------------------------------------------------

    def _begin_batch(self, model: Any, number: int) -> None:
        started = perf_counter()
        unwrapped = self.accelerator.unwrap_model(model)
        weights = full_weights(unwrapped)  # collective under ZeRO-3

        def roll_out() -> GenerationBatch:
            assert self._source is not None
            return self._source.batch(number, weight_update(number, weights))

        self._batch = on_first_rank(roll_out)
        lags = policy_lags(self._batch.versions, number, limit=self._config.max_policy_lag)
        self._stale = lags["rollout/policy_lag_max"] > 0
        self._micro = [
            [
                batch
                for objective in update
                for batch in micro_batches(
                    objective.segments,
                    rank=self.accelerator.process_index,
                    world_size=self.accelerator.num_processes,
                    rows=self._config.micro_batch,
                    pad_id=self.pad_id,
                )
            ]
            for update in self._batch.updates
        ]
        self._batch_metrics = {**self._batch.metrics, **lags}
        rolled_out = perf_counter()
        self._measure_gap(model)
        self._batch_metrics["time/generation_s"] = rolled_out - started
        self._batch_metrics["time/gap_s"] = perf_counter() - rolled_out

    @property
    def pad_id(self) -> int:
        """Masked everywhere; never told from real tokens by its value."""
        return int(self._tokenizer.pad_token_id)

    def _measure_gap(self, model: Any) -> None:
        """Begin to measure how far trainer and engine are apart before the batch's first update.

        The first update's own forward pass tells it of what that trains. What later updates train is run here, ahead of
        the first, and under `ratio: recompute`, whose loss needs these log-probs, so is everything.
        """
        self._gap, self._old_logprobs = _Gap(), {}
        recompute = self._config.ratio == "recompute"
        model.train()  # the mode of the update; no layer here has dropout
        for batch in (batch for update in self._micro[0 if recompute else 1 :] for batch in update):
            with torch.no_grad():
                logprobs = self._trl_logprobs(model, self._inputs(batch))
            self._gap.add(batch, logprobs)
            if recompute:
                self._old_logprobs[id(batch)] = logprobs
        if recompute or not self._micro[0]:
            self._check_gap()

    def _check_gap(self) -> None:
        """Log the gap over all ranks; raises IntegrityError where it is more than the config allows.

        Of a batch that other weights played, older ones or none of this run's, it is how far the policy is from those,
        and may be anything finite.
        """
        assert self._batch is not None
        others = self._stale or self._batch.foreign
        gap = self._gap
        largest, total, count = reduced_max(gap.largest), reduced_sum(gap.total), int(reduced_sum(gap.count))
        limited = self._config.ratio == "engine" and not others
        if not math.isfinite(largest) or (limited and largest > self._config.max_engine_gap):
            raise IntegrityError(
                f"trainer and engine disagree by {largest:.2e} nats on a sampled token, more than "
                f"grpo.max_engine_gap={self._config.max_engine_gap:g}; find the difference, or set grpo.ratio=recompute"
            )
        what = "policy/drift" if others else "engine/gap"
        self._batch_metrics |= {f"{what}_max": largest, f"{what}_mean": total / count if count else 0.0}

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._logprobs_of_loss = found[0].detach()
        return found

    def _trl_logprobs(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """[B, completion] nats at the rollout temperature."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logprobs: Tensor = self._get_per_token_logps_and_entropies(model, ids, mask, inputs["completion_ids"].size(1))[
            0
        ]
        return logprobs

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """The batch under TRL's names: what no row trains is the prompt, all from there on the completion."""
        device, begin = self.accelerator.device, batch.first_trained
        ids, real = batch.ids.to(device), batch.attention_mask.to(device)
        trained, advantages, old = (
            t[:, begin:].to(device) for t in (batch.loss_mask, batch.advantages, batch.behaviour_logprobs)
        )
        if (recomputed := self._old_logprobs.get(id(batch))) is not None:
            # π_θ/π_old is clipped; a truncated π_old/π_engine is a detached weight: w·min(a, b) = min(wa, wb).
            weight = (recomputed - old).exp().clamp(max=self._config.ratio_cap)
            advantages, old = advantages * torch.where(trained.bool(), weight, 0.0), recomputed
        return {
            "prompt_ids": ids[:, :begin],
            "prompt_mask": real[:, :begin],
            "completion_ids": ids[:, begin:],
            "completion_mask": real[:, begin:],
            "tool_mask": trained,
            "advantages": advantages,
            "old_per_token_logps": old,
            "num_items_in_batch": torch.tensor(batch.token_count, device=device),
        }

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.beta != 0.0:
            inputs = {**inputs, "ref_per_token_logps": self._reference_logprobs(inputs)}
        loss: Tensor = super()._compute_loss(model, inputs)
        return loss

    def _reference_logprobs(self, inputs: Mapping[str, Any]) -> Tensor:
        """The initial policy's: LoRA's base, or TRL's frozen copy."""
        with torch.no_grad():
            if self.ref_model is not None:
                return self._trl_logprobs(self.ref_model, inputs)
            with self.accelerator.unwrap_model(self.model).disable_adapter():
                return self._trl_logprobs(self.model, inputs)

    def _finish_update(self) -> None:
        """After each optimizer step; after a batch's last one its metrics are logged."""
        number, update = divmod(self.state.global_step, self._updates)
        if update != 0:
            return
        self._batch_metrics["learning_rate"] = float(self.lr_scheduler.get_last_lr()[0])
        if self._batch_log is not None and self.accelerator.is_main_process:
            self._batch_log(number, self._batch_metrics)


def policy_lags(versions: Mapping[int, int], trained: int, *, limit: int) -> dict[str, float]:
    """How many versions the sampled tokens (version → count) are behind `trained`: the most, and the mean over tokens.

    Raises IntegrityError for a token older than `limit`, or of a version that is not there yet.
    """
    lags = {trained - version: count for version, count in versions.items() if count}
    if wrong := [lag for lag in lags if not 0 <= lag <= limit]:
        raise IntegrityError(
            f"generation batch {trained + 1} holds tokens sampled with policy version {trained - wrong[0]}, on which "
            f"version {trained} may not be trained with grpo.max_policy_lag={limit}"
        )
    total = sum(lags.values())
    mean = sum(lag * count for lag, count in lags.items()) / total if total else 0.0
    return {"rollout/policy_lag_max": float(max(lags, default=0)), "rollout/policy_lag_mean": mean}


class _Gap:
    """How far the trainer's log-probs of sampled tokens are from the engine's, in nats."""

    def __init__(self) -> None:
        self.largest, self.total, self.count = 0.0, 0.0, 0

    def add(self, batch: Batch, logprobs: Tensor | None) -> None:
        """Take in a micro-batch; `logprobs` [B, completion]: the trainer's."""
        assert logprobs is not None
        behaviour, trained = (
            t[:, batch.first_trained :].to(logprobs.device) for t in (batch.behaviour_logprobs, batch.loss_mask)
        )
        apart = (logprobs - behaviour).abs().nan_to_num(nan=math.inf, posinf=math.inf)
        apart = torch.where(trained.bool(), apart, 0.0)
        self.largest = max(self.largest, float(apart.max()))
        self.total, self.count = self.total + float(apart.sum()), self.count + int(trained.sum())


class _Skippable:
    """An optimizer or scheduler whose `step` does nothing while `skip()` holds; in all else the wrapped one."""

    def __init__(self, wrapped: Any, skip: Callable[[], bool]) -> None:
        self._wrapped, self._skip = wrapped, skip

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """The wrapped step, or nothing."""
        return None if self._skip() else self._wrapped.step(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class _OnUpdateEnd(TrainerCallback):
    """Calls back after every optimizer step, skipped ones included."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer's hook."""
        self._call()


def grpo_arguments(config: GrpoConfig, *, temperature: float, out: Path, seed: int, bf16: bool) -> Any:
    """TRL's arguments for one update per step; saves fall on generation-batch boundaries."""
    updates = updates_per_batch(config)
    return GRPOConfig(
        output_dir=str(out),
        seed=seed,
        max_steps=config.max_steps * updates,
        learning_rate=config.lr,
        lr_scheduler_type={"constant": "constant", "linear": "linear", "cosine": "cosine"}[config.schedule]
        if not (config.schedule == "constant" and config.warmup_steps)
        else "constant_with_warmup",
        warmup_steps=config.warmup_steps * updates,
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_eps,
        per_device_train_batch_size=2,  # TRL's own batching is unused, but must divide
        num_generations=2,
        generation_batch_size=None,
        steps_per_generation=1,
        gradient_accumulation_steps=1,
        temperature=temperature,
        loss_type=config.loss,
        epsilon=config.clip_low,
        epsilon_high=config.clip_high if config.loss == "dapo" else 1 + config.clip_high,  # TRL's cispo caps the ratio
        beta=config.beta,
        scale_rewards=False,
        disable_dropout=True,
        save_strategy="steps",
        save_steps=config.save_every * updates,
        save_total_limit=config.keep_checkpoints,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        bf16=bf16,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=False,  # `load_model` has switched it on where it is wanted
        ignore_data_skip=True,  # a batch is a function of its index; there is no data to skip
        ddp_timeout=4 * 3600,  # other ranks wait while rank 0 rolls out
        deepspeed=None if config.deepspeed is None else deepspeed_file(config.deepspeed),
        remove_unused_columns=False,
    )


def _never_called(**_: Any) -> list[float]:
    raise AssertionError("rewards are computed by the batch source")
