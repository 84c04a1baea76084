"""One rollout worker: an engine, a retriever and a world, and nothing that matters if it dies."""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch

from envs.config import EnvConfig
from envs.dialects import DIALECTS
from envs.executors.config import ExecutorConfig
from envs.types import Task
from envs.worlds.world import WorldConfig, build_world
from retriever.batching import BatchedSearch
from retriever.build import build_retriever
from retriever.config import RetrieverConfig
from rollout.collect import Collector
from rollout.config import GroupPlan, ModelConfig, RolloutConfig
from rollout.engines import build_engine
from rollout.policy import load_tokenizer
from rollout.pool import Progress
from rollout.renderer import Renderer
from rollout.types import RolloutStatus, Sampling, TaskRollouts
from rollout.weights import WeightUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Everything a worker is built from; small, so that a restarted one costs little."""

    model_path: str  # a folder or Hub name
    model: ModelConfig
    world: WorldConfig
    retriever: RetrieverConfig
    env: EnvConfig
    rollout: RolloutConfig
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


class RolloutWorker:
    """Plays tasks with the weights that it was given last."""

    def __init__(self, spec: WorkerSpec) -> None:
        torch.set_num_threads(spec.rollout.threads_per_worker)
        world = build_world(spec.world)
        tokenizer = load_tokenizer(spec.model_path)
        renderer = Renderer(tokenizer, DIALECTS[spec.env.dialect])
        self._closing = ExitStack()
        self._engine = build_engine(
            spec.model_path, model=spec.model, renderer=renderer, config=spec.rollout, closing=self._closing
        )
        search = BatchedSearch(build_retriever(spec.retriever, world.catalogue))
        self._executor = world.executor(spec.env, spec.executor)
        self._collector = Collector(
            engine=self._engine,
            renderer=renderer,
            search=search.search,
            executor=self._executor,
            env=spec.env,
            rollout=spec.rollout,
        )

    async def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, sampling: Sampling, seed: int, policy_version: int
    ) -> list[TaskRollouts]:
        """Play `tasks`. Raises AssertionError when this worker does not hold `policy_version`, InfraError when its
        engine is broken for good."""
        held = self._engine.policy_version
        assert held == policy_version, f"worker holds policy version {held}, asked for {policy_version}"
        rollouts = await self._collector.collect(tasks, plan, sampling=sampling, seed=seed)
        self._engine.status()  # raises where the engine is gone: another worker plays these again
        return rollouts

    async def set_weights(self, update: WeightUpdate) -> int:
        """Load an update, checked by its hash; returns the version now held. Raises IntegrityError."""
        self._engine.set_weights(update)
        return self._engine.policy_version

    async def release(self) -> None:
        """Free the engine's memory of contexts for a trainer on the same device; the next request takes it again."""
        self._engine.release()

    async def close(self) -> None:
        """End what runs the tools, and the engine."""
        self._closing.close()
        if self._executor is not None:
            await self._executor.close()

    async def status(self) -> RolloutStatus:
        """What it is doing; answered within an engine step, also while it collects."""
        return self.status_now()

    def status_now(self) -> RolloutStatus:
        """`status`, for who is in the same process."""
        status = self._collector.counts.added_to(self._engine.status())
        return replace(status, worker=f"{socket.gethostname()}:{os.getpid()}")

    async def process_id(self) -> int:
        """The worker's process, for those who watch it or kill it."""
        return os.getpid()


class LocalPool:
    """One worker in this process: for tests, and for debugging with a breakpoint."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._worker = RolloutWorker(spec)
        self._version = 0

    def push(self, update: WeightUpdate) -> None:
        """See `Pool`."""
        self._version = asyncio.run(self._worker.set_weights(update))

    def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int, progress: Progress | None = None
    ) -> list[TaskRollouts]:
        """See `Pool`."""
        rollouts = asyncio.run(self._worker.collect(tasks, plan, sampling, seed, self._version))
        if progress:
            progress(len(rollouts))
        return rollouts

    def statuses(self) -> list[RolloutStatus]:
        """See `Pool`."""
        return [self._worker.status_now()]

    def close(self) -> None:
        """See `Pool`."""
        asyncio.run(self._worker.close())
