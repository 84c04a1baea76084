"""A JSON file that is one list, an item at a time: some are too long to be read at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from retriever.base.errors import DataError
from retriever.base.files import existing_file

_CHUNK_CHARS = 1 << 20
_ITEM_CHARS = 50_000_000
_BEHIND_AN_ITEM = frozenset(" \t\r\n,]")


def stream_list(path: str | Path, *, what: str) -> Iterator[tuple[int, Any]]:
    """(0-based number, item) of a file's JSON list, holding a few times its longest item in memory.

    Raises UserError (no such file), or DataError: not a list, broken off, or an item of over 50 million characters.
    """
    found = existing_file(path, what=what)
    with found.open(encoding="utf-8") as file:
        text, number = _Text(file), 0
        if text.next() != "[":
            raise DataError("expected a JSON list; fetch the file again", path=found)
        text.skip()
        if text.next() == "]":
            return
        while True:
            try:
                yield number, text.value()
            except (ValueError, RecursionError) as error:
                problem = f"item {number} is not valid JSON, cut off or too long ({error}); fetch the file again"
                raise DataError(problem, path=found) from None
            mark = text.next()
            if mark == "]":
                return
            if mark != ",":
                raise DataError(f"the list breaks off behind item {number}; fetch the file again", path=found)
            text.skip()
            number += 1


class _Text:
    """What of a file has been read and not yet used."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._place = file, "", 0
        self._decoder = json.JSONDecoder()

    def next(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._place < len(self._text):
                if not self._text[self._place].isspace():
                    return self._text[self._place]
                self._place += 1
            if not self._read_on():
                return ""

    def skip(self) -> None:
        """Go past one character."""
        self._place += 1

    def value(self) -> Any:
        """The next JSON value. Raises ValueError."""
        self.next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except ValueError:
                if not self._read_on():
                    raise
                continue
            ends = self._text[end : end + 1] in _BEHIND_AN_ITEM  # else a number might go on: "-2." of "-2.5"
            if ends or not self._read_on():
                self._place = end
                return value

    def _read_on(self) -> bool:
        """Whether there was more: at least as much as is unused, so that a long item is not tried too often."""
        left = self._text[self._place :]
        if len(left) > _ITEM_CHARS:
            return False
        more = self._file.read(max(_CHUNK_CHARS, len(left)))
        self._text, self._place = left + more, 0
        return bool(more)
