"""The rollouts of a generation batch as metrics: the gate, the tools, what a collection cost and how fast it was."""

from collections import Counter
from collections.abc import Sequence

from envs.types import Phase, StopReason
from rollout.collect import may_execute
from rollout.config import GroupPlan
from rollout.counts import since
from rollout.types import RolloutStatus, TaskRollouts, Turn


def collection_metrics(
    rollouts: Sequence[TaskRollouts],
    *,
    before: Sequence[RolloutStatus],
    after: Sequence[RolloutStatus],
    seconds: float,
) -> dict[str, float]:
    """Rates over the `seconds` of the collection, and where its episodes' time went: means over the episodes.

    An episode is one phase that was played. The engines' own counts, from the workers' statuses around the collection,
    hold what was played and then lost as well; where another batch is played meanwhile, its part too.
    """
    episodes = played_phases(rollouts)
    turns = [turn for episode in episodes for turn in episode]
    done, count = since(before, after), max(1, len(episodes))
    queue_s = sum(turn.completion.queue_s for turn in turns)
    return {
        "rollout/episodes_per_s": len(episodes) / seconds,
        "rollout/episodes_retried": float(done.episodes_retried),
        "tokens/prefilled": float(done.prefilled_tokens),
        "tokens/cached": float(done.cached_tokens),
        "tokens/decoded": float(done.decoded_tokens),
        "tokens/prefill_per_s": done.prefilled_tokens / seconds,
        "tokens/decode_per_s": done.decoded_tokens / seconds,
        "time/queue_s": queue_s / count,
        "time/decode_s": (sum(turn.generation_s for turn in turns) - queue_s) / count,
        "time/tool_s": sum(turn.tool_s for turn in turns) / count,
    }


def played_phases(rollouts: Sequence[TaskRollouts]) -> list[list[Turn]]:
    """The turns of each retrieval phase, and of each execution phase without the retrieval that it continues."""
    retrievals = [list(trajectory.turns) for r in rollouts for trajectory in r.retrieval]
    executions = [
        [turn for turn in trajectory.turns if turn.phase is Phase.EXECUTION]
        for r in rollouts
        for trajectory in r.executions
    ]
    return retrievals + executions


def sampled_versions(rollouts: Sequence[TaskRollouts]) -> dict[int, int]:
    """Sampled tokens by the policy version that sampled them."""
    tokens: Counter[int] = Counter()
    for completion in (turn.completion for phase in played_phases(rollouts) for turn in phase):
        tokens[completion.policy_version] += len(completion.ids)
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
    # What we broke says nothing about the policy.
    passed = [may_execute(t, plan) for t in episodes if t.stop is not StopReason.INFRA_FAILURE]
    executions = [trajectory for r in rollouts for trajectory in r.executions]
    chosen = [len(trajectory.selection) for trajectory in episodes if trajectory.selection is not None]
    return {
        "gate/pass_rate": sum(passed) / max(1, len(passed)),
        "gate/survivors_per_group": sum(passed) / len(rollouts),
        "gate/groups_without_survivor": sum(not any(may_execute(t, plan) for t in r.retrieval) for r in rollouts)
        / len(rollouts),
        "rollout/episodes": float(len(episodes) + len(executions)),
        "rollout/toolset_size": sum(chosen) / len(chosen) if chosen else 0.0,
        "rollout/searches": sum(len(trajectory.searches) for trajectory in episodes) / len(episodes),
        "tokens/sampled": float(sum(sampled_versions(rollouts).values())),
    }
