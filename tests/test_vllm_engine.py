"""The vLLM engine, with vLLM's CPU build, against plain transformers: same tokens, same log-probs, same weights.

Slow: each engine takes 10 to 20 s to start. What needs no vLLM is in test_vllm_link.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from envs.worlds.world import build_world
from retriever.base.errors import InfraError, IntegrityError
from retriever.config import RetrieverConfig
from rollout.config import GroupPlan, ModelConfig, RolloutConfig, VllmConfig
from rollout.engine import Engine, GenerationRequest
from rollout.policy import load_model, load_tokenizer, load_trainable, trainable
from rollout.ray_pool import RayPool
from rollout.transformers_engine import TransformersEngine
from rollout.types import Completion, FinishReason, Sampling
from rollout.vllm_engine import VllmEngine
from rollout.weights import weight_update
from rollout.worker import WorkerSpec
from tests.ranks_main import ENV, ROLLOUT, SAMPLING, WORLD
from tests.test_vllm_link import gone, soon_gone
from train.nano.base import BASE, base_path

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not (ROOT / VllmConfig().python).exists(), reason="needs the vllm environment: bash launch/vllm_environment.sh"
    ),
]

MODEL, LORA = ModelConfig(), ModelConfig(lora=True, lora_rank=4, lora_alpha=16)
CONFIG = RolloutConfig(max_concurrent=16, max_context=1024)
GREEDY = Sampling(temperature=0.0, max_new_tokens=24)
LONG, SHORT = Sampling(max_new_tokens=900), Sampling(max_new_tokens=4)
CLOSE = 1e-4  # nats, in fp32
Played = list[tuple[GenerationRequest, Completion]]


@pytest.fixture(scope="module")
def end_id() -> int:
    return int(load_tokenizer(base_path()).convert_tokens_to_ids("<|im_end|>"))


def engine_of(model: ModelConfig = MODEL, *, stop: Sequence[int] = ()) -> VllmEngine:
    return VllmEngine(base_path(), model=model, stop_ids=stop, config=CONFIG)


@pytest.fixture(scope="module")
def engine(end_id: int) -> Iterator[VllmEngine]:
    made = engine_of(stop=[end_id])
    yield made
    made.close()


@pytest.fixture(scope="module")
def policy() -> Any:
    return load_model(base_path(), MODEL)


def changed(model: Any, *, seed: int, by: float = 0.03) -> dict[str, torch.Tensor]:
    """Its trainable parameters, each a little different."""
    noise = torch.Generator().manual_seed(seed)
    return {n: p.detach() + by * torch.randn(p.shape, generator=noise) for n, p in trainable(model).items()}


def with_weights(config: ModelConfig, tensors: dict[str, torch.Tensor]) -> Any:
    model = load_model(base_path(), config)
    load_trainable(model, tensors, source="the test")
    return model.eval()


async def episode(engine: Engine, length: int, sampling: Sampling, turns: int) -> Played:
    """A context that grows by completions and observations, all decided by `length`."""
    random, played = Random(length), []
    ids: tuple[int, ...] = tuple(random.randrange(20, 4000) for _ in range(length))
    for turn in range(turns):
        request = GenerationRequest(session=f"e{length}", ids=ids, sampling=sampling, seed=(length << 40) + turn)
        completion = await engine.generate(request)
        played.append((request, completion))
        ids += completion.ids + tuple(random.randrange(20, 4000) for _ in range(random.randint(1, 60)))
    engine.close_session(f"e{length}")
    return played


def play(engine: Engine, lengths: Sequence[int], sampling: Sampling = GREEDY, *, turns: int = 3) -> Played:
    async def together() -> list[Played]:
        return list(await asyncio.gather(*(episode(engine, length, sampling, turns) for length in lengths)))

    return [turn for played in asyncio.run(together()) for turn in played]


def gaps(model: Any, played: Played) -> list[torch.Tensor]:
    """|log-prob told − log-prob by one plain forward pass|, a tensor a turn."""
    found = []
    for request, completion in played:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*request.ids, *completion.ids]])).logits[0].float()
        scaled = logits[len(request.ids) - 1 : -1] / (request.sampling.temperature or 1.0)
        plain = torch.log_softmax(scaled, -1).gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        found.append((plain - torch.tensor(completion.logprobs)).abs())
    return found


def largest(model: Any, played: Played) -> float:
    return max(float(gap.max()) for gap in gaps(model, played))


def refused_by(model: Any, played: Played) -> int:
    """How many tokens are not the likeliest of a plain forward pass: 0 for greedy turns of `model`."""
    refused = 0
    for request, completion in played:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*request.ids, *completion.ids]])).logits[0]
        refused += int((logits[len(request.ids) - 1 : -1].argmax(-1) != torch.tensor(completion.ids)).sum())
    return refused


LENGTHS = (1, 2, 7, 33, 64, 65, 130, 300)
FEW = (7, 65, 130)


def test_greedy_turns_are_those_of_the_reference_engine(engine: VllmEngine, policy: Any, end_id: int) -> None:
    before = engine.cached_tokens
    played = play(engine, LENGTHS)
    plain = replace(CONFIG, deterministic=False)  # the same tokens, without padding
    reference = play(TransformersEngine(policy, stop_ids=[end_id], config=plain), LENGTHS)
    assert [completion.ids for _, completion in played] == [completion.ids for _, completion in reference]
    assert [completion.finish for _, completion in played] == [completion.finish for _, completion in reference]
    assert largest(policy, played) < CLOSE
    # Blocks of 32 tokens that the turn before computed: at least 256 of the longest prompt, on each of two later turns.
    assert engine.cached_tokens - before >= 2 * 256
    assert engine.status().running == engine.status().waiting == 0


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_logprobs_are_of_the_tempered_distribution(engine: VllmEngine, policy: Any, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, max_new_tokens=24)
    played = play(engine, LENGTHS, sampling)
    assert largest(policy, played) < CLOSE
    # the same seeds, all at once or one after another
    assert [c.ids for _, c in played[:6]] == [c.ids for n in LENGTHS[:2] for _, c in play(engine, [n], sampling)]


def test_greedy_and_sampled_share_a_batch(engine: VllmEngine, policy: Any) -> None:
    async def both() -> Played:
        sampled = Sampling(temperature=1.5, max_new_tokens=24)
        found = await asyncio.gather(episode(engine, 40, GREEDY, 2), episode(engine, 41, sampled, 2))
        return [turn for played in found for turn in played]

    assert largest(policy, asyncio.run(both())) < CLOSE


def test_what_ends_a_completion(engine: VllmEngine, policy: Any) -> None:
    free = Sampling(temperature=1.0, max_new_tokens=60)
    request = GenerationRequest(session="s", ids=tuple(range(100, 140)), sampling=free, seed=5)
    whole = asyncio.run(engine.generate(request))
    token = whole.ids[4]
    first = whole.ids.index(token)

    def again(**options: Any) -> Completion:
        return asyncio.run(engine.generate(replace(request, sampling=replace(free, **options))))

    assert again(stop_ids=(token,)) == replace(
        whole, ids=whole.ids[: first + 1], logprobs=whole.logprobs[: first + 1], finish=FinishReason.STOP
    )
    assert again(max_new_tokens=3).finish is FinishReason.LENGTH
    assert len(again(max_new_tokens=3).ids) == 3
    tokenizer = load_tokenizer(base_path())
    text = tokenizer.decode(list(whole.ids[:8]))
    stop = text[-3:]
    stopped = again(stop=(stop,))
    assert stopped.finish is FinishReason.STOP
    assert stopped.ids == whole.ids[: len(stopped.ids)]
    assert stop in tokenizer.decode(list(stopped.ids))
    assert stop not in tokenizer.decode(list(stopped.ids[:-1]))


def test_truncated_sampling_stays_inside(engine: VllmEngine, policy: Any) -> None:
    request = GenerationRequest(session="s", ids=tuple(range(100, 140)), sampling=GREEDY, seed=0)
    best = asyncio.run(engine.generate(request)).ids
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        sampling = Sampling(temperature=1.0, max_new_tokens=24, **options)
        assert asyncio.run(engine.generate(replace(request, sampling=sampling))).ids == best


def test_a_request_that_cannot_be_is_refused_alone(engine: VllmEngine) -> None:
    async def asked() -> list[Any]:
        long = GenerationRequest(session="l", ids=(50,) * 2000, sampling=GREEDY, seed=0)
        return list(await asyncio.gather(engine.generate(long), episode(engine, 12, GREEDY, 1), return_exceptions=True))

    refused, played = asyncio.run(asked())
    assert isinstance(refused, InfraError)
    assert "2000" in str(refused)
    assert len(played) == 1


def test_a_cancelled_request_leaves_the_others_alone(engine: VllmEngine) -> None:
    alone = play(engine, [21, 22])

    async def cancelled() -> list[Any]:
        doomed = asyncio.create_task(episode(engine, 20, LONG, 1))
        others = [asyncio.create_task(episode(engine, length, GREEDY, 3)) for length in (21, 22)]
        await asyncio.sleep(0.1)
        doomed.cancel()
        return list(await asyncio.gather(*others, doomed, return_exceptions=True))

    *others, doomed = asyncio.run(cancelled())
    assert isinstance(doomed, asyncio.CancelledError)
    assert [c.ids for played in others for _, c in played] == [c.ids for _, c in alone]
    assert engine.status().running == 0


@pytest.mark.parametrize("config", [MODEL, LORA], ids=["full", "lora"])
def test_pushed_weights_are_those_that_generate(config: ModelConfig) -> None:
    engine = engine_of(config)
    try:
        started = load_model(base_path(), config)
        first = play(engine, FEW, turns=2)
        assert largest(started.eval(), first) < CLOSE  # before any push: the model's own
        seen = [[c.ids for _, c in first]]
        for version in (1, 2):
            tensors = changed(started, seed=version, by=0.03 if config is MODEL else 0.1)
            engine.set_weights(weight_update(version, tensors))
            assert engine.policy_version == version
            played = play(engine, FEW, turns=2)
            model = with_weights(config, tensors)
            assert refused_by(model, played) == 0
            assert largest(model, played) < CLOSE
            assert {c.policy_version for _, c in played} == {version}
            seen.append([c.ids for _, c in played])
        assert seen[0] != seen[1] != seen[2]
        refused_updates(engine, config, started)
        assert [c.ids for _, c in play(engine, FEW, turns=2)] == seen[2]  # what was refused was not loaded
        swapped_in_flight(engine, config, started)
    finally:
        engine.close()


def refused_updates(engine: VllmEngine, config: ModelConfig, started: Any) -> None:
    tensors = changed(started, seed=3)
    update = weight_update(3, tensors)
    name = next(iter(tensors))
    corrupted = {**update.tensors, name: update.tensors[name].clone()}
    corrupted[name].view(torch.int32).view(-1)[7] ^= 1  # the lowest bit of one number
    with pytest.raises(IntegrityError, match="version 3 arrived corrupted"):
        engine.set_weights(replace(update, tensors=corrupted))
    assert engine.policy_version == 2


def swapped_in_flight(engine: VllmEngine, config: ModelConfig, started: Any) -> None:
    """Weights that arrive in the middle of completions are used at once, and for all that lies before, too."""
    tensors = changed(started, seed=4, by=0.03 if config is MODEL else 0.1)
    update = weight_update(4, tensors)

    async def swapped() -> list[Played]:
        playing = [asyncio.create_task(episode(engine, length, LONG, 1)) for length in (50, 90)]
        await episode(engine, 10, SHORT, 1)  # asked later, so they are on their way when it is done
        engine.set_weights(update)
        return list(await asyncio.gather(*playing))

    old = with_weights(config, changed(started, seed=2, by=0.03 if config is MODEL else 0.1))
    new = with_weights(config, tensors)
    played = [turn for turns in asyncio.run(swapped()) for turn in turns]
    switched = 0
    for of_old, of_new, (_, completion) in zip(gaps(old, played), gaps(new, played), played, strict=True):
        assert completion.policy_version == 2  # the oldest of its tokens'
        switch = int((of_old < CLOSE).long().cumprod(0).sum())  # tokens before the first that is not the old one's
        assert float(of_new[switch:].max() if switch < len(of_new) else 0.0) < CLOSE
        switched += 0 < switch < len(of_new)
    assert switched, "the push came before or after all of them: nothing was tested"


def test_weights_of_another_model_are_refused() -> None:
    engine = engine_of()
    try:
        tensors = changed(load_model(base_path(), MODEL), seed=1)
        some = dict(list(tensors.items())[:-1])
        with pytest.raises(IntegrityError, match="do not fit vLLM's model .*model.norm"):
            engine.set_weights(weight_update(1, some))
        with pytest.raises(IntegrityError, match="do not fit vLLM's model"):
            engine.set_weights(weight_update(1, {**tensors, "model.layers.9.mlp.up_proj.weight": torch.zeros(2, 2)}))
        assert engine.policy_version == 0
    finally:
        engine.close()


def test_a_killed_process_fails_every_request_and_leaves_nothing() -> None:
    before = {path for path in os.listdir("/tmp") if path.startswith(("toolscout-vllm", "vllm"))}
    engine = engine_of()
    process = engine.process_id()

    async def killed() -> list[Any]:
        playing = [asyncio.create_task(episode(engine, length, LONG, 1)) for length in (10, 20, 30)]
        await episode(engine, 10, SHORT, 1)
        os.kill(process, signal.SIGKILL)
        return list(await asyncio.gather(*playing, return_exceptions=True))

    failures = asyncio.run(killed())
    assert [type(failure) for failure in failures] == [InfraError] * 3
    assert "ended with code -9" in str(failures[0])
    with pytest.raises(InfraError):
        play(engine, [5])
    with pytest.raises(InfraError):
        engine.status()
    with pytest.raises(InfraError):
        engine.set_weights(weight_update(1, {"a": torch.zeros(2)}))
    engine.close()
    assert gone(process)
    assert {path for path in os.listdir("/tmp") if path.startswith(("toolscout-vllm", "vllm"))} <= before
    assert not [path for path in os.listdir("/dev/shm") if "toolscout" in path or "vllm" in path]


def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(InfraError, match="vLLM did not start .*no such thing"):
        VllmEngine(str(tmp_path), model=MODEL, stop_ids=[], config=CONFIG)


def children(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def test_a_pool_replaces_a_worker_whose_vllm_died() -> None:
    spec = WorkerSpec(
        model_path=str(BASE),
        model=MODEL,
        world=WORLD,
        retriever=RetrieverConfig(kind="bm25"),
        env=ENV,
        rollout=replace(ROLLOUT, workers=1, engine="vllm"),
    )
    tasks = build_world(WORLD).tasks("train", 3, 5)
    pool = RayPool(spec)
    try:
        pool.push(weight_update(1, changed(load_model(base_path(), MODEL), seed=1, by=0.001)))
        (worker,) = pool.process_ids
        (engine,) = [child for child in children(worker) if "rollout.vllm_process" in command(child)]
        os.kill(engine, signal.SIGKILL)
        played = pool.collect(tasks, GroupPlan(group_size=3, gate="off"), sampling=SAMPLING, seed=3)
        (successor,) = pool.process_ids
        (engine,) = [child for child in children(successor) if "rollout.vllm_process" in command(child)]
    finally:
        pool.close()
    assert successor != worker
    assert [found.task.id for found in played] == [task.id for task in tasks]
    turns = [turn for found in played for trajectory in found.retrieval for turn in trajectory.turns]
    assert [len(found.retrieval) for found in played] == [3, 3, 3]
    assert {turn.completion.policy_version for turn in turns} == {1}
    assert soon_gone(engine)


def command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()
