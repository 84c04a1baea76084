"""Which episodes a report shows, and each as plain values. Nothing is escaped here: the template does that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.records import Record
from rollout.types import Turn
from train.evaluation.metrics import trajectory_metrics
from train.tracking import flat_numbers

PER_SPLIT = 3
CLIP = 1500  # characters of one text; a report is to be read, the records hold the rest
OUTCOMES = ("learned", "lost", "still fails", "always passed", "no pass rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One turn as it is printed."""

    phase: str
    text: str
    observations: tuple[str, ...]
    format_error: str | None  # None too where an observation says it already
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One stage's episode of a task."""

    stage: str
    turns: tuple[Shown, ...]
    stop: str
    failure: str | None
    selection: tuple[tuple[str, bool], ...] | None  # tool id, whether it is gold
    answer: str | None
    passed: bool | None
    reward: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One task as each stage played it: before and after."""

    split: str
    task_id: str
    tags: tuple[str, ...]
    instruction: str
    gold_tools: tuple[str, ...] | None
    gold_calls: tuple[str, ...]
    gold_answer: str | None
    outcome: str  # one of OUTCOMES
    plays: tuple[Play, ...]


def stories(records: Mapping[str, Mapping[str, Mapping[str, Record]]]) -> list[Story]:
    """A few telling tasks of each split. `records`: split → stage, in the order of training → task id → record.

    Of each split one task of each outcome, learned first, chained ones before single ones: successes, losses and
    failures alike, chosen by rule so that nobody picks.
    """
    told = []
    for split, stages in records.items():
        shared = set.intersection(*(set(found) for found in stages.values())) if stages else set()
        by_outcome: dict[str, list[str]] = {}
        for task_id in sorted(shared, key=lambda id: ("chained" not in _any(stages, id).trajectory.task.tags, id)):
            by_outcome.setdefault(_outcome([found[task_id] for found in stages.values()]), []).append(task_id)
        chosen = [by_outcome[outcome][0] for outcome in OUTCOMES if outcome in by_outcome][:PER_SPLIT]
        for outcome in OUTCOMES:  # few outcomes: more of the first
            chosen += [id for id in by_outcome.get(outcome, []) if id not in chosen][: PER_SPLIT - len(chosen)]
        told += [_story(split, {stage: found[task_id] for stage, found in stages.items()}) for task_id in chosen]
    return told


def _any(stages: Mapping[str, Mapping[str, Record]], task_id: str) -> Record:
    return next(iter(stages.values()))[task_id]


def _outcome(records: Sequence[Record]) -> str:
    first, last = (trajectory_metrics(records[index].trajectory)["pass_rate"] for index in (0, -1))
    if first is None or last is None:
        return "no pass rate"
    if last:
        return "always passed" if first else "learned"
    return "lost" if first else "still fails"


def _story(split: str, records: Mapping[str, Record]) -> Story:
    task = next(iter(records.values())).trajectory.task
    calls = tuple(f"{call.name}({_arguments(call.arguments)})" for call in task.gold_calls or ())
    return Story(
        split=split,
        task_id=task.id,
        tags=task.tags,
        instruction=clipped(task.instruction),
        gold_tools=task.gold_tools,
        gold_calls=calls,
        gold_answer=task.gold_answer,
        outcome=_outcome(list(records.values())),
        plays=tuple(_play(stage, record) for stage, record in records.items()),
    )


def _play(stage: str, record: Record) -> Play:
    trajectory = record.trajectory
    gold = set(trajectory.task.gold_tools or ())
    passed = trajectory_metrics(trajectory)["pass_rate"]
    selection = trajectory.selection
    reward: Any = record.extra.get("reward")
    return Play(
        stage=stage,
        turns=tuple(map(_shown, trajectory.turns)),
        stop=str(trajectory.stop),
        failure=trajectory.failure,
        selection=None if selection is None else tuple((tool, tool in gold) for tool in selection),
        answer=None if trajectory.answer is None else clipped(trajectory.answer),
        passed=None if passed is None else passed == 1.0,
        reward=flat_numbers(reward) if isinstance(reward, Mapping) else {},
    )


def _shown(turn: Turn) -> Shown:
    said, error = turn.observation, turn.observation.format_error
    observations = tuple(map(clipped, said.texts if said.request is None else (said.request,)))
    told = error is not None and any(error in text for text in observations)
    return Shown(
        phase=str(turn.phase),
        text=clipped(turn.text),
        observations=observations,
        format_error=None if told else error,
        bad=error is not None,
    )


def _arguments(arguments: Mapping[str, Any]) -> str:
    return clipped(", ".join(f"{name}={value!r}" for name, value in arguments.items()))


def clipped(text: str) -> str:
    """At most CLIP characters, the loss told."""
    return text if len(text) <= CLIP else f"{text[:CLIP]}… ({len(text) - CLIP:,} more characters)"
