"""Playing episodes: one coroutine each, no barrier between them but the gate's.

The environment's rules are in `envs.episode`; here ids grow, engines are asked, and trajectories are recorded.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from envs.config import EnvConfig
from envs.episode import Env, ExecutionPhase, RetrievalPhase, Search
from envs.executors.executor import Executor
from envs.types import Observation, StopReason, Task
from envs.view import ToolView
from retriever.base.errors import InfraError
from retriever.base.seeds import derive_seed
from retriever.tools import Candidate, ToolDoc
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import Engine, GenerationRequest
from rollout.renderer import Renderer
from rollout.types import FinishReason, Sampling, TaskRollouts, Trajectory, Turn

_OFFERED_DEPTH = 64  # results asked for at first, where only some tools may be shown


@dataclass(slots=True, kw_only=True)
class _Context:
    """The growing ids of one episode; forked for each execution."""

    ids: list[int]
    pending: tuple[int, ...]  # appended after the last completion, not yet in a turn
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retrieved:
    """A finished retrieval phase, and what an execution needs to go on from it."""

    trajectory: Trajectory
    view: ToolView
    context: _Context
    toolset: tuple[ToolDoc, ...]


class Collector:
    """Plays tasks with one engine; any number of them at a time."""

    def __init__(
        self,
        *,
        engine: Engine,
        renderer: Renderer,
        search: Search,
        executor: Executor | None,  # None: nothing can be executed, and no plan may ask for it
        env: EnvConfig,
        rollout: RolloutConfig,
    ) -> None:
        self._engine, self._renderer, self._search, self._executor = engine, renderer, search, executor
        self._env, self._rollout = env, rollout
        self._places = asyncio.Semaphore(rollout.max_concurrent)
        self._under_way = 0

    async def collect(
        self, tasks: Sequence[Task], plan: GroupPlan, *, sampling: Sampling, seed: int
    ) -> list[TaskRollouts]:
        """The rollouts of every task, in the order of `tasks`. Calls under way together share the places."""
        if self._under_way == 0:  # a semaphore belongs to one event loop, and the last call's may be closed
            self._places = asyncio.Semaphore(self._rollout.max_concurrent)
        self._under_way += 1
        try:
            search = _hiding(plan.hidden, self._search)
            plays = [_Play(self, task, search, sampling, seed, self._places) for task in tasks]
            return list(await asyncio.gather(*(play.all(plan) for play in plays)))
        finally:
            self._under_way -= 1


def _hiding(hidden: frozenset[str], search: Search) -> Search:
    """`search` as if the catalogue did not hold the tools `hidden`."""
    if not hidden:
        return search

    async def searched(query: str, k: int) -> Sequence[Candidate]:
        found = [candidate for candidate in await search(query, k + len(hidden)) if candidate.tool.id not in hidden]
        return [replace(candidate, rank=rank) for rank, candidate in enumerate(found[:k], start=1)]

    return searched


def _offering(offered: Sequence[str], search: Search) -> Search:
    """`search` as if the catalogue held the tools `offered` alone; as it is where there are none."""
    if not offered:
        return search

    async def searched(query: str, k: int) -> Sequence[Candidate]:
        depth = max(k, _OFFERED_DEPTH)
        while True:
            found = await search(query, depth)
            kept = [candidate for candidate in found if candidate.tool.id in offered][:k]
            if len(kept) == min(k, len(offered)) or len(found) < depth:
                return [replace(candidate, rank=rank) for rank, candidate in enumerate(kept, start=1)]
            depth *= 8

    return searched


def may_execute(trajectory: Trajectory, plan: GroupPlan) -> bool:
    """The gate: a valid selection, which holds every gold tool unless the gate is off or the task names none."""
    if trajectory.selection is None or plan.gate == "closed":
        return False
    gold = trajectory.task.gold_tools
    return plan.gate == "off" or gold is None or set(gold) <= set(trajectory.selection)


def refuse_losses(rollouts: Sequence[TaskRollouts], config: RolloutConfig, *, what: str) -> None:
    """Raises InfraError when more episodes were lost to failures of ours than `rollout.max_lost_share` allows."""
    episodes = [trajectory for r in rollouts for trajectory in (*r.retrieval, *r.executions)]
    lost = [trajectory for trajectory in episodes if trajectory.stop is StopReason.INFRA_FAILURE]
    if len(lost) > config.max_lost_share * len(episodes):
        raise InfraError(
            f"{what}: {len(lost)} of {len(episodes)} episodes were lost to failures of ours, more than "
            f"rollout.max_lost_share={config.max_lost_share:g} allows; the first: {lost[0].failure}"
        )


class _Play:
    """All episodes of one task in one batch."""

    def __init__(
        self,
        collector: Collector,
        task: Task,
        search: Search,
        sampling: Sampling,
        seed: int,
        places: asyncio.Semaphore,
    ) -> None:
        self._of, self._task, self._search = collector, task, _offering(task.offered_tools, search)
        self._sampling, self._places = sampling, places
        self._seed = derive_seed(seed, task.id)

    async def all(self, plan: GroupPlan) -> TaskRollouts:
        """The retrieval group and, behind the gate, the execution group."""
        if plan.execution_group == "survivors":
            episodes = await asyncio.gather(*(self.whole(index, plan) for index in range(plan.group_size)))
            executions = tuple(execution for _, execution in episodes if execution is not None)
            return TaskRollouts(
                task=self._task, retrieval=tuple(r.trajectory for r, _ in episodes), executions=executions
            )
        retrieved = await asyncio.gather(*(self.retrieval(index) for index in range(plan.group_size)))
        distinct = list(
            {r.trajectory.selection: r for r in reversed(retrieved) if may_execute(r.trajectory, plan)}.values()
        )
        distinct.sort(key=lambda r: r.trajectory.id)
        chosen = [distinct[index % len(distinct)] for index in range(plan.group_size)] if distinct else []
        executions = tuple(await asyncio.gather(*(self.execution(r, index) for index, r in enumerate(chosen))))
        return TaskRollouts(task=self._task, retrieval=tuple(r.trajectory for r in retrieved), executions=executions)

    async def whole(self, index: int, plan: GroupPlan) -> tuple[_Retrieved, Trajectory | None]:
        retrieved = await self.retrieval(index)
        if not may_execute(retrieved.trajectory, plan):
            return retrieved, None
        return retrieved, await self.execution(retrieved, index)

    async def retrieval(self, index: int) -> _Retrieved:
        """The retrieval phase of episode `index`, retried as a whole after a failure of ours."""
        for attempt in range(self._of._rollout.infra_retries + 1):
            retrieved = await self._retrieval_once(index)
            if retrieved.trajectory.stop is not StopReason.INFRA_FAILURE or attempt == self._of._rollout.infra_retries:
                return retrieved
        raise AssertionError("unreachable")

    async def _retrieval_once(self, index: int) -> _Retrieved:
        of = self._of
        # One seed of names for the whole group: its members must face the same prompt to share a baseline.
        view = ToolView(of._env, seed=self._seed)
        env = RetrievalPhase(task=self._task, search=self._search, config=of._env, view=view, seed=self._seed)
        context = _Context(ids=[], pending=of._renderer.prompt_ids(env.prompt()), index=0)
        id = f"{self._task.id}/{index}"
        turns, stop, failure, seconds = await self._run(env, context, f"{id}/r", derive_seed(self._seed, "r", index))
        toolset = env.selection or ()
        trajectory = Trajectory(
            id=id,
            task=self._task,
            turns=turns,
            stop=stop,
            selection=tuple(tool.id for tool in toolset) or None,
            failure=failure,
            seconds=seconds,
        )
        return _Retrieved(trajectory=trajectory, view=view, context=context, toolset=toolset)

    async def execution(self, retrieved: _Retrieved, index: int) -> Trajectory:
        """Execution `index` of the group, going on from `retrieved`; retried after a failure of ours."""
        for attempt in range(self._of._rollout.infra_retries + 1):
            trajectory = await self._execution_once(retrieved, index)
            if trajectory.stop is not StopReason.INFRA_FAILURE or attempt == self._of._rollout.infra_retries:
                return trajectory
        raise AssertionError("unreachable")

    async def _execution_once(self, retrieved: _Retrieved, index: int) -> Trajectory:
        of, parent = self._of, retrieved.trajectory
        assert of._executor is not None, "an execution was planned where nothing can be executed"
        id = f"{self._task.id}/x{index}"
        async with of._executor.session() as executor:
            env = ExecutionPhase(
                task=self._task, toolset=retrieved.toolset, executor=executor, config=of._env, view=retrieved.view
            )
            if of._env.context == "fresh":
                context = _Context(ids=[], pending=of._renderer.prompt_ids(env.prompt()), index=1)
            else:
                pending = of._renderer.observation_ids([env.handover()])
                context = _Context(ids=list(retrieved.context.ids), pending=pending, index=0)
            turns, stop, failure, seconds = await self._run(env, context, id, derive_seed(self._seed, "x", index))
        answer = turns[-1].message.answer if turns and stop is StopReason.ANSWERED else None
        return replace(
            parent,
            id=id,
            parent_id=parent.id,
            turns=parent.turns + turns,
            stop=stop,
            answer=answer,
            failure=failure,
            seconds=parent.seconds + seconds,
        )

    async def _run(
        self, env: Env, context: _Context, session: str, seed: int
    ) -> tuple[tuple[Turn, ...], StopReason, str | None, float]:
        """Play one phase: (turns, why it ended, what of ours broke, seconds)."""
        turns: list[Turn] = []
        failure = None
        async with self._places:  # waiting for a place is not the episode's time
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self._of._rollout.episode_timeout_s):
                    stop = await self._turns(env, context, session, seed, turns)
            except TimeoutError:
                stop, failure = StopReason.INFRA_FAILURE, f"outlived its {self._of._rollout.episode_timeout_s:g} s"
            except InfraError as error:
                stop, failure = StopReason.INFRA_FAILURE, str(error)
            finally:
                self._of._engine.close_session(session)
        return tuple(turns), stop, failure, time.perf_counter() - started

    async def _turns(self, env: Env, context: _Context, session: str, seed: int, turns: list[Turn]) -> StopReason:
        of, renderer = self._of, self._of._renderer
        while True:
            if len(context.ids) + len(context.pending) + self._sampling.max_new_tokens > of._rollout.max_context:
                return StopReason.CONTEXT_FULL
            context.ids += context.pending
            request = GenerationRequest(
                session=session, ids=tuple(context.ids), sampling=self._sampling, seed=derive_seed(seed, len(turns))
            )
            completion = await of._engine.generate(request)
            context.ids += completion.ids
            text = renderer.completion_text(completion.ids)
            message = renderer.dialect.parse(text)
            if completion.finish is FinishReason.LENGTH:  # cut off: nothing that it says is acted upon
                observation = Observation(texts=(), stop=StopReason.LENGTH)
            else:
                observation = await env.respond(message)
            turns.append(
                Turn(
                    phase=env.phase,
                    context=context.index,
                    prompt_ids=context.pending,
                    completion=completion,
                    text=text,
                    message=message,
                    observation=observation,
                )
            )
            if observation.stop is not None:
                return observation.stop
            context.pending = renderer.observation_ids(observation.texts)
