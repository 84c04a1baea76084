"""What a collection cost and how fast it was, as metrics of its generation batch."""

from collections.abc import Sequence

from envs.types import Phase
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
