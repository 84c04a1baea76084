"""Upload an exported policy to the Hugging Face Hub, with the token of `hf auth login` or HF_TOKEN."""

import argparse
import re
from pathlib import Path

from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, where to, and whether only to say so."""
    parser.add_argument(
        "folder", type=lambda path: Path(path).expanduser(), help="an exported policy, e.g. runs/quickstart/export"
    )
    parser.add_argument(
        "--repo", required=True, metavar="OWNER/NAME", help="the repository on the Hub; made if missing"
    )
    parser.add_argument("--private", action="store_true", help="make it private when it is made")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded; upload nothing")


def run(args: argparse.Namespace) -> int:
    """Exit code of the upload."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repo):
        raise UserError(f"--repo {args.repo}: expected OWNER/NAME, e.g. me/my-toolscout")
    if not (args.folder / "config.json").is_file():
        raise UserError(f"{args.folder} holds no exported policy (no config.json); make one with: toolscout export")
    from launch import pipeline

    pipeline.push(args.folder, repo=args.repo, private=args.private, dry_run=args.dry_run)
    return 0
