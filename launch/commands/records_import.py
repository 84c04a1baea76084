"""Import StableToolBench's cache of tool responses into a record, so that its tools answer without a server.

The cache is the folder tool_response_cache (category/tool/api.json). A record that is there already is added to; a call
that it holds is left as it is.

examples:
  toolscout records import tool_response_cache --data STABLETOOLBENCH --out calls.sqlite
  toolscout eval quickstart model.path=POLICY --data STABLETOOLBENCH executor.record.path=calls.sqlite \\
      executor.record.policy=replay_only
"""

import argparse
from pathlib import Path

from retriever.base.errors import DataError, UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, of which tools, and where to."""
    parser.add_argument("cache", metavar="CACHE", help="tool_response_cache, or the folder that holds it")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="StableToolBench's folder: its tools' ids")
    parser.add_argument("--out", required=True, metavar="FILE", help="the record, for executor.record.path")
    parser.add_argument("--skip-bad", action="store_true", help="leave out and report what cannot be read")


def run(args: argparse.Namespace) -> int:
    """Exit code of the import."""
    from launch import recording

    try:
        recording.import_cache(
            Path(args.cache), data=Path(args.data).expanduser(), out=Path(args.out).expanduser(), skip_bad=args.skip_bad
        )
    except DataError as error:
        raise UserError(f"{error}; or leave it out with --skip-bad") from None
    return 0
