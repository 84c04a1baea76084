"""Dynamic sampling (DAPO, arXiv 2503.14476): tasks drawn in addition, in place of those whose episodes teach nothing.

Extra tasks are drawn in the order that they are given in, one for each task, extra ones included, that teaches nothing.
So which are drawn depends on what was played and not on when, nor on who played it: a batch stays a function of its
index, the seed and the weights. They are played in rounds, and each round waits for its slowest episode. A pool that
plays the next task as soon as one is found wanting would draw the very same tasks, and a round sooner.
"""

from collections.abc import Sequence
from typing import Protocol

from envs.types import Task
from rollout.config import GroupPlan
from rollout.pool import Pool
from rollout.types import Sampling, TaskRollouts


class Scorer(Protocol):
    """Whoever knows rewards, which nothing in `rollout` does."""

    def teaches(self, rollouts: TaskRollouts) -> bool:
        """False for a task that is to be replaced: none of its groups has rewards that differ."""
        ...


def collect_with_extra(
    pool: Pool,
    tasks: Sequence[Task],
    extra: Sequence[Task],
    plan: GroupPlan,
    *,
    sampling: Sampling,
    seed: int,
    scorer: Scorer,
) -> list[TaskRollouts]:
    """The rollouts of `tasks` and, behind them, of those of `extra` that were drawn. No two may be the same task."""
    assert len({task.id for task in (*tasks, *extra)}) == len(tasks) + len(extra)
    played: list[TaskRollouts] = []
    drawn, left = list(tasks), list(extra)
    while drawn:
        found = pool.collect(drawn, plan, sampling=sampling, seed=seed)
        played += found
        wanting = sum(not scorer.teaches(rollouts) for rollouts in found)
        drawn, left = left[:wanting], left[wanting:]
    return played
