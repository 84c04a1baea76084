"""Keeps transformers' own progress bars out of ours: loading and saving from a folder takes a moment and needs none.

What is fetched from the Hub keeps its bar. Not for warnings.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_bars() -> Iterator[None]:
    """No bar of transformers' while the body runs; afterwards as before."""
    from transformers.utils import logging  # slow to import, and imported by then by whoever loads a model

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
