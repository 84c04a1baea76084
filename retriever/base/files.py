"""Reading and writing files so that nothing is half written and every bad line is named."""

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from retriever.base.bad_entries import OnBad, refuse
from retriever.base.errors import DataError, UserError

_LINE_BYTES = 50_000_000  # of a JSONL file: compressed, any length fits into a small file


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path`, flushed to disk and renamed over it at the end: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp's 0600 would hide a report from the user's web server
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """All of `content`, or nothing: see `writing`."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Each line as it comes, atomically; compressed when the name ends in .gz, equal lines to equal bytes."""
    with writing(path) as file:
        if path.suffix != ".gz":
            file.writelines(f"{line}\n".encode() for line in lines)
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
            for line in lines:
                packed.write(f"{line}\n".encode())


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
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error}); mend or regenerate the file", path=found) from None


def read_jsonl(path: str | Path, *, what: str, on_bad: OnBad = refuse) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based line number, object) of each non-blank line of a .jsonl or .jsonl.gz file.

    Raises UserError (no such file) or DataError (a file that breaks off, a line beyond 50 MB); `on_bad` is told of a
    line that is not a JSON object.
    """
    found = existing_file(path, what=what)
    opener = gzip.open if found.suffix == ".gz" else open
    try:
        opened: Any = opener(found, "rb")
    except OSError as error:
        raise UserError(f"{what}: {found} cannot be read ({error.strerror or error}); check its permissions") from None
    with opened as file:
        yield from parse_lines(_lines(file, found), found, on_bad=on_bad)


def parse_lines(lines: Iterable[bytes], path: Path, *, on_bad: OnBad = refuse) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based line number, object) of each non-blank line, as `read_jsonl` gives them; `path` is for messages."""
    for number, raw in enumerate(lines, start=1):
        if len(raw) > _LINE_BYTES:
            raise DataError(f"exceeds {_LINE_BYTES:,} bytes; one JSON object a line", path=path, line=number)
        if not raw.strip():
            continue
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            on_bad(DataError(f"not valid JSON ({error}); mend or delete this line", path=path, line=number))
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            on_bad(DataError(f"expected a JSON object, got {type(value).__name__}", path=path, line=number))


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    number = 1  # of the next line
    try:
        while line := file.readline(_LINE_BYTES + 1):
            yield line
            number += 1
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read ({error}); write or fetch the file again", path=path, line=number) from None
