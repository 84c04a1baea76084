"""Ctrl-C and SIGTERM: the first one ends the run in order, later ones change nothing, and the order has a deadline.

Not for commands that serve: their server has its own way to end.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LIMIT_S = 8.0  # for the order; then the process ends as it is, and the kernel ends what it has started


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Within, the first SIGINT raises KeyboardInterrupt and the first SIGTERM SystemExit(143), one of them once.

    A person who presses Ctrl-C again would otherwise interrupt the very code that ends workers and tools.
    """
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        if ending:
            return
        ending = True
        backstop = threading.Timer(_LIMIT_S, os._exit, [128 + number])
        backstop.daemon = True
        backstop.start()
        atexit.register(_end_at_once, 128 + number)  # registered last, it is called first
        print("toolscout: stopping", file=sys.stderr, flush=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if not ending:  # else the way from here to the interpreter's exit is part of the order
            for number, handler in before.items():
                signal.signal(number, handler)


def _end_at_once(code: int) -> None:
    """All that was opened is closed by now; taking apart what torch and Ray have loaded can take seconds more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
