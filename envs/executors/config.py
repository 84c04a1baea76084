"""Where a run's tools are executed, as configuration. What every call is held to besides is in `env`."""

from dataclasses import dataclass

from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """The backends that are switched on, beside the world's own functions."""

    infra_retries: int = 2  # of a call that failed by no fault of the tool
    concurrency: int = 64  # calls of one backend at a time, in one rollout worker

    def __post_init__(self) -> None:
        if self.infra_retries < 0:
            raise UserError(
                f"executor.infra_retries={self.infra_retries} is negative; 0 tries a call once, and no more"
            )
        if self.concurrency < 1:
            raise UserError(f"executor.concurrency={self.concurrency} is below 1; give a positive number")

    @property
    def executes(self) -> bool:
        """Whether anything is switched on, so that tools of a user's files can be called."""
        return False
