"""Small real implementations of our Protocols, for tests."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envs.config import EnvConfig
from envs.dialects import DIALECTS
from envs.executors.executor import Stateless
from envs.executors.functions import FunctionBackend
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import Task, ToolResult
from envs.worlds.made_up import MadeUpEpisode, made_up_episode
from retriever.tools import Candidate, ToolDoc
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import Engine
from rollout.renderer import Renderer
from rollout.transformers_engine import TransformersEngine
from rollout.types import RolloutStatus, Sampling, TaskRollouts
from rollout.weights import WeightUpdate
from train.nano.curriculum import NANO_ENV


def functions_executor(
    call: Callable[[str, Mapping[str, Any]], str], *, timeout_s: float = 5.0, observation_chars: int = 100
) -> RoutedExecutor:
    """Runs `call(tool id, arguments)`."""
    limits = CallLimits(timeout_s=timeout_s, observation_chars=observation_chars)
    return RoutedExecutor({"python": FunctionBackend(call)}, limits)


class MadeUpWorld(Stateless):
    """Many made-up tasks at once: a search and an executor that know which task they serve."""

    def __init__(self, count: int, seed: int = 7) -> None:
        self.episodes: dict[str, MadeUpEpisode] = {}
        for index in range(count):
            episode = made_up_episode(seed, index)
            prefix = f"{index}."
            tools = {
                prefix + id: replace(tool, id=prefix + id, name=f"tool_{index}_{id}")
                for id, tool in episode.tools.items()
            }
            task = replace(
                episode.task,
                gold_tools=tuple(prefix + id for id in episode.task.gold_tools or ()),
                gold_calls=tuple(replace(call, name=prefix + call.name) for call in episode.task.gold_calls or ()),
            )
            ranking = {
                query: tuple(tools[prefix + tool.id] for tool in ranked) for query, ranked in episode.ranking.items()
            }
            results = {prefix + id: result for id, result in episode.results.items()}
            self.episodes[task.id] = MadeUpEpisode(task=task, tools=tools, ranking=ranking, results=results)
        self.tasks = tuple(episode.task for episode in self.episodes.values())
        self.tools = {id: tool for episode in self.episodes.values() for id, tool in episode.tools.items()}
        self._results = {id: text for episode in self.episodes.values() for id, text in episode.results.items()}

    async def search(self, query: str, k: int) -> Sequence[Candidate]:
        """The candidates of whichever task prepared this query; for any other, the tools with most common words."""
        for episode in self.episodes.values():
            if query in episode.ranking:
                return await episode.search(query, k)
        words = set(query.lower().split())
        ranked = sorted(
            self.tools.values(), key=lambda tool: (-len(words & set(tool.description.lower()[:-1].split())), tool.id)
        )
        return [Candidate(tool=tool, score=-float(rank), rank=rank) for rank, tool in enumerate(ranked[:k], start=1)]

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The prepared result."""
        return await next(e for e in self.episodes.values() if tool.id in e.tools).call(tool, arguments)


class MadeUpPool:
    """A `Pool` in this process over made-up tasks."""

    def __init__(
        self, world: MadeUpWorld, model: Any, tokenizer: Any, env: EnvConfig = NANO_ENV, **rollout: Any
    ) -> None:
        self.renderer = Renderer(tokenizer, DIALECTS[env.dialect])
        self.config = RolloutConfig(max_new_tokens=48, **rollout)
        self.engine = TransformersEngine(model, stop_ids=[self.renderer.end_id], config=self.config)
        self.collector = collector(world, self.renderer, self.engine, env, self.config)

    def push(self, update: WeightUpdate) -> None:
        self.engine.set_weights(update)

    def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int, progress: Any = None
    ) -> list[TaskRollouts]:
        return asyncio.run(self.collector.collect(tasks, plan, sampling=sampling, seed=seed))

    def statuses(self) -> list[RolloutStatus]:
        return [self.collector.counts.added_to(self.engine.status())]

    def close(self) -> None:
        pass


def collector(
    world: MadeUpWorld, renderer: Renderer, engine: Engine, env: EnvConfig, config: RolloutConfig | None = None
) -> Collector:
    """A collector over a made-up world."""
    return Collector(
        engine=engine,
        renderer=renderer,
        search=world.search,
        executor=world,
        env=env,
        rollout=config or RolloutConfig(),
    )
