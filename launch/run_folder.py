"""The folder of a run, `output_dir/name`: who may write there, and whether a run starts, resumes or is refused.

A folder belongs to one config. `manifest.json` says which; a lock says that a process is at work in it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import IO, Any

from configs.load import from_dict, to_dict
from configs.schema import RunConfig
from launch.manifest import attempt, new_manifest, now
from retriever.base.errors import UserError
from retriever.base.files import read_json, write_json

MANIFEST = "manifest.json"
LOCK = ".lock"
# What may change between a run and its resumption: nothing of it reaches a number that the run reports.
FREE_KEYS = (
    "name",
    "output_dir",
    "rollout.workers",
    "rollout.threads_per_worker",
    "grpo.save_every",
    "grpo.keep_checkpoints",
    "tracking",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A run that may write: its folder, its config, and whether it goes on from an earlier attempt."""

    path: Path
    config: RunConfig
    resumed: bool


@contextmanager
def open_run(
    config: RunConfig,
    *,
    job: str,
    command: Sequence[str],
    resume: bool = False,
    overwrite: bool = False,
    numbered: bool = False,
) -> Iterator[RunFolder]:
    """Hold the run folder while the body works; the manifest ends as finished, or as stopped with the reason.

    `job` is what fills the folder (quickstart, sft, …); `command` the command line, for the record.
    `numbered`: where the name is taken, take name-2, name-3, …; `resume` then means the last of them.
    Under torchrun or deepspeed only rank 0 writes. Raises UserError when the folder is another run's.
    """
    if not first_rank():
        yield RunFolder(path=folder_of(config), config=config, resumed=resume)
        return
    if numbered and not overwrite:
        config = numbered_run(config, resume=resume)
    folder = folder_of(config)
    check_folder(config, job=job, resume=resume, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        _hold(lock, folder)
        if overwrite:
            _empty(folder)
        manifest = _begin(folder, config, job=job, command=command)
        try:
            yield RunFolder(path=folder, config=config, resumed=resume)
        except BaseException as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            write_json(folder / MANIFEST, {**manifest, "status": "stopped", "reason": reason})
            raise
        write_json(folder / MANIFEST, {**manifest, "status": "finished", "finished_at": now()})


def first_rank() -> bool:
    """Is this the one process, or rank 0 of several (torchrun and deepspeed set RANK)?"""
    return int(os.environ.get("RANK", "0")) == 0


def folder_of(config: RunConfig) -> Path:
    """Where a run of this config writes."""
    return Path(config.output_dir).expanduser() / config.name


def folder_state(config: RunConfig) -> str:
    """One word or two on the folder, for the plan: new, interrupted, finished."""
    manifest = _manifest(folder_of(config))
    if manifest is None:
        return "new"
    return "finished" if manifest["status"] == "finished" else "interrupted; --resume goes on with it"


def read_run(folder: str | Path, overrides: Sequence[str] = ()) -> RunFolder:
    """An earlier run, to read from, `overrides` over its config. Raises UserError when the folder holds none."""
    path = Path(folder).expanduser()
    manifest = _manifest(path)
    if manifest is None:
        raise UserError(
            f"no run at {path} (it has no {MANIFEST}); give the folder that a run made, e.g. runs/quickstart"
        )
    config = from_dict(RunConfig, manifest["config"], source=str(path / MANIFEST), overrides=overrides)
    return RunFolder(path=path, config=config, resumed=False)


def check_folder(config: RunConfig, *, job: str, resume: bool, overwrite: bool) -> None:
    """Raises UserError when the run may not begin, or go on, in its folder."""
    folder = folder_of(config)
    manifest = _manifest(folder)
    if manifest is None:
        if resume:
            raise UserError(f"--resume: no run at {folder}; start it without --resume, or check name= and output_dir=")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} holds something that is no run of ours; give another name=, or remove it yourself"
            )
        return
    if overwrite:
        return
    if not resume:
        how = "finished" if manifest["status"] == "finished" else "interrupted: --resume goes on with it"
        raise UserError(f"{folder} holds a run ({how}); give another name=, or --overwrite to delete it")
    if manifest["job"] != job:
        raise UserError(f"--resume: {folder} holds a run of {manifest['job']}, not of {job}; give another name=")
    changed = changed_keys(manifest["config"], to_dict(config))
    if changed:
        key, (then, now_) = next(iter(changed.items()))
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"--resume: {folder} was started with {key}={then}, now {key}={now_}{more}; "
            "resume with the same config, or start anew under another name="
        )


def changed_keys(then: Any, now: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, FREE_KEYS left out; a missing key counts as None."""
    if key in FREE_KEYS:
        return {}
    if isinstance(then, dict) and isinstance(now, dict):
        names = [*then, *(name for name in now if name not in then)]
        changed: dict[str, tuple[Any, Any]] = {}
        for name in names:
            changed |= changed_keys(then.get(name), now.get(name), f"{key}.{name}" if key else name)
        return changed
    return {} if then == now else {key: (then, now)}


def _begin(folder: Path, config: RunConfig, *, job: str, command: Sequence[str]) -> dict[str, Any]:
    """Write the manifest of a new run, or note a further attempt in the one that is there."""
    manifest = _manifest(folder)
    if manifest is None:
        manifest = {"job": job, **new_manifest(config, command)}
    else:
        manifest.pop("reason", None)
        manifest |= {"status": "running", "finished_at": None}
        manifest["resumes"] = [*manifest["resumes"], attempt(command)]
    write_json(folder / MANIFEST, manifest)
    return manifest


def _manifest(folder: Path) -> dict[str, Any] | None:
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_json(folder / MANIFEST, what="run manifest")
    if not (isinstance(manifest, dict) and {"job", "status", "config", "resumes"} <= manifest.keys()):
        raise UserError(
            f"{folder / MANIFEST} is no manifest of ours; give another name=, or remove the folder yourself"
        )
    return manifest


def _hold(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
    except OSError:
        raise UserError(f"{folder}: another process is at work there; wait for it, or give another name=") from None


def _empty(folder: Path) -> None:
    """Delete an earlier run's files. `check_folder` has seen to it that the folder is a run of ours."""
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _names(config: RunConfig) -> Iterator[str]:
    yield config.name
    yield from (f"{config.name}-{number}" for number in count(2))


def numbered_run(config: RunConfig, *, resume: bool) -> RunConfig:
    """The config under the first of its numbered names that is free.

    `resume`: under the last one that holds a run of this config, else the last that there is, else its own.
    """
    named = (replace(config, name=name) for name in _names(config))
    taken = []
    for candidate in named:
        if not folder_of(candidate).exists():
            break
        taken.append(candidate)
    if not resume:
        return candidate
    same = [run for run in taken if (m := _manifest(folder_of(run))) and not changed_keys(m["config"], to_dict(run))]
    return (same or taken or [config])[-1]
