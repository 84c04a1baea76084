"""Make tasks from your own tools: instructions whose gold calls were executed, so that they are known to work.

For each tool of the catalogue, calls are drawn from its schema and said in the words of its description; with a
teacher, a language model writes both. Every call is executed, twice; what fails or says nothing is left out and
counted. A fifth of the tools is held out as a whole: their tasks are split "test", for evaluation; the others' are
split "train", some "held_out". What runs the tools is said by executor.…, as in every other command. The calls are
real: leave tools that delete, send or pay out of the catalogue.

examples:
  toolscout tasks make --catalogue my/tools.jsonl executor.python.folder=my
  toolscout tasks make --catalogue my/tools.jsonl executor.mcp=mcp.json making.per_tool=8 --out my/tasks.jsonl
  toolscout tasks make --catalogue my/tools.jsonl executor.python.folder=my \\
      teacher.base_url=http://127.0.0.1:8000/v1 teacher.model=Qwen/Qwen3-32B teacher.temperature=1.0
"""

import argparse
from pathlib import Path

from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tools, what runs them, and where to."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="executor.python.folder=my, executor.mcp=mcp.json, making.per_tool=8, making.seed=1, teacher.model=…; "
        "--dry-run prints every key with its value",
    )
    parser.add_argument("--catalogue", required=True, metavar="FILE", help="the tools, a tools.jsonl or tools.jsonl.gz")
    parser.add_argument("--out", metavar="FILE", help="tasks to write (default: tasks.jsonl beside the catalogue)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file at --out")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config; run no tool")


def run(args: argparse.Namespace) -> int:
    """Exit code of the making."""
    catalogue = Path(args.catalogue).expanduser()
    out = catalogue.parent / "tasks.jsonl" if args.out is None else Path(args.out).expanduser()
    if out.exists() and not (args.overwrite or args.dry_run):
        raise UserError(f"--out {out} is taken; give another file, or --overwrite")
    from launch import making

    making.make(args.settings, catalogue=catalogue, out=None if args.dry_run else out)
    return 0
