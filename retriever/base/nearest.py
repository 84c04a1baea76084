"""The nearest known name, for errors that say what was probably meant."""

import difflib
from collections.abc import Iterable
from itertools import islice

_MOST = 10_000  # names that are compared: a hint is not worth minutes


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name most like `word`, upper and lower case alike; None when nothing comes near."""
    by_lower: dict[str, str] = {}
    for name in islice(known, _MOST):
        by_lower.setdefault(name.lower(), name)
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.3)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing: to follow the wrong word in an error message."""
    match = nearest(word, known)
    return f" (did you mean {match!r}?)" if match is not None else ""
