"""What each part of a reward weighs."""

from dataclasses import dataclass, field, fields

from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalWeights:
    """Parts of the retrieval reward (METHOD.md; the paper's are format, recall and conversion, its weights unknown)."""

    format: float = 0.1
    recall: float = 0.6
    ndcg: float = 0.1
    precision: float = 0.1
    # Little: of what was surfaced, so that finding less raises it. At 0.2, with recall at 0.4 and precision at 0.2, a
    # nano policy learned to select one tool of two.
    conversion: float = 0.1

    def __post_init__(self) -> None:
        _check(self, "reward.retrieval")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionWeights:
    """Parts of the execution reward (the paper: format 0.4 and answer correctness)."""

    format: float = 0.2
    grounding: float = 0.1
    call_match: float = 0.3
    answer: float = 0.4

    def __post_init__(self) -> None:
        _check(self, "reward.execution")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Weights of both phases. A reward is the weighted mean of the parts that can be scored."""

    retrieval: RetrievalWeights = field(default_factory=RetrievalWeights)
    execution: ExecutionWeights = field(default_factory=ExecutionWeights)


def _check(weights: object, place: str) -> None:
    values = {f.name: getattr(weights, f.name) for f in fields(weights)}  # type: ignore[arg-type]
    for name, value in values.items():
        if value < 0:
            raise UserError(f"{place}.{name}={value} is negative; weights are 0 or more")
    if not any(values.values()):
        raise UserError(f"{place}: every weight is 0; give at least one part a weight")
