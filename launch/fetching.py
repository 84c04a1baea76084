"""Data sets on the command line: downloaded by pip, checked, and written as a catalogue and tasks."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.table import Table

from envs.datasets.bfcl import WITH_GOLD_CALLS, Bfcl, read_bfcl
from envs.datasets.bfcl_dialogues import read_dialogues
from envs.datasets.bfcl_episodes import SPLIT, dialogue_tasks
from envs.datasets.bfcl_files import VERSION, BfclFiles
from envs.datasets.merged import DataSet
from envs.datasets.seal_tools import read_seal_tools
from envs.datasets.toolbench_training import read_toolbench_training
from envs.datasets.toolrl import read_toolrl
from envs.datasets.user_files import write_tasks
from envs.executors.bfcl_state import load_classes
from launch.display import new_console
from retriever.base.errors import InfraError, UserError
from retriever.base.files import existing_file
from retriever.catalogue import Catalogue

WHEEL = f"bfcl_eval-{VERSION}-py3-none-any.whl"
SHA256 = "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
_TIMEOUT_S = 600.0


def fetch_bfcl(out: Path, *, wheel: Path | None = None, train_share: float = 0.0) -> None:
    """Write BFCL's open catalogue and its tasks to `out`, and print what is there.

    Without `wheel` it is downloaded into `out`. The dialogues' gold calls are run, on the classes in the wheel;
    `train_share` of them become tasks of split train. Raises UserError, or InfraError when pip cannot download.
    """
    source = _checked(_download(out) if wheel is None else existing_file(wheel, what="--path"))
    files = BfclFiles(source)
    bfcl, dialogues = read_bfcl(files), read_dialogues(files)
    played = dialogue_tasks(dialogues, load_classes(source), train_share=train_share)
    catalogue = Catalogue.of((*bfcl.catalogue, *played.catalogue))
    catalogue.save(out / "tools.jsonl")
    write_tasks(out / "tasks.jsonl", (*bfcl.tasks, *played.tasks))
    console = new_console()
    console.print(_table(bfcl, {category: len(found) for category, found in dialogues.dialogues.items()}, played))
    splits = Counter(task.split for task in (*bfcl.tasks, *played.tasks))
    for line in (
        *(f"{count:,} {reason}" for reason, count in played.left_out.items()),
        f"{out}: {len(catalogue):,} tools, {splits['test']:,} tasks of split test; use them with --data {out}",
        f"{splits[SPLIT]:,} dialogues of split {SPLIT}"
        + (f" and {splits['train']:,} of split train" if train_share else "")
        + f"; play them with the preset bfcl_dialogues, world.data={out} executor.bfcl={source}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def write_data_set(name: str, path: Path, out: Path) -> None:
    """Write what the reader of `name` makes of `path` to `out`, and say what it is. Raises UserError, DataError."""
    found = _READERS[name](path)
    found.catalogue.save(out / "tools.jsonl")
    write_tasks(out / "tasks.jsonl", found.tasks)
    console = new_console()
    splits = Counter(task.split for task in found.tasks)
    lines = [
        *(f"{count:,}: {reason}" for reason, count in found.left_out.items()),
        f"{out}: {len(found.catalogue):,} tools, {len(found.tasks):,} tasks "
        f"({', '.join(f'{split} {count:,}' for split, count in splits.items())}); use them with --data {out}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


_READERS = {"toolrl": read_toolrl, "seal-tools": read_seal_tools, "toolbench": read_toolbench_training}


def _download(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    if (out / WHEEL).is_file():
        return out / WHEEL
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(out), f"bfcl-eval=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise InfraError(
            f"pip has not downloaded bfcl-eval within {_TIMEOUT_S:g} s; try again, or give --path"
        ) from None
    if done.returncode or not (out / WHEEL).is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise InfraError(
            f"pip could not download bfcl-eval=={VERSION} ({said[-1] if said else 'no word why'}); "
            "download it elsewhere, and give --path FILE"
        )
    return out / WHEEL


def _checked(wheel: Path) -> Path:
    """The wheel, when it is the one that the readers were written for."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise UserError(f"{wheel} is not bfcl-eval {VERSION} (SHA-256 {found[:12]}…, not {SHA256[:12]}…); delete it")
    return wheel


def _table(bfcl: Bfcl, dialogues: Mapping[str, int], played: DataSet) -> Table:
    table = Table("category", box=box.SIMPLE_HEAD)
    for name in ("records", "gold calls", "without values that fit the schema"):
        table.add_column(name, justify="right")
    table.add_column("written")
    for category, counts in bfcl.counts().items():
        written = "yes" if category in WITH_GOLD_CALLS else "no: a task only beside its own functions"
        table.add_row(category, *(f"{count:,}" for count in counts.values()), written)
    for category, count in dialogues.items():
        tasks = [task for task in played.tasks if category in task.tags]
        calls = sum(len(task.gold_calls or ()) for task in tasks)
        table.add_row(category, f"{count:,}", f"{calls:,}", "", f"{len(tasks):,}")
    table.add_section()
    records = sum(map(len, bfcl.records.values())) + sum(dialogues.values())
    table.add_row("in all", f"{records:,}", "", "", f"{len(bfcl.tasks) + len(played.tasks):,}")
    return table
