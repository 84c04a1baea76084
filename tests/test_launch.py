"""The command line as a user meets it: help, exit codes, one-line errors, dry runs, run folders, shell scripts."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.load import load_config
from configs.schema import RunConfig, load_run_config
from launch import run as command_line
from launch.manifest import git_state
from launch.plan import ModelShape, model_shape, plan_text, trainer_bytes, worker_bytes
from launch.preflight import check_gpus, preflight
from launch.run_folder import changed_keys, open_run, read_run
from retriever.base.errors import IntegrityError, UserError
from train.nano.base import BASE

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("launch/*.sh"))


def toolscout(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.run", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        timeout=120,
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("toolscout: error: ")
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr


# --- the command line ---


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "launch.run", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    modules = {path.stem for path in (ROOT / "launch" / "commands").glob("*.py")} - {"__init__"}
    assert modules == {name.replace(" ", "_") for name in command_line.COMMANDS}
    assert [name for name in command_line.COMMANDS if not re.search(rf"^  {name} +\w", done.stdout, re.M)] == []
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    assert imported.isdisjoint({"torch", "numpy", "transformers", "yaml", "configs.schema"})


@pytest.mark.parametrize("name", sorted(command_line.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command_line.main([*name.split(), "--help"])
    assert left.value.code == 0
    assert f"usage: toolscout {name}" in capsys.readouterr().out


def test_a_dry_run_needs_no_torch_and_prints_a_config(tmp_path: Path) -> None:
    script = (
        "import sys; from launch.run import main\n"
        f"code = main(['quickstart', '--dry-run', 'seed=7', 'output_dir={tmp_path}'])\n"
        "assert not {'torch', 'transformers', 'trl', 'ray'} & set(sys.modules), 'heavy imports'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for line in ("# stages ", "# GRPO ", "# placement ", "# memory "):
        assert line in done.stdout
    path = tmp_path / "resolved.yaml"
    path.write_text(done.stdout)
    assert load_config(RunConfig, path) == load_run_config("quickstart", ["seed=7", f"output_dir={tmp_path}"])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["quikstart"], ["did you mean quickstart?"]),
        (["--bogus"], ["--bogus", "toolscout --help"]),
        (["quickstart", "--bogus"], ["--bogus", "toolscout quickstart --help"]),
        (["quickstart", "env.max_serch_rounds=2"], ["unknown key", "did you mean env.max_search_rounds?"]),
        (["quickstart", "grpo.group_size=1"], ["grpo.group_size=1", "give at least 2"]),
        (["grpo", "nowhere.yaml"], ["config nowhere.yaml: neither a file nor a preset"]),
        (["grpo"], ["which config?"]),
        (["grpo", "quickstart", "quickstart"], ["two configs given"]),
        (["quickstart", "--resume", "--overwrite"], ["not allowed with"]),
        (["quickstart", "--resume", "name=never_started"], ["no run at", "start it without --resume"]),
        (["report", "runs/never_started"], ["no run at runs/never_started"]),
        (["report", "runs/one", "runs/two"], ["no run at runs/one"]),
        (["grpo", "quickstart", "world.kind=files", "world.data=/tmp", "--dry-run"], ["gate=gold", "grpo.gate=closed"]),
        (["grpo", "quickstart", "model.dtype=bfloat16", "--dry-run"], ["rounded away", "model.lora=true"]),
        (["push", "nowhere", "--repo", "me"], ["expected OWNER/NAME"]),
        (["push", "nowhere", "--repo", "me/it"], ["no exported policy", "toolscout export"]),
        (["study", "quickstart", "--seeds", "0"], ["--seeds 0", "at least 1"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("toolscout: error: ")
    assert error.count("\n") == 1
    assert [part for part in parts if part not in error] == []


def test_bad_input_shows_no_traceback_in_a_real_shell(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("name: x\ngrpo:\n  gruop_size: 4\n")
    done = toolscout("grpo", "typo.yaml", cwd=tmp_path)
    assert_one_line_error(done, "typo.yaml:3", "grpo.gruop_size", "did you mean grpo.group_size?")


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ('{"id": "t", "instruction": "Hi"}\n{"id": ', ["tasks.jsonl:2"]),
        ('{"id": "t", "instruction": "Hi", "gold_tools": ["nowhere"]}\n', ["tasks.jsonl:1", "nowhere"]),
    ],
)
def test_mistakes_in_the_users_own_files_are_told_with_their_line(
    tasks: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tools.jsonl").write_text('{"id": "a", "name": "a", "description": "Does a."}\n')
    (tmp_path / "tasks.jsonl").write_text(tasks)
    out = f"output_dir={tmp_path / 'runs'}"
    assert command_line.main(["eval", "quickstart", "model.path=nano", out, "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert [part for part in parts if part not in error] == []
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_of_another_architecture_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(BASE, tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    arguments = ["eval", "quickstart", f"model.path={tmp_path / 'other'}", f"output_dir={tmp_path / 'runs'}"]
    assert command_line.main([*arguments, "retriever.kind=bm25", "evaluation.tasks_per_split=1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("toolscout: error: ")
    assert "of another architecture than config.json" in error


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("a\nb"), 2), (IntegrityError("weights differ"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: Any) -> int:
        raise error

    command = SimpleNamespace(add_arguments=lambda parser: None, run=fail, __doc__="")
    monkeypatch.setattr(command_line, "import_module", lambda name: command)
    assert command_line.main(["report"]) == code
    text = capsys.readouterr().err
    assert text == ("" if code == 130 else f"toolscout: error: {' '.join(str(error).split())}\n")


def test_options_and_overrides_mix_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["sft", "seed=3", "--dry-run", "quickstart", "sft.tasks=5", f"output_dir={tmp_path}"]
    assert command_line.main(given) == 0
    out = capsys.readouterr().out
    assert "\nseed: 3\n" in out
    assert "  tasks: 5\n" in out


# --- run folders ---


def config(tmp_path: Path, *overrides: str) -> RunConfig:
    return load_run_config("quickstart", [f"output_dir={tmp_path}", *overrides])


def start(config: RunConfig, **options: Any) -> Any:
    return open_run(config, job=options.pop("job", "quickstart"), command=["toolscout", "quickstart"], **options)


def manifest(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return loaded


def test_the_manifest_tells_what_the_run_was(tmp_path: Path) -> None:
    with start(config(tmp_path, "seed=5")) as run:
        assert run.path == tmp_path / "quickstart"
        assert manifest(run.path)["status"] == "running"
    told = manifest(run.path)
    assert (told["job"], told["status"], told["config"]["seed"]) == ("quickstart", "finished", 5)
    assert told["command"] == ["toolscout", "quickstart"]
    assert told["versions"]["torch"].startswith("2.")
    assert told["host"]["cores"] >= 1
    assert told["host"]["memory_bytes"] > 1e8
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", told["started_at"])
    assert read_run(run.path).config == run.config


def test_git_state_is_none_outside_a_checkout(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    if (ROOT / ".git").exists():
        state = git_state(ROOT)
        assert state is not None
        assert re.fullmatch(r"[0-9a-f]{40}", state["commit"])


def test_a_finished_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    with start(config(tmp_path)) as run:
        (run.path / "result").write_text("kept")
    with (
        pytest.raises(UserError, match=r"holds a run \(finished\); give another name=, or --overwrite"),
        start(run.config),
    ):
        pass
    assert (run.path / "result").read_text() == "kept"
    with start(run.config, overwrite=True) as again:
        assert not (again.path / "result").exists()


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "thesis.txt").write_text("mine")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(UserError, match="no run of ours"), start(config(tmp_path), **options):
            pass
    assert (tmp_path / "quickstart" / "thesis.txt").read_text() == "mine"


def test_an_interrupted_run_resumes_with_the_same_config_only(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError), start(config(tmp_path)) as run:
        (run.path / "checkpoint").write_text("1")
        raise IntegrityError("weights 3: hash differs")
    told = manifest(run.path)
    assert (told["status"], told["reason"]) == ("stopped", "IntegrityError: weights 3: hash differs")
    with pytest.raises(UserError, match="interrupted: --resume goes on with it"), start(config(tmp_path)):
        pass
    changed = config(tmp_path, "grpo.lr=0.1")
    with pytest.raises(UserError, match=r"started with grpo.lr=.*, now grpo.lr=0.1"), start(changed, resume=True):
        pass
    with pytest.raises(UserError, match="a run of quickstart, not of sft"), start(run.config, resume=True, job="sft"):
        pass
    with start(config(tmp_path, "rollout.workers=1"), resume=True) as again:
        assert again.resumed
        assert (again.path / "checkpoint").exists()
    told = manifest(run.path)
    assert (told["status"], len(told["resumes"]), "reason" in told) == ("finished", 1, False)


def test_changed_keys_are_dotted_and_leave_out_the_free_ones() -> None:
    then = {"seed": 1, "grpo": {"lr": 0.1, "save_every": 5}, "tracking": {"wandb": False}}
    now = {"seed": 1, "grpo": {"lr": 0.2, "save_every": 9}, "tracking": {"wandb": True}, "new": 3}
    assert changed_keys(then, now) == {"grpo.lr": (0.1, 0.2), "new": (None, 3)}


def test_numbered_runs_take_the_next_free_name_and_resume_the_last(tmp_path: Path) -> None:
    for expected in ("quickstart", "quickstart-2", "quickstart-3"):
        with start(config(tmp_path), numbered=True) as run:
            assert run.path.name == expected
            assert run.config.name == expected
    with start(config(tmp_path), numbered=True, resume=True) as run:
        assert (run.path.name, run.resumed) == ("quickstart-3", True)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    busy = pytest.raises(UserError, match="another process is at work")
    with start(config(tmp_path)) as run, busy, start(run.config, resume=True):
        pass


def test_only_rank_0_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with start(config(tmp_path)) as run:
        assert run.path == tmp_path / "quickstart"
    assert not run.path.exists()


# --- the plan's arithmetic ---


def test_model_shapes() -> None:
    qwen = model_shape("Qwen/Qwen3-4B-Instruct-2507")
    assert qwen is not None
    assert (qwen.parameters, qwen.layers, qwen.hidden) == (4_000_000_000, 36, 2560)
    assert qwen.kv_bytes == 2 * 36 * 8 * 128 * 2  # keys and values, layers, heads, head size, bytes
    assert model_shape("someone/unknown") is None


def test_a_model_folder_is_counted_from_its_config(tmp_path: Path) -> None:
    sizes = {
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    # embeddings 64,000; a layer: q and o 64·64 each, k and v 64·32 each, three of 64·128
    assert model_shape(str(tmp_path)) == ModelShape(
        parameters=64_000 + 2 * (2 * 4096 + 2 * 2048 + 3 * 8192), layers=2, hidden=64, kv_bytes=4 * 2 * 2 * 16
    )


def test_memory_of_a_full_bfloat16_trainer_and_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLSCOUT_WORLD_SIZE", "4")
    shape = ModelShape(parameters=1_000_000, layers=2, hidden=10, kv_bytes=100)
    settings = [
        "model.dtype=bfloat16",
        "model.lora=false",
        "grpo.micro_batch=1",
        "rollout.max_context=1000",
        "rollout.max_new_tokens=10",
        "rollout.max_concurrent=3",
    ]
    plain = load_run_config("quickstart", settings)
    activations = 1000 * 2 * 10 * 34
    # 2 bytes of weight, 2 of gradient, 4 of Adam's moments a parameter
    assert trainer_bytes(plain, shape) == 8e6 + activations
    zero3 = load_run_config("quickstart", [*settings, f"grpo.deepspeed={ROOT}/configs/deepspeed/zero3.json"])
    # 2 + 2 + 12 bytes, a quarter of each on a rank
    assert trainer_bytes(zero3, shape) == 4e6 + activations
    zero2 = load_run_config("quickstart", [*settings, f"grpo.deepspeed={ROOT}/configs/deepspeed/zero2.json"])
    assert trainer_bytes(zero2, shape) == 2e6 + 3.5e6 + activations
    assert worker_bytes(plain, shape) == 0.6e9 + 2e6 + 3 * 1000 * 100
    for limit_gb, cache in (("1e-4", 1e5), ("1.0", 3e5)):  # of which no more is taken than can be used
        limited = load_run_config("quickstart", [*settings, f"rollout.kv_cache_gb={limit_gb}"])
        assert worker_bytes(limited, shape) == 0.6e9 + 2e6 + cache


@pytest.mark.parametrize("preset", ["qwen3_4b_lora_1gpu", "bfcl_dialogues"])
def test_presets_of_one_gpu_fit_its_80_gb(preset: str) -> None:
    config = load_run_config(preset, [])
    shape = model_shape(config.model.path)
    assert shape is not None
    assert trainer_bytes(config, shape) + worker_bytes(config, shape) < 72e9  # an allocator wants some to spare


def test_the_plan_counts_the_tasks_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "tools.jsonl").write_text('{"id": "a", "name": "a", "description": "Adds."}\n')
    tasks = [{"id": str(number), "instruction": "Add.", "gold_tools": ["a"], "split": "test"} for number in range(5)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    given = ["world.kind=files", f"world.data={tmp_path}", "evaluation.splits=[test]"]
    for wanted, counted in ((100, 5), (3, 3)):
        config = load_run_config("quickstart", [*given, f"evaluation.tasks_per_split={wanted}"])
        assert f"# evaluation {counted} episodes\n" in plan_text("eval", config)


def test_the_plan_warns_of_a_cache_without_room_for_one_context() -> None:
    # nano: keys and values of 6 layers, 4 heads of 32 numbers, 4 bytes each: 6,144 bytes a token, 6,291,456 a context
    warned = "rollout.kv_cache_gb=0.006 has no room for one context of 1024 tokens, 0.0063 GB"
    assert warned in plan_text("eval", load_run_config("quickstart", ["rollout.kv_cache_gb=0.006"]))
    for enough in ("0", "0.0064"):
        assert "no room" not in plan_text("eval", load_run_config("quickstart", [f"rollout.kv_cache_gb={enough}"]))


# --- the shell scripts ---


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_tell_their_use(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    if script.name == "environment.sh":  # sourced, no command
        return
    assert "set -euo pipefail" in script.read_text()
    done = subprocess.run(["bash", str(script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -e", "bash launch/test.sh"]


def test_an_old_python_is_refused_in_words(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [
            "bash",
            "-c",
            'set -euo pipefail; launcher=x; torch_build=any; source "$0"; find_python',
            "launch/environment.sh",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHON": str(old)},
    )
    assert done.returncode == 1
    assert "x: error: Python 3.11 or newer is needed, found Python 3.9.2" in done.stderr


def test_torch_comes_first_from_the_cpu_index_then_from_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "python"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = - ] || echo "$@" >> {tmp_path}/calls\ncase "$*" in *--index-url*) exit 1;; esac\n'
    )
    fake.chmod(0o755)
    script = (
        "set -euo pipefail; launcher=x; torch_build=$1; source launch/environment.sh; "
        "venv=$0 install_log=$0/log cuda_stamp=$0/cuda torch_index=https://cpu.example; install_torch"
    )
    calls: dict[str, list[str]] = {}
    for build in ("any", "cuda"):
        done = subprocess.run(["bash", "-c", script, str(tmp_path), build], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        calls[build] = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
    first, second = calls["any"]
    assert "--no-deps --retries 1 --timeout 20 --index-url https://cpu.example torch==2.13.0" in first
    assert second.endswith(" torch==2.13.0")
    assert "--index-url" not in second
    assert [call.split()[-2:] for call in calls["cuda"]] == [["--force-reinstall", "torch==2.13.0"]]


def test_a_failed_installation_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "python"
    fake.write_text('#!/bin/sh\necho "ERROR: no space left on device" >&2\nexit 1\n')
    fake.chmod(0o755)
    script = (
        "set -euo pipefail; launcher=x; torch_build=any; source launch/environment.sh; "
        "venv=$0 install_log=$0/log; pip_install_or_fail something; echo went on"
    )
    done = subprocess.run(["bash", "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "ERROR: no space left on device" in done.stderr
    assert "x: error: pip could not install (something)" in done.stderr
    assert "went on" not in done.stdout


# --- what is known to fail before anything is made ---


def model_folder(folder: Path, *, header: bytes = b"{}", length: int | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    size = len(header) if length is None else length
    (folder / "model.safetensors").write_bytes(size.to_bytes(8, "little") + header)
    return folder


def refusal(*arguments: str, command: str = "quickstart") -> str:
    """What the preflight says against a config."""
    with pytest.raises(UserError) as refused:
        preflight(command, load_run_config("quickstart", list(arguments)))
    return str(refused.value)


def test_preflight_looks_at_the_model(tmp_path: Path) -> None:
    preflight("quickstart", load_run_config("quickstart", [f"output_dir={tmp_path}"]))
    preflight("eval", load_run_config("quickstart", ["model.path=Qwen/Qwen3-0.6B"]))  # a Hub name: not looked at
    whole = model_folder(tmp_path / "whole")
    preflight("eval", load_run_config("quickstart", [f"model.path={whole}"]))
    assert "no such folder; check the path, or give a Hub name" in refusal(f"model.path={tmp_path}/none")
    assert "is a file; give the folder" in refusal(f"model.path={whole}/config.json")
    assert "no config.json" in refusal(f"model.path={tmp_path}")
    for name, broken in {
        "torn": model_folder(tmp_path / "torn", length=999),
        "garbage": model_folder(tmp_path / "garbage", header=b"\xff\xfe"),
        "short": model_folder(tmp_path / "short", header=b'{"w": {"data_offsets": [0, 8]}}'),
    }.items():
        assert f"{broken}/model.safetensors is no whole safetensors file" in refusal(f"model.path={broken}"), name
    (whole / "model.safetensors").unlink()
    assert "no *.safetensors" in refusal(f"model.path={whole}")
    (whole / "config.json").write_text("{")
    assert "config.json: not valid JSON" in refusal(f"model.path={whole}")


def test_preflight_looks_at_the_folder_and_the_splits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"output_dir: {tmp_path}/file is a file" in refusal(f"output_dir={tmp_path}/file/deeper")
    assert "300 characters are too many" in refusal(f"name={'x' * 300}")
    assert "no split 'held_uot' in the embedded world (did you mean 'held_out'?)" in refusal(
        "evaluation.splits=[held_uot]"
    )


def test_preflight_looks_at_what_runs_the_tools(tmp_path: Path) -> None:
    assert "is no folder" in refusal(f"executor.python.folder={tmp_path}/none")
    assert "mcp.json" in refusal(f"executor.mcp={tmp_path}/mcp.json")
    assert "there is no folder" in refusal(f"executor.record.path={tmp_path}/none/calls.sqlite")
    assert "no record" in refusal(f"executor.record.path={tmp_path}/calls.sqlite", "executor.record.policy=replay_only")
    preflight("eval", load_run_config("quickstart", [f"executor.record.path={tmp_path}/calls.sqlite"]))
    assert not [*tmp_path.iterdir()]  # nothing is made yet
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"shop": {"command": "no-such-program-anywhere"}}}')
    assert "shop" in refusal(f"executor.mcp={tmp_path}/mcp.json")


def test_preflight_reads_the_users_files(tmp_path: Path) -> None:
    (tmp_path / "tools.jsonl").write_text('{"id": "a", "name": "a", "description": "Adds."}\n')
    (tmp_path / "tasks.jsonl").write_text('{"id": "1", "instruction": "Add.", "gold_tools": ["a"]}\n')
    given = ["world.kind=files", f"world.data={tmp_path}", "evaluation.splits=[test]"]
    assert "grpo.gate=gold: nothing runs the tools of world.kind=files" in refusal(*given)
    told = refusal(*given, command="eval")
    assert "no task in split 'test', but in train" in told
    assert 'give its tasks "split": "test", or name another split: evaluation.splits=[train]' in told
    preflight("sft", load_run_config("quickstart", given))
    (tmp_path / "tasks.jsonl").write_text('{"id": "1", "instruction": "Add.", "gold_tools": ["b"]}\n')
    assert "tasks.jsonl:1" in refusal(*given, command="sft")


def test_a_mistake_takes_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quickstart", f"output_dir={tmp_path}", "model.path=/nowhere"]
    assert command_line.main(arguments) == 2
    assert command_line.main([*arguments, "--dry-run"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("no such folder") == 2


def test_gpus_that_are_not_there_are_told_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan may be for another machine, and the cold start has no workers."""
    arguments = ["quickstart", f"output_dir={tmp_path}", "rollout.gpus_per_worker=99"]
    assert command_line.main(["eval", *arguments]) == 2
    assert re.search(r"asks for 198 GPUs; \d+ are visible here; rollout.gpus_per_worker=0", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
    assert command_line.main(["eval", *arguments, "--dry-run"]) == 0
    check_gpus("sft", load_run_config("quickstart", arguments[1:]))


def test_errors_of_the_file_system_are_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")

    command = SimpleNamespace(add_arguments=lambda parser: None, run=full, __doc__="")
    monkeypatch.setattr(command_line, "import_module", lambda name: command)
    assert command_line.main(["report"]) == 2
    assert "runs/x/metrics.jsonl: No space left on device; check the path" in capsys.readouterr().err
