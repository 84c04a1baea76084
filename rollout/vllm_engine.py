"""Generates with vLLM, which runs in an environment and a process of its own (rollout/vllm_process.py).

Ids go in, ids and log-probs come out; no text is made here or there. What this engine promises less than
`TransformersEngine`: a request's log-probs may differ in their last bits with what shares its batch. Under truncated
sampling (top-p, top-k, min-p) its log-probs are of what is left, and min-p applies before the others.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retriever.base.errors import InfraError, IntegrityError, UserError
from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.types import Completion, FinishReason, RolloutStatus
from rollout.vllm_environment import vllm_interpreter
from rollout.vllm_link import VllmLink
from rollout.weights import WeightUpdate, check_arrived


class VllmEngine:
    """One vLLM process. `generate` may be awaited by any number of episodes; equal prefixes are computed once."""

    def __init__(
        self,
        model_path: str,
        *,
        model: ModelConfig,
        stop_ids: Sequence[int],
        config: RolloutConfig,
        policy_version: int = 0,
    ) -> None:
        """Returns when it is ready. Raises UserError without an environment for it, InfraError when it cannot start."""
        if (Path(model_path) / "adapter_config.json").is_file():
            raise UserError(f"model.path={model_path} is an adapter; vLLM starts from whole weights: merge it first")
        self.policy_version = policy_version
        self._stop_ids = list(stop_ids)
        self._places = config.max_concurrent
        self._asked = 0  # requests under way
        self.prefilled_tokens = self.decoded_tokens = self.cached_tokens = 0
        self._link = VllmLink(
            vllm_interpreter(config.vllm.python), _settings(model_path, model, config), _environment(config)
        )

    async def generate(self, request: GenerationRequest) -> Completion:
        """Sample one turn. Raises InfraError when vLLM refused it or is gone.

        Its version is the oldest that a token of it may be of: weights that arrive meanwhile are used at once.
        """
        version = self.policy_version
        number, answer = self._link.ask(self._question(request))
        self._asked += 1
        try:
            reply = await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            self._link.forget(number)
            raise
        finally:
            self._asked -= 1
        self.cached_tokens += reply["cached"]
        self.prefilled_tokens += len(request.ids) - reply["cached"]
        self.decoded_tokens += len(reply["ids"])
        return Completion(
            ids=tuple(reply["ids"]),
            logprobs=tuple(reply["logprobs"]),
            finish=FinishReason(reply["finish"]),
            policy_version=version,
        )

    def close_session(self, session: str) -> None:
        """Nothing is held for a session: vLLM finds keys and values by their tokens, and forgets the oldest."""

    def status(self) -> RolloutStatus:
        """What is asked of it and what it has done. Raises InfraError when its process is gone: it does not come back.

        Of what is asked, as many as have places are taken to run.
        """
        if self._link.failure is not None:
            raise InfraError(self._link.failure)
        running = min(self._asked, self._places)
        return RolloutStatus(
            policy_version=self.policy_version,
            running=running,
            waiting=self._asked - running,
            prefilled_tokens=self.prefilled_tokens,
            decoded_tokens=self.decoded_tokens,
            cached_tokens=self.cached_tokens,
        )

    def set_weights(self, update: WeightUpdate) -> None:
        """Load the tensors: all weights, or the adapter's. vLLM tells the hash of what arrived, before it loads it.

        Raises IntegrityError when that is another one, or when the model has no place for them.
        """
        self._link.put_weights(update.tensors)
        try:
            _, answer = self._link.ask({"op": "weights", "hash": update.content_hash})
            arrived = answer.result()["hash"]
        except InfraError as error:
            if self._link.failure is not None:
                raise
            raise IntegrityError(
                f"weights {update.version} do not fit vLLM's model ({error}); is it the same model?"
            ) from error
        finally:
            self._link.drop_weights()
        check_arrived(update, arrived)
        self.policy_version = update.version

    def release(self) -> None:
        """Nothing: vLLM keeps the memory that it has reserved at its start."""

    def process_id(self) -> int:
        """vLLM's process, for those who watch it or kill it."""
        return self._link.process_id

    def close(self) -> None:
        """Leave no process behind."""
        self._link.close()

    def _question(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        return {
            "op": "generate",
            "ids": list(request.ids),
            "seed": request.seed,
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_new_tokens,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "stop_ids": [*self._stop_ids, *sampling.stop_ids],
            "stop": list(sampling.stop),
        }


def _settings(model_path: str, model: ModelConfig, config: RolloutConfig) -> dict[str, Any]:
    adapter = {"r": model.lora_rank, "lora_alpha": model.lora_alpha, "target_modules": list(model.lora_targets)}
    return {
        "model": model_path,
        "dtype": model.dtype,
        "lora": adapter if model.lora else None,
        "max_context": config.max_context,
        "max_concurrent": config.max_concurrent,
        "memory_share": config.vllm.memory_share,
        "eager": config.vllm.eager,
    }


def _environment(config: RolloutConfig) -> dict[str, str]:
    hidden = {} if config.gpus_per_worker else {"CUDA_VISIBLE_DEVICES": ""}
    return {
        "OMP_NUM_THREADS": str(config.threads_per_worker),
        "VLLM_CPU_KVCACHE_SPACE": str(config.vllm.cpu_cache_gib),
        **hidden,
    }
