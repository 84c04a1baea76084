"""Write a run's policy as a plain Hugging Face folder: merged safetensors, tokenizer, chat template, model card."""

import argparse
from pathlib import Path

from launch.run_folder import read_run
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, which of its stages, where to."""
    parser.add_argument("run", nargs="?", default="runs/quickstart", help="the run's folder (default: runs/quickstart)")
    parser.add_argument("--stage", choices=("sft", "rl"), default="rl", help="the policy after which stage (rl)")
    parser.add_argument("--out", type=Path, help="folder to write (default: export/ in the run's folder)")
    parser.add_argument("--overwrite", action="store_true", help="write into --out even if it holds files")


def run(args: argparse.Namespace) -> int:
    """Exit code of the export."""
    found = read_run(args.run)
    out = args.out or found.path / "export"
    if out.exists() and not (out.is_dir() and (args.overwrite or not any(out.iterdir()))):
        raise UserError(f"--out {out} is taken; give another folder, or --overwrite")
    from launch import pipeline

    print(pipeline.export(found, stage=args.stage, out=out))
    return 0
