"""Recorded episodes: a line each, or one of them turn by turn.

RUN is a run's folder, whose generation batches are read, or any file of records. An id may be in several batches, once
in each: TASK/3 is the fourth retrieval of a task, TASK/x3 its fourth execution.

examples:
  toolscout rollouts show runs/quickstart --batch 1
  toolscout rollouts show runs/quickstart --batch 1 --episode train-7/x0
  toolscout rollouts show runs/quickstart/evaluation/rl/held_out.jsonl.gz
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which episodes."""
    parser.add_argument(
        "records",
        nargs="+",
        metavar="RUN_OR_FILE",
        help="a run's folder, a folder of batch-*.jsonl.gz, or a file of records, an evaluation's too",
    )
    parser.add_argument("--batch", type=int, metavar="N", help="this generation batch alone, counted from 1")
    parser.add_argument("--episode", metavar="ID", help="show this episode turn by turn")


def run(args: argparse.Namespace) -> int:
    """Exit code of the showing."""
    from launch import showing

    showing.show(args.records, batch=args.batch, episode=args.episode)
    return 0
