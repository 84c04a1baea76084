"""Advantages from rewards: group-normalised, over valid rows only. Pure numbers."""

from collections.abc import Sequence
from statistics import mean, stdev

_SAME = 1e-8  # rewards closer than this are equal: a spread of rounding errors must not become a signal


def group_advantages(rewards: Sequence[float | None]) -> list[float | None]:
    """(r − mean) / std over the valid rows, std with n − 1 (GRPO, arXiv 2402.03300, eq. 3); None rows stay None.

    Zero for every row when fewer than two are valid or all are equal: such a group gives no gradient.
    """
    valid = [reward for reward in rewards if reward is not None]
    if len(valid) < 2 or max(valid) - min(valid) < _SAME:
        return [None if reward is None else 0.0 for reward in rewards]
    centre, spread = mean(valid), stdev(valid)
    return [None if reward is None else (reward - centre) / spread for reward in rewards]
