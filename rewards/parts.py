"""The named parts of a reward, and their weighted mean. Pure functions of a trajectory."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from envs.types import Phase, StopReason, ToolStatus
from retriever.catalogue import Catalogue
from retriever.metrics import ndcg_at_k
from rewards.ast_rules import ast_verdict
from rewards.calls import call_match
from rewards.config import ExecutionWeights, RetrievalWeights
from rewards.forged import forged_observations
from rewards.outcome import outcome
from rewards.provenance import provenance, traced_share
from rollout.types import Trajectory, Turn


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


def execution_reward(trajectory: Trajectory, weights: ExecutionWeights, catalogue: Catalogue | None = None) -> Reward:
    """What calling and answering earned.

    - format: as for retrieval;
    - grounding: share of the calls that name a selected tool with arguments valid by its schema; 0 without calls;
    - call_match: ToolRL's correctness against the gold calls;
    - answer: what the task's checker says, or 1 when the answer check holds; of a dialogue, the share of its requests
      that are rightly met (rewards/outcome.py);
    - schema: of the calls of known, selected tools, the share whose arguments are valid by the tool's schema;
    - toolset: share of the calls that name a selected tool; 0 without calls;
    - provenance: share of the argument values that can be traced (rewards/provenance.py);
    - ast_match: 1 when the calls are right by BFCL's AST rules (rewards/ast_rules.py);
    - no_forgery: 1 when no message wrote a tool's response itself.

    `catalogue` has the schemas of the tools. Without it provenance knows no defaults, and ast_match is not scored.
    """
    if trajectory.stop is StopReason.INFRA_FAILURE:
        return UNSCORABLE
    results, task = trajectory.results, trajectory.task
    grounded = sum(result.status not in UNGROUNDED for result in results)
    named = [result for result in results if result.status not in _NOT_SELECTED]
    valid = sum(result.status is not ToolStatus.INVALID_ARGUMENTS for result in named)
    parts: dict[str, float | None] = {
        "format": float(trajectory.format_ok(Phase.EXECUTION)),
        "grounding": grounded / len(results) if results else 0.0,
        "call_match": None,
        "answer": outcome(trajectory),
        "schema": valid / len(named) if named else None,
        "toolset": len(named) / len(results) if results else 0.0,
        "provenance": _provenance(trajectory, catalogue),
        "ast_match": None,
        "no_forgery": float(not any(forged_observations(turn.text) for turn in _execution_turns(trajectory))),
    }
    calls = [result.call for result in results]
    if task.gold_calls is not None:
        parts["call_match"] = call_match(calls, task.gold_calls)
    if task.allowed_calls is not None and catalogue is not None:
        parts["ast_match"] = float(ast_verdict(calls, task.allowed_calls, lambda id: catalogue[id].parameters).right)
    return Reward(total=_weighted(parts, asdict(weights)), parts=parts)


_NOT_SELECTED = frozenset({ToolStatus.UNKNOWN_TOOL, ToolStatus.NOT_IN_TOOLSET})
UNGROUNDED = frozenset({ToolStatus.UNKNOWN_TOOL, ToolStatus.NOT_IN_TOOLSET, ToolStatus.INVALID_ARGUMENTS})


def _execution_turns(trajectory: Trajectory) -> list[Turn]:
    return [turn for turn in trajectory.turns if turn.phase is Phase.EXECUTION]


def _provenance(trajectory: Trajectory, catalogue: Catalogue | None) -> float | None:
    sources, traced = [trajectory.task.instruction], []
    for turn in _execution_turns(trajectory):
        results = turn.observation.results
        for result in results:
            known = catalogue is not None and result.call.name in catalogue
            parameters = catalogue[result.call.name].parameters if catalogue is not None and known else {}
            traced.append(provenance(result.call, sources, parameters))
        sources += [result.text for result in results if result.status is ToolStatus.OK]
        sources += [turn.observation.request or ""]
    return traced_share(traced)


def _retrieval_format(trajectory: Trajectory) -> bool:
    return trajectory.selection is not None and trajectory.format_ok(Phase.RETRIEVAL)


def _weighted(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    scored = {name: value for name, value in parts.items() if value is not None and weights[name] > 0}
    total = sum(weights[name] for name in scored)
    return sum(weights[name] * value for name, value in scored.items()) / total if total else None
