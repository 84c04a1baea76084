"""How well the calls that were made match the gold calls."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from envs.types import ToolCall
from retriever.base.canonical import same_json


def call_match(made: Sequence[ToolCall], gold: Sequence[ToolCall]) -> float:
    """ToolRL's correctness (arXiv 2504.13958), matched optimally rather than greedily, scaled to [0, 1].

    s = J(names) + Σ over matched pairs of the same name [J(parameter names) + number of equal values], divided by its
    maximum 1 + Σ_gold (1 + number of gold parameters). J is the Jaccard index of multisets. No gold calls: 1 when none
    was made, else 0.
    """
    if not gold:
        return 0.0 if made else 1.0
    names = _jaccard((call.name for call in made), (call.name for call in gold))
    pairs = np.array([[_pair(m, g) for m in made] for g in gold]).reshape(len(gold), len(made))
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    best = 1 + sum(1 + len(call.arguments) for call in gold)
    return float((names + pairs[rows, columns].sum()) / best)


def _pair(made: ToolCall, gold: ToolCall) -> float:
    if made.name != gold.name:
        return 0.0
    equal = sum(
        name in made.arguments and same_json(made.arguments[name], value) for name, value in gold.arguments.items()
    )
    return _jaccard(list(made.arguments), list(gold.arguments)) + equal


def _jaccard(left: Iterable[Hashable], right: Iterable[Hashable]) -> float:
    one, other = Counter(left), Counter(right)
    union = (one | other).total()
    return (one & other).total() / union if union else 1.0
