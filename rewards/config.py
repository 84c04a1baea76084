"""What each part of a reward weighs."""

from dataclasses import dataclass, field, fields

from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalWeights:
    """Parts of the retrieval reward (METHOD.md; the paper's are format, recall and conversion, its weights unknown)."""

    format: float = 0.1
    recall: float = 0.55
    ndcg: float = 0.1
    precision: float = 0.25  # at 0.1, five tools of one search earned as much as the cold start's choice among them
    # The paper's. It is of what was surfaced, so that finding less raises it: at 0.2, beside a recall of 0.4, a nano
    # policy learned to select one tool of two.
    conversion: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "reward.retrieval")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionWeights:
    """Parts of the execution reward (the paper: format 0.4 and answer correctness)."""

    format: float = 0.2
    grounding: float = 0.1
    call_match: float = 0.3
    answer: float = 0.4
    # Shown, and of no weight by default.
    schema: float = 0.0
    toolset: float = 0.0
    provenance: float = 0.0
    ast_match: float = 0.0
    no_forgery: float = 0.0

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
