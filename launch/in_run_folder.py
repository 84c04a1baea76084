"""The frame of every command that fills a run folder: config, dry run, folder, work."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from launch.arguments import add_config_arguments, add_run_arguments, config_of
from launch.interrupts import ended_in_order
from launch.plan import plan_text
from launch.preflight import check_gpus, preflight
from launch.run_folder import RunFolder, check_folder, first_rank, folder_of, folder_state, numbered_run, open_run
from retriever.base.errors import UserError


def add_arguments(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """CONFIG, overrides, --dry-run, --resume, --overwrite."""
    add_config_arguments(parser, default=default)
    add_run_arguments(parser)


def run_in_folder(
    args: argparse.Namespace,
    *,
    job: str,
    work: Callable[[RunFolder], None],
    suffix: str = "",
    numbered: bool = False,
) -> int:
    """Do `work` in the run's folder (`name` + `suffix`), or print the plan. Returns the exit code."""
    _refuse_ranks(job)
    config = config_of(args)
    config = replace(config, name=config.name + suffix)
    preflight(job, config)
    if args.dry_run:
        planned = config if args.overwrite or not numbered else numbered_run(config, resume=args.resume)
        if first_rank():
            check_folder(planned, job=job, resume=args.resume, overwrite=args.overwrite)
            print(plan_text(job, planned), end="")
        return 0
    check_gpus(job, config)
    taken = open_run(config, job=job, command=sys.argv, resume=args.resume, overwrite=args.overwrite, numbered=numbered)
    with taken as run:
        if first_rank():
            if run.config.name != config.name and not run.resumed:
                _say(job, f"keeping the earlier run in {folder_of(config)} ({folder_state(config)})")
            _say(job, f"{'resuming' if run.resumed else 'writing to'} {run.path}")
        # Another rank may wait in a collective call, where no handler of Python's runs: it dies of SIGTERM as it does.
        with ended_in_order() if first_rank() else nullcontext():
            work(run)
    return 0


def _refuse_ranks(job: str) -> None:
    """Raises UserError for a launcher with a job that is one process's."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and job != "grpo":
        raise UserError(
            f"{ranks} processes were launched for toolscout {job}, which is one process's work; start it without "
            "torchrun or deepspeed, which are for toolscout grpo"
        )


def _say(job: str, text: str) -> None:
    print(f"toolscout {job}: {text}", file=sys.stderr, flush=True)
