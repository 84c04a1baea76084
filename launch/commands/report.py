"""Write the report of a run: one self-contained HTML file in its folder. Prints the path."""

import argparse

from launch.run_folder import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", nargs="?", default="runs/quickstart", help="the run's folder (default: runs/quickstart)")


def run(args: argparse.Namespace) -> int:
    """Exit code of the report."""
    found = read_run(args.run)
    from launch import pipeline

    print(pipeline.report(found))
    return 0
