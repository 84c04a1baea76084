"""A regular expression of somebody else's held against somebody else's text, within bounds of time and size.

Python's `re` may take hours over a few characters ("(a+)+b") and cannot be told to stop; the `regex` package can.
"""

import regex

TIMEOUT_S = 2.0
TEXT_CHARS = 20_000
PATTERN_CHARS = 2_000


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, and the remedy; None when it can be searched for."""
    if len(pattern) > PATTERN_CHARS:
        return f"a pattern of {len(pattern)} characters exceeds {PATTERN_CHARS}; shorten it"
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        return f"not a regular expression ({error}); see Python's re"
    return None


def found_in(pattern: str, text: str, *, within_s: float = TIMEOUT_S) -> bool:
    """Whether `pattern` is found in `text`; not in a text of more than 20,000 characters, nor in a longer time."""
    if len(text) > TEXT_CHARS or pattern_problem(pattern) is not None:
        return False
    try:
        return regex.search(pattern, text, timeout=within_s) is not None
    except TimeoutError:
        return False
