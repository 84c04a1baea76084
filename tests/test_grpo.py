"""The update: against plain PyTorch by hand, and what it must leave alone."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from retriever.base.errors import IntegrityError, UserError
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer
from rollout.weights import WeightUpdate
from tests.ranks_main import Recorded, grpo_trainer, played, sampled, save_tiny_policy
from train.config import GrpoConfig
from train.nano.base import BASE
from train.segments import Objective, Segment
from train.source import GenerationBatch, ObjectiveSegments

RETRIEVAL, EXECUTION, COUPLED = Objective.RETRIEVAL, Objective.EXECUTION, Objective.COUPLED
# eps: with 1e-8 Adam makes a step of the size of lr out of rounding noise in a gradient that is nearly zero.
CONFIG = GrpoConfig(max_steps=1, lr=1e-3, schedule="constant", adam_eps=1e-4, micro_batch=2, save_every=100)
REPLAYED = replace(CONFIG, max_engine_gap=10.0)  # recorded segments are the first weights', not the later ones'
NOTHING = {objective: ObjectiveSegments(objective=objective, segments=()) for objective in Objective}
Updates = Sequence[Sequence[ObjectiveSegments]]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_policy(tmp_path_factory.mktemp("policy"))


def load(policy: str, *, lora: bool = False) -> tuple[Any, Any]:
    return load_model(policy, ModelConfig(lora=lora)), load_tokenizer(policy)


def both(policy: str) -> tuple[ObjectiveSegments, ObjectiveSegments]:
    """Four retrieval segments and three of execution."""
    model, _ = load(policy)
    return sampled(model, RETRIEVAL, (1.5, -0.5, 0.25, -1.0)), sampled(model, EXECUTION, (1.0, -1.0, 0.5), seed=5)


def parameters(model: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    """The largest change of any parameter."""
    assert before.keys() == after.keys()
    return max(float((after[name] - before[name]).abs().max()) for name in before)


def logprobs(model: Any, segment: Segment) -> Tensor:
    """[T − 1] nats of every token but the first, by a forward pass of its own."""
    logits = model(input_ids=torch.tensor([segment.ids])).logits[0, :-1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(segment.ids[1:])[:, None])[:, 0]


def plain_loss(
    model: Any, objective: ObjectiveSegments, token_loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """`token_loss(logprobs, behaviour logprobs, advantages)` over the objective's action tokens, by their number."""
    total, count = torch.zeros(()), 0
    for segment in objective.segments:
        acts = torch.tensor(segment.action_mask[1:])
        behaviour, advantages = (torch.tensor(v[1:])[acts] for v in (segment.behaviour_logprobs, segment.advantages))
        total = total + token_loss(logprobs(model, segment)[acts], behaviour, advantages).sum()
        count += int(acts.sum())
    return total / count


def dapo(logprobs: Tensor, behaviour: Tensor, advantages: Tensor) -> Tensor:
    """Clip-higher (arXiv 2503.14476, eq. 10), with the default 0.2 and 0.28."""
    ratio = (logprobs - behaviour).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)


class Snapshots(TrainerCallback):
    """What there is after each update; the first entry is what there was before any."""

    def __init__(self) -> None:
        self.trainer: Any = None
        self.parameters: list[dict[str, Tensor]] = []
        self.optimizer: list[dict[str, Any]] = []
        self.scheduler: list[dict[str, Any]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """The Trainer's hook."""
        if not self.parameters:
            self.on_step_end()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The Trainer's hook."""
        self.parameters.append(parameters(self.trainer.model))
        self.optimizer.append(copy.deepcopy(self.trainer.optimizer.state_dict()))
        self.scheduler.append(copy.deepcopy(self.trainer.lr_scheduler.state_dict()))


def train(
    policy: str,
    batches: Sequence[Updates],
    config: GrpoConfig,
    out: Path,
    *,
    lora: bool = False,
    temperature: float = 1.0,
) -> Snapshots:
    """Train over recorded batches."""
    model, tokenizer = load(policy, lora=lora)
    config = replace(config, max_steps=len(batches))
    trainer = grpo_trainer(model, tokenizer, Recorded(batches=batches), config, out, temperature=temperature)
    snapshots = Snapshots()
    snapshots.trainer = trainer
    trainer.add_callback(snapshots)
    trainer.train()
    return snapshots


def same(left: Any, right: Any) -> bool:
    """Bitwise, through nested containers."""
    if isinstance(left, Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


# --- steps that are not taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_an_objective_without_tokens_leaves_weights_and_momentum_alone(policy: str, tmp_path: Path, lora: bool) -> None:
    retrieval, execution = both(policy)
    batches = [
        ((retrieval,), (execution,)),
        ((NOTHING[RETRIEVAL],), (execution,)),
        ((retrieval,), (NOTHING[EXECUTION],)),
        ((NOTHING[RETRIEVAL],), (NOTHING[EXECUTION],)),
    ]
    config = replace(REPLAYED, weight_decay=0.1, schedule="linear", adam_eps=1e-8)  # all of them would move weights
    seen = train(policy, batches, config, tmp_path, lora=lora)
    skipped = [False, False, True, False, False, True, True, True]
    assert len(seen.parameters) == 1 + len(skipped)
    for update, skip in enumerate(skipped):
        for kept in (seen.parameters, seen.optimizer, seen.scheduler):
            assert same(kept[update], kept[update + 1]) is skip, update
    assert [m["update/skipped_retrieval"] for m in seen.trainer.logged] == [0, 1, 0, 1]
    assert [m["update/skipped_execution"] for m in seen.trainer.logged] == [0, 0, 1, 1]
    assert seen.scheduler[-1]["last_epoch"] == 4


def test_a_combined_update_is_skipped_when_neither_objective_has_a_token(policy: str, tmp_path: Path) -> None:
    retrieval, execution = both(policy)
    batches = [
        ((retrieval, execution),),
        ((NOTHING[RETRIEVAL], NOTHING[EXECUTION]),),
        ((NOTHING[RETRIEVAL], execution),),
    ]
    seen = train(policy, batches, replace(REPLAYED, update="combined"), tmp_path)
    for update, skip in enumerate((False, True, False)):
        assert same(seen.parameters[update], seen.parameters[update + 1]) is skip
        assert same(seen.optimizer[update], seen.optimizer[update + 1]) is skip
    assert [m["update/skipped_retrieval"] for m in seen.trainer.logged] == [0, 1, 1]
    assert [m["update/skipped_execution"] for m in seen.trainer.logged] == [0, 1, 0]


@pytest.mark.parametrize(("update", "steps"), [("separated", 2), ("combined", 1), ("coupled", 1)])
def test_optimizer_steps_of_one_batch(policy: str, tmp_path: Path, update: Any, steps: int) -> None:
    retrieval, execution = both(policy)
    coupled = sampled(load(policy)[0], COUPLED, (1.0, -0.5))
    updates: dict[str, Updates] = {
        "separated": ((retrieval,), (execution,)),
        "combined": ((retrieval, execution),),
        "coupled": ((coupled,),),
    }
    gate: Any = "off" if update == "coupled" else "gold"
    seen = train(policy, [updates[update]] * 2, replace(REPLAYED, update=update, gate=gate), tmp_path)
    assert len(seen.parameters) == 1 + 2 * steps
    assert {float(state["step"]) for state in seen.optimizer[-1]["state"].values()} == {2 * steps}
    assert [update.version for update in seen.trainer._source.pushed] == [0, 1]


# --- the loss, by hand -----------------------------------------------------------------------------------------------


def test_combined_is_the_sum_of_losses_each_by_its_own_token_count(policy: str, tmp_path: Path) -> None:
    retrieval, execution = both(policy)
    assert [sum(s.action_tokens for s in o.segments) for o in (retrieval, execution)] == [80, 60]
    max_norm = 0.05
    config = replace(CONFIG, update="combined", max_grad_norm=max_norm, weight_decay=0.1)
    seen = train(policy, [((retrieval, execution),)], config, tmp_path)
    plain, _ = load(policy)
    loss = plain_loss(plain, retrieval, dapo) + plain_loss(plain, execution, dapo)
    loss.backward()
    assert torch.nn.utils.clip_grad_norm_(plain.parameters(), max_norm) > max_norm
    decayed = [p for name, p in plain.named_parameters() if "norm" not in name]
    others = [p for name, p in plain.named_parameters() if "norm" in name]
    torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-3, eps=1e-4
    ).step()
    assert seen.trainer.logged[0]["loss/retrieval_execution"] == pytest.approx(loss.item(), abs=1e-6)
    assert moved(seen.parameters[0], seen.parameters[1]) > 1e-4
    assert moved(parameters(plain), seen.parameters[1]) < 1e-6


def test_separated_updates_are_two_plain_steps(policy: str, tmp_path: Path) -> None:
    retrieval, execution = both(policy)
    seen = train(policy, [((retrieval,), (execution,))], CONFIG, tmp_path)
    plain, _ = load(policy)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, eps=1e-4, weight_decay=0.0)
    for update, objective in enumerate((retrieval, execution), start=1):
        loss = plain_loss(plain, objective, dapo)  # the second one's ratios are no longer 1
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert seen.trainer.logged[0][f"loss/{objective.objective}"] == pytest.approx(loss.item(), abs=1e-6)
        assert moved(parameters(plain), seen.parameters[update]) < 1e-6


def shifted(objective: ObjectiveSegments, *shifts: float) -> ObjectiveSegments:
    """As if the engine had found its tokens that much likelier, segment by segment, in nats."""
    return replace(
        objective,
        segments=tuple(
            replace(
                segment,
                behaviour_logprobs=tuple(
                    value + shift if acts else 0.0
                    for value, acts in zip(segment.behaviour_logprobs, segment.action_mask, strict=True)
                ),
            )
            for segment, shift in zip(objective.segments, shifts, strict=True)
        ),
    )


def test_a_ratio_beyond_the_clip_range_gives_no_gradient(policy: str, tmp_path: Path) -> None:
    # Four segments of 20 tokens: ratio e^0.5 = 1.65 or e^-0.5 = 0.61, advantage 1 or −2.
    objective = sampled(load(policy)[0], RETRIEVAL, (1.0, -2.0, 1.0, -2.0))
    objective = shifted(objective, -0.5, -0.5, 0.5, 0.5)
    seen = train(policy, [((objective,), (NOTHING[EXECUTION],))], REPLAYED, tmp_path / "all")
    by_hand = (-1.28 * 1 + math.e**0.5 * 2 - math.e**-0.5 * 1 + 0.8 * 2) / 4
    assert seen.trainer.logged[0]["loss/retrieval"] == pytest.approx(by_hand, abs=1e-5)
    assert seen.trainer.logged[0]["policy/clip_ratio/region_mean/retrieval"] == pytest.approx(0.5)
    # Both that are clipped alone: the loss is a constant, and Adam without momentum stays where it is.
    clipped = replace(objective, segments=(objective.segments[0], objective.segments[3]))
    seen = train(policy, [((clipped,), (NOTHING[EXECUTION],))], REPLAYED, tmp_path / "clipped")
    assert seen.trainer.logged[0]["loss/retrieval"] == pytest.approx((-1.28 + 0.8 * 2) / 2, abs=1e-5)
    assert moved(seen.parameters[0], seen.parameters[1]) == 0.0


def test_cispo_caps_the_weight_and_keeps_every_gradient(policy: str, tmp_path: Path) -> None:
    objective = shifted(sampled(load(policy)[0], RETRIEVAL, (1.0, -2.0)), -0.5, 0.5)

    def cispo(logprobs: Tensor, behaviour: Tensor, advantages: Tensor) -> Tensor:
        """arXiv 2506.13585, eq. 4: min(r, 1 + 0.28), detached, weighs every token."""
        return -(logprobs - behaviour).exp().clamp(max=1.28).detach() * advantages * logprobs

    seen = train(policy, [((objective,), (NOTHING[EXECUTION],))], replace(REPLAYED, loss="cispo"), tmp_path)
    plain, _ = load(policy)
    loss = plain_loss(plain, objective, cispo)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    torch.optim.AdamW(plain.parameters(), lr=1e-3, eps=1e-4, weight_decay=0.0).step()
    assert seen.trainer.logged[0]["loss/retrieval"] == pytest.approx(loss.item(), abs=1e-5)
    assert moved(parameters(plain), seen.parameters[1]) < 1e-6


def test_what_earned_more_becomes_likelier(policy: str, tmp_path: Path) -> None:
    objective = sampled(load(policy)[0], RETRIEVAL, (1.0, -1.0))
    seen = train(policy, [((objective,), (NOTHING[EXECUTION],))], CONFIG, tmp_path)
    good, bad = objective.segments
    for segment, sign in ((good, 1), (bad, -1)):
        acts = torch.tensor(segment.action_mask[1:])
        with torch.no_grad():
            now = logprobs(seen.trainer.model, segment)[acts].mean()
        then = sum(segment.behaviour_logprobs) / segment.action_tokens
        assert sign * (float(now) - then) > 1e-3


@pytest.mark.parametrize("update", ["separated", "combined"])
def test_the_size_of_micro_batches_does_not_matter(policy: str, tmp_path: Path, update: Any) -> None:
    retrieval, execution = both(policy)
    updates = ((retrieval, execution),) if update == "combined" else ((retrieval,), (execution,))
    ends = []
    for rows in (1, 3, 16):
        config = replace(REPLAYED, update=update, micro_batch=rows)
        ends.append(train(policy, [updates] * 2, config, tmp_path / str(rows)))
    assert moved(ends[0].parameters[0], ends[0].parameters[-1]) > 1e-4
    for other in ends[1:]:
        assert moved(ends[0].parameters[-1], other.parameters[-1]) < 1e-6


# --- engine and trainer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_trainer_and_engine_agree_on_what_was_sampled(policy: str, tmp_path: Path, temperature: float) -> None:
    model, _ = load(policy)
    segments = (sampled(model, objective, (1.0, -1.0), temperature=temperature) for objective in (RETRIEVAL, EXECUTION))
    updates = tuple((objective,) for objective in segments)
    seen = train(policy, [updates], CONFIG, tmp_path, temperature=temperature)
    assert 0 < seen.trainer.logged[0]["engine/gap_max"] < 1e-5
    assert 0 < seen.trainer.logged[0]["engine/gap_mean"] < 1e-6


def spoiled(objective: ObjectiveSegments, by: float) -> ObjectiveSegments:
    """One token's log-prob is off by this much."""
    first, *others = objective.segments
    values = list(first.behaviour_logprobs)
    values[first.action_mask.index(True)] += by
    return replace(objective, segments=(replace(first, behaviour_logprobs=tuple(values)), *others))


@pytest.mark.parametrize("by", [0.01, -0.01, math.nan, math.inf])
@pytest.mark.parametrize("where", ["first update", "second update", "second update, the first empty", "one update"])
def test_a_gap_stops_the_run_before_the_first_update(policy: str, tmp_path: Path, by: float, where: str) -> None:
    retrieval, execution = both(policy)
    model, tokenizer = load(policy)
    updates = {
        "first update": ((spoiled(retrieval, by),), (execution,)),
        "second update": ((retrieval,), (spoiled(execution, by),)),
        "second update, the first empty": ((NOTHING[RETRIEVAL],), (spoiled(execution, by),)),
        "one update": ((retrieval, spoiled(execution, by)),),
    }
    source = Recorded(batches=[updates[where]])
    config = replace(CONFIG, update="combined" if where == "one update" else "separated")
    trainer = grpo_trainer(model, tokenizer, source, config, tmp_path)
    before = parameters(model)
    with pytest.raises(IntegrityError, match="trainer and engine disagree by .* grpo.max_engine_gap=0.0001"):
        trainer.train()
    assert moved(before, parameters(model)) == 0.0


def test_the_gap_is_that_before_the_first_update(policy: str, tmp_path: Path) -> None:
    retrieval, execution = both(policy)
    seen = train(policy, [((retrieval,), (spoiled(execution, 0.125),))], REPLAYED, tmp_path)
    # After the retrieval update the trainer disagrees on every token; what is logged is the one that we spoiled.
    assert seen.trainer.logged[0]["engine/gap_max"] == pytest.approx(0.125, abs=1e-5)
    assert seen.trainer.logged[0]["engine/gap_mean"] == pytest.approx(0.125 / 140, abs=1e-5)


def test_recomputed_ratios_train_as_the_engines_do_while_both_agree(policy: str, tmp_path: Path) -> None:
    updates = tuple((objective,) for objective in both(policy))
    ends = [
        train(policy, [updates], replace(CONFIG, ratio=ratio), tmp_path / ratio).parameters
        for ratio in ("engine", "recompute")
    ]
    assert moved(ends[0][0], ends[0][-1]) > 1e-4
    assert moved(ends[0][-1], ends[1][-1]) < 1e-6


def test_recomputed_ratios_are_weighed_by_a_truncated_correction(policy: str, tmp_path: Path) -> None:
    objective = shifted(sampled(load(policy)[0], RETRIEVAL, (1.0, 1.0, -1.0)), 0.5, -0.5, -3.0)
    config = replace(REPLAYED, ratio="recompute", ratio_cap=2.0)
    seen = train(policy, [((objective,), (NOTHING[EXECUTION],))], config, tmp_path)
    # π_θ/π_old is 1 in the first update; the weights π_old/π_engine are e^-0.5, e^0.5, and e^3 cut to 2.
    by_hand = -(math.e**-0.5 + math.e**0.5 - 2.0) / 3
    assert seen.trainer.logged[0]["loss/retrieval"] == pytest.approx(by_hand, abs=1e-5)


# --- LoRA, KL, real rollouts -----------------------------------------------------------------------------------------


def test_lora_trains_and_pushes_the_adapter_alone(policy: str, tmp_path: Path) -> None:
    updates = tuple((objective,) for objective in both(policy))
    seen = train(policy, [updates] * 2, REPLAYED, tmp_path, lora=True)
    before, after = seen.parameters[0], seen.parameters[-1]
    adapter = {name for name in before if "lora_" in name}
    assert {name for name in before if not torch.equal(before[name], after[name])} == adapter
    assert [set(update.tensors) for update in seen.trainer._source.pushed] == [adapter, adapter]


@pytest.mark.parametrize("lora", [False, True])
def test_a_kl_penalty_holds_the_policy_near_its_start(policy: str, tmp_path: Path, lora: bool) -> None:
    objectives = both(policy)
    config = replace(REPLAYED, update="combined", max_grad_norm=1e9)
    free, held = (
        train(policy, [(objectives,)] * 8, replace(config, beta=beta), tmp_path / str(beta), lora=lora)
        for beta in (0.0, 20.0)
    )
    divergence = [metrics["policy/kl/retrieval_execution"] for metrics in held.trainer.logged]
    assert abs(divergence[0]) < 1e-6
    assert all(value > 1e-5 for value in divergence[1:])

    def shift(model: Any) -> float:
        """How far the log-probs of what was sampled have gone since."""
        segments = [segment for objective in objectives for segment in objective.segments]
        with torch.no_grad():
            gaps = [(logprobs(model, s) - torch.tensor(s.behaviour_logprobs[1:])).abs() for s in segments]
        trained = [gap[torch.tensor(s.action_mask[1:])] for gap, s in zip(gaps, segments, strict=True)]
        return float(torch.cat(trained).mean())

    assert shift(held.trainer.model) < 0.5 * shift(free.trainer.model)
    # TRL's frozen copy of an adapter is not pushed to the workers.
    assert all(".ref." not in name for update in held.trainer._source.pushed for name in update.tensors)


@pytest.mark.parametrize("lora", [False, True])
def test_gradient_checkpointing_computes_twice_and_the_same(policy: str, tmp_path: Path, lora: bool) -> None:
    updates = tuple((objective,) for objective in both(policy))
    ends, forwards = [], []
    for checkpointing in (False, True):
        model = load_model(policy, ModelConfig(lora=lora, gradient_checkpointing=checkpointing))
        calls: list[None] = []
        mlp = next(module for name, module in model.named_modules() if name.endswith("layers.0.mlp"))
        mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(None))
        source = Recorded(batches=[updates])
        grpo_trainer(model, load(policy)[1], source, CONFIG, tmp_path / str(checkpointing)).train()
        ends.append(parameters(model))
        forwards.append(len(calls))
    # Two micro-batches an objective: each is run for the loss, those of the second update for the gap before it, and
    # all once more in the backward pass where nothing was kept.
    assert forwards == [6, 10]
    assert moved(*ends) < 1e-6


def test_real_rollouts_train_the_nano_base(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = replace(CONFIG, max_steps=2, tasks_per_batch=3, group_size=4, gate="off", lr=2e-5, micro_batch=8)
    source, _ = played(str(BASE), config, ray=False)
    model, tokenizer = load(str(BASE))
    before = parameters(model)
    trainer = grpo_trainer(model, tokenizer, source, config, tmp_path, temperature=0.8)
    trainer.train()
    assert len(trainer.logged) == 2
    assert moved(before, parameters(model)) > 1e-5
    for metrics in trainer.logged:
        assert metrics["engine/gap_mean"] < 1e-5  # the largest is held to the config's limit by the trainer itself
        assert all(math.isfinite(value) for value in metrics.values())
    logged = {"reward/retrieval", "gate/pass_rate", "policy/entropy/retrieval", "tokens/sampled"}
    assert logged <= trainer.logged[0].keys()
    assert [metrics["policy_version"] for metrics in trainer.logged] == [0, 1]


def test_an_error_while_rolling_out_is_raised_as_it_is(policy: str, tmp_path: Path) -> None:
    class Broken:
        """A source that has nothing to give."""

        def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
            raise UserError("the tasks are gone")

    model, tokenizer = load(policy)
    with pytest.raises(UserError, match="the tasks are gone"):
        grpo_trainer(model, tokenizer, Broken(), CONFIG, tmp_path).train()
