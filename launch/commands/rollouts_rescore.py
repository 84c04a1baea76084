"""Score recorded rollouts again under other reward weights. Needs no model, and nothing is played.

RUN is a run's folder, whose generation batches are read, or any file of records; the config is the run's own, with the
overrides given. The table holds the mean of each part, of what was recorded and now. With the run's own weights nothing
changes, to the last bit; --out writes new records, to be read as the old ones (docs/records.md), and trained on.

examples:
  toolscout rollouts rescore runs/quickstart reward.retrieval.precision=0.5
  toolscout rollouts rescore runs/quickstart reward.execution.provenance=0.2 --out rescored
  toolscout rollouts rescore runs/quickstart --segments --out plain   # ids, masks and advantages for other programs
"""

import argparse
from pathlib import Path

from launch.arguments import add_record_arguments, split_records
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is scored, how, and where to."""
    add_record_arguments(parser, overrides="reward.retrieval.ndcg=0.3, grpo.update=coupled")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the new records there (default: none)")
    parser.add_argument(
        "--segments",
        action="store_true",
        help="with --out: beside each reward what is trained, as plain lists: ids, action_mask, loss_mask, "
        "behaviour_logprobs, advantages",
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the rescoring."""
    from launch import rescoring

    if args.segments and args.out is None:
        raise UserError("--segments writes into the new records; give --out FOLDER")
    places, overrides = split_records(args)
    rescoring.rescore(places, overrides, config=args.config, out=args.out, segments=args.segments)
    return 0
