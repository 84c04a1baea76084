"""The quickstart over several seeds and more tasks, with two controls of RL's extra time: more SFT on the same expert,
and SFT on a competent expert. Long; `--resume` goes on where it stopped. Writes to output_dir/name-study.
"""

import argparse
from functools import partial

from launch import in_run_folder
from launch.run_folder import RunFolder
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config is required: a study is hours of work on it."""
    in_run_folder.add_arguments(parser, default=None)
    parser.add_argument(
        "--seeds", type=int, default=3, help="how many seeds, counted from the config's own (default: 3)"
    )
    parser.add_argument("--tasks", type=int, default=300, help="evaluation tasks per split (default: 300)")


def run(args: argparse.Namespace) -> int:
    """Exit code of the study."""
    if args.seeds < 1 or args.tasks < 1:
        raise UserError(f"--seeds {args.seeds} --tasks {args.tasks}: give at least 1 of each")
    args.settings.insert(0, f"evaluation.tasks_per_split={args.tasks}")  # first: an override of the user's own wins
    return in_run_folder.run_in_folder(args, job="study", work=partial(_work, seeds=args.seeds), suffix="-study")


def _work(run: RunFolder, *, seeds: int) -> None:
    from launch import pipeline

    first = run.config.seed
    pipeline.study(run, seeds=tuple(range(first, first + seeds)))
