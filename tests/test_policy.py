"""Loading policies: what cannot be loaded is said in one line, with what to do about it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from envs.dialects import DIALECTS
from retriever.base.errors import UserError
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer, load_trainable, merged, trainable
from rollout.renderer import Renderer
from tests.ranks_main import save_tiny_policy, tiny_policy


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
