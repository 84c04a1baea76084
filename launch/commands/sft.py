"""The cold start alone: the scripted expert plays the config's training tasks, and the policy imitates it."""

import argparse

from launch import in_run_folder
from launch.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config is required."""
    in_run_folder.add_arguments(parser, default=None)


def run(args: argparse.Namespace) -> int:
    """Exit code of the run."""
    return in_run_folder.run_in_folder(args, job="sft", work=_work)


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.sft(run)
