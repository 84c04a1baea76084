"""Workers that come and go while tasks are played: silent ones, nodes that are lost and added, room that is missing."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from envs.types import Task
from retriever.base.errors import InfraError, UserError
from rollout.ray_pool import RayPool
from rollout.types import TaskRollouts
from rollout.worker import LocalPool
from tests.test_ray_pool import SPEC, alive_after, collect, played, started_here, tasks, update

pytestmark = pytest.mark.drill


@pytest.fixture(scope="module")
def wanted() -> list[Any]:
    """What 24 tasks come to when nothing goes wrong."""
    local = LocalPool(SPEC)
    local.push(update(1))
    return played(collect(local, tasks(24)))


class Nodes:
    """A Ray cluster on this machine whose head has no room for workers; every node that is added has room for one."""

    def __init__(self) -> None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # as `open_cluster` does
        from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
        from ray.cluster_utils import Cluster

        ensure_token_if_auth_enabled()  # the one that clusters of a run's own have made, or make
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1"})
        self.address = str(self._cluster.address)

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")

    def lose(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.close()


def spec(**rollout: Any) -> Any:
    return replace(SPEC, rollout=replace(SPEC.rollout, **rollout))


class Happening:
    """A progress callback that does something once, when so many tasks are finished."""

    def __init__(self, what: Any, *, after: int) -> None:
        self._what, self._left, self.happened = what, after, False

    def __call__(self, finished: int) -> None:
        self._left -= finished
        if self._left <= 0 and not self.happened:
            self.happened = True
            self._what()


def complete(found: Sequence[TaskRollouts], chosen: Sequence[Task]) -> bool:
    """Every task once, in order, each with its whole group."""
    return [r.task.id for r in found] == [t.id for t in chosen] and all(len(r.retrieval) == 3 for r in found)


@pytest.mark.parametrize("transport", ["object_store", "broadcast"])
def test_a_node_is_lost_and_another_is_added_while_tasks_are_played(
    transport: str, nodes: Nodes, wanted: list[Any]
) -> None:
    chosen, first, second = tasks(24), nodes.add(), nodes.add()
    assert first is not second
    pool = RayPool(spec(ray_address=nodes.address, weight_transport=transport))
    try:
        pool.push(update(1))
        before = pool.process_ids
        losing = Happening(lambda: nodes.lose(first), after=3)
        found = collect(pool, chosen, progress=losing)
        assert losing.happened
        assert complete(found, chosen)
        assert played(found) == wanted
        assert len(set(before) - alive_after(set(before), timeout_s=5)) == 1
        # There is room for one worker now. The other one waits for a node, and holds nobody up.
        pool.push(update(1))
        assert len(pool.statuses()) == 1
        nodes.add()
        after = pool.process_ids  # waits for both
        assert len(set(after) & set(before)) == 1
        assert played(collect(pool, chosen)) == wanted
    finally:
        pool.close()


def test_a_worker_joins_when_there_is_room_for_it(nodes: Nodes, wanted: list[Any]) -> None:
    nodes.add()
    pool = RayPool(spec(ray_address=nodes.address))
    try:
        pool.push(update(1))
        adding = Happening(nodes.add, after=2)
        found = collect(pool, tasks(24), progress=adding)
        assert adding.happened
        assert played(found) == wanted
        assert len(set(pool.process_ids)) == 2
    finally:
        pool.close()


def test_without_room_for_any_worker_the_run_stops(nodes: Nodes) -> None:
    with pytest.raises(InfraError, match=r"no rollout worker has been ready for rollout.start_timeout_s=3"):
        RayPool(spec(ray_address=nodes.address, start_timeout_s=3.0))


def test_a_cluster_that_is_not_there_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"rollout.ray_address=127.0.0.1:1: no Ray cluster could be joined there"):
        RayPool(spec(ray_address="127.0.0.1:1"))


def test_a_silent_worker_is_replaced(wanted: list[Any]) -> None:
    pool = RayPool(spec(heartbeat_timeout_s=4.0))
    try:
        pool.push(update(1))
        before = pool.process_ids
        stopping = Happening(lambda: os.kill(before[0], signal.SIGSTOP), after=3)
        found = collect(pool, tasks(24), progress=stopping)
        assert stopping.happened
        assert played(found) == wanted
        assert not alive_after({before[0]}, timeout_s=20)
        assert before[0] not in pool.process_ids
        assert before[1] in pool.process_ids
        assert {status.policy_version for status in pool.statuses()} == {1}
    finally:
        pool.close()


def test_a_collection_in_another_thread_ends_when_the_pool_is_closed() -> None:
    others = started_here()
    pool = RayPool(spec())
    pool.push(update(1))
    raised: list[Exception] = []

    def play() -> None:
        try:
            collect(pool, tasks(100))
        except InfraError as error:
            raised.append(error)

    playing = threading.Thread(target=play)
    playing.start()
    time.sleep(1)
    started = started_here() - others
    pool.close()
    playing.join(timeout=10)
    assert [str(error) for error in raised] == ["the rollout workers were stopped"]
    assert not alive_after(started, timeout_s=10)
