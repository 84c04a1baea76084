"""The errors of the house. An error names the value, the limit and the remedy.

A policy's mistake is never one of these: it is data (`ToolResult`, `ParseFailure`).
"""

from pathlib import Path


class ToolscoutError(Exception):
    """The root of everything that we raise on purpose."""


class UserError(ToolscoutError):
    """What the user gave cannot work; one line that says what to do. The command line exits with 2."""


class DataError(UserError):
    """A line of a user's file is wrong."""

    def __init__(self, message: str, *, path: str | Path, line: int | None = None, field: str | None = None) -> None:
        place = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {f'field {field!r}: ' if field else ''}{message}")
        self.message, self.path, self.line, self.field = message, Path(path), line, field


class InfraError(ToolscoutError):
    """Our machinery failed, not the policy: retried, and if it stays, left out of the group and of its baseline."""


class IntegrityError(ToolscoutError):
    """An invariant that training rests on does not hold (weights, log-probs, token ids); the run stops."""
