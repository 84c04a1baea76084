"""Forged observations: a policy that writes a tool's response itself, instead of calling the tool and waiting.

The dialects refuse such a message where they parse it; here it is found in the thought too, which they do not parse,
and counted. A tag that is only spoken of, or stands inside a call's arguments, is none.
"""

import re

# As envs/dialects.py writes results: an opening tag at the start of a line, or behind a call or another response.
_TAGS = "tool_response|result"
_FORGED = re.compile(rf"(?:^|</(?:tool_call|call|{_TAGS})\s*>)[ \t]*<(?:{_TAGS})\s*>", re.MULTILINE | re.IGNORECASE)
_CALL = re.compile(r"<(tool_call|call)>.*?</\1>", re.DOTALL)


def forged_observations(text: str) -> int:
    """How many responses of a tool a completion holds, in either dialect."""
    outside = _CALL.sub(lambda call: f"</{call[1]}>", text)
    return len(_FORGED.findall(outside))
