"""Replay: recorded tokens through a real environment, where tools answer anew and nothing is sampled."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from envs.config import EnvConfig
from envs.dialects import DIALECTS
from envs.types import ToolResult
from retriever.base.errors import InfraError
from retriever.tools import ToolDoc
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import Engine, GenerationRequest, ScriptedEngine
from rollout.expert import Expert
from rollout.renderer import Renderer
from rollout.replay import ReplayEngine, differences
from rollout.types import Completion, Sampling, TaskRollouts, Trajectory
from tests.support import MadeUpWorld, collector
from train.nano.model import train_tokenizer

ENV = EnvConfig(candidate_line="{label}. {description}", aliases="names_and_parameters")


class Counting(MadeUpWorld):
    """Its tools say how often they were called: they answer nothing twice."""

    calls = 0

    async def call(self, tool: ToolDoc, arguments: Mapping[str, Any]) -> ToolResult:
        """The prepared result and the count."""
        self.calls += 1
        result = await super().call(tool, arguments)
        return replace(result, text=f"{result.text} (call {self.calls})")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(train_tokenizer(["Search the catalogue, select and call."] * 4), DIALECTS["qwen3"])


def play(world: MadeUpWorld, renderer: Renderer, engine: Engine, *, env: EnvConfig = ENV) -> list[TaskRollouts]:
    plays = collector(world, renderer, engine, env, RolloutConfig(max_context=100_000, infra_retries=0))
    return asyncio.run(plays.collect(world.tasks, GroupPlan(group_size=2, gate="off"), sampling=Sampling(), seed=1))


def experts(world: MadeUpWorld, renderer: Renderer, *, env: EnvConfig = ENV) -> list[TaskRollouts]:
    return play(world, renderer, ScriptedEngine(renderer, Expert(world.tasks, world.tools, env=env)), env=env)


def episodes(rollouts: Sequence[TaskRollouts]) -> list[Trajectory]:
    return [trajectory for r in rollouts for trajectory in (*r.retrieval, *r.executions)]


@pytest.mark.parametrize("context", ["fresh", "append"])
def test_the_same_environment_says_the_same(renderer: Renderer, context: Any) -> None:
    world, env = MadeUpWorld(3), replace(ENV, context=context)
    recorded = experts(world, renderer, env=env)
    replayed = play(world, renderer, ReplayEngine(episodes(recorded)), env=env)
    assert len(episodes(recorded)) == 12
    pairs = list(zip(episodes(recorded), episodes(replayed), strict=True))
    assert [differences(then, now) for then, now in pairs] == [[]] * 12
    assert [then.turns[0].completion == now.turns[0].completion for then, now in pairs] == [True] * 12


def test_a_tool_that_answers_nothing_twice_is_found_where_it_first_did_otherwise(renderer: Renderer) -> None:
    world = Counting(3)
    recorded = experts(world, renderer)
    called = world.calls
    replayed = play(world, renderer, ReplayEngine(episodes(recorded)))
    assert called == world.calls / 2 > 0
    for then, now in zip(episodes(recorded), episodes(replayed), strict=True):
        found = differences(then, now)
        if not then.executed:
            assert found == []
            continue
        first_call = next(number for number, turn in enumerate(then.turns, start=1) if turn.observation.results)
        assert (found[0].turn, found[0].what) == (first_call, "calls")
        assert "(call " in found[0].recorded
        assert "(call " in found[0].replayed
        assert {"observation", "prompt tokens"} <= {difference.what for difference in found}


def test_a_changed_catalogue_is_found_in_the_search_that_shows_it(renderer: Renderer) -> None:
    world = MadeUpWorld(2)
    recorded = experts(world, renderer)
    changed = MadeUpWorld(2)
    for episode in changed.episodes.values():
        for query, ranked in episode.ranking.items():
            episode.ranking[query] = ranked[1:]  # type: ignore[index]
    then, now = (episodes(found) for found in (recorded, play(changed, renderer, ReplayEngine(episodes(recorded)))))
    assert differences(then[0], now[0])[0].what == "searches"


def test_where_the_record_ends_too_early_that_is_said(renderer: Renderer) -> None:
    world = MadeUpWorld(1)
    recorded = episodes(experts(world, renderer))
    short = [replace(recorded[0], turns=recorded[0].turns[:1]), *recorded[1:]]
    (now,) = play(world, renderer, ReplayEngine(short))
    found = differences(recorded[0], now.retrieval[0])
    assert found[0].what == "number of turns"
    assert "ends after 1 of this phase's turns" in str(now.retrieval[0].failure)


def test_a_phase_that_is_tried_again_begins_again(renderer: Renderer) -> None:
    start = episodes(experts(MadeUpWorld(1), renderer))[0]
    engine = ReplayEngine([start])
    request = GenerationRequest(session=f"{start.id}/r", ids=(1,), sampling=Sampling(), seed=0)

    async def asked() -> list[Completion]:
        before = [await engine.generate(request) for _ in range(2)]
        engine.close_session(request.session)
        return [*before, await engine.generate(request)]

    first, second = (turn.completion for turn in start.turns[:2])
    assert asyncio.run(asked()) == [first, second, first]
    with pytest.raises(InfraError, match=r"has no such episode, and the environment now asks for another \(x/0\)"):
        asyncio.run(engine.generate(replace(request, session="x/0/r")))


def test_values_of_another_kind_differ(renderer: Renderer) -> None:
    world = MadeUpWorld(1)
    then = episodes(experts(world, renderer))[0]
    assert differences(replace(then, answer="1"), replace(then, answer="2"))[0].what == "answer"
    long = replace(then, answer="x" * 500 + "1"), replace(then, answer="x" * 500 + "2")
    (difference,) = differences(*long)
    assert difference.recorded.startswith("…x")
    assert difference.recorded.endswith("1'")
    assert difference.replayed.endswith("2'")
