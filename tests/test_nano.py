"""The nano base knows tool use, and nothing of the embedded world."""

import json
import re
from collections.abc import Iterable

import pytest
from safetensors.torch import load_file

from envs.worlds.embedded import EmbeddedWorld
from envs.worlds.made_up import made_up_episode
from envs.worlds.made_up_words import CLAUSES, FRAMES, SECOND_FRAMES
from retriever.base.errors import UserError
from train.nano import base
from train.nano.base import BASE, HASHES, base_path, file_hash

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


def test_the_generator_shares_no_tool_with_the_world(world: EmbeddedWorld) -> None:
    made_up = {tool.description.lower() for index in range(3000) for tool in made_up_episode(5, index).tools.values()}
    real = {tool.description.lower() for tool in world.tools}
    assert not made_up & real
    # Words put together at random meet by accident now and then ("in a month of"), not as a wording.
    assert len(_wordings(made_up) & _wordings(real)) <= 5


def test_the_generator_shares_no_wording_with_the_worlds_instructions(world: EmbeddedWorld) -> None:
    splits = ("train", "dev", "held_out", "unseen_paraphrases", "unseen_tools")
    real = _wordings(task.instruction for split in splits for task in world.tasks(split, 1500, 3))
    frames = _wordings((*FRAMES, *SECOND_FRAMES, *CLAUSES))
    assert not frames & real
    made_up = [made_up_episode(5, index).task for index in range(3000)]
    assert not {task.instruction for task in made_up} & {
        task.instruction for split in splits for task in world.tasks(split, 1500, 3)
    }
    needs = _wordings(query for task in made_up for query in task.expert_queries)
    assert not needs & real


def test_episodes_are_a_function_of_seed_and_index() -> None:
    assert made_up_episode(1, 2) == made_up_episode(1, 2)
    assert made_up_episode(1, 2).task.instruction != made_up_episode(2, 2).task.instruction


def test_the_shipped_base_is_the_released_one_and_small() -> None:
    folder = base_path()
    weights = load_file(f"{folder}/model.safetensors")
    assert 2_000_000 <= (BASE / "model.safetensors").stat().st_size <= 6_000_000
    assert sum(tensor.numel() for tensor in weights.values()) == 1_804_288
    manifest = json.loads((BASE / "pretrain.json").read_text())
    assert (manifest["style"], manifest["before"]["style"]) == ("phrases", "words")


def test_a_changed_base_is_refused(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / HASHES).write_text(json.dumps({"config.json": file_hash(tmp_path / "config.json")}))
    monkeypatch.setattr(base, "BASE", tmp_path)
    assert base_path() == str(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    with pytest.raises(UserError, match="not the released file"):
        base_path()
