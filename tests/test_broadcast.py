"""Weights by broadcast: every byte between real gloo ranks, and Ray pools that play as with the object store."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from retriever.base.errors import InfraError, IntegrityError, UserError
from rollout import broadcast, ray_broadcast
from rollout.broadcast import BroadcastGroup, CallStore, shapes_of
from rollout.config import ModelConfig, RolloutConfig, ServerConfig
from rollout.policy import load_model, trainable
from rollout.ray_pool import RayPool
from rollout.weights import WeightUpdate, weight_update, weights_hash
from rollout.worker import LocalPool, WorkerSpec
from tests.test_ray_pool import SPEC, alive_after, collect, listening, played, started_here, tasks, update
from tests.test_weights import corrupted

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
BROADCAST = replace(SPEC, rollout=replace(SPEC.rollout, weight_transport="broadcast"))


class Values:
    """What `CallStore` asks, kept in this process."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def __call__(self, method: str, *arguments: Any) -> Any:
        found: Callable[..., Any] = getattr(self, method)
        return found(*arguments)

    def set(self, key: str, value: bytes) -> None:
        self._values[key] = value

    def get(self, key: str) -> bytes:
        return self._values[key]

    def wait(self, keys: list[str], timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not self._values.keys() >= set(keys) and time.monotonic() < end:
            time.sleep(0.005)
        return self._values.keys() >= set(keys)


def rank(values: Values, number: int, *, size: int, timeout_s: float = 20.0) -> BroadcastGroup:
    store = CallStore(values, timeout_s=timeout_s)
    return BroadcastGroup(store, rank=number, size=size, backend="gloo", host="127.0.0.1", timeout_s=timeout_s)


def received(tensors: Mapping[str, Tensor], *, pushes: int = 1) -> list[dict[str, Tensor]]:
    """What ranks 1 and 2 get of rank 0, the last time."""
    values, found = Values(), [dict[str, Tensor](), dict[str, Tensor]()]

    def receive(number: int) -> None:
        group = rank(values, number, size=3)
        for _ in range(pushes):
            found[number - 1] = group.receive(shapes_of(tensors))

    threads = [threading.Thread(target=receive, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    group = rank(values, 0, size=3)
    for _ in range(pushes):
        group.send(tensors)
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("bucket_bytes", [7, 40, 1 << 20])
def test_every_byte_arrives_whatever_the_type_the_layout_and_the_bucket(
    bucket_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "BUCKET_BYTES", bucket_bytes)
    sent = {
        "z": torch.arange(35.0).reshape(5, 7),  # 140 bytes
        "half": torch.tensor([1.5, -0.0, float("nan")], dtype=torch.bfloat16),
        "scalar": torch.tensor(3.0),
        "turned": torch.arange(12.0).reshape(3, 4).T,
        "none": torch.empty(0, 4),
        "wanted": torch.ones(3, requires_grad=True),
    }
    for got in received(sent, pushes=2):
        assert list(got) == list(sent)
        assert weights_hash(got) == weights_hash(sent)


def test_buckets_are_bounded_and_keep_the_order() -> None:
    flat = [torch.arange(5, dtype=torch.uint8), torch.empty(0, dtype=torch.uint8), torch.arange(5, 12).byte()]
    buckets = list(broadcast._buckets(flat, 4))
    assert [[piece.tolist() for piece in bucket] for bucket in buckets] == [
        [[0, 1, 2, 3]],
        [[4], [5, 6, 7]],
        [[8, 9, 10, 11]],
    ]


def test_a_rank_that_does_not_come_is_not_waited_for_without_end() -> None:
    started = time.monotonic()
    with pytest.raises(InfraError, match=r"here/0, here/1: not set by the other ranks within 0.3 s"):
        rank(Values(), 0, size=2, timeout_s=0.3)
    assert time.monotonic() - started < 2


def test_a_rank_that_comes_and_does_not_receive_is_not_waited_for_without_end() -> None:
    values, groups = Values(), list[BroadcastGroup]()
    thread = threading.Thread(target=lambda: groups.append(rank(values, 1, size=2, timeout_s=1.0)))
    thread.start()
    group = rank(values, 0, size=2, timeout_s=1.0)
    thread.join()
    started = time.monotonic()
    with pytest.raises(InfraError, match="no broadcast: .*[Tt]imed out"):
        for _ in range(8):  # more than sockets hold
            group.send({"a": torch.ones(4 << 20)})
    assert time.monotonic() - started < 5


def test_a_server_takes_no_weights() -> None:
    server = ServerConfig(base_url="http://127.0.0.1:1/v1", model="m")
    with pytest.raises(UserError, match="weight_transport=broadcast with rollout.engine=openai.*leave"):
        RolloutConfig(engine="openai", server=server, weight_transport="broadcast")


@pytest.mark.parametrize(
    ("options", "backend"),
    [
        ({}, "gloo"),
        ({"gpus_per_worker": 1.0}, "nccl"),
        ({"gpus_per_worker": 0.5}, "gloo"),
        ({"gpus_per_worker": 1.0, "placement": "colocated"}, "gloo"),
        ({"gpus_per_worker": 1.0, "engine": "vllm"}, "gloo"),
    ],
)
def test_nccl_is_for_workers_with_a_gpu_of_their_own(
    options: dict[str, Any], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, asked in ((torch.cuda, "is_available"), (dist, "is_nccl_available")):
        monkeypatch.setattr(module, asked, lambda: True)
    assert ray_broadcast.backend_of(RolloutConfig(**options)) == backend
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the trainer has none
    assert ray_broadcast.backend_of(RolloutConfig(**options)) == "gloo"


# --- Ray pools ---


@contextmanager
def opened(spec: WorkerSpec, first: WeightUpdate) -> Iterator[RayPool]:
    """A pool whose workers are all there, with a broadcast behind them."""
    pool = RayPool(spec)
    try:
        while len(pool.statuses()) < spec.rollout.workers:  # who joins late fetches
            pool.push(first)
        pool.push(first)
        assert by_broadcast(pool)
        yield pool
    finally:
        pool.close()


def by_broadcast(pool: RayPool) -> bool:
    """Whether the last push put nothing into the object store."""
    assert pool._workers._weights is not None
    return pool._workers._weights._reference is None


@pytest.fixture(scope="module")
def local() -> LocalPool:
    return LocalPool(SPEC)


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """In a process that has a default process group, as a trainer's has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with opened(BROADCAST, update(1)) as pool:
            yield pool
    finally:
        dist.destroy_process_group()


def test_workers_play_as_with_weights_from_this_process(pool: RayPool, local: LocalPool) -> None:
    for worker in (pool, local):
        worker.push(update(2))
    assert by_broadcast(pool)
    found = collect(pool, tasks(4))
    assert played(found) == played(collect(local, tasks(4)))
    assert {turn.completion.policy_version for r in found for t in r.retrieval for turn in t.turns} == {2}
    whole = torch.ones(3)
    dist.all_reduce(whole)  # the process's own group is as it was
    assert whole.tolist() == [1.0, 1.0, 1.0]


def test_nobody_on_the_network_can_reach_the_group(pool: RayPool) -> None:
    children = started_here()
    assert listening(set(pool.process_ids)) >= {"0100007F"}
    assert listening({os.getpid(), *children}) <= LOOPBACK


def test_weights_that_arrive_corrupted_are_refused_in_the_driver(pool: RayPool, local: LocalPool) -> None:
    sound = update(3)
    with pytest.raises(IntegrityError, match=r"weights of policy version 3 arrived corrupted: hash \w{12}, expected"):
        pool.push(corrupted(sound))
    assert by_broadcast(pool)
    pool.push(sound)  # which both fetch
    pool.push(sound)
    assert by_broadcast(pool)
    local.push(sound)
    assert played(collect(pool, tasks(2))) == played(collect(local, tasks(2)))


@pytest.mark.drill
@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_killed_worker_breaks_a_broadcast_and_not_the_run(
    moment: str, pool: RayPool, local: LocalPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.push(update(4))
    other, killed = pool.process_ids  # of the last rank's death gloo tells the others nothing
    weights = update(5)
    push = threading.Thread(target=pool.push, args=(weights,), daemon=True)
    if moment == "before":
        os.kill(killed, signal.SIGKILL)
        assert not alive_after({killed}, timeout_s=10)
        push.start()
    else:
        os.kill(killed, signal.SIGSTOP)  # what is sent to it fills the sockets, and no more goes on
        push.start()
        time.sleep(1)
        assert push.is_alive()
        os.kill(killed, signal.SIGKILL)
    push.join(timeout=0.75 * pool._rollout.heartbeat_timeout_s)  # a rank that nobody told would wait for all of it
    assert not push.is_alive()
    if moment == "during":
        assert "weights 5 could not be broadcast: no broadcast: " in caplog.text
    assert killed not in pool.process_ids
    assert other in pool.process_ids
    local.push(weights)
    chosen = tasks(6)
    found = collect(pool, chosen)
    assert [r.task.id for r in found] == [task.id for task in chosen]
    assert played(found) == played(collect(local, chosen))
    pool.push(update(6))  # among the survivor and the new one
    pool.push(update(7))
    assert by_broadcast(pool)


@pytest.mark.drill
def test_a_worker_that_stands_still_is_waited_for_so_long_and_fetches_when_it_goes_on(pool: RayPool) -> None:
    pool.close()  # a process has one cluster at a time
    limit_s = 3.0
    with opened(replace(BROADCAST, rollout=replace(BROADCAST.rollout, heartbeat_timeout_s=limit_s)), update(1)) as pool:
        before = set(pool.process_ids)
        still = pool.process_ids[0]
        os.kill(still, signal.SIGSTOP)
        push = threading.Thread(target=pool.push, args=(update(2),))
        push.start()
        time.sleep(limit_s + 2)
        assert pool._workers.ready == [1]  # the other one has it
        os.kill(still, signal.SIGCONT)
        push.join(timeout=20)
        assert not push.is_alive()
        assert set(pool.process_ids) == before
        assert not by_broadcast(pool)
        assert {status.policy_version for status in pool.statuses()} == {2}
        pool.push(update(3))
        assert by_broadcast(pool)


@pytest.mark.drill
def test_an_adapter_alone_is_broadcast_and_nothing_is_left(pool: RayPool) -> None:
    pool.close()
    others, ports = started_here(), listening({os.getpid()})
    files = set(Path("/dev/shm").iterdir())
    lora = ModelConfig(lora=True)
    model = load_model(SPEC.model_path, lora)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if "lora_B" in name:
                parameter.normal_(std=0.05)  # zero in a fresh adapter, which then changes nothing
    adapter = weight_update(1, trainable(model))
    assert all("lora_" in name for name in adapter.tensors)
    local = LocalPool(replace(SPEC, model=lora))
    without = played(collect(local, tasks(3)))
    local.push(adapter)
    wanted = played(collect(local, tasks(3)))
    assert wanted != without
    with opened(replace(BROADCAST, model=lora), adapter) as adapted:
        assert played(collect(adapted, tasks(3))) == wanted
        started = started_here() - others
    assert not alive_after(started, timeout_s=20)
    assert listening({os.getpid()}) == ports
    assert set(Path("/dev/shm").iterdir()) <= files
