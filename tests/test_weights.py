"""Weights on their way to an engine: the hash sees every change, and what arrives changed is refused."""

import asyncio
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from envs.types import Task
from retriever.base.errors import IntegrityError
from rewards.config import RewardConfig
from rollout.config import GroupPlan, ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model, merged, trainable
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling, TaskRollouts
from rollout.weights import WeightUpdate, weight_update, weights_hash
from tests.ranks_main import grpo_trainer, save_tiny_policy, tiny_policy
from tests.support import MadeUpPool, MadeUpWorld
from train.config import GrpoConfig
from train.source import RolloutSource

REWARDS = RewardConfig()
PROMPT = tuple(range(20, 60))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


def tensors() -> dict[str, Tensor]:
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5, -0.0]), "c": torch.tensor(2.0)}


def test_the_hash_does_not_depend_on_order_or_layout() -> None:
    own = weights_hash(tensors())
    assert weights_hash(dict(reversed(tensors().items()))) == own
    assert weights_hash({**tensors(), "a": tensors()["a"].t().contiguous().t()}) == own
    assert weights_hash({**tensors(), "a": tensors()["a"].requires_grad_()}) == own
    assert len(own) == 64


@given(st.integers(0, 5), st.integers(0, 31))
def test_the_hash_sees_every_bit(place: int, bit: int) -> None:
    changed = tensors()
    bits = changed["a"].view(torch.int32).view(-1)
    bits[place] ^= torch.tensor(1 << bit, dtype=torch.int64).to(torch.int32)
    assert weights_hash(changed) != weights_hash(tensors())


@pytest.mark.parametrize(
    "changed",
    [
        {"a": torch.arange(6.0).reshape(3, 2)},
        {"a": torch.arange(6.0)},
        {"a": torch.arange(6.0).reshape(2, 3).double()},
        {"a": torch.arange(6.0).reshape(2, 3).bfloat16()},
        {"b": torch.tensor([1.5, 0.0])},  # −0 is another value
        {"d": torch.tensor(2.0)},
    ],
)
def test_the_hash_sees_names_shapes_and_types(changed: dict[str, Tensor]) -> None:
    assert weights_hash({**tensors(), **changed}) != weights_hash(tensors())


def test_the_hash_sees_a_missing_and_a_renamed_tensor() -> None:
    own = tensors()
    renamed = {"A" if name == "a" else name: tensor for name, tensor in own.items()}
    swapped = {"a": own["a"], "b": own["c"], "c": own["b"]}
    hashes = {weights_hash(t) for t in (own, renamed, swapped, {"a": own["a"], "b": own["b"]}, {})}
    assert len(hashes) == 5


def test_an_update_is_a_snapshot() -> None:
    own = tensors()
    update = weight_update(3, own)
    own["a"] += 1
    assert update.tensors["a"].equal(tensors()["a"])
    assert (update.version, update.content_hash) == (3, weights_hash(tensors()))


def engine_of(model: Any) -> TransformersEngine:
    return TransformersEngine(model, stop_ids=[], config=RolloutConfig())


def greedy(engine: TransformersEngine) -> Any:
    """(ids, policy version) of a completion; the session stays open."""
    sampling = Sampling(temperature=0.0, max_new_tokens=16)
    request = GenerationRequest(session="s", ids=PROMPT, sampling=sampling, seed=0)
    completion = asyncio.run(engine.generate(request))
    return completion.ids, completion.policy_version


def test_pushed_weights_are_those_that_generate() -> None:
    first, second = (tiny_policy(hidden=64, seed=seed)[0] for seed in (0, 1))
    engine = engine_of(tiny_policy(hidden=64, seed=0)[0])
    before = greedy(engine)
    assert before == (greedy(engine_of(first))[0], 0)
    engine.set_weights(weight_update(7, trainable(second)))
    after = greedy(engine)  # in the same session: keys and values of the old weights are gone
    assert after == (greedy(engine_of(second))[0], 7)
    assert before[0] != after[0]


def corrupted(update: WeightUpdate) -> WeightUpdate:
    """One value flipped after hashing."""
    name = max(update.tensors, key=lambda name: update.tensors[name].numel())
    spoiled = update.tensors[name].clone()
    spoiled.view(-1)[11] += 1e-3
    return replace(update, tensors={**update.tensors, name: spoiled})


def test_a_corrupted_push_is_refused_by_version_and_reason() -> None:
    model, _ = tiny_policy()
    update = weight_update(4, trainable(model))
    engine = engine_of(tiny_policy()[0])
    with pytest.raises(IntegrityError, match=r"weights of policy version 4 arrived corrupted: hash \w{12}, expected"):
        engine.set_weights(corrupted(update))
    assert engine.policy_version == 0
    lost = {name: tensor for name, tensor in update.tensors.items() if "norm" not in name}
    for partial in (replace(update, tensors=lost), weight_update(4, lost)):
        with pytest.raises(IntegrityError, match=r"weights 4: what was sent and the engine's model differ in \[.*norm"):
            engine.set_weights(partial)


def test_another_models_weights_are_refused() -> None:
    engine = engine_of(tiny_policy()[0])
    with pytest.raises(IntegrityError, match=r"differ in \['model.layers.2.*is it the same model"):
        engine.set_weights(weight_update(1, trainable(tiny_policy(layers=3)[0])))
    with pytest.raises(IntegrityError, match="weights 1: .* is it the same model"):
        engine.set_weights(weight_update(1, trainable(tiny_policy(hidden=64)[0])))


class CorruptingPool(MadeUpPool):
    """From the second push on, a value changes on the way."""

    def push(self, update: WeightUpdate) -> None:
        super().push(corrupted(update) if update.version == 1 else update)

    def collect(self, tasks: Any, plan: GroupPlan, **others: Any) -> list[TaskRollouts]:
        assert self.engine.policy_version == 0, "rolled out with corrupted weights"
        return super().collect(tasks, plan, **others)


def test_a_corrupted_push_stops_the_run(tmp_path: Path) -> None:
    model, tokenizer = tiny_policy()
    world = MadeUpWorld(2)
    pool = CorruptingPool(world, tiny_policy()[0], tokenizer)
    config = GrpoConfig(max_steps=3, tasks_per_batch=2, group_size=2)

    def tasks(batch: int) -> tuple[Task, ...]:
        return world.tasks

    sampling = Sampling(max_new_tokens=8)
    source = RolloutSource(
        pool=pool, tasks=tasks, sampling=sampling, rollout=RolloutConfig(), rewards=REWARDS, config=config, seed=0
    )
    trainer = grpo_trainer(model, tokenizer, source, config, tmp_path)
    with pytest.raises(IntegrityError, match="policy version 1 arrived corrupted.*the run stops"):
        trainer.train()
    assert len(trainer.logged) == 1


def test_lora_pushes_the_adapter_and_generates_as_if_it_were_merged(policy: str) -> None:
    trained = load_model(policy, ModelConfig(lora=True))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in trainable(trained).items():
            if "lora_B" in name:
                parameter.normal_(std=0.05)  # zero in a fresh adapter, which then changes nothing
    update = weight_update(2, trainable(trained))
    assert all("lora_" in name for name in update.tensors)
    whole = sum(parameter.numel() for parameter in trained.parameters())
    assert sum(tensor.numel() for tensor in update.tensors.values()) < whole / 2
    engine = engine_of(load_model(policy, ModelConfig(lora=True)))
    without = greedy(engine)[0]
    assert without == greedy(engine_of(load_model(policy, ModelConfig())))[0]
    engine.set_weights(update)
    assert greedy(engine) == (greedy(engine_of(merged(trained)))[0], 2)
    assert greedy(engine)[0] != without


def test_a_fresh_adapter_is_always_the_same_one(policy: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = trainable(load_model(policy, ModelConfig(lora=True)))
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert weights_hash(one) == weights_hash(trainable(load_model(policy, ModelConfig(lora=True))))


def test_a_pickled_update_is_read_where_it_lies() -> None:
    sent = {
        "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "c": torch.tensor(3.0),
        "d": torch.arange(12.0).reshape(3, 4).T,  # not contiguous
        "e": torch.empty(0, 4),
    }
    update = weight_update(7, sent)
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(update, protocol=5, buffer_callback=buffers.append)
    assert sum(len(buffer.raw()) for buffer in buffers) == 6 * 4 + 2 * 2 + 4 + 12 * 4  # every tensor, outside
    assert len(small) < 2000
    lying = [bytes(buffer.raw()) for buffer in buffers]  # read-only, as shared memory is
    first, second = (pickle.loads(small, buffers=lying) for _ in range(2))
    assert first.tensors["a"].data_ptr() == second.tensors["a"].data_ptr()
    assert (first.version, first.content_hash) == (7, update.content_hash)
    assert first.tensors.keys() == sent.keys()
    for name, tensor in sent.items():
        assert torch.equal(first.tensors[name], tensor)
        assert first.tensors[name].dtype == tensor.dtype
    assert weights_hash(first.tensors) == update.content_hash
