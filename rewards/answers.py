"""Does an answer hold? An empty answer never does."""

import json
import math
import re
import unicodedata
from typing import Any

from envs.checkers import checked
from envs.patterns import found_in
from envs.types import AnswerCheck, Task
from retriever.base.canonical import same_json

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_RELATIVE_TOLERANCE = 1e-6


def answer_score(answer: str | None, task: Task) -> float | None:
    """What `answer` earns by the task's checker or else by its gold answer, in [0, 1]; None where it has neither.

    Raises UserError when the checker fails.
    """
    if task.checker is None and task.gold_answer is None:
        return None
    if answer is None or not answer.strip():
        return 0.0
    if task.checker is not None:
        return checked(task.checker, answer, task)
    assert task.gold_answer is not None
    return float(answer_holds(answer, task.gold_answer, task.answer_check))


def answer_holds(answer: str | None, gold: str, check: AnswerCheck = AnswerCheck.TEXT) -> bool:
    """Whether `answer` is what `gold` asks for.

    - text: equal as numbers, or as text but for case, spacing and a final full stop. Integers are equal exactly
      (counts, checksums), other numbers with a relative tolerance of 1e-6;
    - exact: equal but for space around it;
    - number: the number, "1,000" or "1000", within the tolerance of gold ("3.14 ± 0.01") or else a relative 1e-6;
    - set: the same items in any order, each compared as text; a JSON list, or items between commas;
    - regex: the pattern is found in the answer (envs/patterns.py);
    - json: equal as JSON, 2 to 2.0 too.
    """
    if answer is None or not answer.strip():
        return False
    match check:
        case AnswerCheck.TEXT:
            return _same_text(answer, gold)
        case AnswerCheck.EXACT:
            return answer.strip() == gold.strip()
        case AnswerCheck.NUMBER:
            return _same_number(answer, gold)
        case AnswerCheck.SET:
            return _same_set(answer, gold)
        case AnswerCheck.REGEX:
            return found_in(gold, answer)
        case AnswerCheck.JSON:
            given, wanted = _parsed(answer), _parsed(gold)
            return given is not None and wanted is not None and same_json(given[0], wanted[0])


def states_equal(left: Any, right: Any) -> bool:
    """Whether two states of an environment, each JSON-able, are the same; numbers by value, lists in their order."""
    return same_json(left, right)


def _same_text(answer: str, gold: str) -> bool:
    given, wanted = _normalised(answer), _normalised(gold)
    if _is_quantity(given) and _is_quantity(wanted):
        if _INTEGER.fullmatch(given) and _INTEGER.fullmatch(wanted):
            return int(given) == int(wanted)
        return math.isclose(float(given), float(wanted), rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-12)
    return given == wanted


def _same_number(answer: str, gold: str) -> bool:
    wanted_text, _, tolerance_text = gold.partition("±")
    given, wanted, tolerance = number_in(answer), number_in(wanted_text), number_in(tolerance_text)
    if given is None or wanted is None:
        return False
    if tolerance is None:
        return math.isclose(given, wanted, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-12)
    # A limit itself is within: 3.15 of 3.14 ± 0.01, whatever binary fractions make of it.
    return abs(given - wanted) <= tolerance * (1 + 1e-9)


def number_in(text: str) -> float | None:
    """The number that `text` is, thousands between commas or not; None when it is anything else, or infinite."""
    text = _normalised(text)
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if len(text) > 400 or not _NUMBER.fullmatch(text):  # float() takes long for a million digits
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _same_set(answer: str, gold: str) -> bool:
    given, wanted = _items(answer), _items(gold)
    return all(any(_same_text(one, other) for other in wanted) for one in given) and all(
        any(_same_text(one, other) for other in given) for one in wanted
    )


def _items(text: str) -> list[str]:
    """The items of a list as JSON or between commas; those of JSON that are no strings, as JSON."""
    parsed = _parsed(text)
    if parsed is not None and isinstance(parsed[0], list):
        items = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in parsed[0]]
    else:
        items = _normalised(text).split(",")
    return [item for item in items if item.strip()]


def _parsed(text: str) -> tuple[Any] | None:
    """The JSON value in a 1-tuple; None when it is not JSON."""
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None


def _normalised(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text[:-1].rstrip() if text.endswith(".") and len(text) > 1 else text


def _is_quantity(text: str) -> bool:
    """A number that may be written in several ways; "0012", hashes ("12e45678") and long digit strings are names."""
    if not _NUMBER.fullmatch(text) or re.match(r"[+-]?0[\de]", text) or not math.isfinite(float(text)):
        return False
    return "." in text or len(text) <= 15
