"""Which engine a worker generates with, by `rollout.engine`; the engines themselves know nothing of each other."""

from contextlib import ExitStack

import torch

from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import WorkerEngine
from rollout.openai_engine import OpenAIEngine
from rollout.policy import load_model
from rollout.renderer import Renderer
from rollout.transformers_engine import TransformersEngine
from rollout.vllm_engine import VllmEngine


def build_engine(
    model_path: str, *, model: ModelConfig, renderer: Renderer, config: RolloutConfig, closing: ExitStack
) -> WorkerEngine:
    """The engine of one worker; what has to be ended when it is over is left to `closing`."""
    if config.engine == "openai":
        assert config.server is not None  # RolloutConfig saw to it
        return OpenAIEngine(renderer, config.server)
    if config.engine == "vllm":
        engine = VllmEngine(model_path, model=model, stop_ids=[renderer.end_id], config=config)
        closing.callback(engine.close)
        return engine
    device = "cuda" if config.gpus_per_worker > 0 and torch.cuda.is_available() else "cpu"
    policy = load_model(model_path, model).to(device)
    return TransformersEngine(policy, stop_ids=[renderer.end_id], config=config, decode=renderer.completion_text)
