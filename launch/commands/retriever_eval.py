"""Measure a retriever on tasks with gold tools: one search with each task's instruction, no policy.

Prints NDCG, recall, completeness, MRR and MAP by group (the first tag of a task) and in all, with 95% intervals.

examples:
  toolscout retriever eval --data STABLETOOLBENCH
  toolscout retriever eval --data FOLDER retriever.kind=bm25 --out bm25.json
  toolscout retriever eval --data STABLETOOLBENCH --choose retriever.lexical_weight=0.3,0.4,0.5 \\
      --choose retriever.sentence_weight=0,0.25,0.5     # each group with the settings that are best on the others
"""

import argparse
from pathlib import Path

from launch.arguments import data_overrides
from retriever.base.errors import UserError
from retriever.evaluation import MEASURES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, settings, and what to try."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="retriever.kind=bm25, retriever.document=toolbench, split=test, max_queries=1000, seed=0 …; "
        "--dry-run prints every key with its value",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="your own tools.jsonl and tasks.jsonl, or a StableToolBench folder (default: the embedded world's dev)",
    )
    parser.add_argument(
        "--choose",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="try these values (several keys: every combination) and score each group with those that are best on the "
        "mean of the other groups",
    )
    parser.add_argument(
        "--by", default="ndcg@5", metavar="MEASURE", help=f"what --choose goes by: {', '.join(MEASURES)}"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write config, versions and figures there")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config; search nothing")


def run(args: argparse.Namespace) -> int:
    """Exit code of the evaluation."""
    overrides = ["split=dev"]
    if args.data is not None:
        found = data_overrides(args.data)
        overrides = [text for text in found if text.startswith(("world.", "retriever."))]
    if args.by not in MEASURES:
        raise UserError(f"--by {args.by}: give one of {', '.join(MEASURES)}")
    from launch import retrieval

    trials = retrieval.trials([*overrides, *args.settings], args.choose)
    if args.dry_run:
        print(retrieval.plan(trials), end="")
        return 0
    retrieval.evaluate(trials, by=args.by, out=args.out)
    return 0
