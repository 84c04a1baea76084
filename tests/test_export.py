"""Export: a plain folder that anyone can load, a card that is true, and a push that says what it would do."""

import json
import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from envs.dialects import DIALECTS, SEARCH_SCHEMA, SELECT_SCHEMA
from envs.episode import RETRIEVAL_RULES
from envs.types import Prompt
from retriever.base.errors import IntegrityError, UserError
from rollout.renderer import Renderer
from tests.test_evaluation import example_summary
from train.export import export_model, push_to_hub
from train.model_card import EXAMPLE_TASK, ModelCard, card_text, hub_name
from train.nano.model import nano_config, new_nano, train_tokenizer

MANIFEST = {
    "config": {
        "seed": 3,
        "output_dir": "/home/someone/runs",
        "model": {"path": "/home/someone/models/nano"},
        "grpo": {"lr": 1.5e-4, "group_size": 6},
    },
    "git": {"commit": "c0ffee", "dirty": True},
    "versions": {"torch": "2.13.0"},
    "host": {"cores": 2, "gpus": []},
    "command": ["/home/someone/.venv/bin/toolscout"],
}
CARD = ModelCard(name="toolscout-nano", summary=example_summary(), manifest=MANIFEST, base_model="Qwen/Qwen3-4B")


@pytest.fixture(scope="module")
def policy() -> tuple[Any, Any]:
    """A nano policy of random weights."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer([f"Find the tool for task {number}: add, search, select." for number in range(40)])
    return new_nano(nano_config(tokenizer, hidden=64, layers=2)).eval(), tokenizer


@pytest.fixture(scope="module")
def exported(policy: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(*policy, tmp_path_factory.mktemp("export") / "model", card=CARD)


def prompt_ids(tokenizer: Any) -> tuple[int, ...]:
    prompt = Prompt(system=RETRIEVAL_RULES, tools=(SEARCH_SCHEMA, SELECT_SCHEMA), user=EXAMPLE_TASK)
    return Renderer(tokenizer, DIALECTS["qwen3"]).prompt_ids(prompt)


def greedy(model: Any, ids: tuple[int, ...]) -> list[int]:
    """Twelve tokens, one full forward pass each: no cache, no generate()."""
    grown = list(ids)
    with torch.no_grad():
        for _ in range(12):
            grown.append(int(model(input_ids=torch.tensor([grown])).logits[0, -1].argmax()))
    return grown[len(ids) :]


def test_plain_transformers_loads_it_and_decodes_the_same(policy: tuple[Any, Any], exported: Path) -> None:
    model, tokenizer = policy
    loaded: Any = AutoModelForCausalLM.from_pretrained(exported)
    again = AutoTokenizer.from_pretrained(exported)
    ids = prompt_ids(tokenizer)
    assert prompt_ids(again) == ids
    output = loaded.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    expected = greedy(model, ids)
    assert output == expected[: len(output)]
    assert len(output) == 12 or output[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert again.chat_template == tokenizer.chat_template


def test_the_folder_is_complete_readable_and_names_no_machine(exported: Path) -> None:
    names = {file.name for file in exported.iterdir()}
    wanted = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"}
    assert wanted | {"README.md", "toolscout.json", "tokenizer_config.json"} == names
    for file in exported.iterdir():
        assert file.stat().st_mode & 0o777 == 0o644, file.name
        content = file.read_bytes()
        assert b"/home/someone" not in content
        assert str(exported.parent).encode() not in content
    assert [file.name for file in exported.parent.iterdir()] == ["model"]


def test_generation_ends_at_the_end_of_a_turn(policy: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = policy
    end, text_end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>"))
    model.generation_config.eos_token_id, before = text_end, model.generation_config.eos_token_id
    try:
        export_model(model, tokenizer, tmp_path / "m", card=CARD)
        assert model.generation_config.eos_token_id == text_end  # what is being trained is left alone
    finally:
        model.generation_config.eos_token_id = before
    saved = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [end, text_end]
    assert saved["pad_token_id"] == text_end


@pytest.mark.parametrize("dialect", ["qwen3", "paper"])
def test_the_cards_program_runs_and_prompts_as_the_loop_does(
    policy: tuple[Any, Any],
    dialect: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = ModelCard(name="n", dialect=dialect)
    folder = export_model(*policy, tmp_path / "model", card=card)
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(program, names)
    assert "search_tools" in program or "<search>" in program
    if dialect == "qwen3":  # the paper's rules spell <think>, which the loop writes as plain text and a template cannot
        assert tuple(names["prompt"]["input_ids"][0].tolist()) == prompt_ids(policy[1])
    written = names["output"].shape[1] - names["prompt"]["input_ids"].shape[1]
    assert 1 <= written <= 128
    assert capsys.readouterr().out


def test_the_card_tells_what_was_measured_and_how_it_was_made(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "language": ["en"],
        "base_model": "Qwen/Qwen3-4B",
        "tags": ["toolscout", "tool-use", "tool-retrieval", "reinforcement-learning", "grpo"],
    }
    assert "| all 4 | after SFT (1 lost) | 33.3 ±50.0 |" in body
    assert "| grpo.group_size | `6` |" in body
    assert "| model.path | `nano` |" in body
    assert "- Base model: Qwen/Qwen3-4B" in body
    assert "- Code: commit `c0ffee`, with uncommitted changes" in body
    assert "- Machine: 2 CPU cores, no GPU" in body
    assert "Time of the whole run: 0.2 minutes" in body
    assert "## Limits" in body


def test_a_card_without_a_run_says_so() -> None:
    text = card_text(ModelCard(name="bare"), template_knows_tools=True)
    assert "No evaluation was made." in text
    assert "No manifest was given." in text
    assert "base_model" not in text
    told = card_text(ModelCard(name="n", base_model="/home/someone/models/nano base"), template_knows_tools=True)
    assert "- Base model: nano base" in told
    assert "base_model:" not in told


def test_only_a_hub_name_is_a_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = ["Qwen/Qwen3-4B", "runs/quickstart", "/models/x", "./a/b", "nano", None]
    assert [hub_name(name) for name in names] == ["Qwen/Qwen3-4B", None, None, None, None, None]


def test_an_earlier_export_is_replaced_as_a_whole(policy: tuple[Any, Any], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "model"
    export_model(*policy, out, card=CARD)
    (out / "stale.safetensors").write_bytes(b"old")
    export_model(*policy, out, card=CARD)
    assert not (out / "stale.safetensors").exists()
    with pytest.raises(KeyError):
        export_model(*policy, out, card=ModelCard(name="n", dialect="no such dialect"))
    assert "toolscout-nano" in (out / "README.md").read_text()
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_folder_of_the_users_is_never_replaced(policy: tuple[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds something that is no export of ours"):
        export_model(*policy, tmp_path, card=CARD)
    with pytest.raises(UserError, match="no export of ours"):
        export_model(*policy, tmp_path / "thesis.tex", card=CARD)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_unmerged_adapter_is_refused(policy: tuple[Any, Any], tmp_path: Path) -> None:
    layer = torch.nn.Module()
    layer.lora_A = torch.nn.Linear(2, 2)
    with pytest.raises(IntegrityError, match="unmerged adapter"):
        export_model(layer, policy[1], tmp_path / "out", card=CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_and_uploads_nothing(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (exported / ".cache").mkdir()
    (exported / ".cache" / "secret").write_text("x")
    push = push_to_hub(exported, "me/nano", private=True, dry_run=True)
    (exported / ".cache" / "secret").unlink()
    (exported / ".cache").rmdir()
    assert [name for name, _ in push.files] == sorted(file.name for file in exported.iterdir())
    assert push.total_bytes == sum(file.stat().st_size for file in exported.iterdir())
    assert push.url is None
    last = push.text().splitlines()[-1]
    assert re.fullmatch(r"8 files, [\d.]+ [KM]B, would be uploaded to me/nano, private when it is made", last)


def test_what_stops_a_push_is_said_in_one_line(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no exported policy"):
        push_to_hub(tmp_path, "me/nano", dry_run=True)
    for name in ("nano", "me/na no", "me/nano/x", "../x"):
        with pytest.raises(UserError, match="is no repository name; give OWNER/NAME"):
            push_to_hub(exported, name, dry_run=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        push_to_hub(exported, "me/nano")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in [name for name in os.environ if name.startswith(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no Hugging Face token; run `hf auth login`"):
        push_to_hub(exported, "me/nano")
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    with pytest.raises(UserError, match="the Hub did not take me/nano"):
        push_to_hub(exported, "me/nano", endpoint="http://127.0.0.1:9")  # nobody listens there
