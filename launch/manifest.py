"""What a run was: the facts written to `manifest.json` when a run folder is opened. Nothing is decided here."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.load import to_dict
from configs.schema import RunConfig

PACKAGES = (
    "toolscout",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "deepspeed",
    "ray",
    "sentence-transformers",
    "faiss-cpu",
    "faiss-gpu",
    "bm25s",
    "datasets",
    "numpy",
    "wandb",
)
ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TOOLSCOUT_WORLD_SIZE", "WORLD_SIZE", "WANDB_MODE")


def new_manifest(config: RunConfig, command: Sequence[str]) -> dict[str, Any]:
    """The manifest of a run that starts now."""
    return {"status": "running", "config": to_dict(config), **attempt(command), "finished_at": None, "resumes": []}


def attempt(command: Sequence[str]) -> dict[str, Any]:
    """What may differ when a run is resumed: time, command, code, versions and machine."""
    return {
        "command": list(command),
        "started_at": now(),
        "git": git_state(Path(__file__).parents[1]),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "host": host_facts(),
    }


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit, and whether tracked files differ from it; None when `root` is not itself a git checkout."""
    if not (root / ".git").exists():  # else git would tell of a repository that merely contains us
        return None
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    status = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return None if commit is None or status is None else {"commit": commit, "dirty": bool(status)}


def host_facts() -> dict[str, Any]:
    """What the machine is: nothing that names it or its owner."""
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "gpus": gpus.splitlines() if gpus else [],
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(program: str, *arguments: str) -> str | None:
    """What a program prints; None when it is not here or fails."""
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20)
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
