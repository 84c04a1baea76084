"""The files of the Berkeley Function-Calling Leaderboard: in the `bfcl-eval` wheel as downloaded, or unpacked.

Nothing of the package is imported, and nothing is installed (its pins clash with ours).
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retriever.base.errors import DataError, UserError
from retriever.base.files import parse_lines

VERSION = "2026.3.23"  # of bfcl-eval, which the readers were written for
_DATA = "bfcl_eval/data"


class BfclFiles:
    """The data files of one wheel or folder. Raises UserError when they are not there."""

    def __init__(self, source: str | Path) -> None:
        """`source`: a .whl file, or the folder into which one was unpacked."""
        self.source = Path(source).expanduser()
        if self.source.is_file():
            try:
                self._root: Any = zipfile.Path(self.source)
            except zipfile.BadZipFile as error:
                raise UserError(f"{self.source} is no wheel ({error}); download it again") from None
        else:
            self._root = self.source
        if not self._root.joinpath(_DATA).is_dir():
            raise UserError(
                f"no {_DATA} in {self.source}; give the wheel of bfcl-eval "
                f"(pip download --no-deps bfcl-eval=={VERSION}), or the folder into which it was unpacked"
            )

    def holds(self, name: str) -> bool:
        """Whether there is a data file `name`."""
        return bool(self._root.joinpath(_DATA, *name.split("/")).is_file())

    def lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(1-based line number, object) of each line of a data file. Raises UserError or DataError."""
        if not self.holds(name):
            raise UserError(f"no {self.place(name)}; this is not bfcl-eval {VERSION}: download it again")
        content: bytes = self._root.joinpath(_DATA, *name.split("/")).read_bytes()
        yield from parse_lines(iter(content.splitlines()), self.place(name))

    def records(self, category: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The test records of a category, with line numbers."""
        return self.lines(self.file_of(category))

    def answers(self, category: str) -> dict[str, list[Any]]:
        """What is right by record id; empty for a category without answers."""
        name = f"possible_answer/{self.file_of(category)}"
        return {entry["id"]: entry["ground_truth"] for _, entry in self.lines(name)} if self.holds(name) else {}

    def functions(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The documented methods of a stateful class, by the name of its file."""
        return self.lines(f"multi_turn_func_doc/{name}.json")

    def place(self, name: str) -> Path:
        """A data file's path, for messages."""
        return self.source / _DATA / name

    @staticmethod
    def file_of(category: str) -> str:
        """The name of a category's file."""
        return f"BFCL_v4_{category}.json"


def conversation(messages: Any, *, path: Path, line: int) -> str:
    """What is said in one turn, as one text: a lone user's message as it is, others with who says it.

    Raises DataError.
    """
    if not isinstance(messages, list) or not all(
        isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages
    ):
        said = json.dumps(messages)[:80]
        raise DataError(f"expected messages with a content each, got {said}", path=path, line=line, field="question")
    if [one.get("role") for one in messages] == ["user"]:
        return str(messages[0]["content"])
    return "\n\n".join(f"{one.get('role')}: {one['content']}" for one in messages)
