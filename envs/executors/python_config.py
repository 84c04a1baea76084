"""Where a user's Python tools are, and what their calls are held to, as configuration."""

from dataclasses import dataclass
from typing import Literal

from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonConfig:
    """Python tools that run in processes of their own. The limits are of one call, not of the pool."""

    folder: str  # the one given to `toolscout catalogue import`; tool ids are relative to it
    workers: int = 2  # calls at a time
    sandbox: Literal["kernel", "none"] = "kernel"  # none: any harm that the user's own code can do
    memory_mb: int = 512  # address space, beyond what the imported libraries took
    cpu_s: int = 10  # of all its threads together
    file_mb: int = 16  # of one file
    open_files: int = 64
    output_chars: int = 100_000  # of a result, before the observation's own limit
    readable: tuple[str, ...] = ()  # further files and folders that tools may read

    def __post_init__(self) -> None:
        if not self.folder:
            raise UserError("folder='' names no folder of tools; give the one that was imported into the catalogue")
        if self.sandbox not in ("kernel", "none"):
            raise UserError(f"sandbox={self.sandbox!r} is unknown; give kernel, or none to run tools unprotected")
        for name, least in (("workers", 1), ("memory_mb", 16), ("cpu_s", 1), ("file_mb", 0), ("output_chars", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} is below {least}; give at least {least}")
        if self.open_files < 16:
            raise UserError(f"open_files={self.open_files} is below 16, what Python itself may need; give more")
