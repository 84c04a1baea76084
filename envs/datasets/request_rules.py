"""What a dialogue's requests may not say together: gold that nothing would look at, or that no policy could reach.

Each part has been read by then; where it stands in the file is told as a field.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from envs.types import Request


def requests_problem(
    requests: Sequence[Request], *, gold_tools: Collection[str], offered: Collection[str]
) -> tuple[str, str] | None:
    """The field and what is wrong with it, of the first thing that is."""
    return next(_problems(requests, gold_tools, offered), None)


def _problems(
    requests: Sequence[Request], gold_tools: Collection[str], offered: Collection[str]
) -> Iterator[tuple[str, str]]:
    not_yet = {tool.id: place for place, request in reversed([*enumerate(requests)]) for tool in request.new_tools}
    for place, request in enumerate(requests):
        field = f"requests[{place}]"
        for tool in request.new_tools:
            for named, ids in (("gold_tools", gold_tools), ("offered_tools", offered)):
                if tool.id in ids:
                    told = (
                        f"{tool.id!r} comes with this request, and {named} has it from the start; leave it out of one"
                    )
                    yield f"{field}.new_tools", told
        for call in request.gold_calls:
            if (comes := not_yet.get(call.name, place)) > place:
                told = f"{call.name!r} only comes with requests[{comes}]; move the call or the tool"
                yield f"{field}.gold_calls", told
        yield from _gold_problems(request, field)


def _gold_problems(request: Request, field: str) -> Iterator[tuple[str, str]]:
    for name, given in (("gold_state", request.gold_state is not None), ("gold_replies", bool(request.gold_replies))):
        if given and not request.gold_calls:
            told = "a request without gold_calls is not looked at; add the calls that lead there, or leave this out"
            yield f"{field}.{name}", told
    if request.gold_replies and request.gold_state is None:
        told = "without a gold_state replies are not looked at; add it ({} where no tool has a state that can be seen)"
        yield f"{field}.gold_replies", told
    if _has_nan(request.gold_state):
        yield f"{field}.gold_state", "it holds a NaN, which equals nothing; give numbers"


def _has_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)
