"""Side by side: two ways of doing one thing, in turn, so that a noisy machine slows both."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

ROUNDS = 5


def side_by_side(ours: Callable[[], object], theirs: Callable[[], object], *, names: tuple[str, str]) -> None:
    """Run both once to warm up, then in turn; print both medians in seconds and the median of the ratios."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        pair = []
        for work in (ours, theirs):
            started = perf_counter()
            work()
            pair.append(perf_counter() - started)
        times.append((pair[0], pair[1]))
    counted = times[1:]
    for name, values in zip(names, zip(*counted, strict=True), strict=True):
        print(f"{name:28} median {median(values):8.4f} s of {ROUNDS}  ({min(values):.4f} to {max(values):.4f})")
    print(f"{names[1]} takes {median(b / a for a, b in counted):.2f} times as long as {names[0]}")
