"""The whole loop: world, expert trajectories, SFT, GRPO, evaluation after each stage, export and report.

A finished run of the same name is kept; a new one gets the next free number (quickstart-2).
"""

import argparse

from launch import in_run_folder
from launch.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG defaults to the preset of the same name."""
    in_run_folder.add_arguments(parser, default="quickstart")


def run(args: argparse.Namespace) -> int:
    """Exit code of the run."""
    return in_run_folder.run_in_folder(args, job="quickstart", work=_work, numbered=True)


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.quickstart(run)
