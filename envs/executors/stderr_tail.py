"""The end of what a child process writes on its standard error: enough to say why it failed, none of it on a screen."""

import asyncio
import os
from collections.abc import Iterable
from io import TextIOWrapper

_KEPT = 4096  # bytes
_TOLD = 8  # lines
_SECRET_CHARS = 8  # a shorter value, "true" or "8080", is likely to stand in a text for another reason


def blotted(text: str, secrets: Iterable[str]) -> str:
    """`text` without `secrets`, the longest first, for one may hold another; short ones stay."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_CHARS:
            text = text.replace(secret, "***")
    return text


class StderrTail:
    """A pipe whose writing end goes to the child, read by the running event loop."""

    def __init__(self, *, secrets: Iterable[str]) -> None:
        """`secrets`: values that `text` blots out."""
        self._secrets = tuple(secrets)
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self._read_end, write_end = os.pipe()
        self.write_end = TextIOWrapper(os.fdopen(write_end, "wb"))  # closed by us once the child has its own
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self._read)

    def text(self) -> str:
        """The last lines, those included that nobody has read yet; "" when there are none."""
        self._read()
        text = "\n".join(self._kept.decode(errors="replace").strip().splitlines()[-_TOLD:])
        return blotted(text, self._secrets)

    def close(self) -> None:
        """Read what is there and no more."""
        if self._read_end >= 0:
            self._read()
        self._end()
        self.write_end.close()

    def _read(self) -> None:
        while self._read_end >= 0:
            try:
                chunk = os.read(self._read_end, 65536)
            except BlockingIOError:
                return
            self._kept = (self._kept + chunk)[-_KEPT:]
            if not chunk:
                self._end()

    def _end(self) -> None:
        if self._read_end >= 0:
            self._loop.remove_reader(self._read_end)
            os.close(self._read_end)
            self._read_end = -1
