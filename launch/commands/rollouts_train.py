"""GRPO alone, from model.path, on recorded rollouts: no worker, no environment, no Ray.

Generation batch N is the N-th file of RUN's rollouts/; its rewards and advantages are computed again, with the config's
weights. The loss has the ratio of the policy to the one that sampled, from the recorded log-probs: batches that were
played by other weights train off-policy, and that is said. The same as `toolscout grpo CONFIG grpo.records=RUN`, which
launch/train_torchrun.sh and launch/train_deepspeed.sh take too.

examples:
  toolscout rollouts train quickstart --records runs/collected model.path=runs/quickstart/checkpoints/sft \\
      name=offline grpo.max_steps=4
  toolscout rollouts train quickstart --records runs/collected model.path=runs/quickstart/checkpoints/sft \\
      name=precise grpo.max_steps=4 reward.retrieval.precision=0.5
"""

import argparse
import json

from launch import in_run_folder
from launch.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config and the records are required; the policy is the config's model.path."""
    in_run_folder.add_arguments(parser, default=None)
    parser.add_argument(
        "--records",
        required=True,
        metavar="RUN",
        help="a run that was trained or collected, or a folder of batch-*.jsonl.gz, as rescoring writes it",
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the run."""
    args.settings = [*args.settings, f"grpo.records={json.dumps(args.records, ensure_ascii=False)}"]
    return in_run_folder.run_in_folder(args, job="grpo", work=_work)


def _work(run: RunFolder) -> None:
    from launch import pipeline

    pipeline.grpo(run)
