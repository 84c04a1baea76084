"""The executor of a run, from its configuration."""

from collections.abc import Mapping

from envs.config import EnvConfig
from envs.executors.backend import Backend
from envs.executors.config import ExecutorConfig
from envs.executors.routed import CallLimits, RoutedExecutor


def build_executor(
    config: ExecutorConfig, env: EnvConfig, *, own: Mapping[str, Backend] | None = None
) -> RoutedExecutor | None:
    """What runs calls as `config` says, beside the backends that a world brings of its `own`; None where nothing does.

    Raises UserError for a backend that cannot be made.
    """
    backends = dict(own or {})
    if not backends:
        return None
    limits = CallLimits(
        timeout_s=env.call_timeout_s,
        observation_chars=env.observation_chars,
        infra_retries=config.infra_retries,
        concurrency=config.concurrency,
    )
    return RoutedExecutor(backends, limits)
