"""A regular expression held against a policy's text, within bounds of time and size.

Python's `re` may take hours over a few characters ("(a+)+b"), holds the interpreter meanwhile and cannot be told to
stop. So every search runs in a process of its own that is killed at its deadline; starting one takes some 20 ms.
"""

import json
import re
import subprocess
import sys

TIMEOUT_S = 2.0
TEXT_CHARS = 20_000
PATTERN_CHARS = 2_000

_SEARCH = "import json, re, sys; p, t = json.load(sys.stdin); sys.exit(0 if re.search(p, t) else 1)"


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, and the remedy; None when it can be searched for."""
    if len(pattern) > PATTERN_CHARS:
        return f"a pattern of {len(pattern)} characters exceeds {PATTERN_CHARS}; shorten it"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression ({error}); see Python's re"
    return None


def found_in(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in `text`; not in a text of more than 20,000 characters, nor in more than 2 s."""
    if len(text) > TEXT_CHARS or pattern_problem(pattern) is not None:
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, text]).encode(),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
