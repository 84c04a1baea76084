"""Line charts and bars with intervals as inline SVG: coloured by the page's CSS, readable without scripts.

Not a plotting library: what a training report needs, and nothing else. All text is escaped here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 210  # of a line chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24  # margins
SMOOTH_FROM = 15  # points from which a noisy line is drawn smoothed over the raw one
MARKS = 40  # hover marks of a series
COLOURS = 8  # `--c0` … `--c7` of the page's CSS

Point = tuple[float, float | None]  # x, y; None where the value was not finite
Place = Callable[[float, float], tuple[float, float]]  # from the data's x, y to the SVG's


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line. `colour` counts through the page's palette."""

    name: str
    points: tuple[Point, ...]
    colour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One value with its interval, where one is known. `baseline` is drawn as a mark, not as a bar."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0
    baseline: bool = False


def line_chart(series: Sequence[Series], *, label: str, x_label: str = "step") -> Markup:
    """One SVG of all series over one pair of axes. Long noisy series are smoothed, the raw values faint behind."""
    known = [(x, y) for line in series for x, y in line.points if y is not None]
    if not known:
        return Markup('<p class="missing">No finite values.</p>')
    x_low, x_high = min(x for x, _ in known), max(x for x, _ in known)
    if x_high - x_low < 1e-12:
        x_high = x_low + 1
    y_ticks = nice_ticks(min(y for _, y in known), max(y for _, y in known))
    x_ticks = [tick for tick in nice_ticks(x_low, x_high, count=6) if x_low <= tick <= x_high]
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = escape(tick_text(tick, y_ticks))
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    for tick in x_ticks:
        x, _ = place(tick, y_low)
        text = escape(tick_text(tick, x_ticks))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x_label)}</text>')
    for line in series:
        parts += _line_parts(line, place)
    return Markup("".join([*parts, "</svg>"]))


def _line_parts(line: Series, place: Place) -> Iterable[str]:
    colour = f"style='--c:var(--c{line.colour % COLOURS})'"
    smooth = is_noisy(line.points)
    yield f'<path class="line{" raw" if smooth else ""}" {colour} d="{_path(line.points, place)}"/>'
    if smooth:
        yield f'<path class="line" {colour} d="{_path(smoothed(line.points), place)}"/>'
    stride = max(1, math.ceil(len(line.points) / MARKS))
    for x, y in line.points[::-1][::stride]:
        if y is not None:
            px, py = place(x, y)
            title = escape(f"{line.name}: {y:.4g} at {x:g}")
            dot = " dot" if len(line.points) == 1 else ""  # a single point draws no line
            yield f'<circle class="mark{dot}" {colour} cx="{px:.1f}" cy="{py:.1f}" r="5">'
            yield f"<title>{title}</title></circle>"


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], *, label: str) -> Markup:
    """Horizontal bars of shares in [0, 1], by group, with their intervals as whiskers."""
    row, gap, left, right = 18, 26, 128, 52
    width = 560
    height = sum(gap + row * len(bars) for _, bars in groups) + 24
    span = width - left - right
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">']
    for tick in range(0, 101, 25):
        x = left + span * tick / 100
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 18}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 5}" text-anchor="middle">{tick}%</text>')
    y = 0.0
    for name, bars in groups:
        parts.append(f'<text class="group" x="0" y="{y + 18:.1f}">{escape(name)}</text>')
        y += gap
        for bar in bars:
            parts += _bar_parts(bar, y + row / 2, left, span)
            y += row
    return Markup("".join([*parts, "</svg>"]))


def _bar_parts(bar: Bar, y: float, left: float, span: float) -> Iterable[str]:
    colour = f"style='--c:var(--c{bar.colour % COLOURS})'"
    end = left + span * min(max(bar.value, 0.0), 1.0)
    low, high = (bar.value if edge is None else edge for edge in (bar.low, bar.high))
    title = escape(f"{bar.name}: {100 * bar.value:.1f}% ({100 * low:.1f}–{100 * high:.1f})")
    yield f'<text class="tick" x="{left - 8}" y="{y + 3.5:.1f}" text-anchor="end">{escape(bar.name)}</text>'
    if bar.baseline:
        yield f'<path class="baseline" d="M{end:.1f} {y - 7:.1f}v14"><title>{title}</title></path>'
    else:
        yield f'<rect class="bar" {colour} x="{left}" y="{y - 6:.1f}" width="{end - left:.1f}" height="12" rx="2">'
        yield f"<title>{title}</title></rect>"
    if bar.low is not None and bar.high is not None:
        x1, x2 = left + span * bar.low, left + span * bar.high
        yield f'<path class="whisker" d="M{x1:.1f} {y:.1f}H{x2:.1f}M{x1:.1f} {y - 3:.1f}v6M{x2:.1f} {y - 3:.1f}v6"/>'
    value_x = left + span * max(bar.value, bar.high or 0.0) + 6
    yield f'<text class="value" x="{value_x:.1f}" y="{y + 3.5:.1f}">{100 * bar.value:.1f}</text>'


def _path(points: Sequence[Point], place: Place) -> str:
    """The path of a line, broken where a value is missing."""
    commands, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        px, py = place(x, y)
        commands.append(f"{pen}{px:.1f} {py:.1f}")
        pen = "L"
    return "".join(commands)


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Each point the mean of its neighbours, Gaussian weights over about a thirtieth of the line: no lag; gaps stay."""
    width = max(1.5, len(points) / 30)
    reach = math.ceil(3 * width)
    smooth: list[Point] = []
    for index, (x, y) in enumerate(points):
        near = [
            (math.exp(-(((at - index) / width) ** 2) / 2), points[at][1])
            for at in range(max(0, index - reach), min(len(points), index + reach + 1))
        ]
        known = [(weight, value) for weight, value in near if value is not None]
        total = sum(weight for weight, _ in known)
        smooth.append((x, None if y is None else sum(weight * value for weight, value in known) / total))
    return smooth


def is_noisy(points: Sequence[Point]) -> bool:
    """Long enough to smooth, and going up and down by more than twice what it covers."""
    values = [y for _, y in points if y is not None]
    if len(values) < SMOOTH_FROM:
        return False
    return sum(abs(after - before) for before, after in pairwise(values)) > 2 * (max(values) - min(values))


def nice_ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """About `count` round numbers whose ends enclose [low, high]; equal ends are widened."""
    if high - low < 1e-12 * max(1.0, abs(low), abs(high)):
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """A tick as short as its neighbours allow: 0.25, 1.5k, 2e-6."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else abs(tick) or 1.0
    largest = max(map(abs, ticks))
    if tick == 0:
        return "0"
    if largest >= 1e7 or largest < 1e-2:
        mantissa, _, exponent = f"{tick:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if largest >= 10_000:
        return f"{tick / 1000:g}k"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{tick:.{decimals + (step * 10**decimals % 1 > 1e-6)}f}"
