"""The named parts of a reward, and their weighted mean. Pure functions of a trajectory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from envs.types import Phase, StopReason, ToolStatus
from retriever.metrics import ndcg_at_k
from rewards.answers import answer_holds
from rewards.calls import call_match
from rewards.config import ExecutionWeights, RetrievalWeights
from rollout.types import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What one trajectory earned for one objective."""

    total: float | None  # None: unscorable (a failure of ours, or no part applies); out of the baseline
    parts: Mapping[str, float | None] = field(hash=False)  # each in [0, 1], or None where it does not apply


UNSCORABLE = Reward(total=None, parts={})


def retrieval_reward(trajectory: Trajectory, weights: RetrievalWeights) -> Reward:
    """What searching and selecting earned. Without gold tools only the format can be scored.

    - format: 1 when no message of the phase was malformed or cut off;
    - recall: share of the gold tools in the selection;
    - ndcg: standard NDCG@5 of the ranked selection;
    - precision: share of the selection that is gold;
    - conversion: of the gold tools that searches surfaced, the share selected; 0 when none surfaced.
    """
    if trajectory.stop is StopReason.INFRA_FAILURE and not trajectory.executed:
        return UNSCORABLE
    parts: dict[str, float | None] = {"format": float(_retrieval_format(trajectory))}
    gold = trajectory.task.gold_tools
    if not gold:
        parts |= dict.fromkeys(("recall", "ndcg", "precision", "conversion"))
    else:
        selection = trajectory.selection or ()
        chosen = set(selection) & set(gold)
        surfaced = trajectory.surfaced & set(gold)
        parts["recall"] = len(chosen) / len(set(gold))
        parts["ndcg"] = ndcg_at_k(selection, set(gold), 5) or 0.0
        parts["precision"] = len(chosen) / len(selection) if selection else 0.0
        parts["conversion"] = len(chosen & surfaced) / len(surfaced) if surfaced else 0.0
    return Reward(total=_weighted(parts, asdict(weights)), parts=parts)


def execution_reward(trajectory: Trajectory, weights: ExecutionWeights) -> Reward:
    """What calling and answering earned.

    - format: as for retrieval;
    - grounding: share of the calls that name a selected tool with arguments valid by its schema; 0 without calls;
    - call_match: ToolRL's correctness against the gold calls;
    - answer: 1 when the answer check holds.
    """
    if trajectory.stop is StopReason.INFRA_FAILURE:
        return UNSCORABLE
    results, task = trajectory.results, trajectory.task
    grounded = sum(result.status not in UNGROUNDED for result in results)
    parts: dict[str, float | None] = {
        "format": float(trajectory.format_ok(Phase.EXECUTION)),
        "grounding": grounded / len(results) if results else 0.0,
        "call_match": None,
        "answer": None,
    }
    if task.gold_calls is not None:
        parts["call_match"] = call_match([result.call for result in results], task.gold_calls)
    if task.gold_answer is not None:
        parts["answer"] = float(answer_holds(trajectory.answer, task.gold_answer))
    return Reward(total=_weighted(parts, asdict(weights)), parts=parts)


UNGROUNDED = frozenset({ToolStatus.UNKNOWN_TOOL, ToolStatus.NOT_IN_TOOLSET, ToolStatus.INVALID_ARGUMENTS})


def _retrieval_format(trajectory: Trajectory) -> bool:
    return trajectory.selection is not None and trajectory.format_ok(Phase.RETRIEVAL)


def _weighted(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    scored = {name: value for name, value in parts.items() if value is not None and weights[name] > 0}
    total = sum(weights[name] for name in scored)
    return sum(weights[name] * value for name, value in scored.items()) / total if total else None
