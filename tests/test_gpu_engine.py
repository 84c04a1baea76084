"""The engine on a GPU: graphs, kernel and fused decoder against plain forward passes. Skipped where there is none."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch

from rollout.config import ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.fused_decoder import _store_and_rotate
from rollout.policy import load_model
from rollout.transformers_engine import TransformersEngine
from rollout.types import Completion, Sampling
from train.nano.base import base_path

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
CONFIG = RolloutConfig(max_concurrent=12, max_context=1024)


def nano(*, lora: bool = False) -> Any:
    model = load_model(base_path(), ModelConfig(lora=lora)).to("cuda")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # an adapter that does something
            torch.nn.init.normal_(parameter, std=0.02)
    return model


Turns = list[tuple[tuple[int, ...], Completion]]  # (request ids, completion) of each


def played(model: Any, config: RolloutConfig, sampling: Sampling) -> list[Turns]:
    """Of an engine of its own."""
    return played_by(TransformersEngine(model, stop_ids=[], config=config), sampling)


def played_by(engine: TransformersEngine, sampling: Sampling) -> list[Turns]:
    """20 episodes of three ragged turns, some of which begin alike."""

    async def one(index: int) -> Turns:
        random, turns = Random(index), []
        ids = (*range(300, 300 + 40 * (index % 3)), *(random.randrange(2000) for _ in range(5 + 17 * index)))
        for turn in range(3):
            request = GenerationRequest(session=str(index), ids=ids, sampling=sampling, seed=10 * index + turn)
            completion = await engine.generate(request)
            turns.append((ids, completion))
            await asyncio.sleep(0.001 * (index % 4))
            ids += (*completion.ids, *(random.randrange(2000) for _ in range(1 + 20 * turn)))
        engine.close_session(str(index))
        return turns

    async def together() -> list[Turns]:
        return list(await asyncio.gather(*map(one, range(20))))

    return asyncio.run(together())


def gaps(model: Any, episodes: list[Turns]) -> torch.Tensor:
    """How far each sampled token's log-prob is from a plain forward pass over its whole context."""
    found = []
    for ids, completion in (turn for episode in episodes for turn in episode):
        context = torch.tensor([[*ids, *completion.ids]], device="cuda")
        with torch.inference_mode():
            logits = model(input_ids=context).logits[0, len(ids) - 1 : -1].float()
        expected = torch.log_softmax(logits, -1).gather(1, context[0, len(ids) :, None])[:, 0]
        found.append((expected.cpu() - torch.tensor(completion.logprobs)).abs())
    return torch.cat(found)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("graphs", [True, False])
def test_logprobs_are_those_of_a_forward_pass(lora: bool, graphs: bool) -> None:
    model = nano(lora=lora)
    episodes = played(model, replace(CONFIG, cuda_graphs=graphs), Sampling(temperature=1.0, max_new_tokens=24))
    found = gaps(model, episodes)
    assert float(found.mean()) < 1e-4
    assert float(found.max()) < 2e-3


def test_graphs_give_the_tokens_of_generate() -> None:
    model = nano()
    for episode in played(model, CONFIG, Sampling(temperature=0.0, max_new_tokens=16)):
        for ids, completion in episode:
            prompt = torch.tensor([ids], device="cuda")
            expected = model.generate(
                prompt,
                do_sample=False,
                max_new_tokens=16,
                eos_token_id=None,
                pad_token_id=0,
                attention_mask=torch.ones_like(prompt),
            )
            assert completion.ids == tuple(expected[0, len(ids) :].tolist())


def test_new_weights_reach_the_graphs() -> None:
    """Projections were moved in memory: who writes to the model's parameters must write to what is computed with."""
    model = nano()
    engine = TransformersEngine(model, stop_ids=[], config=CONFIG)
    sampling = Sampling(temperature=0.0, max_new_tokens=8)

    def completion(session: str) -> Completion:
        request = GenerationRequest(session=session, ids=tuple(range(300, 340)), sampling=sampling, seed=0)
        return asyncio.run(engine.generate(request))

    before = completion("before")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2 if parameter.ndim > 1 else 1.0)
    engine.release()
    after = completion("after")
    assert after.logprobs != before.logprobs
    assert float(gaps(model, [[(tuple(range(300, 340)), after)]]).max()) < 2e-3


def test_an_engine_that_released_its_memory_makes_its_graphs_again() -> None:
    """As a colocated worker does between batches, whose trainer has taken memory meanwhile."""
    engine = TransformersEngine(nano(), stop_ids=[], config=CONFIG)
    sampling = Sampling(temperature=0.0, max_new_tokens=24)
    first = played_by(engine, sampling)
    for _ in range(3):
        engine.release()
        taken = torch.ones(1 << 28, device="cuda")  # 1 GiB
        assert [[t[1].ids for t in turns] for turns in played_by(engine, sampling)] == [
            [t[1].ids for t in turns] for turns in first
        ]
        del taken


def test_truncated_samplings_share_a_step_with_whole_ones() -> None:
    model = nano()
    engine = TransformersEngine(model, stop_ids=[], config=CONFIG)
    whole = Sampling(temperature=1.0, max_new_tokens=12)

    async def both() -> list[Completion]:
        samplings = [whole, replace(whole, top_k=1), replace(whole, temperature=0.0), replace(whole, top_p=1e-6)]
        return list(
            await asyncio.gather(
                *(
                    engine.generate(
                        GenerationRequest(session=str(index), ids=tuple(range(300, 350)), sampling=sampling, seed=3)
                    )
                    for index, sampling in enumerate(samplings)
                )
            )
        )

    _, likeliest, greedy, nucleus = asyncio.run(both())
    assert likeliest.ids == greedy.ids == nucleus.ids


@pytest.mark.parametrize(("heads", "groups", "head_dim"), [(32, 8, 128), (4, 4, 32), (6, 2, 64)])
def test_the_kernel_is_attention(heads: int, groups: int, head_dim: int) -> None:
    from rollout.decode_attention import decode_attention  # needs Triton

    torch.manual_seed(0)
    for count, length in ((1, 2000), (5, 70), (64, 700)):
        keys, values = (torch.randn(70, groups, length + 30, head_dim, device="cuda") for _ in range(2))
        query = torch.randn(count, heads, head_dim, device="cuda") * head_dim**-0.5
        rows = torch.randperm(70, device="cuda")[:count]
        positions = torch.randint(0, length, (count,), device="cuda")
        positions[0] = length - 1
        found = decode_attention(query, keys, values, rows=rows, positions=positions, length=length)
        for index in range(count):
            end = int(positions[index]) + 1
            k, v = (t[rows[index], :, :end].repeat_interleave(heads // groups, 0) for t in (keys, values))
            weights = torch.softmax((query[index][:, None] * k).sum(-1), -1)
            torch.testing.assert_close(found[index], (weights[:, :, None] * v).sum(1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("heads", "groups", "head_dim", "normed"), [(32, 8, 128, True), (9, 3, 64, False)])
def test_one_kernel_rotates_and_stores_what_plain_operations_do(
    heads: int, groups: int, head_dim: int, normed: bool
) -> None:
    from rollout.decode_attention import store_and_rotate  # needs Triton

    torch.manual_seed(0)
    qkv = torch.randn(5, (heads + 2 * groups) * head_dim, device="cuda")
    weights: list[Any] = [torch.rand(head_dim, device="cuda") if normed else None for _ in range(2)]
    angles = torch.rand(5, head_dim // 2, device="cuda") * 6
    cos, sin = (torch.cat([turn(angles)] * 2, -1) for turn in (torch.cos, torch.sin))
    rows, positions = torch.tensor([[3, 0, 6, 1, 1], [7, 0, 19, 4, 5]], device="cuda")
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    ways: list[tuple[list[torch.Tensor], Any]] = [(found, store_and_rotate), (expected, _store_and_rotate)]
    for results, way in ways:
        keys, values = (torch.zeros(7, groups, 20, head_dim, device="cuda") for _ in range(2))
        query = way(qkv, *weights, 1e-6, float(head_dim**-0.5), cos, sin, keys, values, rows, positions)
        results += [query, keys, values]
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)
    assert int((found[1] != 0).any(-1).sum()) == 5 * groups
