"""A tool as the catalogue knows it, and a tool as a search returns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDoc:
    """One catalogue entry: what a policy may read about a tool, and where the tool runs."""

    id: str  # stable and unique in the catalogue; results, gold tools and caches refer to it
    name: str  # what the policy calls; need not be unique across versions
    description: str
    parameters: Mapping[str, Any] = field(hash=False)  # JSON schema of an object: {"type": "object", "properties": …}
    origin: str = "python"  # which executor runs it: python, mcp, http, simulator, replay
    version: str = "1"  # of what runs, for records of calls; readers make it of the tool's source or definition
    tags: tuple[str, ...] = ()  # domain, category: used by splits and reports, never shown to the policy

    def to_dict(self) -> dict[str, Any]:
        """The JSONL form of this entry."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
            "origin": self.origin,
            "version": self.version,
            "tags": list(self.tags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A tool that a search returned."""

    tool: ToolDoc
    score: float  # comparable within one search only
    rank: int  # 1-based
