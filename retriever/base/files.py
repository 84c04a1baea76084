"""Reading and writing files so that nothing is half written and every bad line is named."""

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from retriever.base.errors import DataError, UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk, rename over it: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp's 0600 would hide a report from the user's web server
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Pretty JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def existing_file(path: str | Path, *, what: str) -> Path:
    """`path` as a Path; UserError naming `what` when no such file exists."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise UserError(f"{what}: no file at {found}; check the path")
    return found


def read_json(path: str | Path, *, what: str) -> Any:
    """The JSON value in `path`. Raises UserError (no such file) or DataError (not JSON)."""
    found = existing_file(path, what=what)
    try:
        return json.loads(found.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not valid JSON ({error}); mend or regenerate the file", path=found) from None


def read_jsonl(path: str | Path, *, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based line number, object) of each non-blank line of a .jsonl or .jsonl.gz file.

    Raises UserError (no such file) or DataError (a line that is not a JSON object).
    """
    found = existing_file(path, what=what)
    opener = gzip.open if found.suffix == ".gz" else open
    with opener(found, "rb") as file:
        for number, raw in enumerate(_lines(file, found), start=1):
            if not raw.strip():
                continue
            try:
                value = json.loads(raw.decode("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise DataError(
                    f"not valid JSON ({error}); mend or delete this line", path=found, line=number
                ) from None
            if not isinstance(value, dict):
                raise DataError(f"expected a JSON object, got {type(value).__name__}", path=found, line=number)
            yield number, value


def _lines(file: Iterable[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read ({error}); write or fetch the file again", path=path) from None
