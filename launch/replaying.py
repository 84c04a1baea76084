"""Recorded episodes through the real environment and, where a model is given, through that once more."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from configs.schema import RunConfig
from envs.dialects import DIALECTS
from envs.executors.executor import Executor
from envs.worlds.world import build_world
from launch.display import Display, new_console
from launch.preflight import check_model
from launch.rollout_records import files_with_episode, given_records
from retriever.base.errors import UserError
from retriever.base.together import together
from retriever.batching import BatchedSearch
from retriever.build import build_retriever
from rollout.batch_files import Played
from rollout.collect import Collector
from rollout.config import GroupPlan, ModelConfig
from rollout.policy import load_model, load_tokenizer, trainable
from rollout.renderer import Renderer
from rollout.replay import Difference, ReplayEngine
from rollout.types import Sampling, TaskRollouts
from rollout.weights import weights_hash
from train.logprob_gap import LogprobGap, logprob_gap
from train.nano.base import base_path
from train.recorded import RecordedBatch, catalogue_note, check_scorable, check_tokenizer, read_batch
from train.replayed import episodes_of, lost, replayed_differences
from train.source import group_plan

_AT_ONCE = 8  # tasks whose groups are played together
_EPISODES, _EACH = 10, 4  # that are told of: episodes of a file, differences of each


def replay(
    places: Sequence[str],
    overrides: Sequence[str],
    *,
    config: str | None,
    batch: int | None,
    episode: str | None,
    model: str | None,
    tolerance: float | None,
) -> int:
    """Replay, print what differs, and return the exit code. See the command's help."""
    if tolerance is not None and not tolerance >= 0:
        raise UserError(f"--tolerance {tolerance:g} is negative or no number; give nats, e.g. 1e-4")
    if tolerance is not None and model is None:
        raise UserError(f"--tolerance {tolerance:g} is of log-probs, which --model PATH compares; give it too")
    if model is not None:
        check_model(model, what="--model ")
    given = given_records(places, overrides, config=config, batch=batch)
    files = given.files if episode is None else files_with_episode(given.files, episode)
    display, settings = Display(new_console()), given.config
    for note in given.notes:
        display.say(f"note: {note}")
    environment = _Environment(settings, _folder(model or settings.model.path), display, episode)
    same = asyncio.run(environment.all(files))
    if model is not None:
        limit = settings.grpo.max_engine_gap if tolerance is None else tolerance
        same &= _log_probs(files, settings, _folder(model), display, episode, limit)
    return 0 if same else 1


def _folder(model: str) -> str:
    return base_path() if model == "nano" else model


class _Environment:
    """What a run's tools, search and rules say now to what its policy wrote then."""

    def __init__(self, config: RunConfig, model: str, display: Display, episode: str | None) -> None:
        self._config, self._model, self._display, self._episode = config, model, display, episode
        self._world = build_world(config.world)
        self._renderer = Renderer(load_tokenizer(model), DIALECTS[config.env.dialect])
        self._search = BatchedSearch(build_retriever(config.retriever, self._world.catalogue)).search

    async def all(self, files: Sequence[Path]) -> bool:
        """Whether every episode of the files is the same; what is not is printed."""
        executor = self._world.executor(self._config.env, self._config.executor)
        try:
            return all([await self._file(file, executor) for file in files])
        finally:
            if executor is not None:
                await executor.close()

    async def _file(self, file: Path, executor: Executor | None) -> bool:
        config, episode = self._config, self._episode
        batch = self._read(file)
        wanted = [r for r in batch.rollouts if episode is None or episode in {t.id for t in episodes_of([r])}]
        if executor is None and any(r.executions for r in wanted):
            raise UserError("nothing runs the tools that were called; say in executor what does, as the run's config")
        found = replayed_differences(
            batch,
            wanted,
            await self._played(batch, wanted, executor),
            rewards=config.reward,
            config=config.grpo,
            catalogue=self._world.catalogue,
        )
        shown = found if episode is None else {id: found[id] for id in (episode,) if id in found}
        for line in _told(batch, wanted, shown, episode):
            self._display.say(line)
        return not shown

    def _read(self, file: Path) -> RecordedBatch:
        batch = read_batch(file)
        if batch.played is None:
            raise UserError(
                f"{file}: an older version wrote it, without the seed and temperature that replaying needs; it can be "
                "shown, rescored and trained on"
            )
        check_scorable(batch, self._config.grpo, self._world.catalogue)
        check_tokenizer(batch, self._renderer, vocabulary=len(self._renderer.tokenizer), model=self._model)
        if said := catalogue_note(batch, self._world.catalogue):
            self._display.say(f"note: {said}")
        return batch

    async def _played(
        self, batch: RecordedBatch, wanted: Sequence[TaskRollouts], executor: Executor | None
    ) -> list[TaskRollouts]:
        """The recorded completions of `wanted`, played now."""
        config, played = self._config, batch.played
        assert played is not None
        collector = Collector(
            engine=ReplayEngine(episodes_of(wanted)),
            renderer=self._renderer,
            search=self._search,
            executor=executor,
            env=config.env,
            rollout=config.rollout,
        )
        sampling = Sampling(temperature=played.temperature, max_new_tokens=config.rollout.max_new_tokens)
        found: list[TaskRollouts] = []
        with self._display.bar(f"replaying {batch.path.name}: tasks", len(wanted)) as advance:
            for begin in range(0, len(wanted), _AT_ONCE):
                share = wanted[begin : begin + _AT_ONCE]
                groups = [
                    collector.collect([r.task], self._plan(r, played), sampling=sampling, seed=played.seed)
                    for r in share
                ]
                found += [rollouts for (rollouts,) in await together(groups)]
                advance(len(share))
        return found

    def _plan(self, recorded: TaskRollouts, played: Played) -> GroupPlan:
        """How the group was played: as training does or, without a batch's number, as evaluations do."""
        size = len(recorded.retrieval)
        if played.batch is None:
            return GroupPlan(group_size=size, gate="off" if self._config.executes else "closed")
        return replace(group_plan(self._config.grpo), group_size=size, hidden=self._world.unseen_tools)


def _told(
    batch: RecordedBatch,
    wanted: Sequence[TaskRollouts],
    found: Mapping[str, Sequence[Difference]],
    episode: str | None,
) -> Iterator[str]:
    """What is printed of one file."""
    asked = [t for t in episodes_of(wanted) if episode is None or t.id == episode]
    compared = [t for t in asked if not lost(t)]
    result = f"{len(found)} differ" if found else "all the same, bit for bit"
    left_out = (
        f"; {len(asked) - len(compared)} lost to failures of ours, left out" if len(compared) < len(asked) else ""
    )
    turns = sum(len(t.turns) for t in compared)
    yield f"{batch.path.name}: {len(compared)} episodes of {turns} turns: {result}{left_out}"
    for id in list(found)[:_EPISODES]:
        for difference in found[id][:_EACH]:
            turn = "" if difference.turn is None else f", turn {difference.turn}"
            yield f"  {id}{turn}: {difference.what}"
            yield f"    recorded  {difference.recorded}"
            yield f"    replayed  {difference.replayed}"
        if (more := len(found[id]) - _EACH) > 0:
            yield f"  {id}: {more} more differences"
    if (more := len(found) - _EPISODES) > 0:
        yield f"  {more} more episodes"


def _log_probs(
    files: Sequence[Path], config: RunConfig, path: str, display: Display, episode: str | None, limit: float
) -> bool:
    """Whether every log-prob of the model at `path` is within `limit` nats of the recorded one."""
    model: Any = load_model(path, ModelConfig(path=path, dtype=config.model.dtype)).eval()
    hash = weights_hash(trainable(model))
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    same = True
    for batch in map(read_batch, files):
        assert batch.played is not None
        gap = LogprobGap()
        with display.bar(f"log-probs of {batch.path.name}: tasks", len(batch.rollouts)) as advance:
            for rollouts in batch.rollouts:
                gap += logprob_gap(model, _only(rollouts, episode), temperature=batch.played.temperature)
                advance(1)
        same &= gap.largest <= limit
        whose = "the very weights that played" if hash == batch.played.weights else "not the weights that played"
        if config.model.lora:
            whose = "whether these weights played is not known: an adapter's were recorded"
        display.say(
            f"{batch.path.name}: log-probs of {gap.tokens} tokens: gap at most {gap.largest:.2e}, mean {gap.mean:.2e} "
            f"nats, {'within' if gap.largest <= limit else 'beyond'} {limit:g} ({whose})",
        )
    return same


def _only(rollouts: TaskRollouts, episode: str | None) -> TaskRollouts:
    if episode is None:
        return rollouts
    retrieval = tuple(t for t in rollouts.retrieval if t.id == episode)
    return replace(rollouts, retrieval=retrieval, executions=tuple(t for t in rollouts.executions if t.id == episode))
