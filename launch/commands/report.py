"""Write the report of a run, or lay several runs over each other: one self-contained HTML file. Prints its path."""

import argparse
from pathlib import Path

from launch.run_folder import read_run
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument(
        "runs",
        nargs="*",
        default=["runs/quickstart"],
        metavar="RUN",
        help="a run's folder (default: runs/quickstart); of several, the curves and last stages are compared",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="the page that compares several runs (default: runs/comparison.html)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the report."""
    found = [read_run(folder) for folder in args.runs]
    from launch import pipeline

    if len(found) == 1:
        if args.out is not None:
            raise UserError("--out is for comparing several runs; the report of one is written into its folder")
        print(pipeline.report(found[0]))
        return 0
    print(pipeline.compare(found, out=args.out or Path("runs/comparison.html")))
    return 0
