"""The object {"error", "response"} of StableToolBench's servers, their caches and MirrorAPI, as a reply."""

from collections.abc import Mapping
from typing import Any

from envs.executors.backend import Reply
from envs.executors.functions import result_text
from envs.types import ToolStatus


def error_response(content: Mapping[str, Any], *, served_from: str = "live") -> Reply:
    """A non-empty "error" is a TOOL_ERROR; what "response" says beside it is kept, for it often says what is wrong."""
    said = content.get("response")
    response = "" if said is None else result_text(said)
    if not content.get("error"):  # "", null and false all say that nothing is wrong
        return Reply(text=response, served_from=served_from)
    text = "\n".join(filter(None, (f"error: {result_text(content['error'])}", response)))
    return Reply(text=text, status=ToolStatus.TOOL_ERROR, served_from=served_from)
