"""Progress: bars on a terminal, plain lines elsewhere."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

_WIDE = 160  # characters
PLAIN_EVERY = 10  # of a stage's steps, how many get a line where there is no terminal
_LIVE_EVERY_S, _PLAIN_EVERY_S = 0.5, 10.0  # between two statuses


def new_console() -> Console:
    """Standard output; where that is a file or a pipe, wide enough that no table is folded."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_WIDE)


def printable(text: str) -> str:
    """Control characters spelled out: what a tool wrote must not reach the terminal as a command."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


class Display:
    """Where a run shows what it does. Of no text is anything taken for markup: errors hold paths and tools' words."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status_every_s = _LIVE_EVERY_S if console.is_terminal else _PLAIN_EVERY_S
        self._bars: _Bars | None = None  # shown last

    def say(self, text: str) -> None:
        """One line, or several."""
        self.console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def status(self, text: str) -> None:
        """What goes on now, from any thread: the line below a terminal's bar, else a line of its own. "": nothing."""
        if self.console.is_terminal:
            if self._bars is not None:
                self._bars.status = text
        elif text:
            self.say(text)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of `total` items; yields a function to be called with how many more are finished."""
        done = 0
        with self.steps(what) as step:
            step(0, total, "")

            def advance(more: int) -> None:
                nonlocal done
                done += more
                step(done, total, "")

            yield advance

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """Progress by steps; yields a function to be called with (step, steps, note)."""
        if not self.console.is_terminal:
            yield self._plain(what)
            return
        with _Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
        ) as progress:
            bar = progress.add_task(what, total=None, note="")
            self._bars = progress

            def step(number: int, steps: int, note: str) -> None:
                progress.update(bar, completed=number, total=steps)
                if note:
                    progress.update(bar, note=note)

            yield step

    def _plain(self, what: str) -> Callable[[int, int, str], None]:
        shown = -1

        def step(number: int, steps: int, note: str) -> None:
            nonlocal shown
            tenth = number * PLAIN_EVERY // max(1, steps)
            if tenth != shown:
                shown = tenth
                self.say(f"{what}: {number}/{steps}{' · ' + note if note else ''}")

        return step


class _Bars(Progress):
    """Bars, and a line below them."""

    status = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Rich's hook: what is on the screen now."""
        yield from super().get_renderables()
        if self.status:
            yield Text(self.status, style="dim")
