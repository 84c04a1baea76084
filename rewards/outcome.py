"""What came of an episode: does the answer hold, and is each request of a dialogue rightly met?

Everything is read from the trajectory: no tool is asked.
"""

from collections.abc import Sequence

from envs.executors.routed import reads_as
from envs.types import Phase, Request, StopReason
from rewards.answers import answer_score, states_equal
from rollout.types import Trajectory, Turn


def outcome(trajectory: Trajectory) -> float | None:
    """The lesser of `answer_score` and `requests_met`, in [0, 1]; None where the task knows neither."""
    scores = (answer_score(trajectory.answer, trajectory.task), requests_met(trajectory))
    return min((score for score in scores if score is not None), default=None)


def requests_met(trajectory: Trajectory) -> float | None:
    """Of a dialogue's requests whose state is known, the share that is met; None where there is none.

    As BFCL's multi-turn check has it (bfcl-eval, multi_turn_checker): when the request is answered the state is that of
    the gold calls, at least one call was made for it, and each gold reply was given, in this request or an earlier one.
    A request without gold calls, because nothing can be done yet, is not looked at.
    """
    requests = trajectory.task.requests
    known = sum(_is_checked(request) for request in requests)
    if not known:
        return None
    said: list[str] = []
    calls = met = number = 0
    for turn in trajectory.turns:
        if turn.phase is not Phase.EXECUTION:
            continue
        replies = [result.text for result in turn.observation.results if result.ran]
        said, calls = said + replies, calls + len(replies)
        if _answers(turn):
            met += _is_checked(requests[number]) and calls > 0 and _holds(requests[number], turn, said)
            calls, number = 0, number + 1
    return met / known


def _is_checked(request: Request) -> bool:
    return bool(request.gold_calls) and request.gold_state is not None


def _answers(turn: Turn) -> bool:
    return turn.observation.request is not None or turn.observation.stop is StopReason.ANSWERED


def _holds(request: Request, turn: Turn, said: Sequence[str]) -> bool:
    left = list(said)
    for gold in request.gold_replies:
        found = next((place for place, text in enumerate(left) if reads_as(text, gold)), None)
        if found is None:
            return False
        del left[found]
    return states_equal(turn.observation.state, request.gold_state)
