"""Make one catalogue of tools that are written down elsewhere: files, or folders of them, each read by its kind.

Read are MCP tools/list results, OpenAI functions and BFCL's records, OpenAPI 3 documents, Python functions with
docstrings, our own tools.jsonl and StableToolBench. Python files are imported, which RUNS them; in a folder, names that
begin with "_" or "." are passed over. A file with "mcpServers" in it, as desktop clients keep one, STARTS those servers
and asks them for their tools; in a folder it is passed over.

examples:
  toolscout catalogue import github-mcp.json petstore.yaml my_tools.py
  toolscout catalogue import FOLDER --out FOLDER.jsonl.gz --skip-bad
  toolscout catalogue import mcp.json
  toolscout catalogue import my_package.tools --format python --dry-run
"""

import argparse
from pathlib import Path

from retriever.base.errors import DataError, UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, how, and where to."""
    from launch.catalogues import FORMATS

    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a file, a folder, or a Python module's name")
    parser.add_argument(
        "--out", default="tools.jsonl", metavar="FILE", help="catalogue to write (default: %(default)s; .gz compresses)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="read every file as this (default: by what is in it)"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out and report what is wrong; do not stop there")
    parser.add_argument("--overwrite", action="store_true", help="replace the file at --out")
    parser.add_argument("--dry-run", action="store_true", help="report what is there and what is wrong; write nothing")


def run(args: argparse.Namespace) -> int:
    """Exit code of the import."""
    out = Path(args.out).expanduser()
    if out.exists() and not (args.overwrite or args.dry_run):
        raise UserError(f"--out {out} is taken; give another file, or --overwrite")
    from launch import catalogues

    skip_bad = args.skip_bad or args.dry_run
    try:
        catalogues.import_tools(args.sources, format=args.format, skip_bad=skip_bad, out=None if args.dry_run else out)
    except DataError as error:
        raise UserError(f"{error}; or leave it out with --skip-bad") from None
    return 0
