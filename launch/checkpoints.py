"""What a run's stages leave under checkpoints/: finished policies, and the trainer's checkpoints on the way."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from retriever.base.bars import without_bars
from retriever.base.files import read_json, write_json
from rollout.policy import merged

TRAINED = "trained.json"  # written last into the folder of a finished policy


def save_policy(model: Any, tokenizer: Any, out: Path, *, seconds: float) -> None:
    """Merged safetensors and tokenizer, in place of whatever an interrupted attempt left; marked as complete last.

    `seconds` of training are noted for those who compare stages.
    """
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with without_bars():
        merged(model).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / TRAINED, {"seconds": round(seconds, 1)})
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def trained_seconds(checkpoint: str) -> float:
    """How long the stage trained that left this checkpoint."""
    return float(read_json(Path(checkpoint) / TRAINED, what="note of a finished stage")["seconds"])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint: the Trainer writes its state file last, and a torn one does not count."""
    found = [path for path in folder.glob("checkpoint-*") if _is_json(path / "trainer_state.json")]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False
