"""The changes of a catalogue that is served, kept on disk: a service that was killed goes on where it was."""

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from retriever.base.errors import DataError, InfraError, UserError
from retriever.base.files import parse_lines
from retriever.catalogue import Catalogue
from retriever.entries import light, parse_tool
from retriever.tools import ToolDoc

_log = logging.getLogger(__name__)

_START = b'{"catalogue": "'  # of every journal


class ChangeLog(Protocol):
    """Told of every change before it can be seen; what it raises prevents the change."""

    def changed(self, *, add: Sequence[ToolDoc], remove: Sequence[str]) -> None:
        """Tools that come, and ids that go."""
        ...

    def replaced(self, catalogue: Catalogue) -> None:
        """Another catalogue, to which none of the changes so far belongs."""
        ...


class Journal:
    """A .jsonl file of changes, {"remove": [ids], "add": [entries]}, below a line that says of which catalogue.

    A change is on disk before it is acknowledged. One process at a time has the file.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises UserError when the file cannot be written, or when another process has it."""
        self._path = Path(path).expanduser()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = os.open(self._path.parent, os.O_RDONLY)
            os.fsync(folder)  # that the file is there, if it is new
            os.close(folder)
        except BlockingIOError:
            raise UserError(f"--journal {self._path}: another service keeps its changes there; give another") from None
        except OSError as error:
            raise UserError(f"--journal {self._path}: {error.strerror or error}; give a file to write to") from None

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._file)

    def replay(self, catalogue: Catalogue) -> Catalogue:
        """`catalogue`, as read from its file, with every change that was kept.

        A last line that breaks off was never acknowledged: it is told and dropped, once all else is found right. Raises
        UserError when the file is no journal or its changes are of another catalogue, DataError for a line that fits
        nowhere.
        """
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        torn = content[whole:]
        if not (content.startswith(_START) or (not whole and _START.startswith(torn))):
            raise UserError(f"--journal {self._path} is a file of something else; give a path where there is none")
        complete = _is_object(torn)  # all but the line feed was written
        head, changes = self._read(content if complete else content[:whole])
        known = head is not None and head.get("catalogue") == catalogue.content_hash
        if changes and not known:
            raise UserError(
                f"--journal {self._path} holds {_changes(changes)} of another content of the catalogue's file; bring "
                "the old file back, or drop them: remove the journal, or give another"
            )
        version = head.get("version") if head is not None and known else catalogue.version
        if not isinstance(version, int):
            raise DataError("the catalogue's line has no version; it is no journal of ours", path=self._path)
        applied = self._applied(catalogue.changed(version=version), changes)
        if complete:
            os.write(self._file, b"\n")
        elif torn:
            os.ftruncate(self._file, whole)
            _log.warning("%s: its last line breaks off and is dropped: %r", self._path, torn[:200])
        if not known:
            self.replaced(catalogue)
        if changes:
            _log.warning("%s: %s since the catalogue's file was read", self._path, _changes(changes))
        return applied

    def changed(self, *, add: Sequence[ToolDoc], remove: Sequence[str]) -> None:
        """See `ChangeLog`. Raises InfraError, with the file as it was, when the change cannot be written."""
        self._append({"remove": list(remove), "add": [tool.to_dict() for tool in add]})

    def replaced(self, catalogue: Catalogue) -> None:
        """See `ChangeLog`. Raises InfraError, with the file as it was, when that cannot be written."""
        self._append(_head(catalogue))

    def _applied(self, catalogue: Catalogue, changes: Sequence[tuple[int, dict[str, Any]]]) -> Catalogue:
        """All changes at once: one after the other would copy each as often as others follow."""
        added: dict[str, ToolDoc] = {}
        removed: set[str] = set()
        for line, change in changes:
            if change.keys() != {"remove", "add"} or not all(isinstance(part, list) for part in change.values()):
                raise DataError("no change; expected remove and add, each a list", path=self._path, line=line)
            for id in change["remove"]:
                if added.pop(id, None) is None:
                    if id not in catalogue or id in removed:
                        raise DataError(
                            f"no tool {id!r} is there to remove; mend or delete this line", path=self._path, line=line
                        )
                    removed.add(id)
            for entry in change["add"]:
                tool = light(parse_tool(entry, path=self._path, line=line))
                if tool.id in added or (tool.id in catalogue and tool.id not in removed):
                    raise DataError(
                        f"tool id {tool.id!r} is there already; mend or delete this line", path=self._path, line=line
                    )
                added[tool.id] = tool
        version = catalogue.version + len(changes)
        return catalogue.changed(add=added.values(), remove=removed, version=version).compacted()

    def _append(self, value: dict[str, Any]) -> None:
        end = os.fstat(self._file).st_size
        left = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):  # if even that fails, the next start drops the line that breaks off
                os.ftruncate(self._file, end)
            raise InfraError(
                f"the change was not made: it cannot be kept in {self._path} ({error.strerror or error})"
            ) from None

    def _read(self, content: bytes) -> tuple[dict[str, Any] | None, list[tuple[int, dict[str, Any]]]]:
        """The last line that names a catalogue, and what follows it, by line."""
        head, changes = None, list[tuple[int, dict[str, Any]]]()
        for line, value in parse_lines(content.splitlines(keepends=True), self._path):
            if "catalogue" in value:
                head, changes = value, []
            else:
                changes.append((line, value))
        return head, changes


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _changes(changes: Sequence[object]) -> str:
    return "1 change" if len(changes) == 1 else f"{len(changes)} changes"


def _head(catalogue: Catalogue) -> dict[str, Any]:
    return {"catalogue": catalogue.content_hash, "tools": len(catalogue), "version": catalogue.version}
