"""Where training batches come from: rank 0 plays tasks with the pool, scores them, and says what is to be updated."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from envs.types import Phase, Task
from retriever.base.seeds import derive_seed
from retriever.catalogue import Catalogue
from rewards.config import RewardConfig
from rollout.collect import may_execute, refuse_losses
from rollout.config import GroupPlan, RolloutConfig
from rollout.pool import Pool
from rollout.types import Sampling, TaskRollouts
from rollout.weights import WeightUpdate
from train.config import GrpoConfig
from train.objectives import ScoredGroup, coupled_group, decoupled_groups, group_metrics
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


class BatchSource(Protocol):
    """What the trainer asks on rank 0."""

    def batch(self, index: int, weights: WeightUpdate) -> GenerationBatch:
        """Roll out batch `index` with `weights`."""
        ...


def updates_per_batch(config: GrpoConfig) -> int:
    """Optimizer steps of one generation batch; where nothing may execute there is one objective."""
    return 2 if config.update == "separated" and config.gate != "closed" else 1


def group_plan(config: GrpoConfig) -> GroupPlan:
    """How each task is rolled out."""
    return GroupPlan(group_size=config.group_size, gate=config.gate, execution_group=config.execution_group)


Listener = Callable[[int, Sequence[ScoredGroup]], None]
"""Called with (batch index, scored groups): records and sample episodes are written there."""


class RolloutSource:
    """Plays the tasks of each batch; a batch is a pure function of its index, the seed and the weights."""

    def __init__(
        self,
        *,
        pool: Pool,
        tasks: Callable[[int], Sequence[Task]],
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
        rollouts = self._pool.collect(
            tasks, plan, sampling=self._sampling, seed=derive_seed(self._seed, "batch", index)
        )
        refuse_losses(rollouts, self._rollout, what=f"generation batch {index + 1}")
        metrics = {
            **gate_metrics(rollouts, plan),
            **tool_metrics(rollouts),
            "time/push_s": pushed - started,
            "time/rollout_s": perf_counter() - pushed,
            "policy_version": float(weights.version),
        }
        if self._config.update == "coupled":
            by_objective = [[coupled_group(r, self._rewards, self._catalogue) for r in rollouts]]
        else:
            pairs = [decoupled_groups(r, self._rewards, self._catalogue) for r in rollouts]
            by_objective = [[first for first, _ in pairs]]
            by_objective += [[second for _, second in pairs]] if plan.gate != "closed" else []
        objectives = []
        for groups in by_objective:
            metrics |= group_metrics(groups)
            segments = tuple(segment for group in groups for segment in group.segments())
            objectives.append(ObjectiveSegments(objective=groups[0].objective, segments=segments))
        if self._listener is not None:
            self._listener(index, [group for groups in by_objective for group in groups])
        together = self._config.update == "combined"
        updates = (tuple(objectives),) if together else tuple((objective,) for objective in objectives)
        return GenerationBatch(index=index, updates=updates, metrics=metrics, versions=sampled_versions(rollouts))


def sampled_versions(rollouts: Sequence[TaskRollouts]) -> dict[int, int]:
    """Sampled tokens by the policy version that sampled them."""
    turns = [turn for r in rollouts for trajectory in r.retrieval for turn in trajectory.turns]
    executions = [turn for r in rollouts for trajectory in r.executions for turn in trajectory.turns]
    tokens: Counter[int] = Counter()
    for turn in (*turns, *(turn for turn in executions if turn.phase is Phase.EXECUTION)):
        tokens[turn.completion.policy_version] += len(turn.completion.ids)
    return dict(tokens)


def tool_metrics(rollouts: Sequence[TaskRollouts]) -> dict[str, float]:
    """What became of the calls of all executions: shares by status and, of those that ran, by what served them."""
    results = [result for r in rollouts for trajectory in r.executions for result in trajectory.results]
    if not results:
        return {"tools/calls": 0.0}
    statuses = Counter(result.status for result in results)
    served = Counter(result.served_from for result in results if result.ran)
    return {
        "tools/calls": float(len(results)),
        "time/tool_call_s": sum(result.latency_s for result in results) / len(results),
        **{f"tools/{status.value}": count / len(results) for status, count in statuses.items()},
        **{f"tools/from_{source}": count / served.total() for source, count in served.items()},
    }


def gate_metrics(rollouts: Sequence[TaskRollouts], plan: GroupPlan) -> dict[str, float]:
    """How many trajectories pass the gate, and how many survive per group."""
    episodes = [trajectory for r in rollouts for trajectory in r.retrieval]
    passed = [may_execute(trajectory, plan) for trajectory in episodes]
    completions = [turn.completion for trajectory in episodes for turn in trajectory.turns]
    executions = [trajectory for r in rollouts for trajectory in r.executions]
    executed = [turn.completion for x in executions for turn in x.turns if turn.phase.value == "execution"]
    chosen = [len(trajectory.selection) for trajectory in episodes if trajectory.selection is not None]
    return {
        "gate/pass_rate": sum(passed) / len(passed),
        "gate/survivors_per_group": sum(passed) / len(rollouts),
        "gate/groups_without_survivor": sum(not any(may_execute(t, plan) for t in r.retrieval) for r in rollouts)
        / len(rollouts),
        "rollout/episodes": float(len(episodes) + len(executions)),
        "rollout/toolset_size": sum(chosen) / len(chosen) if chosen else 0.0,
        "rollout/searches": sum(len(trajectory.searches) for trajectory in episodes) / len(episodes),
        "tokens/sampled": float(sum(len(c.ids) for c in (*completions, *executed))),
    }
