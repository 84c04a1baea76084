"""The transformers engine against plain transformers: same tokens, same log-probs, whoever shares the batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from retriever.base.errors import InfraError
from rollout.config import RolloutConfig
from rollout.engine import GenerationRequest
from rollout.transformers_engine import TransformersEngine
from rollout.types import Completion, FinishReason, Sampling
from tests.ranks_main import tiny_policy
from train.nano.model import VOCABULARY

GREEDY = Sampling(temperature=0.0, max_new_tokens=12)
NO_STOP = -1


@dataclass(kw_only=True)
class Episode:
    """A context that grows: a prompt, then a completion and an observation per turn."""

    name: str
    prompt: tuple[int, ...]
    observations: tuple[tuple[int, ...], ...]
    sampling: Sampling = GREEDY
    requests: list[GenerationRequest] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)

    async def play(self, engine: TransformersEngine) -> "Episode":
        """One turn more than there are observations; the session is closed whatever happens."""
        ids = self.prompt
        try:
            for turn, observation in enumerate((*self.observations, ())):
                request = GenerationRequest(session=self.name, ids=ids, sampling=self.sampling, seed=100 + turn)
                completion = await engine.generate(request)
                self.requests.append(request)
                self.completions.append(completion)
                ids += completion.ids + observation
                await asyncio.sleep(0.001 * (len(self.prompt) % 3))  # tools take their time
        finally:
            engine.close_session(self.name)
        return self


def episodes(lengths: Sequence[int], *, turns: int = 3, sampling: Sampling = GREEDY) -> list[Episode]:
    """Random ids; the episode of a given prompt length is always the same one."""

    def build(length: int) -> Episode:
        random = Random(length)
        ids = [tuple(random.randrange(2000) for _ in range(n)) for n in (length, *[random.randint(1, 9)] * (turns - 1))]
        return Episode(name=f"episode of {length}", prompt=ids[0], observations=tuple(ids[1:]), sampling=sampling)

    return [build(length) for length in lengths]


def engine_of(model: Any, *, stop: int = NO_STOP, **config: Any) -> TransformersEngine:
    return TransformersEngine(model, stop_ids=[stop], config=RolloutConfig(**config))


def play(engine: TransformersEngine, played: Sequence[Episode]) -> list[Episode]:
    """All at once."""

    async def together() -> list[Episode]:
        return list(await asyncio.gather(*(episode.play(engine) for episode in played)))

    return asyncio.run(together())


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_policy(hidden=64)[0]


def plain_logprobs(model: Any, request: GenerationRequest, completion: Completion) -> torch.Tensor:
    """[len(completion)] nats of its tokens, by one forward pass over the whole context, no cache."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*request.ids, *completion.ids]])).logits[0].float()
    scaled = logits[len(request.ids) - 1 : -1] / (request.sampling.temperature or 1.0)
    return torch.log_softmax(scaled, -1).gather(1, torch.tensor(completion.ids)[:, None])[:, 0]


@pytest.mark.parametrize("deterministic", [True, False])
def test_ragged_greedy_turns_are_those_of_plain_generate(model: Any, deterministic: bool) -> None:
    lengths = (1, 2, 7, 33, 64, 65, 130)
    first = play(engine_of(model), episodes(lengths[-1:], turns=1))[0].completions[0].ids
    stop = first[5]  # a token that is sure to come up
    played = play(engine_of(model, stop=stop, deterministic=deterministic), episodes(lengths))
    assert {c.finish for episode in played for c in episode.completions} == set(FinishReason)
    for episode in played:
        assert len(episode.completions) == 3
        for request, completion in zip(episode.requests, episode.completions, strict=True):
            expected = model.generate(
                torch.tensor([request.ids]), do_sample=False, max_new_tokens=12, eos_token_id=stop, pad_token_id=0
            )
            assert completion.ids == tuple(expected[0, len(request.ids) :].tolist())
            gap = plain_logprobs(model, request, completion) - torch.tensor(completion.logprobs)
            assert gap.abs().max() < 1e-5


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.9])
def test_behaviour_logprobs_are_those_of_the_tempered_distribution(model: Any, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, max_new_tokens=20)
    for episode in play(engine_of(model), episodes((3, 40, 90), sampling=sampling)):
        for request, completion in zip(episode.requests, episode.completions, strict=True):
            gap = plain_logprobs(model, request, completion) - torch.tensor(completion.logprobs)
            assert gap.abs().max() < 1e-5


def test_tokens_come_as_often_as_they_are_likely() -> None:
    model = tiny_policy(hidden=64)[0]
    with torch.no_grad():
        model.model.norm.weight.mul_(40)  # logits far apart: a few tokens hold most of the mass
    engine, count = engine_of(model), 1500
    prompt, sampling = (5, 6, 7), Sampling(temperature=0.8, max_new_tokens=1)

    async def draw(seed: int) -> int:
        request = GenerationRequest(session=str(seed), ids=prompt, sampling=sampling, seed=seed)
        completion = await engine.generate(request)
        engine.close_session(str(seed))
        return completion.ids[0]

    async def draw_all() -> list[int]:
        return await asyncio.gather(*map(draw, range(count)))

    drawn = torch.bincount(torch.tensor(asyncio.run(draw_all())), minlength=VOCABULARY) / count
    with torch.no_grad():
        likely = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1].float() / 0.8, -1)
    top = likely.topk(5).indices
    assert likely[top].sum() > 0.3
    deviation = (likely * (1 - likely) / count).sqrt()
    assert ((drawn - likely).abs() < 4 * deviation)[top].all()


@pytest.mark.parametrize("length", [3, 50, 193, 300])
def test_the_same_seed_gives_the_same_tokens_whoever_the_neighbours_are(model: Any, length: int) -> None:
    sampling = Sampling(temperature=1.0, max_new_tokens=12)
    (alone,) = play(engine_of(model), episodes([length], sampling=sampling))
    company = ([length, 4], [9, length, 400], [*range(20, 40), length], [length, *range(51, 61), 200])
    for lengths in company:
        for rows in (64, 6):
            played = play(engine_of(model, max_concurrent=rows), episodes(lengths, sampling=sampling))
            # bit by bit: log-probs too
            assert played[lengths.index(length)].completions == alone.completions, (lengths, rows)


@pytest.mark.parametrize("length", [100, 200, 300])
def test_nor_do_neighbours_matter_where_queries_share_their_keys(length: int) -> None:
    # 8 queries to a key: transformers has them read it together, and their sum depends on how much is read
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16, "vocab_size": 2000}
    model = Qwen3ForCausalLM(Qwen3Config(**shape, num_attention_heads=8, num_key_value_heads=1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    sampling = Sampling(temperature=1.0, max_new_tokens=12)
    (alone,) = play(engine_of(model), episodes([length], sampling=sampling))
    for neighbour in (40, 400, 900):
        played = play(engine_of(model), episodes([length, neighbour], sampling=sampling))
        assert played[0].completions == alone.completions, neighbour


def test_other_seeds_give_other_tokens(model: Any) -> None:
    sampling = Sampling(temperature=1.0, max_new_tokens=8)

    async def draw(seed: int) -> tuple[int, ...]:
        engine = engine_of(model)
        return (await engine.generate(GenerationRequest(session="s", ids=(1, 2), sampling=sampling, seed=seed))).ids

    assert len({asyncio.run(draw(seed)) for seed in range(6)}) == 6


def test_a_session_keeps_its_keys_and_values_between_turns(model: Any) -> None:
    engine = engine_of(model)
    prompt, observation = tuple(range(10, 50)), (7, 8, 9)

    async def turns() -> tuple[list[int], Completion, Completion]:
        prefilled = []
        first = await engine.generate(GenerationRequest(session="s", ids=prompt, sampling=GREEDY, seed=0))
        prefilled.append(engine.prefilled_tokens)
        grown = (*prompt, *first.ids, *observation)
        kept = await engine.generate(GenerationRequest(session="s", ids=grown, sampling=GREEDY, seed=0))
        prefilled.append(engine.prefilled_tokens)
        changed = (11, *grown[1:], *kept.ids, *observation)
        recomputed = await engine.generate(GenerationRequest(session="s", ids=changed, sampling=GREEDY, seed=0))
        prefilled.append(engine.prefilled_tokens)
        engine.close_session("s")
        fresh = await engine.generate(GenerationRequest(session="s", ids=changed, sampling=GREEDY, seed=0))
        prefilled.append(engine.prefilled_tokens)
        return prefilled, recomputed, fresh

    prefilled, recomputed, fresh = asyncio.run(turns())
    spent = [after - before for before, after in zip([0, *prefilled], prefilled, strict=False)]
    # The last token of a request is the first decode step's. The second turn computes the last sampled token, which
    # no step had run, and the observation but for its last token. Of a context that is over, the row remembers what was
    # prefilled: nothing of it is computed again.
    changed_length = 40 + 12 + 3 + 12 + 3
    assert spent == [39, 3, changed_length - 1, 0]
    assert recomputed == fresh


def test_more_episodes_than_rows_are_played_one_after_another(model: Any) -> None:
    lengths = list(range(4, 15))
    engine = engine_of(model, max_concurrent=3)
    played = play(engine, episodes(lengths, turns=2))
    apart = [play(engine_of(model), episodes([length], turns=2))[0] for length in lengths]
    assert [episode.completions for episode in played] == [episode.completions for episode in apart]
    assert engine.decoded_tokens == 11 * 2 * 12


def test_a_completion_ends_with_the_stop_token_or_at_its_length(model: Any) -> None:
    (whole,) = play(engine_of(model), episodes([30], turns=1))
    ids = whole.completions[0].ids
    assert len(ids) == 12
    assert whole.completions[0].finish is FinishReason.LENGTH
    at = ids.index(ids[4])
    (stopped,) = play(engine_of(model, stop=ids[at]), episodes([30], turns=1))
    assert stopped.completions[0].ids == ids[: at + 1]
    assert stopped.completions[0].finish is FinishReason.STOP
    # the stop token as the very last one that is allowed
    exact = Sampling(temperature=0.0, max_new_tokens=at + 1)
    (last,) = play(engine_of(model, stop=ids[at]), episodes([30], turns=1, sampling=exact))
    assert last.completions[0].finish is FinishReason.STOP


class Breaking:
    """A forward hook that fails at one call of a layer, as a GPU out of memory would."""

    def __init__(self, at_call: int) -> None:
        self.calls, self.at_call = 0, at_call

    def __call__(self, *_: Any) -> None:
        self.calls += 1
        if self.calls == self.at_call:
            raise RuntimeError("out of memory")


@pytest.mark.parametrize("at_call", [1, 6])
def test_a_broken_engine_tells_every_episode_and_works_again(model: Any, at_call: int) -> None:
    engine = engine_of(model, max_concurrent=2)  # two of the four episodes still wait for a row
    hook = model.model.layers[1].register_forward_pre_hook(Breaking(at_call))

    async def fail_then_work() -> tuple[list[Any], list[Episode]]:
        failed = await asyncio.gather(*(e.play(engine) for e in episodes((5, 6, 7, 8))), return_exceptions=True)
        return failed, await asyncio.gather(*(e.play(engine) for e in episodes((5, 6, 7, 8))))

    try:
        failed, worked = asyncio.run(fail_then_work())
    finally:
        hook.remove()
    assert [type(error) for error in failed] == [InfraError] * 4
    assert {str(error) for error in failed} == {"engine: RuntimeError: out of memory"}
    apart = play(engine_of(model), episodes((5, 6, 7, 8)))
    assert [e.completions for e in worked] == [e.completions for e in apart]


def test_cancelling_one_episode_leaves_the_others_running(model: Any) -> None:
    engine = engine_of(model, max_concurrent=3)
    alone = play(engine_of(model), episodes((21, 22, 24, 25)))

    async def cancel_two() -> list[Any]:
        running, cancelled, others, late, never = (
            asyncio.create_task(e.play(engine)) for e in episodes((21, 23, 22, 24, 26))
        )
        while engine.decoded_tokens < 12:
            await asyncio.sleep(0)
        cancelled.cancel()  # in the middle of its completion: its row goes to one that waits
        never.cancel()  # before it had a row
        last = asyncio.create_task(episodes([25])[0].play(engine))
        return list(await asyncio.gather(running, others, late, last, cancelled, never, return_exceptions=True))

    *played, cancelled, never = asyncio.run(cancel_two())
    assert [episode.completions for episode in played] == [episode.completions for episode in alone]
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(never, asyncio.CancelledError)


def test_a_new_event_loop_finds_a_working_engine(model: Any) -> None:
    engine = engine_of(model)
    first = play(engine, episodes([5, 6]))

    async def leave() -> None:
        task = asyncio.create_task(episodes([7])[0].play(engine))
        while engine.decoded_tokens < 75:
            await asyncio.sleep(0)
        task.cancel()  # as when a run is interrupted: nobody awaits what is under way

    asyncio.run(leave())
    assert [e.completions for e in play(engine, episodes([5, 6]))] == [e.completions for e in first]
