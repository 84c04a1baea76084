"""Fetch a public data set and write it as tools.jsonl and tasks.jsonl, for --data FOLDER.

bfcl: the Berkeley Function-Calling Leaderboard v4, out of the bfcl-eval wheel (2 MB, by pip; nothing is installed).
Its single-turn Python categories with gold calls, all their functions in one open catalogue; test tasks only.

examples:
  toolscout tasks fetch bfcl --out data/bfcl
  toolscout retriever eval --data data/bfcl
"""

import argparse
from pathlib import Path

from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which data set, and where to."""
    parser.add_argument("dataset", choices=("bfcl",), help="what to fetch")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument("--wheel", metavar="FILE", help="read this wheel, downloaded before; fetch nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier fetch")


def run(args: argparse.Namespace) -> int:
    """Exit code of the fetch."""
    out = Path(args.out).expanduser()
    if not args.overwrite and any((out / name).exists() for name in ("tools.jsonl", "tasks.jsonl")):
        raise UserError(f"--out {out} holds tools or tasks already; give another folder, or --overwrite")
    from launch import fetching

    fetching.fetch_bfcl(out, wheel=None if args.wheel is None else Path(args.wheel).expanduser())
    return 0
