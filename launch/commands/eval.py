"""Evaluate model.path on the evaluation splits of a config, greedily. Writes to output_dir/name-eval."""

import argparse

from launch import in_run_folder
from launch.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config is required; the model is its model.path."""
    in_run_folder.add_arguments(parser, default=None)


def run(args: argparse.Namespace) -> int:
    """Exit code of the evaluation."""
    return in_run_folder.run_in_folder(args, job="eval", work=_work, suffix="-eval", numbered=True)


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.evaluate(run)
