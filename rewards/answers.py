"""Does an answer hold? An empty answer never does."""

import math
import re
import unicodedata

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")


def answer_holds(answer: str | None, gold: str) -> bool:
    """Equal as numbers, or equal as text but for case, spacing and a final full stop.

    Integers are equal exactly (counts, checksums), other numbers with a relative tolerance of 1e-6.
    """
    if answer is None or not answer.strip():
        return False
    given, wanted = _normalised(answer), _normalised(gold)
    if _is_quantity(given) and _is_quantity(wanted):
        if _INTEGER.fullmatch(given) and _INTEGER.fullmatch(wanted):
            return int(given) == int(wanted)
        return math.isclose(float(given), float(wanted), rel_tol=1e-6, abs_tol=1e-12)
    return given == wanted


def _normalised(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text[:-1].rstrip() if text.endswith(".") and len(text) > 1 else text


def _is_quantity(text: str) -> bool:
    """A number that may be written in several ways; "0012", hashes ("12e45678") and long digit strings are names."""
    if not _NUMBER.fullmatch(text) or re.match(r"[+-]?0[\de]", text) or not math.isfinite(float(text)):
        return False
    return "." in text or len(text) <= 15
