"""The nano base that ships with Toolscout: where it lies, and the proof that it is the one that was released."""

import hashlib
import json
from pathlib import Path

from retriever.base.errors import UserError

BASE = Path(__file__).parent / "base"
HASHES = "sha256.json"


def base_path() -> str:
    """The folder of the shipped base. Raises UserError when it is missing or not what was released."""
    if not (BASE / HASHES).is_file():
        raise UserError(f"the nano base is missing ({BASE}); reinstall Toolscout, or make one: toolscout nano")
    for name, wanted in json.loads((BASE / HASHES).read_text()).items():
        found = file_hash(BASE / name)
        if found != wanted:
            raise UserError(f"{BASE / name} is not the released file (sha256 {found[:12]}…); reinstall Toolscout")
    return str(BASE)


def write_hashes(folder: Path) -> None:
    """Note the hash of every file of a base."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != HASHES)
    (folder / HASHES).write_text(json.dumps({name: file_hash(folder / name) for name in names}, indent=2) + "\n")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex; of nothing when it is missing."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()
