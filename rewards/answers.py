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
    if _is_quantity(given) and _is_quantity(wanted):
        return math.isclose(float(given), float(wanted), rel_tol=1e-6, abs_tol=1e-12)
    return given == wanted


def _normalised(text: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text[:-1].rstrip() if text.endswith(".") and len(text) > 1 else text


def _is_quantity(text: str) -> bool:
    """A number that may be written in several ways; "0012" and long digit strings are names."""
    return bool(_NUMBER.fullmatch(text)) and len(text) <= 15 and not re.match(r"[+-]?0\d", text)
