"""The cold start: TRL's loss is ours by hand, and falls on the policy's tokens alone."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from envs.dialects import DIALECTS
from envs.types import StopReason
from rollout.config import GroupPlan, ModelConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.policy import load_model, load_tokenizer, merged, trainable
from rollout.renderer import Renderer
from rollout.types import Sampling, TaskRollouts
from tests.ranks_main import save_tiny_policy
from tests.support import MadeUpWorld, collector
from train.config import SftConfig
from train.nano.curriculum import NANO_ENV
from train.segments import Objective, Segment
from train.sft import run_sft, sft_segments


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


def segment(spelled: str, seed: int) -> Segment:
    """Random ids, one for each character: A for one that the policy wrote, . for one that it was told."""
    ids = torch.randint(2000, (len(spelled),), generator=torch.Generator().manual_seed(seed))
    zeros = (0.0,) * len(spelled)
    return Segment(
        ids=tuple(ids.tolist()),
        action_mask=tuple(character == "A" for character in spelled),
        behaviour_logprobs=zeros,
        advantages=zeros,
        objective=Objective.RETRIEVAL,
    )


SEGMENTS = [segment("....AAA...AA", 0), segment(".A", 1), segment("..........AAAAAAAAAAAAAAAA....AAAA", 2)]


def logprobs(model: Any, of: Segment, *, acts: bool) -> Tensor:
    """Nats of the tokens that the policy wrote, or of those it was told, by a forward pass of its own."""
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([of.ids])).logits[0, :-1].float()
    found = torch.log_softmax(logits, -1).gather(1, torch.tensor(of.ids[1:])[:, None])[:, 0]
    return found[torch.tensor(of.action_mask[1:]) == acts]


def fine_tune(
    policy: str, out: Path, segments: Sequence[Segment], *, lora: bool = False, **config: Any
) -> tuple[Any, list[tuple[int, int, dict[str, float]]]]:
    """(the trained model, what was logged)."""
    logged: list[tuple[int, int, dict[str, float]]] = []

    def log(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        logged.append((step, steps, dict(metrics)))

    model = run_sft(
        model=load_model(policy, ModelConfig(lora=lora)),
        tokenizer=load_tokenizer(policy),
        segments=segments,
        config=SftConfig(**config),
        out=out,
        seed=3,
        log=log,
    )
    return model, logged


@pytest.mark.parametrize("lora", [False, True])
def test_the_loss_is_the_mean_over_the_policys_tokens(policy: str, tmp_path: Path, lora: bool) -> None:
    _, logged = fine_tune(policy, tmp_path, SEGMENTS, lora=lora, batch_size=3)
    start = load_model(policy, ModelConfig())
    by_hand = -torch.cat([logprobs(start, each, acts=True) for each in SEGMENTS])
    assert len(by_hand) == 5 + 1 + 20
    step, steps, metrics = logged[-1]
    assert (step, steps) == (1, 1)
    assert metrics["train_loss"] == pytest.approx(float(by_hand.mean()), abs=1e-5)


def test_what_the_policy_was_told_is_not_learned(policy: str, tmp_path: Path) -> None:
    model, logged = fine_tune(policy, tmp_path, SEGMENTS, epochs=60.0, batch_size=3, lr=1e-2)
    wrote, told = (torch.cat([logprobs(model, each, acts=acts) for each in SEGMENTS]) for acts in (True, False))
    assert wrote.mean() > -0.1
    assert told.mean() < -6  # as good as guessing among 4096, which gives −8.3
    losses = [metrics["loss"] for _, _, metrics in logged if "loss" in metrics]
    assert len(losses) == 12  # every fifth step
    assert losses[-1] < 0.1 < losses[0]


def test_lora_trains_the_adapter_alone(policy: str, tmp_path: Path) -> None:
    start = load_model(policy, ModelConfig(lora=True))
    before = {name: parameter.clone() for name, parameter in start.named_parameters()}
    model, _ = fine_tune(policy, tmp_path, SEGMENTS, lora=True, epochs=3.0, batch_size=2, lr=1e-2)
    changed = {name for name, parameter in model.named_parameters() if not parameter.equal(before[name])}
    assert changed == set(trainable(model)) == {name for name in before if "lora_" in name}
    plain = merged(model)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    assert logprobs(plain, SEGMENTS[2], acts=True).mean() > logprobs(start, SEGMENTS[2], acts=True).mean()


def expert_rollouts(tokenizer: Any) -> list[TaskRollouts]:
    """Four made-up tasks, played by the competent expert."""
    world = MadeUpWorld(4)
    renderer = Renderer(tokenizer, DIALECTS["qwen3"])
    expert = Expert(world.tasks, world.tools, env=NANO_ENV)
    played = collector(world, renderer, ScriptedEngine(renderer, expert), NANO_ENV)
    sampling = Sampling(max_new_tokens=64)
    return asyncio.run(played.collect(world.tasks, GroupPlan(group_size=1), sampling=sampling, seed=0))


def test_only_what_ended_as_it_should_is_imitated(policy: str) -> None:
    rollouts = expert_rollouts(load_tokenizer(policy))
    segments = sft_segments(rollouts)
    assert [s.objective for s in segments] == [Objective.RETRIEVAL, Objective.EXECUTION] * 4
    written = [sum(len(turn.completion.ids) for turn in r.executions[0].turns) for r in rollouts]
    assert [a.action_tokens + b.action_tokens for a, b in zip(segments[::2], segments[1::2], strict=True)] == written
    stuck, cut, *fine = rollouts
    spoiled = [
        replace(stuck, retrieval=tuple(replace(t, stop=StopReason.INVALID_SELECTION) for t in stuck.retrieval)),
        replace(cut, executions=tuple(replace(t, stop=StopReason.LENGTH) for t in cut.executions)),
        *fine,
    ]
    assert sft_segments(spoiled) == [*segments[1:3], *segments[4:]]
