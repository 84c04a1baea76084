"""What makes two calls the same call: the tool, its version, the arguments as canonical JSON, and what came before."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from retriever.base.canonical import canonical_json
from retriever.tools import ToolDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """One call, for whatever remembers or decides something by it.

    The order of an object's keys is nothing. 2 and 2.0 are two calls, though equal in JSON: a tool may tell them apart.
    """

    tool_id: str
    tool_version: str
    arguments: str  # canonical JSON
    history: str = ""  # digest of the episode's call before this one, where calls change what later ones give

    @classmethod
    def of(cls, tool: ToolDoc, arguments: Mapping[str, Any], *, history: str = "") -> Self:
        """The key of a call. `arguments` are JSON: a NaN, which no dialect lets through, is a ValueError."""
        return cls(tool_id=tool.id, tool_version=tool.version, arguments=canonical_json(arguments), history=history)

    @property
    def digest(self) -> str:
        """SHA-256, hex."""
        parts = canonical_json([self.tool_id, self.tool_version, self.arguments, self.history])
        # surrogatepass: a policy can write half a surrogate pair, and the call is still one that can be told apart
        return hashlib.sha256(parts.encode(errors="surrogatepass")).hexdigest()
