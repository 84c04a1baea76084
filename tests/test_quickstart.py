"""The real command, end to end, in small: what a new user runs, killed and resumed too."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from configs.schema import load_run_config
from envs.dialects import DIALECTS
from envs.types import Prompt
from envs.worlds.world import build_world
from rollout.config import RolloutConfig
from rollout.engine import GenerationRequest
from rollout.records import RecordReader
from rollout.renderer import Renderer
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SMALL = (
    "retriever.kind=bm25",
    "sft.tasks=60",
    "grpo.tasks_per_batch=3",
    "grpo.group_size=4",
    "grpo.save_every=1",
    "evaluation.tasks_per_split=8",
)


def toolscout(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """The command, started in a process group of its own, so that a kill takes its Ray workers along."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch.run", *arguments, f"output_dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished_without_folder(*arguments: str) -> str:
    """The output of a command that writes no run."""
    done = subprocess.run([sys.executable, "-m", "launch.run", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def finished(*arguments: str, folder: Path) -> str:
    """The output of a run that must succeed."""
    process = toolscout(*arguments, folder=folder)
    output, _ = process.communicate()
    assert process.returncode == 0, output[-4000:]
    return output


def metrics_of(run: Path, stage: str = "rl") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    output = finished("quickstart", *SMALL, "name=small", "grpo.max_steps=2", folder=folder)
    assert "summary.json" in output
    made = [Path(line.strip()) for line in output.partition("What was made:")[2].splitlines() if line.strip()]
    assert made
    assert [path for path in made if not path.exists()] == []  # two batches log no episode
    return folder / "small"


def test_a_run_leaves_what_the_readme_says(run: Path) -> None:
    for name in ("manifest.json", "metrics.jsonl", "summary.json", "report.html", "export/model.safetensors"):
        assert (run / name).is_file(), name
    assert (run / "rollouts" / "batch-000002.jsonl.gz").is_file()
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["stages"]) == {"base", "sft", "rl"}
    wanted = {
        "pass_rate",
        "all_gold_selected",
        "toolset_size",
        "selection_precision",
        "recall_at_5",
        "recall_union",
        "ndcg_at_5",
        "format_rate",
    }
    for splits in summary["stages"].values():
        assert set(splits) == {"held_out", "unseen_paraphrases", "unseen_tools"}
        # A metric that applied to no task is absent: the size of toolsets where no selection was valid.
        assert all(wanted - {"toolset_size", "selection_precision"} <= set(block) for block in splits.values())
    assert set(summary["baseline"]) == {"held_out", "unseen_paraphrases", "unseen_tools"}


def test_trainer_and_engine_agree_before_the_first_update_of_every_batch(run: Path) -> None:
    rows = metrics_of(run)
    assert [row["step"] for row in rows] == [1, 2]
    # Rounding grows with the size of logits: a token of probability 1e-9 may differ by a few 1e-5 nats.
    assert all(row["engine/gap_mean"] <= 1e-5 for row in rows), [row["engine/gap_mean"] for row in rows]
    assert all(row["engine/gap_max"] <= 1e-4 for row in rows), [row["engine/gap_max"] for row in rows]


def test_unseen_tools_are_never_shown_in_training(run: Path) -> None:
    unseen = build_world(load_run_config("quickstart", []).world).unseen_tools
    shown = {
        tool for path in (run / "rollouts").iterdir() for r in RecordReader(path) for tool in r.trajectory.surfaced
    }
    assert len(unseen) == 100
    assert len(shown) > 20
    assert shown.isdisjoint(unseen)
    evaluated = RecordReader(run / "evaluation" / "rl" / "unseen_tools.jsonl.gz")
    assert not unseen.isdisjoint(tool for r in evaluated for tool in r.trajectory.surfaced)


def test_what_ray_workers_played_is_replayed_and_trained_on_again_to_the_bit(tmp_path: Path, run: Path) -> None:
    start = run / "checkpoints" / "sft"
    output = finished_without_folder("rollouts", "replay", str(run), "--batch", "1", "--model", str(start))
    assert "all the same, bit for bit" in output
    assert "the very weights that played" in output
    assert "bit for bit those recorded" in finished_without_folder("rollouts", "rescore", str(run))
    arguments = ("quickstart", *SMALL, "grpo.max_steps=2", f"model.path={start}")
    output = finished("rollouts", "train", *arguments, "--records", str(run), "name=offline", folder=tmp_path)
    assert "starting" not in output  # no workers
    trained, own = (folder / "checkpoints" / "rl" / "model.safetensors" for folder in (tmp_path / "offline", run))
    assert trained.read_bytes() == own.read_bytes()
    finished("rollouts", "collect", *arguments, "name=collected", "rollout.workers=1", folder=tmp_path)
    played = (
        [
            (found.trajectory.id, [turn.completion for turn in found.trajectory.turns], found.extra["reward"])
            for found in RecordReader(folder / "rollouts" / "batch-000001.jsonl.gz")
        ]
        for folder in (tmp_path / "collected", run)
    )
    assert next(played) == next(played)


def test_the_export_generates_the_engines_tokens_in_plain_transformers(run: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run / "export")
    model = AutoModelForCausalLM.from_pretrained(run / "export", dtype=torch.float32)
    renderer = Renderer(tokenizer, DIALECTS["qwen3"])
    engine = TransformersEngine(model, stop_ids=[renderer.end_id], config=RolloutConfig())
    prompts = [
        renderer.prompt_ids(Prompt(system="Find the tools for the task.", tools=(), user=text))
        for text in ("Convert 12 to binary.", "What is the sine of 30 degrees? Then round that number.")
    ]

    async def engine_tokens() -> list[list[int]]:
        sampling = Sampling(temperature=0.0, max_new_tokens=24)
        asked = [
            engine.generate(GenerationRequest(session=str(index), ids=prompt, sampling=sampling, seed=0))
            for index, prompt in enumerate(prompts)
        ]
        return [list(completion.ids) for completion in await asyncio.gather(*asked)]

    ours = asyncio.run(engine_tokens())
    for prompt, tokens in zip(prompts, ours, strict=True):
        generated = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=24)[0, len(prompt) :]
        assert generated.tolist() == tokens


def test_killed_in_grpo_it_resumes_from_the_last_checkpoint_and_says_so(tmp_path: Path) -> None:
    arguments = ("quickstart", *SMALL, "name=killed", "grpo.max_steps=5", "evaluation.splits=[held_out]")
    process = toolscout(*arguments, folder=tmp_path)
    checkpoints = tmp_path / "killed" / "checkpoints" / "grpo"
    deadline = time.monotonic() + 900
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "summary.json").exists()
    output = finished(*arguments, "--resume", folder=tmp_path)
    assert "resuming GRPO from" in output
    assert [row["step"] for row in metrics_of(tmp_path / "killed")] == [1, 2, 3, 4, 5]
    assert (tmp_path / "killed" / "summary.json").is_file()


def test_killed_before_the_first_checkpoint_grpo_starts_again_and_counts_no_batch_twice(
    tmp_path: Path, run: Path
) -> None:
    start = f"model.path={run / 'checkpoints' / 'sft'}"
    arguments = ("grpo", "quickstart", *SMALL, "name=early", "grpo.save_every=100", "grpo.max_steps=4", start)
    process = toolscout(*arguments, folder=tmp_path)
    deadline = time.monotonic() + 900
    while not (tmp_path / "early" / "metrics.jsonl").is_file() or len(metrics_of(tmp_path / "early")) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    output = finished(*arguments, "--resume", folder=tmp_path)
    assert "GRPO starts again at its first batch" in output
    rows = metrics_of(tmp_path / "early")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    noted = json.loads((tmp_path / "early" / "checkpoints" / "rl" / "trained.json").read_text())["seconds"]
    times = ("time/generation_s", "time/gap_s", "time/update_")
    assert noted == pytest.approx(sum(row[key] for row in rows for key in row if key.startswith(times)), abs=0.1)


@pytest.mark.parametrize(
    ("name", "overrides", "present", "absent"),
    [
        ("coupled", ("grpo.update=coupled", "grpo.gate=off"), "reward/coupled", "reward/retrieval"),
        ("open_gate", ("grpo.gate=off",), "reward/retrieval", "reward/coupled"),
    ],
)
def test_ablations_complete_and_their_metrics_differ_as_they_should(
    tmp_path: Path, run: Path, name: str, overrides: tuple[str, ...], present: str, absent: str
) -> None:
    start = f"model.path={run / 'checkpoints' / 'sft'}"
    finished("grpo", "quickstart", *SMALL, f"name={name}", "grpo.max_steps=1", start, *overrides, folder=tmp_path)
    (row,) = metrics_of(tmp_path / name)
    assert present in row
    assert absent not in row
    gated = metrics_of(run)[0]  # the same cold start, tasks and seeds: the same searches and selections
    assert row["rollout/toolset_size"] == gated["rollout/toolset_size"]
    # Without a gate every valid selection passes and executes, gold or not.
    assert row["gate/pass_rate"] > gated["gate/pass_rate"]
    objectives = {key.removeprefix("rows/") for key in row if key.startswith("rows/") and "infra" not in key}
    assert objectives == ({"coupled"} if name == "coupled" else {"retrieval", "execution"})
    executed = row["rollout/episodes"] - 12  # 3 tasks in groups of 4
    assert executed == 12 * row["gate/pass_rate"] > gated["rollout/episodes"] - 12
