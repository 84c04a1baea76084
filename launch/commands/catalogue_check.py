"""Read a catalogue and say what is in it: its tools by origin, names that several share, tools without a description.

examples:
  toolscout catalogue check tools.jsonl                      # stops at the first bad line
  toolscout catalogue check tools.jsonl.gz --skip-bad --near-duplicates
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which catalogue."""
    parser.add_argument("file", metavar="FILE", help="a .jsonl or .jsonl.gz file of tools")
    parser.add_argument("--skip-bad", action="store_true", help="report the bad lines; do not stop at the first")
    parser.add_argument(
        "--near-duplicates", action="store_true", help="report tools with nearly the same words in name and description"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code of the check."""
    from launch import catalogues

    catalogues.check(args.file, skip_bad=args.skip_bad, duplicates=args.near_duplicates)
    return 0
