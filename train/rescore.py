"""What rescoring changes: recorded rewards beside those computed now, by objective. Pure numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from train.objectives import ScoredGroup, ScoredTrajectory
from train.recorded import RecordedReward, Rows
from train.segments import Objective

TOTAL = "total"


@dataclass(slots=True, kw_only=True)
class Change:
    """One objective, over all files added. `old` and `new`: part, or TOTAL → the values of the rows that have one."""

    rows: int = 0
    recorded: int = 0  # rows of which a reward was recorded
    rewards: int = 0  # of those, how many have another total or part now
    advantages: int = 0  # of those, how many have another advantage now
    groups: int = 0
    woken: int = 0  # groups whose rewards were all the same, and differ now
    stilled: int = 0  # groups whose rewards differed, and are all the same now
    old: dict[str, list[float]] = field(default_factory=dict)
    new: dict[str, list[float]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether every row has the very reward and advantage that were recorded."""
        return self.recorded == self.rows and self.rewards == 0 and self.advantages == 0


def add_changes(changes: dict[Objective, Change], rows: Rows, groups: Iterable[ScoredGroup]) -> None:
    """Take the groups of one file into `changes`; `rows` is what was recorded there."""
    for group in groups:
        change = changes.setdefault(group.objective, Change())
        pairs = [(rows.get((group.objective, row.trajectory.id)), row) for row in group.rows]
        for then, now in pairs:
            _add_row(change, then, now)
        if not pairs or any(then is None for then, _ in pairs):
            continue
        before = any(then.advantage for then, _ in pairs if then is not None)
        change.groups += 1
        change.woken += group.informative and not before
        change.stilled += before and not group.informative


def _add_row(change: Change, then: RecordedReward | None, now: ScoredTrajectory) -> None:
    change.rows += 1
    _add_values(change.new, now.reward.total, now.reward.parts.items())
    if then is None:
        return
    change.recorded += 1
    change.rewards += then.reward.total != now.reward.total or dict(then.reward.parts) != dict(now.reward.parts)
    # An evaluation records no advantage, for it has no groups.
    change.advantages += then.grouped and then.advantage != now.advantage
    _add_values(change.old, then.reward.total, then.reward.parts.items())


def _add_values(into: dict[str, list[float]], total: float | None, parts: Iterable[tuple[str, float | None]]) -> None:
    for name, value in [*parts, (TOTAL, total)]:
        values = into.setdefault(name, [])
        if value is not None:
            values.append(value)


def part_names(change: Change) -> Sequence[str]:
    """The parts in the order of the rewards, the total last."""
    names = dict.fromkeys([*change.new, *change.old])
    return [*(name for name in names if name != TOTAL), TOTAL]
