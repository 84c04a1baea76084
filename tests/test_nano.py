"""The nano base knows tool use, and nothing of the embedded world."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from envs.worlds.embedded import EmbeddedWorld
from envs.worlds.made_up import MadeUpEpisode, made_up_episode
from envs.worlds.made_up_words import (
    ASKS,
    CLAUSES,
    CLOSERS,
    FED,
    FRAMES,
    JOINERS,
    LATER_FRAMES,
    OPENERS,
    REMARK_OPENINGS,
    REMARKS,
    SECOND_FRAMES,
)
from retriever.base.errors import UserError
from train.nano import base
from train.nano.base import BASE, HASHES, base_path, file_hash
from train.nano.muon import Muon, orthogonalised
from train.nano.pretrain import PretrainConfig

WORDS = 4  # so many words in a row are a wording; fewer are English


def _wordings(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Every run of WORDS words, values and names left out."""
    found = set()
    for text in texts:
        words = re.findall(r"[a-z]+", re.sub(r"\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}", " ", text.lower()))
        found |= {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}
    return found


@pytest.fixture(scope="module")
def world() -> EmbeddedWorld:
    return EmbeddedWorld.build(0)


@pytest.fixture(scope="module")
def episodes() -> list[MadeUpEpisode]:
    return [made_up_episode(5, index, style="phrases" if index % 2 else "words") for index in range(3000)]


def test_the_generator_shares_no_tool_with_the_world(world: EmbeddedWorld, episodes: list[MadeUpEpisode]) -> None:
    made_up = {tool.description.lower() for episode in episodes for tool in episode.tools.values()}
    real = {tool.description.lower() for tool in world.tools}
    assert not made_up & real
    # Words put together at random meet by accident now and then ("in a month of"), not as a wording.
    assert len(_wordings(made_up) & _wordings(real)) <= 5


def test_the_generator_shares_no_wording_with_the_worlds_instructions(
    world: EmbeddedWorld, episodes: list[MadeUpEpisode]
) -> None:
    splits = ("train", "dev", "held_out", "unseen_paraphrases", "unseen_tools")
    real = _wordings(task.instruction for split in splits for task in world.tasks(split, 1500, 3))
    parts = (*OPENERS, *ASKS, *CLOSERS, *JOINERS, *REMARK_OPENINGS, *FED)
    frames = _wordings((*FRAMES, *SECOND_FRAMES, *LATER_FRAMES, *REMARKS, *CLAUSES, *parts))
    assert not frames & real
    made_up = [episode.task for episode in episodes]
    assert not {task.instruction for task in made_up} & {
        task.instruction for split in splits for task in world.tasks(split, 1500, 3)
    }
    needs = _wordings(query for task in made_up for query in task.expert_queries)
    assert not needs & real


def test_episodes_are_a_function_of_seed_and_index() -> None:
    assert made_up_episode(1, 2) == made_up_episode(1, 2)
    assert made_up_episode(1, 2).task.instruction != made_up_episode(2, 2).task.instruction


def test_episodes_are_the_same_in_every_process() -> None:
    code = (
        "from envs.worlds.made_up import made_up_episode as episode; "
        "print([episode(3, index, style=style).task for index in range(60) for style in ('words', 'phrases')])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_shipped_base_is_the_released_one_and_small() -> None:
    folder = base_path()
    weights = load_file(f"{folder}/model.safetensors")
    assert 2_000_000 <= (BASE / "model.safetensors").stat().st_size <= 6_000_000
    assert sum(tensor.numel() for tensor in weights.values()) == 1_804_288
    manifest = json.loads((BASE / "pretrain.json").read_text())
    assert manifest["hidden"] == PretrainConfig().hidden
    assert manifest["layers"] == PretrainConfig().layers
    stages = [manifest]
    while stages[-1].get("before"):  # it was made in stages, each going on from the one before
        stages.append(stages[-1]["before"])
    assert sum(stage["trained_tokens"] for stage in stages) > 18_000_000


def test_a_changed_base_is_refused(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / HASHES).write_text(json.dumps({"config.json": file_hash(tmp_path / "config.json")}))
    monkeypatch.setattr(base, "BASE", tmp_path)
    assert base_path() == str(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    with pytest.raises(UserError, match="not the released file"):
        base_path()


def test_orthogonalised_matrices_turn_and_do_not_stretch() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8, 20), (3, 20, 8)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.shape == (3, 8)
        assert (values - 1).abs().max() < 0.35  # the iteration's fixed band around 1


def test_muon_steps_as_torch_does_in_bfloat16() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(16, 8)), torch.nn.Parameter(torch.randn(8, 8))]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    start = [parameter.detach().clone() for parameter in ours]
    optimizers = (
        Muon(ours, lr=0.01, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - before).abs().mean() > 3e-3
        assert (one - other).abs().max() < 5e-4
