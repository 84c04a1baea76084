"""The rollout engine against `generate` of transformers: the same greedy tokens for the same ragged prompts.

python -m tests.benchmarks.engine
"""

import asyncio
from random import Random

import torch

from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling
from tests.benchmarks.timing import print_figures, side_by_side
from train.nano.base import base_path

PROMPTS, NEW_TOKENS = 32, 64


def main() -> None:
    """Print both."""
    torch.set_num_threads(1)
    random = Random(0)
    model = load_model(base_path(), ModelConfig())
    model.generation_config.eos_token_id = None  # both go on to the end
    prompts = [[random.randrange(256, 2000) for _ in range(random.randint(60, 240))] for _ in range(PROMPTS)]
    engine = TransformersEngine(model, stop_ids=[], config=RolloutConfig())
    sampling = Sampling(temperature=0.0, max_new_tokens=NEW_TOKENS)
    found: dict[str, list[list[int]]] = {}

    async def together() -> list[list[int]]:
        requests = [
            GenerationRequest(session=str(index), ids=tuple(prompt), sampling=sampling, seed=0)
            for index, prompt in enumerate(prompts)
        ]
        completions = await asyncio.gather(*map(engine.generate, requests))
        for request in requests:
            engine.close_session(request.session)
        return [list(completion.ids) for completion in completions]

    def ours() -> None:
        engine.release()  # or it would remember the prompts of the round before
        found["ours"] = asyncio.run(together())

    def theirs() -> None:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        made = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS)
        found["theirs"] = made[:, width:].tolist()

    mine, peers, ratio = side_by_side(ours, theirs, names=("engine", "transformers generate"))
    same = sum(a == b for a, b in zip(found["ours"], found["theirs"], strict=True))
    print(f"{same} of {PROMPTS} completions are the same tokens; {PROMPTS * NEW_TOKENS} tokens a round")
    rates = [round(PROMPTS * NEW_TOKENS / seconds, 1) for seconds in (mine, peers)]
    print_figures(
        "engine",
        ours={"tokens_per_s": rates[0], "same_completions": same},
        peer={"tokens_per_s": rates[1]},
        targets={"ratio": [round(ratio, 2), "≥ 1", ratio >= 1]},
    )


if __name__ == "__main__":
    main()
