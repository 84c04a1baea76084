"""Playing episodes: one coroutine each, no barrier between them but the gate's.

The environment's rules are in `envs.episode`; here ids grow, engines are asked, and trajectories are recorded. An
episode that a failure of ours spoilt is played again as a whole, and one that is given up says why. Whoever cancels
`collect` ends them all: their requests, their sessions and their calls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from envs.config import EnvConfig
from envs.episode import Env, ExecutionPhase, RetrievalPhase, Search
from envs.executors.executor import Executor
from envs.types import Observation, StopReason, Task
from envs.view import ToolView
from retriever.base.errors import InfraError
from retriever.base.seeds import derive_seed
from retriever.base.together import together
from retriever.tools import Candidate, ToolDoc
from rollout.config import GroupPlan, RolloutConfig
from rollout.counts import Counts
from rollout.deadlines import Clock, ClockedExecutor
from rollout.engine import Engine, GenerationRequest
from rollout.renderer import Renderer
from rollout.types import FinishReason, Sampling, TaskRollouts, Trajectory, Turn

_T = TypeVar("_T")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """One phase as it was played."""

    turns: tuple[Turn, ...]
    stop: StopReason
    failure: str | None  # what of ours broke
    seconds: float


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
        self.counts = Counts()

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
            return await together(play.all(plan) for play in plays)
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
        later = frozenset(tool.id for request in task.requests for tool in request.new_tools)
        self._of, self._task = collector, task
        self._search = _offering(task.offered_tools, _hiding(later, search))
        self._sampling, self._places, self._counts = sampling, places, collector.counts
        self._seed = derive_seed(seed, task.id)

    async def all(self, plan: GroupPlan) -> TaskRollouts:
        """The retrieval group and, behind the gate, the execution group."""
        if plan.execution_group == "survivors":
            episodes = await together(self.whole(index, plan) for index in range(plan.group_size))
            executions = tuple(execution for _, execution in episodes if execution is not None)
            return TaskRollouts(
                task=self._task, retrieval=tuple(r.trajectory for r, _ in episodes), executions=executions
            )
        retrieved = await together(self.retrieval(index) for index in range(plan.group_size))
        passed = [r for r in retrieved if self._passes(r, plan)]
        distinct = list({r.trajectory.selection: r for r in reversed(passed)}.values())
        distinct.sort(key=lambda r: r.trajectory.id)
        chosen = [distinct[index % len(distinct)] for index in range(plan.group_size)] if distinct else []
        executions = tuple(await together(self.execution(r, index) for index, r in enumerate(chosen)))
        return TaskRollouts(task=self._task, retrieval=tuple(r.trajectory for r in retrieved), executions=executions)

    async def whole(self, index: int, plan: GroupPlan) -> tuple[_Retrieved, Trajectory | None]:
        retrieved = await self.retrieval(index)
        if not self._passes(retrieved, plan):
            return retrieved, None
        return retrieved, await self.execution(retrieved, index)

    def _passes(self, retrieved: _Retrieved, plan: GroupPlan) -> bool:
        passes = may_execute(retrieved.trajectory, plan)
        if retrieved.trajectory.stop is not StopReason.INFRA_FAILURE:
            self._counts.judged(passed=passes)
        return passes

    async def retrieval(self, index: int) -> _Retrieved:
        """The retrieval phase of episode `index`, retried as a whole after a failure of ours."""
        return await self._retried(lambda: self._retrieval_once(index), lambda retrieved: retrieved.trajectory)

    async def execution(self, retrieved: _Retrieved, index: int) -> Trajectory:
        """Execution `index` of the group, going on from `retrieved`; retried after a failure of ours."""
        return await self._retried(lambda: self._execution_once(retrieved, index), lambda trajectory: trajectory)

    async def _retried(self, once: Callable[[], Awaitable[_T]], trajectory_of: Callable[[_T], Trajectory]) -> _T:
        left = self._of._rollout.infra_retries
        while True:
            played = await once()
            spoilt = trajectory_of(played).stop is StopReason.INFRA_FAILURE
            if not spoilt or not left:
                self._counts.finished(lost=spoilt)
                return played
            left -= 1
            self._counts.episodes_retried += 1

    async def _retrieval_once(self, index: int) -> _Retrieved:
        of = self._of
        # One seed of names for the whole group: its members must face the same prompt to share a baseline.
        view = ToolView(of._env, seed=self._seed)
        env = RetrievalPhase(task=self._task, search=self._search, config=of._env, view=view, seed=self._seed)
        context = _Context(ids=[], pending=of._renderer.prompt_ids(env.prompt()), index=0)
        id, seed = f"{self._task.id}/{index}", derive_seed(self._seed, "r", index)

        async def play(clock: Clock, turns: list[Turn]) -> StopReason:
            return await self._turns(env, context, f"{id}/r", seed, clock, turns)

        phase = await self._run(play, f"{id}/r")
        toolset = env.selection or ()
        trajectory = Trajectory(
            id=id,
            task=self._task,
            turns=phase.turns,
            stop=phase.stop,
            selection=tuple(tool.id for tool in toolset) or None,
            failure=phase.failure,
            seconds=phase.seconds,
        )
        return _Retrieved(trajectory=trajectory, view=view, context=context, toolset=toolset)

    async def _execution_once(self, retrieved: _Retrieved, index: int) -> Trajectory:
        of, parent = self._of, retrieved.trajectory
        tools = of._executor
        assert tools is not None, "an execution was planned where nothing can be executed"
        id, seed = f"{self._task.id}/x{index}", derive_seed(self._seed, "x", index)

        async def play(clock: Clock, turns: list[Turn]) -> StopReason:
            async with tools.session(self._task) as session:
                env = ExecutionPhase(
                    task=self._task,
                    toolset=retrieved.toolset,
                    executor=ClockedExecutor(
                        session,
                        clock,
                        call_timeout_s=of._env.call_timeout_s,
                        patience_s=of._rollout.episode_timeout_s,
                    ),
                    config=of._env,
                    view=retrieved.view,
                )
                if of._env.context == "fresh":
                    context = _Context(ids=[], pending=of._renderer.prompt_ids(env.prompt()), index=1)
                else:
                    pending = of._renderer.observation_ids([env.handover()])
                    context = _Context(ids=list(retrieved.context.ids), pending=pending, index=0)
                return await self._turns(env, context, id, seed, clock, turns)

        phase = await self._run(play, id)
        answered = phase.stop is StopReason.ANSWERED
        return replace(
            parent,
            id=id,
            parent_id=parent.id,
            turns=parent.turns + phase.turns,
            stop=phase.stop,
            answer=phase.turns[-1].message.answer if answered else None,
            failure=phase.failure,
            seconds=parent.seconds + phase.seconds,
        )

    async def _run(self, play: Callable[[Clock, list[Turn]], Awaitable[StopReason]], session: str) -> _Phase:
        """Play one phase in a place of its own, within the episode's time."""
        turns: list[Turn] = []
        failure, clock, limit_s = None, Clock(), self._of._rollout.episode_timeout_s
        with self._counts.waiting():  # which is not the episode's time
            await self._places.acquire()
        started = time.perf_counter()
        try:
            with self._counts.running():
                async with clock.limit(limit_s, f"the episode outlived rollout.episode_timeout_s={limit_s:g}"):
                    stop = await play(clock, turns)
        except InfraError as error:
            stop, failure = StopReason.INFRA_FAILURE, str(error)
        finally:
            self._places.release()
            self._of._engine.close_session(session)
        return _Phase(turns=tuple(turns), stop=stop, failure=failure, seconds=time.perf_counter() - started)

    async def _turns(
        self, env: Env, context: _Context, session: str, seed: int, clock: Clock, turns: list[Turn]
    ) -> StopReason:
        limits = self._of._rollout
        end_id = self._of._renderer.end_id
        while True:
            if context.ids and context.ids[-1] != end_id:  # a stop string ended the completion: we end the message
                context.pending = (end_id, *context.pending)
            if len(context.ids) + len(context.pending) + self._sampling.max_new_tokens > limits.max_context:
                return StopReason.CONTEXT_FULL
            context.ids += context.pending
            request = GenerationRequest(
                session=session, ids=tuple(context.ids), sampling=self._sampling, seed=derive_seed(seed, len(turns))
            )
            told = f"turn {len(turns) + 1} of its phase outlived rollout.turn_timeout_s={limits.turn_timeout_s:g}"
            async with clock.limit(limits.turn_timeout_s, told):
                turn = await self._turn(env, context, request)
            turns.append(turn)
            self._counts.turn(turn)
            if turn.observation.stop is not None:
                return turn.observation.stop
            if turn.observation.request is None:
                context.pending = self._of._renderer.observation_ids(turn.observation.texts)
            else:
                context.pending = self._of._renderer.request_ids(turn.observation.request)

    async def _turn(self, env: Env, context: _Context, request: GenerationRequest) -> Turn:
        """One completion, which joins the context, and what the environment says to it."""
        renderer, asked = self._of._renderer, time.perf_counter()
        completion = await self._of._engine.generate(request)
        told = time.perf_counter()
        context.ids += completion.ids
        text = renderer.completion_text(completion.ids)
        message = renderer.dialect.parse(text)
        if completion.finish is FinishReason.LENGTH:  # cut off: nothing that it says is acted upon
            observation = Observation(texts=(), stop=StopReason.LENGTH)
        else:
            observation = await env.respond(message)
        return Turn(
            phase=env.phase,
            context=context.index,
            prompt_ids=context.pending,
            completion=completion,
            text=text,
            message=message,
            observation=observation,
            generation_s=round(told - asked, 4),
            tool_s=round(time.perf_counter() - told, 4),
        )
