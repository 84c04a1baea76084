"""Fine-tune the encoder on queries with known gold tools: contrastive, with mined hard negatives.

Queries are the instructions of --data's tasks, and with --rollouts what a policy wrote, paired with the gold tools that
each search surfaced. The best epoch by NDCG@5 on held-out queries is written in Hugging Face's format, with a model
card. An interrupted run goes on at its last whole epoch when it is started again.

examples:
  toolscout retriever train --data FOLDER --out encoders/mine
  toolscout retriever train --data STABLETOOLBENCH --without G3_instruction --out encoders/no-g3
  toolscout retriever train --rollouts runs/quickstart --out encoders/from-rollouts training.epochs=2
  toolscout retriever train --data FOLDER --recipe toolretriever retriever.encoder=BERT --out encoders/toolretriever
  toolscout retriever eval --data FOLDER retriever.encoder=encoders/mine
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from launch.arguments import data_overrides
from retriever.base.errors import UserError
from retriever.config import TOOLRETRIEVER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, recipe, and where to."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="training.epochs=3, training.hard_negatives=1, retriever.encoder=FOLDER, split=train …; --dry-run prints "
        "every key with its value",
    )
    parser.add_argument("--data", metavar="FOLDER", help="your own tools.jsonl and tasks.jsonl, or StableToolBench's")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="GROUP",
        help="leave the tasks of this group out, so that it can be reported (their first tag; may be given again)",
    )
    parser.add_argument(
        "--rollouts", metavar="RUN", help="also, or without --data only, learn from the searches of this run's folder"
    )
    parser.add_argument(
        "--recipe", choices=["toolretriever"], help="ToolBench's: 5 epochs, lr 2e-5, warm-up 500, no hard negatives"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the encoder is written")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config; train nothing")


def run(args: argparse.Namespace) -> int:
    """Exit code of the training."""
    if args.data is None and args.rollouts is None:
        raise UserError("nothing to learn from; give --data FOLDER, --rollouts RUN, or both")
    overrides = ["split=train"]
    if args.data is not None:
        overrides += [text for text in data_overrides(args.data) if text.startswith(("world.", "retriever."))]
        if "world.kind=stabletoolbench" in overrides:
            overrides.append("split=test")  # it has no other; --without keeps apart what is to be reported
    if args.recipe is not None:
        overrides += [f"training.{name}={value}" for name, value in asdict(TOOLRETRIEVER).items()]
    from launch import encoder_run

    encoder_run.train(
        [*overrides, *args.settings],
        with_tasks=args.data is not None,
        without=args.without,
        rollouts=None if args.rollouts is None else Path(args.rollouts),
        out=args.out.expanduser(),
        dry_run=args.dry_run,
    )
    return 0
