"""Side by side: two ways of doing one thing, in turn, so that a noisy machine slows both; and the line of figures."""

import json
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

ROUNDS = 5


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], *, names: tuple[str, str]
) -> tuple[float, float, float]:
    """Run both once to warm up, then in turn; print and return both medians (seconds) and the median of the ratios."""
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
    ratio = median(b / a for a, b in counted)
    print(f"{names[1]} takes {ratio:.2f} times as long as {names[0]}")
    return median(a for a, _ in counted), median(b for _, b in counted), ratio


def print_figures(
    benchmark: str, *, ours: Mapping[str, Any], peer: Mapping[str, Any], targets: Mapping[str, Any]
) -> None:
    """The last line of every benchmark, JSON. A target: [value, what is asked of it, whether it is met]."""
    line = {"benchmark": benchmark, "ours": ours, "peer": peer, "targets": targets}
    print(json.dumps(line, ensure_ascii=False))
