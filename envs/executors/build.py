"""The executor of a run, from its configuration."""

from collections.abc import Collection, Mapping, Sequence

from envs.chat_client import ChatClient
from envs.config import EnvConfig
from envs.executors.backend import Backend
from envs.executors.bfcl_state import BfclStateBackend, load_classes
from envs.executors.config import ExecutorConfig, RecordConfig
from envs.executors.faults import Faulty
from envs.executors.http_tools import OpenApiTools, VirtualServer
from envs.executors.mcp_config import McpServerConfig, read_mcp_config
from envs.executors.python_pool import PythonPool
from envs.executors.record import Recorded
from envs.executors.record_store import RecordStore
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.executors.simulator import Simulator


def build_executor(
    config: ExecutorConfig,
    env: EnvConfig,
    *,
    origins: Collection[str] = (),
    own: Mapping[str, Backend] | None = None,
) -> RoutedExecutor | None:
    """What runs calls as `config` says, beside the backends that a world brings of its `own`; None where nothing does.

    `origins`: of the catalogue's tools; a simulator answers for those that nothing else runs, a record for all of them.
    Nothing is started yet. Raises UserError or DataError for a backend that cannot be made, on this machine or at all.
    """
    replays_only = config.record is not None and config.record.policy == "replay_only"
    # Under replay_only no server is started, and the file that names them need not be there.
    servers = () if config.mcp is None or replays_only else read_mcp_config(config.mcp)
    live = {} if replays_only else {**(own or {}), **_configured(config, servers)}
    stateful = _stateful(config, servers)
    if config.virtual_server is not None or config.simulator is not None:
        for origin in () if replays_only else {*origins, "simulator"} - live.keys():
            live[origin] = _simulator(config)
    backends: dict[str, Backend] = dict(live)
    if config.record is not None:
        for origin in (*live, *sorted({*origins} - live.keys())):  # what records goes first: it makes the file
            backends[origin] = _recorded(live.get(origin), config.record, stateful=origin in stateful)
    if config.bfcl is not None:  # after the record: same calls, same replies, and its state is to be seen
        backends["bfcl"] = BfclStateBackend(load_classes(config.bfcl))
    if config.faults is not None:
        backends = {origin: Faulty(backend, config.faults) for origin, backend in backends.items()}
    if not backends:
        return None
    limits = CallLimits(
        timeout_s=env.call_timeout_s,
        observation_chars=env.observation_chars,
        infra_retries=config.infra_retries,
        concurrency=config.concurrency,
    )
    # a call that waits for a worker is not to be on its own time
    fewer = {} if config.python is None else {"python": min(config.python.workers, config.concurrency)}
    return RoutedExecutor(backends, limits, fewer=fewer, in_order={*stateful, "bfcl"})


def _configured(config: ExecutorConfig, servers: Sequence[McpServerConfig]) -> dict[str, Backend]:
    backends: dict[str, Backend] = {}
    if config.python is not None:
        backends["python"] = PythonPool(config.python)
    if servers:
        from envs.executors.mcp_servers import McpServers  # the SDK takes a second to load

        backends["mcp"] = McpServers(servers)
    if config.http is not None:
        backends["http"] = OpenApiTools.read(config.http.documents, config.http)
    return backends


def _simulator(config: ExecutorConfig) -> Backend:
    if config.virtual_server is not None:
        return VirtualServer(config.virtual_server)
    assert config.simulator is not None
    return Simulator(ChatClient(config.simulator))


def _stateful(config: ExecutorConfig, servers: Sequence[McpServerConfig]) -> set[str]:
    """The origins whose calls change what later ones of an episode give: of what is recorded, its record tells."""
    if config.record is not None and config.record.policy == "replay_only":
        store = RecordStore(config.record.path, create=False)
        try:
            return {"mcp"} if store.has_histories else set()
        finally:
            store.close()
    return {"mcp"} if any(server.session == "episode" for server in servers) else set()


def _recorded(backend: Backend | None, config: RecordConfig, *, stateful: bool) -> Recorded:
    """Each has a store of its own over the one file, for it closes it."""
    policy = config.policy if backend is not None else "replay_only"
    store = RecordStore(config.path, create=policy != "replay_only")
    return Recorded(backend, store, policy=policy, stateful=stateful)
