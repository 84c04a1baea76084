"""A temporary folder that goes with its owner, however that ends: a shell waits for the owner's end and removes it.

Nothing in the owner could: a process that SIGTERM or SIGKILL ends runs no clean-up of Python's.
"""

import shutil
import subprocess
import tempfile

# Its standard input ends with the owner. A second time, for what the owner's last processes wrote before they ended.
_KEEPER = 'read -r _; rm -rf -- "$1"; sleep 2; rm -rf -- "$1"'


class Scratch:
    """One such folder; empty."""

    def __init__(self, prefix: str) -> None:
        self.path = tempfile.mkdtemp(prefix=prefix)
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "sh", self.path],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the owner's process group does not end it
        )

    def remove(self) -> None:
        """Remove it now. A second time it does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._keeper.kill()
        self._keeper.wait()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
