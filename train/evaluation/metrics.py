"""What one evaluated task shows, and what many tasks show together: the project's one definition of every metric.

Pure functions of records; nothing is played here. A metric that does not apply to a task is None and leaves the mean:
no gold tools known, or an episode that our own machinery broke (`infra_failures` counts those).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from envs.types import StopReason, Task, ToolCall, ToolStatus
from retriever.base.canonical import same_json
from retriever.metrics import bootstrap_interval, ndcg_at_k
from retriever.search import Retriever
from rewards.ast_rules import call_allowed
from rewards.outcome import outcome, requests_met
from rollout.types import TRUNCATED, TaskRollouts, Trajectory

K = 5  # the k of recall_at_5 and ndcg_at_5, whatever a search returned
RESAMPLES = 1000

METRICS = (
    "pass_rate",
    "all_gold_selected",
    "toolset_size",
    "selection_precision",
    "recall_at_5",
    "recall_union",
    "ndcg_at_5",
    "format_rate",
    "selection_rate",
    "rank1_all_gold",
    "searches",
    "calls",
    "replayed",
)
KINDS = ("single", "chained")  # the tags that are reported apart


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """The metrics of one task; None where one does not apply."""

    task_id: str
    tags: tuple[str, ...]
    metrics: Mapping[str, float | None] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over tasks with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int  # tasks to which the metric applied


def final_trajectory(rollouts: TaskRollouts) -> Trajectory:
    """The one episode of an evaluated task (a group of 1): its execution where there is one, else its retrieval."""
    assert len(rollouts.retrieval) == 1, "evaluation plays each task once"
    assert len(rollouts.executions) <= 1, "evaluation plays each task once"
    return rollouts.executions[0] if rollouts.executions else rollouts.retrieval[0]


def task_score(trajectory: Trajectory) -> TaskScore:
    """`trajectory_metrics` with the task's name and tags."""
    task = trajectory.task
    return TaskScore(task_id=task.id, tags=task.tags, metrics=trajectory_metrics(trajectory))


def trajectory_metrics(trajectory: Trajectory) -> dict[str, float | None]:
    """Every metric of `METRICS`, and `infra_failures`, of one finished episode.

    - pass_rate: the answer check holds, and every gold call that the task names was executed with an ok result: with
      one of its right values where `allowed_calls` lists them, and none at all where that is empty; of a dialogue whose
      states are known, each request is met, by these calls or others (rewards/outcome.py);
    - all_gold_selected: every gold tool is in the selection; an episode without a valid selection has none of them;
    - toolset_size, selection_precision: of the selection; None without one, so that failing cannot make toolsets small;
    - recall_at_5: share of the gold tools in the top 5 of the best single search; recall_union: in all together;
    - ndcg_at_5: standard NDCG of the ranked selection;
    - format_rate: no malformed message in the whole episode, and no limit cut it off;
    - selection_rate: a valid selection was made;
    - rank1_all_gold: every gold tool came first in one of the episode's searches: trusting the retriever would do;
    - searches, calls: how many of each; replayed: the share of those that ran which a record answered.
    """
    if trajectory.stop is StopReason.INFRA_FAILURE:
        return {**dict.fromkeys(METRICS), "infra_failures": 1.0}
    selection = trajectory.selection
    malformed = any(turn.observation.format_error for turn in trajectory.turns)
    return {
        "pass_rate": _passed(trajectory),
        **_against_gold(trajectory),
        "toolset_size": None if selection is None else float(len(selection)),
        "format_rate": float(not malformed and trajectory.stop not in TRUNCATED),
        "selection_rate": float(selection is not None),
        "searches": float(len(trajectory.searches)),
        "calls": float(len(trajectory.results)),
        "replayed": _replayed(trajectory),
        "infra_failures": 0.0,
    }


def _replayed(trajectory: Trajectory) -> float | None:
    served = [result.served_from == "replay" for result in trajectory.results if result.ran]
    return sum(served) / len(served) if served else None


def _passed(trajectory: Trajectory) -> float | None:
    task = trajectory.task
    if task.gold_answer is None and task.checker is None and not task.gold_calls and task.allowed_calls is None:
        return None
    if trajectory.answer is None or not trajectory.answer.strip():  # an unanswered task is never solved
        return 0.0
    if outcome(trajectory) not in (None, 1.0):
        return 0.0
    if requests_met(trajectory) is not None:
        return 1.0
    executed = [result.call for result in trajectory.results if result.status is ToolStatus.OK]
    if task.allowed_calls is not None:  # gold calls are then but the first of those that are right
        made = all(any(call_allowed(call, gold) for call in executed) for gold in task.allowed_calls)
        return float(made and bool(task.allowed_calls or not executed))
    return float(all(any(_same_call(call, gold) for call in executed) for gold in task.gold_calls or ()))


def _same_call(call: ToolCall, gold: ToolCall) -> bool:
    return call.name == gold.name and same_json(dict(call.arguments), dict(gold.arguments))


def _against_gold(trajectory: Trajectory) -> dict[str, float | None]:
    gold = set(trajectory.task.gold_tools or ())
    if not gold:
        names = (
            "all_gold_selected",
            "selection_precision",
            "recall_at_5",
            "recall_union",
            "ndcg_at_5",
            "rank1_all_gold",
        )
        return dict.fromkeys(names)
    selection, searches = trajectory.selection or (), trajectory.searches
    best = max((len(gold & set(search.tool_ids[:K])) for search in searches), default=0)
    return {
        "all_gold_selected": float(gold <= set(selection)),
        "selection_precision": len(gold & set(selection)) / len(selection) if selection else None,
        "recall_at_5": best / len(gold),
        "recall_union": len(gold & trajectory.surfaced) / len(gold),
        "ndcg_at_5": ndcg_at_k(selection, gold, K, variant="standard"),
        "rank1_all_gold": float(gold <= {id for search in searches for id in search.tool_ids[:1]}),
    }


def raw_instruction_baseline(tasks: Sequence[Task], retriever: Retriever, k: int = K) -> list[TaskScore]:
    """What one search with the raw instruction gives, without any policy.

    Per task: recall_at_5, ndcg_at_5 (of the ranking), and for each size from 1 to k what selecting the first so many
    would give: all_gold_at_<size> and precision_at_<size>.
    """
    depth = len(retriever.catalogue) if any(task.offered_tools for task in tasks) else max(k, K)
    found = retriever.search([task.asked for task in tasks], depth)
    scores = []
    for task, ranked in zip(tasks, found, strict=True):
        ids = [c.tool.id for c in ranked if not task.offered_tools or c.tool.id in task.offered_tools]
        scores.append(TaskScore(task_id=task.id, tags=task.tags, metrics=_ranking_metrics(ids[: max(k, K)], task, k)))
    return scores


def _ranking_metrics(ranked: Sequence[str], task: Task, k: int) -> dict[str, float | None]:
    gold = set(task.gold_tools or ())
    metrics: dict[str, float | None] = {
        "recall_at_5": len(gold & set(ranked[:K])) / len(gold) if gold else None,
        "ndcg_at_5": ndcg_at_k(ranked, gold, K, variant="standard") if gold else None,
    }
    for size in range(1, k + 1):
        chosen = ranked[:size]
        metrics[f"all_gold_at_{size}"] = float(gold <= set(chosen)) if gold else None
        metrics[f"precision_at_{size}"] = len(gold & set(chosen)) / len(chosen) if gold and chosen else None
    return metrics


def at_toolset_size(by_size: Sequence[float], size: float) -> float:
    """The baseline's mean of a metric at a mean toolset size; `by_size[i]` is the mean when i + 1 tools are selected.

    Between two sizes it is interpolated: selecting k + 1 tools on a random share of the tasks, and k on the others, has
    exactly that mean size. Beyond the last size, and below 1, the nearest known one counts.
    """
    position = min(max(size - 1, 0.0), len(by_size) - 1)
    lower = int(position)
    upper = min(lower + 1, len(by_size) - 1)
    return by_size[lower] + (position - lower) * (by_size[upper] - by_size[lower])


def estimate(values: Sequence[float], *, seed: int) -> Estimate:
    """Mean and 95% interval of `values`, which are not empty."""
    low, high = bootstrap_interval(values, seed=seed, level=0.95, resamples=RESAMPLES)
    return Estimate(mean=fmean(values), low=low, high=high, n=len(values))


def aggregate(scores: Sequence[TaskScore], *, seed: int, tag: str | None = None) -> dict[str, Estimate]:
    """The estimate of every metric that applied to at least one of the tasks (or those with `tag`)."""
    chosen = [score for score in scores if tag is None or tag in score.tags]
    names = dict.fromkeys(name for score in chosen for name in score.metrics if name != "infra_failures")
    values = {name: [v for score in chosen if (v := score.metrics.get(name)) is not None] for name in names}
    return {name: estimate(known, seed=seed) for name, known in values.items() if known}


def paired_gains(before: Sequence[TaskScore], after: Sequence[TaskScore], *, seed: int) -> dict[str, Estimate]:
    """What each metric gained from `before` to `after` on the tasks that both know, bootstrapped in pairs."""
    earlier = {score.task_id: score.metrics for score in before}
    gains: dict[str, list[float]] = {}
    for score in after:
        for name, value in score.metrics.items():
            base = earlier.get(score.task_id, {}).get(name)
            if name != "infra_failures" and value is not None and base is not None:
                gains.setdefault(name, []).append(value - base)
    return {name: estimate(values, seed=seed) for name, values in gains.items()}
