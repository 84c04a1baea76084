"""Rollouts alone: GRPO's generation batches as model.path plays them, scored and recorded; nothing is trained.

grpo.max_steps batches of grpo.tasks_per_batch tasks go to rollouts/ in the run's folder, all played by the same
weights. The first is, bit for bit, the one that `toolscout grpo` begins with under the same config. --resume goes on
behind the last batch that is there.

examples:
  toolscout rollouts collect quickstart model.path=runs/quickstart/checkpoints/sft name=collected grpo.max_steps=4
  toolscout rollouts train quickstart --records runs/collected model.path=runs/quickstart/checkpoints/sft \\
      name=offline grpo.max_steps=4
"""

import argparse

from launch import in_run_folder
from launch.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config is required; the policy is its model.path."""
    in_run_folder.add_arguments(parser, default=None)


def run(args: argparse.Namespace) -> int:
    """Exit code of the run."""
    return in_run_folder.run_in_folder(args, job="rollouts collect", work=_work)


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.collect(run)
