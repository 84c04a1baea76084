"""Records of a real run, by the commands that read them: shown, replayed, rescored, trained on, collected."""

import gzip
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from configs.schema import RunConfig, load_run_config
from envs.dialects import DIALECTS
from envs.worlds.world import build_world
from launch import run as command_line
from launch.display import Display, new_console, printable
from retriever.base.errors import IntegrityError, UserError
from retriever.config import RetrieverConfig
from rewards.config import RewardConfig
from rollout.batch_files import Played, batch_file, task_rollouts
from rollout.config import ModelConfig
from rollout.policy import load_model, load_tokenizer, trainable
from rollout.records import Record, RecordReader, trajectory_from_dict, write_records
from rollout.renderer import Renderer
from rollout.types import Trajectory
from rollout.weights import weight_update
from rollout.worker import LocalPool, WorkerSpec
from tests.ranks_main import ENV, ROLLOUT, SAMPLING, WORLD, save_tiny_policy
from train.advantages import group_advantages
from train.config import GrpoConfig
from train.logprob_gap import logprob_gap
from train.nano.base import BASE
from train.objectives import ScoredGroup, coupled_group
from train.recorded import check_tokenizer, read_batch, scored_records
from train.recorded_source import RecordedSource
from train.scoring import BatchScoring
from train.segments import Objective, segments_of
from train.source import RolloutSource
from train.tracking import JsonlTracker

SMALL = (
    "retriever.kind=bm25",
    "grpo.tasks_per_batch=2",
    "grpo.group_size=3",
    "grpo.max_steps=2",
    "grpo.save_every=1",
    "grpo.gate=off",
    "rollout.max_new_tokens=48",
    "evaluation.splits=[held_out]",
    "evaluation.tasks_per_split=3",
)


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Iterator[None]:
    """Rollouts are played in this process, by the same worker that Ray's processes hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("launch.stages.RayPool", LocalPool)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def made(folder: Path, *arguments: str) -> None:
    assert command_line.main([*arguments, f"output_dir={folder}"]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generation batches of GRPO from the nano base, nobody's mock."""
    folder = tmp_path_factory.mktemp("runs")
    made(folder, "grpo", "quickstart", *SMALL, "name=real")
    return folder / "real"


@pytest.fixture(scope="module")
def evaluated(run: Path) -> Path:
    """An evaluation of three tasks beside it."""
    made(run.parent, "eval", "quickstart", *SMALL, "name=real")
    return run.parent / "real-eval" / "evaluation" / "model" / "held_out.jsonl.gz"


@pytest.fixture
def config(run: Path) -> RunConfig:
    return load_run_config("quickstart", [*SMALL, f"output_dir={run.parent}"])


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; (exit code, all that it printed)."""

    def command(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = command_line.main(["rollouts", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return command


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Bitwise."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def untimed(record: Record) -> Any:
    """A record without its seconds."""
    value = json.loads(json.dumps([record.extra["reward"], record.extra["played"]]))
    text = re.sub(r"\w+_s=[\d.e-]+", "", repr(replace(record.trajectory, seconds=0.0)))
    return value, text


def batch(run: Path, number: int) -> Path:
    return batch_file(run / "rollouts", number)


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_batch_file_says_what_played_it(run: Path, config: RunConfig) -> None:
    assert [path.name for path in sorted((run / "rollouts").iterdir())] == [
        "batch-000001.jsonl.gz",
        "batch-000002.jsonl.gz",
    ]
    first, second = (read_batch(batch(run, number)) for number in (1, 2))
    assert first.played is not None
    assert second.played is not None
    assert (first.played.batch, second.played.batch) == (1, 2)
    assert first.played.temperature == 1.0
    assert first.played.seed != second.played.seed
    assert first.played.weights != second.played.weights
    assert first.played.catalogue == build_world(config.world).catalogue.content_hash
    assert [sorted(found.policy_versions) for found in (first, second)] == [[0], [1]]
    assert [len(r.retrieval) for r in first.rollouts] == [3, 3]
    assert sum(len(r.executions) for r in first.rollouts) > 0


# --- rescoring -------------------------------------------------------------------------------------------------------


def test_under_the_same_weights_every_reward_and_advantage_is_the_recorded_one(
    run: Path, evaluated: Path, config: RunConfig, said: Any
) -> None:
    catalogue = build_world(config.world).catalogue
    for file in (batch(run, 1), batch(run, 2), evaluated):
        found = read_batch(file)
        compared = 0
        for groups in BatchScoring(config.grpo, config.reward, catalogue).by_objective(found.rollouts):
            for row in (row for group in groups for row in group.rows):
                recorded = found.rows[groups[0].objective, row.trajectory.id]
                assert (recorded.reward.total, recorded.reward.parts) == (row.reward.total, row.reward.parts)
                assert recorded.advantage == row.advantage or not recorded.grouped
                compared += 1
        assert compared == len(found.rows) > 2
    code, text = said("rescore", str(run), str(evaluated))
    assert code == 0
    assert text.count("rewards and advantages are bit for bit those recorded") == 2


def test_new_weights_give_new_rewards_and_advantages(run: Path, tmp_path: Path, said: Any) -> None:
    only = [f"reward.retrieval.{part}=0" for part in ("format", "ndcg", "precision", "conversion")]
    code, text = said("rescore", str(run), *only, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "execution: all " in text
    assert re.search(r"retrieval: \d+ of 12 rewards and \d+ advantages changed", text)
    for number in (1, 2):
        old, new = read_batch(batch(run, number)), read_batch(tmp_path / "out" / batch(run, number).name)
        assert new.rollouts == old.rollouts
        assert new.played == old.played
        for rollouts in new.rollouts:
            rows = [new.rows[Objective.RETRIEVAL, trajectory.id] for trajectory in rollouts.retrieval]
            recalls = [row.reward.parts["recall"] for row in rows]
            assert [row.reward.total for row in rows] == recalls  # the one part that weighs anything
            assert [row.advantage for row in rows] == group_advantages(recalls)
    assert {key: row for key, row in old.rows.items() if key[0] is Objective.EXECUTION} == {
        key: row for key, row in new.rows.items() if key[0] is Objective.EXECUTION
    }


def test_groups_that_wake_and_fall_still_are_counted(run: Path, config: RunConfig, tmp_path: Path, said: Any) -> None:
    # Recorded under the format alone, scored again under recall alone: a group counts where just one of both varies.
    catalogue = build_world(config.world).catalogue
    formats = ("retrieval.recall", "retrieval.ndcg", "retrieval.precision")
    weighed = load_run_config("quickstart", [f"reward.{part}=0" for part in formats])
    found = read_batch(batch(run, 1))
    groups = BatchScoring(config.grpo, weighed.reward, catalogue).by_objective(found.rollouts)
    write_records(tmp_path / "r.jsonl", scored_records([g for of in groups for g in of], found.played))
    woken = stilled = 0
    for rollouts in found.rollouts:
        parts = [found.rows[Objective.RETRIEVAL, t.id].reward.parts for t in rollouts.retrieval]
        varies = [len({part[name] for part in parts}) > 1 for name in ("format", "recall")]
        woken, stilled = woken + (varies == [False, True]), stilled + (varies == [True, False])
    wanted = [f"reward.retrieval.{part}=0" for part in ("format", "ndcg", "precision")]
    code, text = said("rescore", str(tmp_path / "r.jsonl"), "--config", "quickstart", *wanted, "grpo.gate=off")
    assert code == 0
    assert f"of 2 groups {woken} had no variance and have some now, {stilled} the other way round" in text


def test_coupled_records_hold_their_retrieval_phases(run: Path, config: RunConfig) -> None:
    found = read_batch(batch(run, 1))
    groups = [coupled_group(rollouts, config.reward, None) for rollouts in found.rollouts]
    again = task_rollouts([record.trajectory for record in scored_records(groups, None)])

    def untimed(trajectories: tuple[Trajectory, ...]) -> list[Trajectory]:
        return [replace(trajectory, seconds=0.0) for trajectory in trajectories]

    for before, after in zip(found.rollouts, again, strict=True):
        assert untimed(after.retrieval) == untimed(before.retrieval)
        assert after.executions == before.executions


def test_a_stranger_reads_what_is_trained_from_plain_lists(run: Path, tmp_path: Path, said: Any) -> None:
    assert said("rescore", str(run), "--segments", "--out", str(tmp_path))[0] == 0
    trained = 0
    for line in gzip.decompress((tmp_path / "batch-000001.jsonl.gz").read_bytes()).splitlines():
        value = json.loads(line)
        contexts: dict[int, list[int]] = {}
        for turn in value["trajectory"]["turns"]:
            contexts.setdefault(turn["context"], []).extend(turn["prompt_ids"] + turn["completion"]["ids"])
        for segment in value["segments"]:
            assert len({len(column) for column in segment.values()}) == 1
            assert any(ids[: len(segment["ids"])] == segment["ids"] for ids in contexts.values())
            for acts, loss, advantage, logprob in zip(
                segment["action_mask"],
                segment["loss_mask"],
                segment["advantages"],
                segment["behaviour_logprobs"],
                strict=True,
            ):
                assert acts or (not loss and logprob == 0.0)
                assert advantage == (value["reward"]["advantage"] if loss else 0.0)
            trained += sum(segment["loss_mask"])
    found = read_batch(batch(run, 1))
    wanted = 0
    for (objective, id), row in found.rows.items():
        (trajectory,) = (t for r in found.rollouts for t in (*r.retrieval, *r.executions) if t.id == id)
        group = [row for (o, i), row in found.rows.items() if o is objective and i.split("/")[0] == id.split("/")[0]]
        if any(member.advantage for member in group) and row.advantage is not None:
            wanted += sum(segment.action_tokens for segment in segments_of(trajectory, objective))
    assert trained == wanted > 0


def test_the_page_on_records_says_what_is_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "records.md").read_text(encoding="utf-8")
    example, added = (json.loads(text if text[0] == "{" else f"{{{text}}}") for text in _blocks(page, "json"))
    real = json.loads(gzip.decompress(batch(run, 1).read_bytes()).splitlines()[-1])
    assert example.keys() == real.keys()
    assert example["played"].keys() == real["played"].keys()
    assert example["reward"].keys() == real["reward"].keys()
    assert example["reward"]["parts"].keys() <= real["reward"]["parts"].keys()
    trajectory = trajectory_from_dict(example["trajectory"])
    assert example["trajectory"].keys() == real["trajectory"].keys()
    rescored = ["rollouts", "rescore", str(run), "--segments", "--out", str(tmp_path / "plain")]
    assert command_line.main(rescored) == 0
    (program,) = _blocks(page, "python")
    monkeypatch.chdir(tmp_path / "plain")
    found: list[tuple[dict[str, Any], list[Any]]] = []
    exec(program + "    found.append((record, list(contexts.values())))\n", {"found": found})
    assert len(found) == len(list(RecordReader(batch(run, 1))))
    compared = 0
    for record, contexts in found:
        for segment in record["segments"]:
            assert segment.keys() == added["segments"][0].keys()
            cut = len(segment["ids"])
            ids, action_mask, loss_mask = next(c for c in contexts if c[0][:cut] == segment["ids"] and any(c[2]))
            assert len(ids) == len(action_mask) == len(loss_mask)
            assert action_mask[:cut] == segment["action_mask"]
            assert not any(loss_mask[cut:])
            if any(segment["loss_mask"]):  # of a group that has something to learn
                assert loss_mask[:cut] == segment["loss_mask"]
                compared += 1
    assert compared > 0
    assert trajectory.executed


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


# --- replaying -------------------------------------------------------------------------------------------------------


def test_replayed_nothing_has_changed(run: Path, evaluated: Path, said: Any) -> None:
    code, text = said("replay", str(run), str(evaluated), "--model", "nano", "--tolerance", "100")
    assert code == 0, text
    assert text.count("all the same, bit for bit") == 3
    gaps = re.findall(r"(\S+): log-probs of (\d+) tokens: gap at most (\S+),.*\((.*)\)", text)
    assert [(name, whose) for name, _, _, whose in gaps] == [
        ("batch-000001.jsonl.gz", "the very weights that played"),
        ("batch-000002.jsonl.gz", "not the weights that played"),
        ("held_out.jsonl.gz", "the very weights that played"),
    ]
    sampled = sum(
        len(turn.completion.ids)
        for r in read_batch(batch(run, 1)).rollouts
        for t in (*r.retrieval, *r.executions)
        for turn in t.turns
        if not t.executed or turn.phase.value == "execution"
    )
    assert int(gaps[0][1]) == sampled
    assert float(gaps[0][2]) <= 1e-4
    assert float(gaps[1][2]) > 1e-4
    assert said("replay", str(run), "--batch", "2", "--model", "nano")[0] == 1
    assert said("replay", str(run), "--batch", "2", "--model", str(run / "checkpoints/grpo/checkpoint-2"))[0] == 0


def test_a_changed_rule_is_found_in_the_turn_that_it_changes(run: Path, said: Any) -> None:
    code, text = said("replay", str(run), "--batch", "1", "env.candidates_per_search=4")
    assert code == 1
    assert re.search(r"batch-000001.jsonl.gz: \d+ episodes of \d+ turns: \d+ differ", text)
    assert "turn 1: searches" in text
    assert "turn 2: prompt tokens" in text


def test_one_episode_is_replayed_with_its_group(run: Path, said: Any) -> None:
    execution = next(t.id for r in read_batch(batch(run, 1)).rollouts for t in r.executions)
    code, text = said("replay", str(run), "--batch", "1", "--episode", execution)
    assert code == 0
    assert re.search(r"batch-000001.jsonl.gz: 1 episodes of \d+ turns: all the same", text)


def test_records_of_another_catalogue_are_told_apart(run: Path, tmp_path: Path, said: Any) -> None:
    shutil.copytree(run, tmp_path / "copy")
    records = [
        Record(
            trajectory=record.trajectory,
            extra={**record.extra, "played": {**record.extra["played"], "catalogue": "0" * 64}},
        )
        for record in RecordReader(batch(run, 1))
    ]
    write_records(batch(tmp_path / "copy", 1), records)
    for command in ("replay", "rescore"):
        code, text = said(command, str(tmp_path / "copy" / "rollouts" / "batch-000001.jsonl.gz"))
        assert code == 0
        assert "was played over another catalogue (content hash 000000000000)" in text


def test_records_of_another_tokenizer_are_refused(run: Path, tmp_path: Path, said: Any) -> None:
    other = save_tiny_policy(tmp_path)
    code, text = said("replay", str(run), "--model", other)
    assert code == 2
    assert re.search(r"batch-000001.jsonl.gz: episode \S+, turn \d+ .*give the model that played them", text)


# --- showing ---------------------------------------------------------------------------------------------------------


def test_episodes_are_listed_and_shown(run: Path, evaluated: Path, tmp_path: Path, said: Any) -> None:
    found = read_batch(batch(run, 1))
    code, text = said("show", str(run), "--batch", "1")
    assert code == 0
    ids = [t.id for r in found.rollouts for t in (*r.retrieval, *r.executions)]
    assert sorted(re.findall(r"^  (\S+/x?\d)  \d", text, re.M)) == sorted(ids)
    code, text = said("show", str(run), "--episode", ids[0])
    first = found.rollouts[0].retrieval[0]
    assert code == 0
    assert text.startswith(f"=== batch-000001.jsonl.gz · {first.id}")
    assert "[1 retrieval] " in text
    assert f"stop: {first.stop}" in text
    assert said("show", str(evaluated))[1].count("retrieval") >= 3
    (empty := tmp_path / "empty.jsonl").touch()
    assert said("show", str(empty)) == (0, "empty.jsonl: episode, turns, stop, reward, task\n  (no record in it)\n")


def test_what_a_tool_wrote_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[31m\nb\ud800\u202e") == "a\\x1b[31m\nb\\ud800\\u202e"
    Display(new_console()).say("lost; first: [/usr/bin/env] [bold]:key: \x1b[31m")  # nor is it anybody's markup
    assert capsys.readouterr().out == "lost; first: [/usr/bin/env] [bold]:key: \\x1b[31m\n"


def test_a_resumed_run_keeps_its_own_newest_batches_not_those_that_are_undone(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "real")
    for undone in ("rl", "grpo/checkpoint-4"):
        shutil.rmtree(tmp_path / "real" / "checkpoints" / undone)
    shutil.copy(batch(run, 2), batch(tmp_path / "real", 9))
    made(tmp_path, "grpo", "quickstart", *SMALL, "name=real", "--resume", "tracking.keep_rollouts=1")
    assert [path.name for path in (tmp_path / "real" / "rollouts").iterdir()] == ["batch-000002.jsonl.gz"]
    again, before = ([untimed(r) for r in RecordReader(batch(f, 2))] for f in (tmp_path / "real", run))
    assert again == before


# --- rollout-only and train-only -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collected(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collected")
    made(folder, "rollouts", "collect", "quickstart", *SMALL, "name=only")
    return folder / "only"


def test_the_first_batch_collected_is_the_one_that_training_begins_with(run: Path, collected: Path) -> None:
    alone, trained = ([untimed(r) for r in RecordReader(batch(folder, 1))] for folder in (collected, run))
    assert alone == trained
    second = read_batch(batch(collected, 2)).played
    assert second is not None
    assert second.weights == read_batch(batch(run, 1)).played.weights  # type: ignore[union-attr]
    assert second.seed == read_batch(batch(run, 2)).played.seed  # type: ignore[union-attr]
    assert not (collected / "checkpoints").exists()


def test_collecting_goes_on_behind_the_last_batch_and_keeps_the_newest(collected: Path, tmp_path: Path) -> None:
    shutil.copytree(collected, tmp_path / "only")
    batch(tmp_path / "only", 2).unlink()
    resume = ("rollouts", "collect", "quickstart", *SMALL, "name=only", "--resume", "tracking.keep_rollouts=1")
    written = set()
    for _ in range(2):  # the second time nothing is left to be played, though the first batch is gone
        made(tmp_path, *resume)
        written.add(batch(tmp_path / "only", 2).stat().st_mtime_ns)
        assert [path.name for path in (tmp_path / "only" / "rollouts").iterdir()] == ["batch-000002.jsonl.gz"]
        again, before = ([untimed(r) for r in RecordReader(batch(f, 2))] for f in (tmp_path / "only", collected))
        assert again == before
        rows = [json.loads(line) for line in (tmp_path / "only" / "metrics.jsonl").read_text().splitlines()]
        assert [(row["stage"], row["step"]) for row in rows] == [("collect", 1), ("collect", 2)]
    assert len(written) == 1


def test_collecting_interrupted_between_a_batchs_metrics_and_its_file_loses_neither(
    collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("rollouts", "collect", "quickstart", *SMALL, "name=only")
    logged = JsonlTracker.log

    def interrupted(*given: Any) -> None:
        if given[1:3] == ("collect", 2):
            raise KeyboardInterrupt
        logged(*given)

    with monkeypatch.context() as patch:
        patch.setattr(JsonlTracker, "log", interrupted)
        assert command_line.main([*arguments, f"output_dir={tmp_path}"]) == 130
    made(tmp_path, *arguments, "--resume")
    rows = [json.loads(line) for line in (tmp_path / "only" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [("collect", 1), ("collect", 2)]
    again, before = ([untimed(r) for r in RecordReader(batch(f, 2))] for f in (tmp_path / "only", collected))
    assert again == before


def test_trained_on_its_records_alone_a_policy_gets_the_runs_own_bits(run: Path, tmp_path: Path, said: Any) -> None:
    arguments = ("--records", str(run), *SMALL, "name=offline", f"output_dir={tmp_path}")
    code, text = said("train", "quickstart", *arguments)
    assert code == 0
    assert "batch-000001.jsonl.gz: played by the very weights that it trains" in text
    assert "ratio of the two" not in text
    assert "rollout workers" not in text  # none is started
    for update in (2, 4):  # both updates of the first batch, of the second
        checkpoint = f"checkpoints/grpo/checkpoint-{update}"
        assert same(weights(tmp_path / "offline" / checkpoint), weights(run / checkpoint))
    assert same(weights(tmp_path / "offline/checkpoints/rl"), weights(run / "checkpoints/rl"))
    ours, theirs = (
        [
            {k: v for k, v in json.loads(line).items() if not k.startswith("time/") and k != "seconds"}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (tmp_path / "offline", run)
    )
    # What a collection costs is known to the run alone.
    assert [own.items() >= row.items() for own, row in zip(theirs, ours, strict=True)] == [True, True]
    assert {"reward/retrieval", "engine/gap_max", "loss/retrieval", "gate/pass_rate"} <= ours[0].keys()
    assert not (tmp_path / "offline" / "rollouts").exists()


def test_batches_of_other_weights_train_off_policy_and_that_is_said(
    run: Path, collected: Path, tmp_path: Path, said: Any
) -> None:
    code, text = said(
        "train", "quickstart", "--records", str(collected), *SMALL, "name=offline", f"output_dir={tmp_path}"
    )
    assert code == 0
    assert re.search(r"batch-000002.jsonl.gz: played by weights \w{12}, not by the policy as it is now", text)
    rows = [json.loads(line) for line in (tmp_path / "offline" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["engine/gap_max"] <= 1e-4
    assert "engine/gap_max" not in rows[1]
    assert rows[1]["policy/drift_max"] > 1e-4
    first = "checkpoints/grpo/checkpoint-2"
    assert same(weights(tmp_path / "offline" / first), weights(run / first))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"update": "coupled", "gate": "off"}, id="coupled"),
        pytest.param({"update": "combined", "gate": "off", "execution_group": "refill"}, id="combined, refilled"),
        pytest.param({"gate": "closed"}, id="gate closed"),
        pytest.param({"gate": "gold"}, id="gate gold"),
    ],
)
def test_every_kind_of_batch_comes_back_as_it_was_trained(tmp_path: Path, changes: dict[str, Any]) -> None:
    grpo = GrpoConfig(max_steps=1, tasks_per_batch=6, group_size=3, **changes)
    spec = WorkerSpec(
        model_path=str(BASE),
        model=ModelConfig(),
        world=WORLD,
        retriever=RetrieverConfig(kind="bm25"),
        env=ENV,
        rollout=ROLLOUT,
    )
    world, rewards = build_world(WORLD), RewardConfig()

    def record(index: int, groups: Sequence[ScoredGroup], hash: str) -> None:
        played = Played(batch=1, seed=index, temperature=ROLLOUT.temperature, weights=hash, catalogue="")
        write_records(batch_file(tmp_path, index + 1), scored_records(groups, played))

    source = RolloutSource(
        pool=LocalPool(spec),
        tasks=lambda batch: world.tasks("train", 6, 5),
        sampling=SAMPLING,
        rollout=ROLLOUT,
        rewards=rewards,
        config=grpo,
        seed=3,
        listener=record,
        catalogue=world.catalogue,
    )
    model, tokenizer = load_model(str(BASE), ModelConfig()), load_tokenizer(str(BASE))
    weights = weight_update(0, trainable(model))
    wanted = source.batch(0, weights)
    recorded = RecordedSource(
        [batch_file(tmp_path, 1)],
        renderer=Renderer(tokenizer, DIALECTS[ENV.dialect]),
        vocabulary=model.get_input_embeddings().num_embeddings,
        model=str(BASE),
        rollout=ROLLOUT,
        rewards=rewards,
        config=grpo,
        catalogue=world.catalogue,
        say=lambda text: None,
    )
    found = recorded.batch(0, weights)
    assert found.updates == wanted.updates
    assert sum(len(objective.segments) for update in found.updates for objective in update) > 0
    assert not found.foreign
    (group, *_) = read_batch(batch_file(tmp_path, 1)).rollouts
    assert logprob_gap(model.eval(), group, temperature=ROLLOUT.temperature).largest <= 1e-4
    assert logprob_gap(model, group, temperature=1.0).mean > 1e-3
    assert {**found.metrics, "time/read_s": 0.0}.items() <= {**wanted.metrics, "time/read_s": 0.0}.items()


def test_log_probs_that_the_playing_weights_do_not_give_stop_the_run(run: Path, tmp_path: Path) -> None:
    for own in (True, False):
        folder = tmp_path / str(own)
        records = [_shifted(record, own=own) for record in RecordReader(batch(run, 1))]
        write_records(batch_file(folder, 1), records)
        settings = [*SMALL, "grpo.max_steps=1", f"name=shifted-{own}", f"output_dir={tmp_path}"]
        code = command_line.main(["rollouts", "train", "quickstart", "--records", str(folder), *settings])
        assert code == (1 if own else 0)  # 1: an IntegrityError
    told = json.loads((tmp_path / "shifted-True" / "manifest.json").read_text())
    assert told["reason"].startswith(f"{IntegrityError.__name__}: trainer and engine disagree by 1")


def _shifted(record: Record, *, own: bool) -> Record:
    """Every log-prob 0.01 nats lower; not `own`: said to be of other weights."""
    turns = tuple(
        replace(
            turn,
            completion=replace(turn.completion, logprobs=tuple(value - 0.01 for value in turn.completion.logprobs)),
        )
        for turn in record.trajectory.turns
    )
    played = record.extra["played"] | ({} if own else {"weights": "0" * 64})
    return Record(trajectory=replace(record.trajectory, turns=turns), extra={**record.extra, "played": played})


# --- bad input -------------------------------------------------------------------------------------------------------


def test_bad_input_is_named_with_its_remedy(run: Path, evaluated: Path, tmp_path: Path, said: Any) -> None:
    bad = tmp_path / "bad.jsonl"
    lines = gzip.decompress(batch(run, 1).read_bytes()).decode().splitlines()
    bad.write_text("\n".join([lines[0], lines[1].replace('"ids":[', '"ids":["x",', 1), *lines[2:]]) + "\n")
    twice = tmp_path / "twice.jsonl"
    twice.write_text("\n".join([lines[0], lines[0]]) + "\n")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(batch(run, 1).read_bytes()[:-200])
    episode = read_batch(batch(run, 1)).rollouts[0].retrieval[0].id
    small = [*SMALL, f"output_dir={tmp_path}", "name=x"]
    (tmp_path / "out").mkdir()
    shutil.copy(batch(run, 1), tmp_path / "out")
    train = ["train", "quickstart", *small, "--records"]
    for arguments, parts in (
        (["rescore", str(bad), "--config", "quickstart"], ["bad.jsonl:2: ", "not a list of numbers"]),
        (["rescore", str(twice), "--config", "quickstart"], ["twice.jsonl: ", f"{episode!r} is there twice"]),
        (
            ["rescore", str(torn), "--config", "quickstart"],
            ["torn.jsonl.gz:", "cannot be read", "fetch the file again"],
        ),
        (["rescore", str(twice)], ["give --config"]),
        (["rescore", str(run), "seed=3"], ["seed=3: rescoring reads reward.…, grpo.…, world.… alone"]),
        (["rescore", str(run), "reward.retrieval.recal=1"], ["unknown key", "did you mean reward.retrieval.recall?"]),
        (["rescore", str(run), "--segments"], ["give --out FOLDER"]),
        (["rescore", str(run), "--out", str(tmp_path / "out")], ["batch-000001.jsonl.gz is there already"]),
        (["rescore", "reward.retrieval.recall=1"], ["which records?"]),
        (["rescore", str(tmp_path / "no")], ["no such file or folder"]),
        (["rescore", str(tmp_path)], ["no batch-*.jsonl.gz there"]),
        (["show", str(run), "--batch", "7"], ["--batch 7: no such generation batch there; recorded are 1 to 2"]),
        (["show", str(run), "--episode", f"{episode}9"], ["no such episode", f"did you mean {episode!r}?"]),
        (["replay", str(run), "--episode", "x"], ["--episode x: no such episode"]),
        (["replay", str(run), "--tolerance", "1"], ["--tolerance 1", "--model PATH"]),
        (["replay", str(run), "--model", "nano", "--tolerance", "-1"], ["--tolerance -1", "e.g. 1e-4"]),
        (["replay", str(run), "--model", "gone/away/x"], ["--model gone/away/x: no such folder"]),
        ([*train, str(run), "grpo.max_steps=5"], ["grpo.max_steps=5 exceeds the 2 batches", "grpo.max_steps=2"]),
        ([*train, str(tmp_path / "no")], ["no such file or folder"]),
        (["collect", "quickstart", *small, f"grpo.records={run}"], ["is trained on, and nothing here is"]),
        (["collect", "quickstart", *small, "world.kind=files", f"world.data={tmp_path}"], ["grpo.gate=off: nothing"]),
        ([*train, str(run), "rollout.temperature=0.5"], ["sampled at temperature 1", "give rollout.temperature=1"]),
        ([*train, str(evaluated), "grpo.max_steps=1", "--overwrite"], ["temperature 0", "greedy ones"]),
    ):
        code, text = said(*arguments)
        error = text.splitlines()[-1]
        assert code == 2, arguments
        assert error.startswith("toolscout: error: "), arguments
        assert [part for part in parts if part not in error] == [], error


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ({"objective": ["retrieval"]}, "no known objective: \"['retrieval']\""),
        ({"total": 10**400}, "reward.total is '1000"),
        ({"parts": {"recall": math.nan}}, "reward.recall is 'nan', not a finite number"),
    ],
)
@pytest.mark.parametrize("command", ["rescore", "show"])
def test_a_strange_reward_is_named_with_its_line(
    run: Path, tmp_path: Path, said: Any, command: str, reward: Mapping[str, Any], told: str
) -> None:
    first, second = list(RecordReader(batch(run, 1)))[:2]
    strange = replace(second, extra={**second.extra, "reward": {**second.extra["reward"], **reward}})
    path = tmp_path / "strange.jsonl"
    write_records(path, [first, strange])
    code, text = said(command, str(path), *(["--config", "quickstart"] if command == "rescore" else []))
    assert code == 2
    assert "strange.jsonl:2: reward" in text
    assert told in text


def test_a_parts_name_is_no_markup(run: Path, tmp_path: Path, said: Any) -> None:
    (first, *_) = RecordReader(batch(run, 1))
    reward = {**first.extra["reward"], "parts": {"[/x]": 1.0}}
    write_records(tmp_path / "named.jsonl", [replace(first, extra={**first.extra, "reward": reward})])
    code, text = said("rescore", str(tmp_path / "named.jsonl"), "--config", "quickstart")
    assert (code, text.count("[/x]")) == (0, 1)


@pytest.mark.parametrize("token", [-5, 10**6])
def test_tokens_that_no_model_has_are_named(run: Path, tmp_path: Path, token: int) -> None:
    (first, *_) = RecordReader(batch(run, 1))
    turn = replace(first.trajectory.turns[0], prompt_ids=(1, token))
    write_records(tmp_path / "t.jsonl", [replace(first, trajectory=replace(first.trajectory, turns=(turn,)))])
    renderer = Renderer(load_tokenizer(str(BASE)), DIALECTS["qwen3"])
    with pytest.raises(UserError, match=rf"t\.jsonl: episode .*turn 1 holds the token {token}, beyond the 9000 of"):
        check_tokenizer(read_batch(tmp_path / "t.jsonl"), renderer, vocabulary=9000, model="nano")


def test_records_of_an_older_version_can_be_rescored_and_not_replayed(run: Path, tmp_path: Path, said: Any) -> None:
    records = [
        Record(trajectory=record.trajectory, extra={"reward": record.extra["reward"]})
        for record in RecordReader(batch(run, 1))
    ]
    write_records(tmp_path / "old.jsonl", records)
    given = (str(tmp_path / "old.jsonl"), "--config", str(tmp_path / "c.yaml"))
    shutil.copy(Path(__file__).parents[1] / "configs" / "quickstart.yaml", tmp_path / "c.yaml")
    assert "bit for bit" in said("rescore", *given, "grpo.gate=off")[1]
    code, text = said("replay", *given, *SMALL)
    assert code == 2
    assert "an older version wrote it" in text
