"""The line that says what rollout workers do: its numbers by hand, and that it comes and goes."""

import io
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from envs.types import Task
from launch.display import Display
from launch.watching import status_line, watching
from retriever.base.errors import InfraError
from rollout.config import GroupPlan
from rollout.types import RolloutStatus, TaskRollouts
from rollout.weights import WeightUpdate

BEFORE = RolloutStatus(policy_version=3, worker="a", episodes_finished=10, decoded_tokens=1000, tool_s=1.0)
AFTER = RolloutStatus(
    policy_version=3,
    worker="a",
    episodes_finished=20,
    episodes_running=6,
    episodes_waiting=2,
    decoded_tokens=9000,
    prefilled_tokens=2500,
    cached_tokens=400,
    queue_s=1.0,
    decode_s=6.0,
    tool_s=4.0,
    gate_judged=8,
    gate_passed=5,
)
LINE = (
    "6 episodes run, 2 wait, 2.0/s · tokens/s 1,600 decoded, 500 prefilled, 80 cached · "
    "time queue 10%, decoding 60%, tools 30% · gate 62% · policy 3"
)


def test_the_line_by_hand() -> None:
    assert status_line([BEFORE], [AFTER], seconds=5.0) == LINE
    assert status_line([AFTER], [BEFORE], seconds=5.0) == "", "nothing is played"
    other = RolloutStatus(policy_version=5, worker="b", episodes_retried=4, episodes_lost=1)
    line = status_line([BEFORE, other], [AFTER, other], seconds=5.0)
    assert line.endswith(" · gate 62% · 4 played again, 1 lost · policies 3 to 5")
    begun = RolloutStatus(policy_version=0, worker="a", episodes_running=1)
    assert status_line([], [begun], seconds=5.0).endswith("0 cached · policy 0"), "no share of no time"


class Busy:
    """A `Pool` that says one thing after the other, and then the last for ever; some answers fail."""

    def __init__(self, *said: RolloutStatus | InfraError) -> None:
        self._said, self.asked = list(said), 0

    def push(self, update: WeightUpdate) -> None: ...

    def collect(self, tasks: Sequence[Task], plan: GroupPlan, **others: Any) -> list[TaskRollouts]:
        return []

    def statuses(self) -> list[RolloutStatus]:
        self.asked += 1
        said = self._said.pop(0) if len(self._said) > 1 else self._said[0]
        if isinstance(said, InfraError):
            raise said
        return [said]

    def close(self) -> None: ...


def display(*, terminal: bool, every_s: float = 0.01) -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    shown = Display(Console(file=file, force_terminal=terminal, width=200))
    assert shown.status_every_s == (0.5 if terminal else 10)
    shown.status_every_s = every_s
    return shown, file


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_plain_lines_while_episodes_run_and_none_after() -> None:
    shown, file = display(terminal=False)
    pool = Busy(BEFORE, InfraError("a worker is being replaced"), AFTER, BEFORE)
    with shown.steps("GRPO"), watching(pool, shown):
        wait_until(lambda: pool.asked > 6)
    (line,) = file.getvalue().splitlines()
    assert line.startswith("6 episodes run, 2 wait, ")
    assert "watch the rollouts" not in {thread.name for thread in threading.enumerate()}


def test_on_a_terminal_the_line_is_below_the_bar_and_goes_with_it() -> None:
    shown, file = display(terminal=True)
    pool = Busy(BEFORE, AFTER)
    with shown.steps("GRPO"), watching(pool, shown):
        wait_until(lambda: "6 episodes run, 2 wait" in file.getvalue())
        assert "GRPO" in file.getvalue()
    end = file.getvalue()
    shown.status("too late")
    assert file.getvalue() == end
    assert end.rsplit("GRPO", 1)[1].count("episodes run") == 0, "the last picture is of the bar alone"


def test_a_failing_body_ends_the_watch() -> None:
    shown, _ = display(terminal=False)
    try:
        with watching(Busy(BEFORE), shown):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "watch the rollouts" not in {thread.name for thread in threading.enumerate()}
