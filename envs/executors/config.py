"""Where a run's tools are executed, as configuration. What every call is held to besides is in `env`."""

from dataclasses import dataclass

from envs.chat_client import ChatConfig
from envs.executors.faults import FaultConfig
from envs.executors.http_tools import HttpToolsConfig
from envs.executors.python_config import PythonConfig
from envs.executors.record import RecordPolicy
from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenApiConfig(HttpToolsConfig):
    """OpenAPI documents whose operations are called."""

    documents: tuple[str, ...]  # files or folders: those that the catalogue was imported from, for ids name them

    def __post_init__(self) -> None:
        HttpToolsConfig.__post_init__(self)
        if not self.documents:
            raise UserError("executor.http.documents is empty; give the OpenAPI files that the tools are from")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """A file in front of all backends that answers what it holds and records what they say."""

    path: str  # SQLite; several runs and workers may use it at once
    policy: RecordPolicy = "replay_then_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """The backends that are switched on, beside a world's own functions. A tool runs where its origin says."""

    python: PythonConfig | None = None  # origin python: functions of a folder, in sandboxed processes
    mcp: str | None = None  # origin mcp: an mcpServers JSON file
    http: OpenApiConfig | None = None  # origin http
    bfcl: str | None = None  # origin bfcl: the wheel of bfcl-eval, or the folder it was unpacked into; never recorded
    virtual_server: str | None = None  # StableToolBench's, an address: in place of `simulator`
    simulator: ChatConfig | None = None  # a language model for the tools that nothing else runs
    record: RecordConfig | None = None
    faults: FaultConfig | None = None  # failures on purpose
    infra_retries: int = 2  # of a call that failed by no fault of the tool
    concurrency: int = 64  # calls of one backend at a time, in one rollout worker

    def __post_init__(self) -> None:
        if self.infra_retries < 0:
            raise UserError(
                f"executor.infra_retries={self.infra_retries} is negative; 0 tries a call once, and no more"
            )
        if self.concurrency < 1:
            raise UserError(f"executor.concurrency={self.concurrency} is below 1; give a positive number")
        if self.virtual_server and self.simulator:
            raise UserError("executor.virtual_server and executor.simulator answer for the same tools; give one")

    @property
    def executes(self) -> bool:
        """Whether anything is switched on, so that tools of a user's files can be called."""
        backends = (self.python, self.mcp, self.http, self.bfcl, self.virtual_server, self.simulator, self.record)
        return any(backend is not None for backend in backends)
