"""The door to Ray, the only module that imports it: a cluster of our own on the loopback interface, or one to join.

Whoever starts or joins a cluster proves itself by a token. A cluster of our own makes one; for another the user brings
it, in RAY_AUTH_TOKEN or in the file of RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
"""

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from retriever.base.errors import InfraError, UserError
from rollout.config import RolloutConfig

_STARTS = 4  # of a cluster of our own
_ANSWER_S = 10.0  # of a cluster that is to be joined, until its head takes a connection
_LOOPBACK = ("127.0.0.1", "localhost")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def open_cluster(rollout: RolloutConfig) -> Any:
    """Ray, connected. Raises UserError for GPUs or a cluster that are not there, InfraError when Ray does not start."""
    # All before Ray is imported.
    os.environ["RAY_AUTH_MODE"] = "token"  # nobody else may join
    if rollout.ray_address is None or rollout.ray_address.rpartition(":")[0] in _LOOPBACK:
        # Ray takes 127.0.0.1 for "this machine's address on the network", and listens there, unless clusters of
        # several machines are off, which is what this name is about.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        ranks = os.environ.get("WORLD_SIZE", "1")
        if rollout.weight_transport == "broadcast" and ranks == os.environ.get("LOCAL_WORLD_SIZE", "1"):
            # The workers' too; a trainer of several machines needs another.
            os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves the workers on a busy laptop
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    with _signals_kept():
        if rollout.ray_address is not None:
            _join(ray, rollout.ray_address)
        else:
            _start(ray, rollout)
    return ray


def node_address() -> str:
    """The address that Ray knows this process's node by: in a cluster of our own 127.0.0.1."""
    import ray

    address: str = ray.util.get_node_ip_address()
    return address


def _join(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_S):
            pass  # Ray would try for minutes where nobody listens
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        ray.shutdown()
        raise UserError(
            f"rollout.ray_address={address}: no Ray cluster could be joined there ({_first_line(error)}); is it "
            "running, is this machine one of its nodes, and is its token in RAY_AUTH_TOKEN?"
        ) from error


def _start(ray: Any, rollout: RolloutConfig) -> None:
    """A cluster of its own; Ray gives its node 30 s to register, which a busy machine may miss once."""
    devices = _devices(rollout)
    for attempt in range(_STARTS):
        try:
            with _visible(devices):  # Ray hands out what it sees when it starts
                started = ray.init(
                    address="local",
                    num_cpus=rollout.workers * rollout.threads_per_worker,
                    num_gpus=len(devices),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            _let_agents_go(Path(started.address_info["session_dir"]))
            return
        except Exception as error:
            ray.shutdown()
            if attempt == _STARTS - 1:
                raise InfraError(
                    f"Ray did not start in {_STARTS} attempts ({_first_line(error)}); is the machine overloaded?"
                ) from error


def _let_agents_go(session: Path) -> None:
    """Have Ray's agents end as soon as its node does, also when this process is killed.

    They look for this line in the node's log. Without it they first report the loss of the node, and try so for a
    minute, to a head that went with it.
    """
    with (session / "logs" / "raylet.out").open("a", encoding="utf-8") as log:
        log.write("Raylet received SIGTERM\n")


def _devices(rollout: RolloutConfig) -> tuple[int, ...]:
    """The GPUs that workers may have: those named, or the first ones, as many as they ask for."""
    wanted, seen = (
        rollout.workers * rollout.gpus_per_worker,
        torch.cuda.device_count() if rollout.gpus_per_worker else 0,
    )
    if wanted > seen:
        raise UserError(
            f"rollout.workers={rollout.workers} × rollout.gpus_per_worker={rollout.gpus_per_worker:g} asks for "
            f"{wanted:g} GPUs; {seen} are visible here; lower either"
        )
    if missing := [device for device in rollout.devices if device >= seen]:
        raise UserError(f"rollout.devices: {seen} GPUs are visible here, so there is no {missing[0]}; name others")
    return rollout.devices or tuple(range(math.ceil(wanted)))


@contextmanager
def _visible(devices: tuple[int, ...]) -> Iterator[None]:
    """The environment as one in which these GPUs alone are visible. Numbers count those that are visible now."""
    before = os.environ.get(_VISIBLE)
    names = before.split(",") if before else None
    if devices:
        os.environ[_VISIBLE] = ",".join(names[device] if names else str(device) for device in devices)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VISIBLE, None)
        else:
            os.environ[_VISIBLE] = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray's start takes SIGTERM over; how the process ends is for its main program to say."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
