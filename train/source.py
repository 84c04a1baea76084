"""Where training batches come from: rank 0 plays tasks with the pool, scores them, and says what is to be updated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from envs.types import Task
from retriever.base.seeds import derive_seed
from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rollout.collect import refuse_losses
from rollout.config import GroupPlan, RolloutConfig
from rollout.extra_tasks import collect_with_extra
from rollout.pool import Pool
from rollout.types import Sampling
from rollout.weights import WeightUpdate
from train.config import GrpoConfig
from train.objectives import ScoredGroup, group_metrics
from train.rollout_metrics import collection_metrics, gate_metrics, sampled_versions, tool_metrics
from train.scoring import BatchScoring
from train.segments import Objective, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSegments:
    """What one objective trains in one update; its own token count normalises its loss."""

    objective: Objective
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationBatch:
    """One batch of rollouts as the trainer sees it."""

    index: int  # 0-based
    updates: tuple[tuple[ObjectiveSegments, ...], ...]  # one optimizer step each, in order
    metrics: dict[str, float] = field(hash=False)
    versions: Mapping[int, int] = field(hash=False, default_factory=dict)  # policy version → tokens sampled with it
    foreign: bool = False  # played by weights that are none of this run's: the engine has no gap to the trainer


class BatchSource(Protocol):
    """What the trainer asks on rank 0."""

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """Batch `index`, rolled out with `weights`, the policy's by now, where it is not there already."""
        ...


def updates_per_batch(config: GrpoConfig) -> int:
    """Optimizer steps of one generation batch; where nothing may execute there is one objective."""
    return 2 if config.update == "separated" and config.gate != "closed" else 1


def batch_seed(seed: int, index: int) -> int:
    """The seed with which the rollouts of batch `index` are collected."""
    return derive_seed(seed, "batch", index)


def group_plan(config: GrpoConfig) -> GroupPlan:
    """How each task is rolled out."""
    return GroupPlan(group_size=config.group_size, gate=config.gate, execution_group=config.execution_group)


def generation_batch(
    index: int,
    by_objective: Sequence[Sequence[ScoredGroup]],
    config: GrpoConfig,
    *,
    metrics: Mapping[str, float],
    foreign: bool = False,
) -> GenerationBatch:
    """Scored groups divided into updates; what the groups show is added to `metrics`."""
    shown, objectives = dict(metrics), []
    for groups in by_objective:
        shown |= group_metrics(groups)
        segments = tuple(segment for group in groups for segment in group.segments())
        objectives.append(ObjectiveSegments(objective=groups[0].objective, segments=segments))
    together = config.update == "combined"
    updates = (tuple(objectives),) if together else tuple((objective,) for objective in objectives)
    return GenerationBatch(index=index, updates=updates, metrics=shown, foreign=foreign)


Listener = Callable[[int, Sequence[ScoredGroup], str], None]
"""Called with (batch index, scored groups, hash of the weights that played): records are written there."""


class RolloutSource:
    """Plays the tasks of each batch; a batch is a pure function of its index, the seed and the weights."""

    def __init__(
        self,
        *,
        pool: Pool,
        tasks: Callable[[int], Sequence[Task]],  # of a batch; those beyond `grpo.tasks_per_batch` are its extra ones
        sampling: Sampling,
        rollout: RolloutConfig,
        rewards: RewardConfig,
        config: GrpoConfig,
        seed: int,
        hidden: frozenset[str] = frozenset(),  # ids of tools that no search shows
        listener: Listener | None = None,
        catalogue: Catalogue | None = None,  # the schemas that rewards ask for
    ) -> None:
        self._pool, self._tasks, self._sampling, self._rollout, self._rewards = pool, tasks, sampling, rollout, rewards
        self._config, self._seed, self._listener, self._catalogue = config, seed, listener, catalogue
        self._plan = replace(group_plan(config), hidden=hidden)

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """Push the weights, roll out, score, and divide into updates."""
        started = perf_counter()
        self._pool.push(weights)
        pushed = perf_counter()
        plan, tasks = self._plan, self._tasks(index)
        own = self._config.tasks_per_batch
        scoring = BatchScoring(self._config, self._rewards, self._catalogue)
        before = self._pool.statuses()
        rollouts = collect_with_extra(
            self._pool,
            tasks[:own],
            tasks[own:],
            plan,
            sampling=self._sampling,
            seed=batch_seed(self._seed, index),
            scorer=scoring,
        )
        collected = perf_counter()
        refuse_losses(rollouts, self._rollout, what=f"generation batch {index + 1}")
        metrics = {
            **gate_metrics(rollouts, plan),
            **tool_metrics(rollouts),
            **collection_metrics(rollouts, before=before, after=self._pool.statuses(), seconds=collected - pushed),
            "rollout/extra_tasks": float(len(rollouts) - len(tasks[:own])),
            "time/push_s": pushed - started,
            "time/rollout_s": collected - pushed,
            "policy_version": float(weights.version),
        }
        by_objective = scoring.by_objective(rollouts)
        metrics["rollout/dropped_groups"] = float(
            sum(group.lost is not None for groups in by_objective for group in groups)
        )
        metrics["rollout/tasks_without_signal"] = float(sum(not scoring.teaches(r) for r in rollouts))
        if self._listener is not None:
            groups = [group for groups in by_objective for group in groups]
            self._listener(index, groups, weights.content_hash)
        batch = generation_batch(index, by_objective, self._config, metrics=metrics)
        return replace(batch, versions=sampled_versions(rollouts))
