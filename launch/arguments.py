"""Arguments that several commands share: CONFIG, key=value overrides, --dry-run, --resume, --overwrite."""

import argparse
import json
from pathlib import Path

from configs.load import is_override
from configs.schema import RunConfig, load_run_config, preset_names
from retriever.base.errors import UserError


def add_config_arguments(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """CONFIG (optional where there is a default) and overrides, in any order among the options."""
    fallback = f"default: {default}" if default else "required"
    presets = ", ".join(preset_names())
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="CONFIG | key=value",
        help=f"a preset ({presets}) or a YAML file ({fallback}), and overrides such as grpo.max_steps=10; "
        "--dry-run prints every key with its value",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="your own tools.jsonl and tasks.jsonl, or a StableToolBench folder; tasks of split test are evaluated",
    )
    parser.set_defaults(default_config=default)


def add_record_arguments(parser: argparse.ArgumentParser, *, overrides: str) -> None:
    """RUN or FILE, overrides and --config, of a command that reads recorded rollouts."""
    parser.add_argument(
        "records",
        nargs="+",
        metavar="RUN_OR_FILE | key=value",
        help="a run's folder, a folder of batch-*.jsonl.gz, or a file of records, an evaluation's too; and overrides "
        f"of the run's config, e.g. {overrides}",
    )
    parser.add_argument("--config", metavar="CONFIG", help="a preset or YAML file in place of the run's own config")


def split_records(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """(places, overrides) of what `add_record_arguments` took. Raises UserError when no place was given."""
    places = [text for text in args.records if not is_override(text)]
    if not places:
        raise UserError("which records? give a run's folder or a file of records, e.g. runs/quickstart")
    return places, [text for text in args.records if is_override(text)]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What a command that fills a run folder takes."""
    parser.add_argument("--dry-run", action="store_true", help="print the resolved plan and config; run nothing")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--resume", action="store_true", help="go on with the interrupted run of this name")
    kept.add_argument("--overwrite", action="store_true", help="delete the earlier run of this name and start anew")


def config_of(args: argparse.Namespace) -> RunConfig:
    """The config that the arguments name. Raises UserError."""
    names = [text for text in args.settings if not is_override(text)]
    own = [text for text in args.settings if is_override(text)]
    executes = any(text.startswith("executor.") for text in own)
    overrides = [] if args.data is None else data_overrides(args.data, executes=executes)
    overrides += own  # last: they win
    if len(names) > 1:
        raise UserError(f"two configs given, {names[0]} and {names[1]}; give one, and overrides as key=value")
    if not names and args.default_config is None:
        raise UserError(f"which config? give a preset ({', '.join(preset_names())}) or a YAML file")
    return load_run_config(names[0] if names else args.default_config, overrides)


def data_overrides(folder: str, *, executes: bool = False) -> list[str]:
    """The overrides that `--data FOLDER` stands for. Raises UserError when the folder is of no known kind.

    `executes`: the user says what runs the tools; else searching and selecting are trained alone.
    """
    gate = [] if executes else ["grpo.gate=closed"]
    if not folder.strip():
        raise UserError("--data is empty; give the folder of tools.jsonl and tasks.jsonl, or leave it out")
    path = Path(folder).expanduser()
    data = f"world.data={json.dumps(str(path), ensure_ascii=False)}"  # YAML would read numbers and colons into it
    if (path / "tools.jsonl").is_file():
        return ["world.kind=files", data, "evaluation.splits=[test]", *gate]
    if list(path.glob("**/test_instruction")):
        overrides = ["world.kind=stabletoolbench", data, "evaluation.splits=[test]"]
        return [*overrides, *gate, "retriever.document=toolbench"]
    raise UserError(
        f"--data {folder}: neither tools.jsonl nor StableToolBench's test_instruction there; check the path"
    )
