"""Does an answer hold? An empty answer never does."""

import math
import re
import unicodedata

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def answer_holds(answer: str | None, gold: str) -> bool:
    """Equal as numbers (relative tolerance 1e-6), or equal as text but for case, spacing and a final full stop."""
    if answer is None or not answer.strip():
        return False
    given, wanted = _normalised(answer), _normalised(gold)
    if _NUMBER.fullmatch(given) and _NUMBER.fullmatch(wanted):
        # Long digit strings are names, not quantities: "0012" and hashes must match to the letter.
        if len(wanted) <= 15 and not _leading_zero(wanted) and not _leading_zero(given):
            return math.isclose(float(given), float(wanted), rel_tol=1e-6, abs_tol=1e-12)
    return given == wanted


def _normalised(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text[:-1].rstrip() if text.endswith(".") and len(text) > 1 else text


def _leading_zero(number: str) -> bool:
    return bool(re.match(r"[+-]?0\d", number))
