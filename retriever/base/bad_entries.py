"""What becomes of an entry that cannot be read: it ends the reading, or it is left out and counted."""

from collections.abc import Callable

from retriever.base.errors import DataError

OnBad = Callable[[DataError], None]  # told of each bad entry; when it returns, the reading goes on without that entry


def refuse(error: DataError) -> None:
    """The first bad entry ends the reading: it is raised."""
    raise error


class BadEntries:
    """An `OnBad` that counts what is left out, and keeps the first few: a million bad lines take no more room."""

    def __init__(self, *, keep: int = 20) -> None:
        self.count = 0
        self.first: list[DataError] = []
        self._keep = keep

    def __call__(self, error: DataError) -> None:
        self.count += 1
        if len(self.first) < self._keep:
            self.first.append(error)
