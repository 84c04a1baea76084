"""Write a public data set as tools.jsonl and tasks.jsonl, for --data FOLDER.

bfcl        the Berkeley Function-Calling Leaderboard v4, out of the bfcl-eval wheel (2 MB, by pip; nothing is
            installed). Its single-turn Python categories with gold calls, as split test, and its multi-turn
            dialogues, as split dialogues; all their functions in one open catalogue. The dialogues' gold calls are
            run, on the stateful classes in the wheel, for what they leave is what an episode is held against.
toolrl      ToolRL's supervised examples, a file that you have: rlla_sft.json
seal-tools  Seal-Tools, a folder that you have: Seal-Tools_Dataset
toolbench   ToolBench's training trajectories, a file that you have: toolllama_G123_dfs_train.json

StableToolBench needs no writing: --data takes its folder as it is.

examples:
  toolscout tasks fetch bfcl --out data/bfcl
  toolscout retriever eval --data data/bfcl
  toolscout eval bfcl_dialogues world.data=data/bfcl executor.bfcl=data/bfcl/bfcl_eval-2026.3.23-py3-none-any.whl
  toolscout tasks fetch toolrl --path rlla_sft.json --out data/toolrl
"""

import argparse
from pathlib import Path

from retriever.base.errors import UserError

_WITH_PATH = ("toolrl", "seal-tools", "toolbench")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which data set, and where to."""
    parser.add_argument("dataset", choices=("bfcl", *_WITH_PATH), help="what to write")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument(
        "--path", metavar="PATH", help="the data as published, file or folder; of bfcl the wheel, downloaded before"
    )
    parser.add_argument(
        "--train-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of bfcl's dialogues, as split train; the four variants of one stay together (default: none)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier fetch")


def run(args: argparse.Namespace) -> int:
    """Exit code of the fetch."""
    out = Path(args.out).expanduser()
    if not args.overwrite and any((out / name).exists() for name in ("tools.jsonl", "tasks.jsonl")):
        raise UserError(f"--out {out} holds tools or tasks already; give another folder, or --overwrite")
    if not 0 <= args.train_share <= 1:
        raise UserError(f"--train-share {args.train_share:g} is no share; give a number from 0 to 1")
    if args.train_share and args.dataset != "bfcl":
        raise UserError(f"--train-share is of bfcl's dialogues, and {args.dataset} has none; leave it out")
    if args.dataset in _WITH_PATH and args.path is None:
        raise UserError(f"{args.dataset} is not downloaded; give what you have of it as --path PATH")
    from launch import fetching

    path = None if args.path is None else Path(args.path).expanduser()
    if args.dataset == "bfcl":
        fetching.fetch_bfcl(out, wheel=path, train_share=args.train_share)
    else:
        assert path is not None
        fetching.write_data_set(args.dataset, path, out)
    return 0
