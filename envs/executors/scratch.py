"""A temporary folder that goes with its owner, however that ends: a shell waits for the owner's end and removes it.

Nothing in the owner could: a process that SIGTERM or SIGKILL ends runs no clean-up of Python's.
"""

import os
import shutil
import subprocess
import tempfile
import weakref

# What ends the owner may be meant for every process: all but SIGKILL is passed over. Its standard input ends with the
# owner. A second time, for what the owner's last processes wrote before they ended.
_KEEPER = 'trap "" TERM INT HUP; echo; read -r _; rm -rf -- "$1"; sleep 2; rm -rf -- "$1"'


class Scratch:
    """One such folder; empty."""

    def __init__(self, prefix: str) -> None:
        self.path = tempfile.mkdtemp(prefix=prefix)
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "sh", self.path],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the owner's process group does not end it
        )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as said:
            said.readline()  # it passes them over from now on
        own = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _let_go(own()))  # a child that outlives the owner is not the owner

    def remove(self) -> None:
        """Remove it now. A second time it does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._keeper.kill()
        self._keeper.wait()
        _let_go(self)


def _let_go(scratch: Scratch | None) -> None:
    """Close this process's end of the pipe that says that the owner lives."""
    if scratch is not None:
        assert scratch._keeper.stdin is not None
        scratch._keeper.stdin.close()
