"""Our rollouts against TRL's own multi-turn loop, with slow tools and without; and how they grow with workers.

python -m tests.benchmarks.rollout [--quick] [--rounds N]

loops     256 episodes of 4 turns, 64 at a time, with the nano base: ours through `Collector` and `TransformersEngine`,
          TRL's through `GRPOTrainer` and its `environment_factory`, with a sync tool and with an async one. Both
          compute the whole model at every step, and the same words come out (tests/benchmarks/dictated.py says how),
          which is checked: every episode's ids are equal on both sides. Tools take 0, 50 or 200 ms, and 2% of the calls
          5 s, drawn by a hash of (episode, turn); no deadline is under 30 s, and every call is made. TRL's time is that
          of `_generate` alone. CPU seconds are told too: other work on the machine changes them less. Sides take turns;
          medians of N runs each, but of TRL with stragglers, whose runs take minutes: of one.
prefill   tokens whose keys and values are computed for a trajectory: ours as the engine counts them, TRL's as it asks
          for them (padding is not counted on either side).
single    one turn, sampled: the engine against `generate` of transformers in lockstep, 64 prompts, 64 new tokens.
workers   one Ray worker and two, playing 192 episodes of the embedded world as the nano base does, with tools that
          answer at once or after 200 ms. The episodes are the same, as the engine is deterministic.

N is 5. `--quick`: 64 episodes, one round, no 200 ms, no workers: minutes and not an hour; its figures are no result.
The last line printed is JSON: {"benchmark", "ours", "peer", "targets"}.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch

from envs.dialects import DIALECTS
from envs.executors.config import ExecutorConfig
from envs.executors.faults import FaultConfig
from envs.types import StopReason
from envs.worlds.world import WorldConfig, build_world
from retriever.config import RetrieverConfig
from rollout.collect import Collector
from rollout.config import GroupPlan, ModelConfig, RolloutConfig
from rollout.engine import GenerationRequest
from rollout.policy import load_model, load_tokenizer, trainable
from rollout.ray_pool import RayPool
from rollout.renderer import Renderer
from rollout.transformers_engine import TransformersEngine
from rollout.types import Sampling
from rollout.weights import weight_update
from rollout.worker import WorkerSpec
from tests.benchmarks.dictated import ENV, TURNS, Dictation, Episodes, Latency, Searches
from tests.benchmarks.rollout_peer import AwaitedEnvironment, BlockingEnvironment, Peer, PeerRun
from tests.benchmarks.timing import print_figures, side_by_side
from train.nano.base import base_path
from train.nano.curriculum import NANO_ENV

TOGETHER = 64
NEW_TOKENS = 64  # of a single turn
ROLLOUT = RolloutConfig(max_concurrent=TOGETHER, max_context=1024, max_new_tokens=64)
PLAIN = Latency(usual_s=0.0, stragglers=False)
SLOW = tuple(Latency(usual_s=seconds, stragglers=True) for seconds in (0.0, 0.05, 0.2))
WORKER_TASKS, WORKER_GROUP = 24, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One section's part of the last line."""

    ours: dict[str, float] = field(default_factory=dict)
    peer: dict[str, float] = field(default_factory=dict)
    targets: dict[str, tuple[float, str, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRun:
    """What our loop did with all episodes."""

    seconds: float
    cpu_s: float  # of the process meanwhile
    contexts: list[list[int]]  # by episode
    prefilled_tokens: int
    decoded_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Medians of one player's runs."""

    wall_s: float
    cpu_s: float


class Ours:
    """Plays all episodes: a `Collector` for each, over one engine, so that a search knows whose it is."""

    def __init__(self, model: Any, renderer: Renderer, episodes: Episodes) -> None:
        self._model, self._renderer, self._episodes = model, renderer, episodes

    def play(self, latency: Latency) -> OurRun:
        """All episodes once, with an engine that has seen nothing yet."""
        started, cpu_started = time.perf_counter(), time.process_time()
        engine = TransformersEngine(self._model, stop_ids=[self._renderer.end_id], config=ROLLOUT)
        contexts = asyncio.run(self._all(engine, latency))
        return OurRun(
            seconds=time.perf_counter() - started,
            cpu_s=time.process_time() - cpu_started,
            contexts=contexts,
            prefilled_tokens=engine.prefilled_tokens,
            decoded_tokens=engine.decoded_tokens,
        )

    async def _all(self, engine: TransformersEngine, latency: Latency) -> list[list[int]]:
        places = asyncio.Semaphore(TOGETHER)

        async def one(index: int) -> list[int]:
            async with places:
                return await self._episode(engine, index, latency)

        return await asyncio.gather(*map(one, range(len(self._episodes.tasks))))

    async def _episode(self, engine: TransformersEngine, index: int, latency: Latency) -> list[int]:
        collector = Collector(
            engine=engine,
            renderer=self._renderer,
            search=Searches(self._episodes, index, latency).search,
            executor=None,
            env=ENV,
            rollout=ROLLOUT,
        )
        plan, sampling = GroupPlan(group_size=1, gate="closed"), Sampling(max_new_tokens=ROLLOUT.max_new_tokens)
        (rollouts,) = await collector.collect([self._episodes.tasks[index]], plan, sampling=sampling, seed=index)
        (trajectory,) = rollouts.retrieval
        assert trajectory.stop is StopReason.SELECTED, trajectory
        assert len(trajectory.turns) == TURNS
        return [id for turn in trajectory.turns for id in (*turn.prompt_ids, *turn.completion.ids)]


# --- loops: ours and TRL's, side by side ---


class Loops:
    """The three players of the same episodes, and what they did."""

    def __init__(self, count: int) -> None:
        model, tokenizer = load_model(base_path(), ModelConfig()), load_tokenizer(base_path())
        renderer = Renderer(tokenizer, DIALECTS[ENV.dialect])
        self._episodes = Episodes(renderer, count)
        model.base_model.register_forward_hook(Dictation(model, renderer, self._episodes), with_kwargs=True)
        ours, peer = Ours(model, renderer, self._episodes), Peer(model, renderer, self._episodes, together=TOGETHER)
        self._players: dict[str, Callable[[Latency], OurRun | PeerRun]] = {
            "ours": ours.play,
            "sync": lambda latency: peer.play(BlockingEnvironment, latency),
            "async": lambda latency: peer.play(AwaitedEnvironment, latency),
        }
        self._contexts: list[list[int]] = []  # what every run must come to

    def play(self, who: str, latency: Latency) -> OurRun | PeerRun:
        """One run, held against the first."""
        self._episodes.completed = 0
        run = self._players[who](latency)
        calls = len(self._episodes.tasks) * (TURNS - 1)
        assert self._episodes.completed == calls, f"{self._episodes.completed} of {calls} calls completed"
        self._contexts = self._contexts or run.contexts
        assert run.contexts == self._contexts, f"{who} played other episodes"
        print(f"  {who:6} {_named(latency):24} {run.seconds:8.2f} s, {run.cpu_s:7.2f} s of CPU", flush=True)
        return run

    @property
    def count(self) -> int:
        """Of episodes."""
        return len(self._episodes.tasks)


def loops(*, quick: bool, rounds: int) -> Figures:
    """Trajectories a second and prefilled tokens of all three."""
    played = Loops(TOGETHER if quick else 256)
    warm = {who: played.play(who, PLAIN) for who in ("ours", "sync", "async")}
    ours, peer = warm["ours"], warm["sync"]
    assert isinstance(ours, OurRun)
    print(f"{played.count} episodes, {ours.decoded_tokens} tokens sampled on each side, {TOGETHER} at a time")
    measured = {PLAIN: _alternated(played, PLAIN, ("ours", "sync", "async") * rounds)}
    for latency in SLOW[:2] if quick else SLOW:
        order = ("sync", "ours", "async") + ("ours",) * (rounds - 1)
        measured[latency] = _alternated(played, latency, order)
    figures = _speeds(measured, played.count)
    prefilled = [run.prefilled_tokens / played.count for run in (ours, peer)]
    share = round(prefilled[0] / prefilled[1], 3)
    print(f"prefilled tokens a trajectory: ours {prefilled[0]:.1f}, TRL's {prefilled[1]:.1f}: {share} times")
    figures.ours["prefilled_per_trajectory"] = round(prefilled[0], 1)
    figures.peer["prefilled_per_trajectory"] = round(prefilled[1], 1)
    figures.targets["prefilled_share"] = (share, "≤ 0.4", share <= 0.4)
    return figures


def _alternated(played: Loops, latency: Latency, order: tuple[str, ...]) -> dict[str, Times]:
    """Of each player, in the order given."""
    runs: dict[str, list[OurRun | PeerRun]] = {}
    for who in order:
        runs.setdefault(who, []).append(played.play(who, latency))
    return {
        who: Times(wall_s=median(run.seconds for run in own), cpu_s=median(run.cpu_s for run in own))
        for who, own in runs.items()
    }


def _speeds(measured: dict[Latency, dict[str, Times]], count: int) -> Figures:
    figures = Figures()
    goals = {PLAIN: 1.5, SLOW[1]: 5.0}
    for latency, times in measured.items():
        name = _named(latency)
        figures.ours[f"per_s, {name}"] = round(count / times["ours"].wall_s, 2)
        figures.ours[f"cpu_s, {name}"] = round(times["ours"].cpu_s, 2)
        for kind in ("sync", "async"):
            figures.peer[f"per_s, {name}, {kind}"] = round(count / times[kind].wall_s, 2)
            figures.peer[f"cpu_s, {name}, {kind}"] = round(times[kind].cpu_s, 2)
            ratio = round(times[kind].wall_s / times["ours"].wall_s, 2)
            if goal := goals.get(latency):
                figures.targets[f"{name}, {kind} tools"] = (ratio, f"≥ {goal}", ratio >= goal)
        told = ", ".join(f"{who} {count / own.wall_s:.2f} ({own.wall_s:.1f} s)" for who, own in times.items())
        print(f"{name}: trajectories/s: {told}")
    return figures


def _named(latency: Latency) -> str:
    return f"{latency.usual_s * 1000:.0f} ms" + (" and stragglers" if latency.stragglers else "")


# --- single: plain generation of one turn ---


def single() -> Figures:
    """The same prompts, and the same number of sampled tokens."""
    model, tokenizer = load_model(base_path(), ModelConfig()), load_tokenizer(base_path())
    renderer = Renderer(tokenizer, DIALECTS[ENV.dialect])
    episodes = Episodes(renderer, TOGETHER * 8)
    prompts = [list(renderer.prompt_ids(episodes.prompt(8 * index))) for index in range(TOGETHER)]
    model.generation_config.eos_token_id = None  # both go on to the end
    engine = TransformersEngine(model, stop_ids=[], config=ROLLOUT)
    update = weight_update(1, trainable(model))
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    made = {"ours": 0, "theirs": 0}

    async def together() -> None:
        engine.set_weights(update)  # it would remember the prompts otherwise
        requests = [
            GenerationRequest(session=str(index), ids=tuple(prompt), sampling=sampling, seed=index)
            for index, prompt in enumerate(prompts)
        ]
        completions = await asyncio.gather(*map(engine.generate, requests))
        for request in requests:
            engine.close_session(request.session)
        made["ours"] = sum(len(completion.ids) for completion in completions)

    def theirs() -> None:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = model.generate(ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=NEW_TOKENS)
        made["theirs"] = out[:, width:].numel()

    mine, peers, ratio = side_by_side(
        lambda: asyncio.run(together()), theirs, names=("engine, one turn", "generate, one turn")
    )
    assert made["ours"] == made["theirs"] == TOGETHER * NEW_TOKENS
    rates = [round(TOGETHER * NEW_TOKENS / seconds, 1) for seconds in (mine, peers)]
    return Figures(
        ours={"single_tokens_per_s": rates[0]},
        peer={"single_tokens_per_s": rates[1]},
        targets={"single_turn": (round(ratio, 2), "≥ 1", ratio >= 1)},
    )


# --- workers: one and two ---


def workers(rounds: int) -> Figures:
    """Episodes a second of real pools; the weights are the base's, the episodes what it makes of them."""
    world = WorldConfig(kind="embedded")
    spec = WorkerSpec(
        model_path=base_path(),
        model=ModelConfig(),
        world=world,
        retriever=RetrieverConfig(kind="bm25"),
        env=replace(NANO_ENV, call_timeout_s=60.0),
        rollout=RolloutConfig(max_context=1024, max_new_tokens=48, max_concurrent=TOGETHER),
    )
    update = weight_update(1, trainable(load_model(base_path(), ModelConfig())))
    tasks, plan = build_world(world).tasks("train", WORKER_TASKS, 5), GroupPlan(group_size=WORKER_GROUP, gate="off")
    times: dict[tuple[int, float], list[float]] = {}
    sampled: set[int] = set()
    for _ in range(rounds):
        for latency_s in (0.0, 0.2):
            faults = FaultConfig(latency_share=1.0 if latency_s else 0.0, latency_s=latency_s)
            for count in (1, 2):
                rollout = replace(spec.rollout, workers=count)
                pool = RayPool(replace(spec, rollout=rollout, executor=ExecutorConfig(faults=faults)))
                try:
                    pool.push(update)
                    pool.collect(tasks[:4], plan, sampling=Sampling(max_new_tokens=48), seed=0)  # to warm up
                    started = time.perf_counter()
                    found = pool.collect(tasks, plan, sampling=Sampling(max_new_tokens=48), seed=1)
                    times.setdefault((count, latency_s), []).append(time.perf_counter() - started)
                finally:
                    pool.close()
                trajectories = [t for r in found for t in (*(r.executions or r.retrieval),)]
                sampled.add(sum(len(turn.completion.ids) for t in trajectories for turn in t.turns))
    assert len(sampled) == 1, f"one worker and two sampled other tokens: {sampled}"
    figures = Figures()
    for latency_s in (0.0, 0.2):
        one, two = (median(times[count, latency_s]) for count in (1, 2))
        print(f"tools of {latency_s * 1000:.0f} ms: one worker {one:.2f} s, two {two:.2f} s: {one / two:.2f} times")
        for count, seconds in ((1, one), (2, two)):
            episodes = WORKER_TASKS * WORKER_GROUP
            figures.ours[f"per_s, {count} worker(s), {latency_s * 1000:.0f} ms"] = round(episodes / seconds, 2)
        figures.ours[f"speedup, {latency_s * 1000:.0f} ms"] = round(one / two, 2)
    return figures


# --- all of it ---


def main() -> None:
    """Print every section's figures, then the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller and shorter run, whose figures are no result")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side that a median is taken of")
    arguments = parser.parse_args()
    quick, rounds = arguments.quick, 1 if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one thread for either side")
    parts = [loops(quick=quick, rounds=rounds), single()]
    parts += [] if quick else [workers(rounds)]
    print_figures(
        "rollout, quick" if quick else "rollout",
        ours={name: value for part in parts for name, value in part.ours.items()},
        peer={name: value for part in parts for name, value in part.peer.items()},
        targets={name: list(value) for part in parts for name, value in part.targets.items()},
    )


if __name__ == "__main__":
    main()
