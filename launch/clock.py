"""How long a run has worked, over every interruption: even one that gave it no time to say so."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retriever.base.files import read_json, write_json

SECONDS = "seconds.json"
_EVERY_S = 5.0  # what a kill may cost


@contextmanager
def running_clock(folder: Path, *, every_s: float = _EVERY_S) -> Iterator[Callable[[], float]]:
    """Yields a function that tells the seconds of all attempts; they are written to `folder` every few seconds."""
    path = folder / SECONDS
    before = float(read_json(path, what="seconds of a run")["seconds"]) if path.is_file() else 0.0
    started = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - started

    def write() -> None:
        write_json(path, {"seconds": round(seconds(), 1)})

    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.wait(every_s):
            with suppress(OSError):  # on a full disk it is the run that says so, not this thread
                write()

    thread = threading.Thread(target=keep_writing, name="clock", daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()
        write()
