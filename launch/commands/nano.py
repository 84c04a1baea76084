"""Make the nano base: a small Qwen3 trained from random weights on made-up tools alone. An hour or two."""

import argparse
from pathlib import Path

from configs.load import dump_yaml, is_override, load_config
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings are PretrainConfig's, not a run's."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings such as seed=1 or tokens=1_000_000")
    parser.add_argument("--out", type=Path, default=Path("runs/nano_base"), help="folder to write (runs/nano_base)")
    parser.add_argument("--overwrite", action="store_true", help="write into --out even if it holds files")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings; make nothing")


def run(args: argparse.Namespace) -> int:
    """Exit code of the making."""
    from train.nano.base import write_hashes
    from train.nano.pretrain import PretrainConfig, pretrain

    if wrong := [text for text in args.settings if not is_override(text)]:
        raise UserError(f"nano takes key=value settings, got {wrong[0]!r}")
    config = load_config(PretrainConfig, overrides=args.settings)
    if args.dry_run:
        print(f"# toolscout nano: would write {args.out}\n{dump_yaml(config)}", end="")
        return 0
    if args.out.exists() and any(args.out.iterdir()) and not args.overwrite:
        raise UserError(f"--out {args.out} holds files; give another folder, or --overwrite")
    pretrain(config, args.out)
    write_hashes(args.out)
    print(args.out)
    return 0
