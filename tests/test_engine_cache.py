"""What the engine keeps and shares: nothing of it may be seen in the tokens, and it must save what it is there for."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from retriever.base.errors import InfraError, UserError
from rollout.config import RolloutConfig
from rollout.engine import GenerationRequest
from rollout.row_cache import rows_that_fit, token_bytes
from rollout.transformers_engine import TransformersEngine
from rollout.types import Completion, FinishReason, Sampling
from rollout.weights import weight_update
from tests.ranks_main import tiny_policy
from tests.test_engine import GREEDY, Episode, engine_of, episodes, play

RULES = tuple(range(700, 900))  # what all prompts begin with


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_policy(hidden=64)[0]


def group(prompt: Sequence[int], size: int, *, name: str = "member") -> list[Episode]:
    """Episodes with one prompt and different observations, as of one task."""
    observations = [((index + 1,) * 5, (7, index)) for index in range(size)]
    sampling = Sampling(temperature=1.0, max_new_tokens=10)
    return [
        Episode(name=f"{name} {index}", prompt=tuple(prompt), observations=observation, sampling=sampling)
        for index, observation in enumerate(observations)
    ]


def completions(played: Sequence[Episode]) -> list[list[Completion]]:
    return [episode.completions for episode in played]


def alone(model: Any, played: Sequence[Episode]) -> list[list[Completion]]:
    """What each episode comes to in an engine of its own."""
    fresh = [Episode(name=e.name, prompt=e.prompt, observations=e.observations, sampling=e.sampling) for e in played]
    return [play(engine_of(model), [episode])[0].completions for episode in fresh]


def test_a_groups_prompt_is_prefilled_once(model: Any) -> None:
    engine = engine_of(model)
    played = play(engine, group([*RULES, 1, 2, 3], 8))
    # 203 tokens, the last of which is a decode step's; then of each episode the last sampled token and the observation
    # but for its last: 5 and 2 tokens.
    assert engine.prefilled_tokens == 202 + 8 * (5 + 2)
    assert completions(played) == alone(model, played)  # bit by bit


def test_what_different_prompts_begin_with_is_prefilled_once(model: Any) -> None:
    engine = engine_of(model)
    prompts = [(*RULES, *range(index, index + 20)) for index in range(5)]
    played = play(engine, [episode for index, p in enumerate(prompts) for episode in group(p, 1, name=str(index))])
    assert engine.prefilled_tokens == 200 + 5 * 19 + 5 * (5 + 2)
    assert completions(played) == alone(model, played)


def test_a_context_that_is_over_serves_the_next_with_its_beginning(model: Any) -> None:
    engine = engine_of(model, max_concurrent=2)
    first = play(engine, group([*RULES, 1], 1, name="first"))
    before = engine.prefilled_tokens
    second = play(engine, group([*RULES, 2], 1, name="second"))
    assert engine.prefilled_tokens - before == 5 + 2
    assert completions([*first, *second]) == alone(model, [*first, *second])


@pytest.mark.parametrize("chunk", [8, 24, 100, 300])
def test_a_prefill_in_chunks_gives_the_same_bits(model: Any, chunk: int) -> None:
    whole = play(engine_of(model), episodes([400, 33, 250]))
    cut = play(engine_of(model, prefill_tokens=chunk), episodes([400, 33, 250]))
    assert completions(cut) == completions(whole)


def test_others_decode_while_a_long_prompt_is_prefilled(model: Any) -> None:
    engine = engine_of(model, prefill_tokens=16)
    short, long = episodes([5, 640], turns=1)
    seen = []

    async def both() -> None:
        tasks = [asyncio.create_task(episode.play(engine)) for episode in (short, long)]
        await tasks[0]
        seen.append(engine.prefilled_tokens)
        await tasks[1]

    asyncio.run(both())
    assert seen[0] < 640 / 2  # 12 decode steps, between which at most 16 tokens each were prefilled
    assert engine.prefilled_tokens == 4 + 639


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_contexts_that_gave_their_rows_up_come_back_with_the_same_tokens(model: Any, rows: int) -> None:
    lengths = (30, 47, 64, 81, 98, 115)
    engine = engine_of(model, max_concurrent=rows, deterministic=False)
    played = play(engine, [slow(episode) for episode in episodes(lengths)])
    roomy = engine_of(model, deterministic=False)
    expected = play(roomy, episodes(lengths))
    assert [[c.ids for c in e.completions] for e in played] == [[c.ids for c in e.completions] for e in expected]
    assert engine.prefilled_tokens > roomy.prefilled_tokens  # they were prefilled again


def test_a_deterministic_engine_takes_nobodys_row(model: Any) -> None:
    lengths = (30, 47, 64, 81)
    engine, roomy = engine_of(model, max_concurrent=2), engine_of(model)
    played = play(engine, [slow(episode) for episode in episodes(lengths)])
    assert completions(played) == completions(play(roomy, episodes(lengths)))
    assert engine.prefilled_tokens == roomy.prefilled_tokens


@dataclass(kw_only=True)
class Slow(Episode):
    """An episode whose tools take a while."""

    async def play(self, engine: TransformersEngine) -> Episode:
        ids = self.prompt
        for turn, observation in enumerate((*self.observations, ())):
            request = GenerationRequest(session=self.name, ids=ids, sampling=self.sampling, seed=100 + turn)
            completion = await engine.generate(request)
            self.completions.append(completion)
            ids += completion.ids + observation
            await asyncio.sleep(0.05)
        engine.close_session(self.name)
        return self


def slow(episode: Episode) -> Slow:
    return Slow(name=episode.name, prompt=episode.prompt, observations=episode.observations, sampling=episode.sampling)


def test_a_budget_in_gigabytes_is_so_many_rows(model: Any) -> None:
    config = model.config
    # keys and values, 2 layers of 2 heads of 16 numbers of 4 bytes
    one = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert token_bytes(config, 4) == one

    def fit(gigabytes: float, *, max_rows: int = 64) -> int:
        """Of contexts of 100 tokens, which take 110 positions, and one row more than they are."""
        return rows_that_fit(
            config,
            max_rows=max_rows,
            length=100,
            shape=lambda rows: (rows + 1, 110),
            cache_gb=gigabytes,
            bytes_per_number=4,
        )

    row_gb = one * 110 / 1e9
    assert fit(row_gb * 4.5) == 3
    assert fit(row_gb * 4.5, max_rows=2) == 2
    assert fit(0) == 64
    with pytest.raises(UserError, match=r"rollout.kv_cache_gb=\S+ has no room .* rollout.max_context=100 .* in 2 rows"):
        fit(row_gb * 1.5)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("rows", "fit"), [(9.5, {True: 8, False: 9}), (17, {True: 16, False: 17})])
def test_the_cache_keeps_to_its_budget(model: Any, deterministic: bool, rows: float, fit: dict[bool, int]) -> None:
    # 480 tokens, the padding of their last prefill included, are 512 positions
    budget = rows * 512 * token_bytes(model.config, 4) + 1
    engine = engine_of(model, max_context=480, deterministic=deterministic, kv_cache_gb=budget / 1e9)
    play(engine, episodes([468, *range(400, 420)], turns=1))
    cache = engine._passes._cache
    taken = sum(4 * tensor.numel() for tensor in (*cache.keys, *cache.values) if tensor is not None)
    assert taken == fit[deterministic] * 512 * token_bytes(model.config, 4)
    assert taken <= budget


def test_what_is_released_is_allocated_again(model: Any) -> None:
    engine = engine_of(model)
    first = play(engine, episodes([20, 30]))
    engine.release()
    assert sum(t.numel() for t in engine._passes._cache.keys if t is not None) == 0
    assert completions(play(engine, episodes([20, 30]))) == completions(first)


def test_a_stop_string_ends_a_completion_with_the_token_that_completes_it(model: Any) -> None:
    def text(ids: Sequence[int]) -> str:
        return "".join(f"<{id}>" for id in ids)

    (whole,) = play(engine_of(model), episodes([30], turns=1))
    ids = whole.completions[0].ids
    engine = TransformersEngine(model, stop_ids=[], config=RolloutConfig(), decode=text)
    prompt = episodes([30], turns=1)[0].prompt

    def completed(**stops: Any) -> Completion:
        sampling = Sampling(temperature=0.0, max_new_tokens=12, **stops)
        return asyncio.run(engine.generate(GenerationRequest(session="s", ids=prompt, sampling=sampling, seed=0)))

    spelled = f"{ids[2]}><{ids[3]}"  # across two tokens
    at = next(end for end in range(1, 13) if spelled in text(ids[:end]))
    assert completed(stop=(spelled,)).ids == ids[:at]
    assert completed(stop=(spelled,)).finish is FinishReason.STOP
    assert completed(stop_ids=(ids[5],)).ids == ids[: ids.index(ids[5]) + 1]
    assert completed(stop=("not there",)).ids == ids
    with pytest.raises(UserError, match="give the engine `decode`"):
        sampling = Sampling(stop=("x",), max_new_tokens=4)
        asyncio.run(engine_of(model).generate(GenerationRequest(session="s", ids=prompt, sampling=sampling, seed=0)))


def test_a_stop_string_is_looked_for_at_the_end_alone(model: Any) -> None:
    given = []

    def text(ids: Sequence[int]) -> str:
        given.append(len(ids))
        return "".join(chr(id) for id in ids)

    engine = TransformersEngine(model, stop_ids=[], config=RolloutConfig(), decode=text)
    sampling = Sampling(temperature=0.0, max_new_tokens=60, stop=("not there",))
    asyncio.run(engine.generate(GenerationRequest(session="s", ids=(1, 2, 3), sampling=sampling, seed=0)))
    assert given == [min(count, 4 * 9 + 4) for count in range(1, 61)]


def test_who_waits_for_a_row_costs_nothing(model: Any) -> None:
    engine = engine_of(model, max_concurrent=1)
    holds, waits = episodes([20, 30], turns=1)

    async def spent() -> float:
        request = GenerationRequest(session="tool at work", ids=holds.prompt, sampling=GREEDY, seed=0)
        await engine.generate(request)
        task = asyncio.create_task(waits.play(engine))
        before = time.thread_time()
        await asyncio.sleep(0.5)
        spent_s = time.thread_time() - before
        assert engine.status().waiting == 1
        engine.close_session("tool at work")
        await task
        return spent_s

    assert asyncio.run(spent()) < 0.25


def test_nothing_is_forgotten_while_a_prompt_is_prefilled(model: Any) -> None:
    engine = engine_of(model, prefill_tokens=16)
    (episode,) = episodes([200], turns=1)

    async def disturbed() -> None:
        task = asyncio.create_task(episode.play(engine))
        while engine.prefilled_tokens < 48:
            await asyncio.sleep(0)
        with pytest.raises(AssertionError, match="at work"):
            engine.release()
        with pytest.raises(AssertionError, match="at work"):
            engine.set_weights(weight_update(3, {}))
        await task

    asyncio.run(disturbed())
    assert engine.policy_version == 0
    assert completions([episode]) == alone(model, [episode])


def test_a_request_of_nothing_is_refused_and_harms_nobody(model: Any) -> None:
    engine = engine_of(model)
    (other,) = episodes([30], turns=1)

    async def both() -> None:
        task = asyncio.create_task(other.play(engine))
        with pytest.raises(UserError, match="no tokens"):
            await engine.generate(GenerationRequest(session="s", ids=(), sampling=GREEDY, seed=0))
        await task

    asyncio.run(both())
    assert completions([other]) == alone(model, [other])


def test_what_is_no_number_is_an_infra_failure_and_spoils_nothing_later() -> None:
    broken = tiny_policy(hidden=64)[0]
    embedded = broken.model.embed_tokens.weight
    engine = engine_of(broken)
    expected = play(engine_of(broken), episodes([20]))
    with torch.no_grad():
        kept = embedded[5].clone()
        embedded[5] = math.nan
    with pytest.raises(InfraError, match="policy version 0 gave the log-prob nan"):
        play(engine, group([*range(10, 60), 5, 5, *range(10, 60)], 1))
    with torch.no_grad():
        embedded[5] = kept
    assert completions(play(engine, episodes([20]))) == completions(expected)


def test_a_request_beyond_the_context_is_refused(model: Any) -> None:
    engine = engine_of(model, max_context=100, max_new_tokens=12)
    request = GenerationRequest(session="s", ids=tuple(range(89)), sampling=GREEDY, seed=0)
    with pytest.raises(UserError, match=r"89 tokens and 12 new ones exceeds rollout.max_context=100"):
        asyncio.run(engine.generate(request))


def test_what_would_be_computed_otherwise_than_the_model_does_is_refused() -> None:
    other = tiny_policy(hidden=64)[0]
    other.config.layer_types = ["sliding_attention"] * len(other.config.layer_types)
    with pytest.raises(UserError, match="layers of sliding_attention"):
        engine_of(other)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 50}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    windowed = MistralForCausalLM(MistralConfig(**shape, **heads, sliding_window=600))
    with pytest.raises(UserError, match=r"window of 600 tokens, fewer than rollout.max_context=601"):
        engine_of(windowed, max_context=601)
    engine_of(windowed, max_context=600)
    for kind in (
        {"rope_type": "dynamic"},
        {"rope_type": "longrope", "long_factor": [2.0] * 8, "short_factor": [1.0] * 8},
    ):
        rotations = {"rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 64, **kind}
        with pytest.raises(UserError, match=f"rotations of type {kind['rope_type']}"):
            engine_of(LlamaForCausalLM(LlamaConfig(**shape, **heads, rope_parameters=rotations)))


def test_a_donor_that_is_cancelled_is_not_waited_for(model: Any) -> None:
    engine = engine_of(model, prefill_tokens=16)
    donor, receiver = group([*RULES, 1], 2)

    async def cancelled() -> Episode:
        giving = asyncio.create_task(donor.play(engine))
        taking = asyncio.create_task(receiver.play(engine))
        while engine.prefilled_tokens < 48:
            await asyncio.sleep(0)
        giving.cancel()
        return await asyncio.wait_for(taking, 60)

    played = asyncio.run(cancelled())
    assert completions([played]) == alone(model, [played])
