"""BFCL's dialogues, run and played by us and by bfcl-eval itself: the same responses, states and verdicts?

The gold calls are run in sessions and in the package. Then every dialogue that is a task is played as an episode, by a
policy that makes the gold calls and by ones that do not quite, and each episode is judged by both.

pip download --no-deps bfcl-eval==2026.3.23
python -m tests.benchmarks.bfcl_dialogues --wheel bfcl_eval-2026.3.23-py3-none-any.whl
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.config import EnvConfig
from envs.datasets.bfcl_dialogues import MULTI_TURN, BfclDialogue, BfclDialogues, read_dialogues
from envs.datasets.bfcl_episodes import dialogue_task, dialogue_tasks
from envs.datasets.bfcl_files import BfclFiles
from envs.dialects import DIALECTS
from envs.executors.bfcl_state import BfclStateBackend, load_classes
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.types import Phase, Task, ToolCall
from retriever.base.seeds import derive_random
from retriever.batching import BatchedSearch
from retriever.build import build_retriever
from retriever.catalogue import Catalogue
from retriever.config import RetrieverConfig
from rollout.collect import Collector
from rollout.config import GroupPlan, RolloutConfig
from rollout.engine import ScriptedEngine
from rollout.expert import Expert
from rollout.policy import load_tokenizer
from rollout.renderer import Renderer
from rollout.types import Sampling, Trajectory
from tests.benchmarks.bfcl_agreement import peer_answers
from tests.benchmarks.timing import print_figures
from train.evaluation.metrics import final_trajectory, trajectory_metrics
from train.nano.base import base_path

# What the dialogues need: as many selected tools, and calls for one request, as the longest of them.
ENV = EnvConfig(max_search_rounds=9, max_selected=9, max_calls=40)
CHANGES = ("gold", "a call left out", "a call twice", "another value", "two calls swapped")

Played = tuple[list[list[str]], dict[str, Any]]  # what the calls of each turn said, and the state at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueFigures:
    """What came of running all gold calls twice."""

    calls: Mapping[str, int]  # by category
    responses_differ: int
    states_differ: int
    seconds: float  # ours


def run_gold(wheel: Path) -> DialogueFigures:
    """Run every gold call in a session of its dialogue, and have the package do the same."""
    read = read_dialogues(BfclFiles(wheel))
    dialogues = [dialogue for category in MULTI_TURN for dialogue in read.dialogues[category]]
    started = time.perf_counter()
    ours = asyncio.run(_run(load_classes(wheel), read.catalogue, dialogues))
    seconds = time.perf_counter() - started
    theirs = [(one["responses"], one["state"]) for one in peer_answers(wheel, [_job(one) for one in dialogues])]
    responses = [
        (left, right)
        for (said, _), (their_said, _) in zip(ours, theirs, strict=True)
        for turn, their_turn in zip(said, their_said, strict=True)
        for left, right in zip(turn, their_turn, strict=True)
    ]
    return DialogueFigures(
        calls={
            category: sum(len(turn.gold) for one in read.dialogues[category] for turn in one.turns)
            for category in MULTI_TURN
        },
        responses_differ=sum(left != right for left, right in responses),
        states_differ=sum(state != their_state for (_, state), (_, their_state) in zip(ours, theirs, strict=True)),
        seconds=seconds,
    )


def _job(dialogue: BfclDialogue) -> dict[str, object]:
    calls = [turn.published for turn in dialogue.turns]
    return {"id": dialogue.id, "config": dialogue.initial, "classes": dialogue.classes, "calls": calls}


async def _run(classes: Mapping[str, type], catalogue: Catalogue, dialogues: Sequence[BfclDialogue]) -> list[Played]:
    played = []
    for dialogue in dialogues:
        async with BfclStateBackend(classes).session(dialogue_task(dialogue, catalogue)) as session:
            said = [
                [(await session.run(catalogue[call.name], call.arguments, timeout_s=10)).text for call in turn.gold]
                for turn in dialogue.turns
            ]
            played.append((said, dict(await session.state())))
    return played


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One played dialogue."""

    change: str
    trajectory: Trajectory
    ours: bool
    theirs: bool
    kind: str  # the package's


def play_all(wheel: Path, *, seed: int = 0, numbers: Sequence[int] | None = None) -> tuple[list[Episode], int]:
    """Every dialogue (of these numbers) played under every change, judged twice; and how many dialogues are no task."""
    read = read_dialogues(BfclFiles(wheel))
    if numbers is not None:
        read = _only(read, {str(number) for number in numbers})
    classes = load_classes(wheel)
    found = dialogue_tasks(read, classes)
    dialogues = {one.id: one for dialogues in read.dialogues.values() for one in dialogues}
    scripts = [(change, changed(task, change, seed)) for change in CHANGES for task in found.tasks]
    asked = [(change, script) for change, script in scripts if script is not None]
    truth = {task.id: task for task in found.tasks}
    trajectories = asyncio.run(_episodes([(script, truth[script.id]) for _, script in asked], read.catalogue, classes))
    jobs = [
        _verdict_job(number, dialogues[trajectory.task.id], trajectory)
        for number, trajectory in enumerate(trajectories)
    ]
    episodes = [
        Episode(
            change=change,
            trajectory=trajectory,
            ours=trajectory_metrics(trajectory)["pass_rate"] == 1.0,
            theirs=theirs["valid"],
            kind=theirs["kind"],
        )
        for (change, _), trajectory, theirs in zip(asked, trajectories, peer_answers(wheel, jobs), strict=True)
    ]
    return episodes, sum(found.left_out.values())


def _only(read: BfclDialogues, numbers: set[str]) -> BfclDialogues:
    kept = {
        category: tuple(one for one in found if one.id.rpartition("_")[2] in numbers)
        for category, found in read.dialogues.items()
    }
    return replace(read, dialogues=kept)


def changed(task: Task, change: str, seed: int) -> Task | None:
    """The task as a policy would have it that does not quite make the gold calls; None where this cannot be done."""
    random = derive_random(seed, change, task.id)
    if change == "gold":
        return task
    places = [place for place, request in enumerate(task.requests) if len(request.gold_calls) > (change[:3] == "two")]
    if not places:
        return None
    place = random.choice(places)
    calls = list(task.requests[place].gold_calls)
    which = random.randrange(len(calls) - (change[:3] == "two"))
    match change:
        case "a call left out":
            del calls[which]
        case "a call twice":
            calls.insert(which, calls[which])
        case "another value":
            texts = [name for name, value in calls[which].arguments.items() if isinstance(value, str)]
            if not texts:
                return None
            arguments = {**calls[which].arguments, texts[0]: calls[which].arguments[texts[0]] + "x"}
            calls[which] = replace(calls[which], arguments=arguments)
        case "two calls swapped":
            calls[which : which + 2] = reversed(calls[which : which + 2])
    request = replace(task.requests[place], gold_calls=tuple(calls))
    return replace(task, requests=(*task.requests[:place], request, *task.requests[place + 1 :]))


async def _episodes(
    played: Sequence[tuple[Task, Task]], catalogue: Catalogue, classes: Mapping[str, type]
) -> list[Trajectory]:
    """An episode of each second task, in which the policy follows the first."""
    renderer = Renderer(load_tokenizer(base_path()), DIALECTS[ENV.dialect])
    search = BatchedSearch(build_retriever(RetrieverConfig(kind="bm25"), catalogue))
    limits = CallLimits(observation_chars=ENV.observation_chars)
    executor = RoutedExecutor({"bfcl": BfclStateBackend(classes)}, limits)
    tools = {tool.id: tool for tool in catalogue}
    trajectories = []
    for script, task in played:
        expert = Expert([script], tools, env=ENV)
        collector = Collector(
            engine=ScriptedEngine(renderer, expert),
            renderer=renderer,
            search=search.search,
            executor=executor,
            env=ENV,
            rollout=RolloutConfig(max_context=200_000),
        )
        plan = GroupPlan(group_size=1, gate="off")
        (rollouts,) = await collector.collect([task], plan, sampling=Sampling(), seed=0)
        trajectories.append(final_trajectory(rollouts))
    return trajectories


def _verdict_job(number: int, dialogue: BfclDialogue, trajectory: Trajectory) -> dict[str, Any]:
    return {
        "id": number,
        "dialogue": dialogue.id,
        "config": dialogue.initial,
        "classes": dialogue.classes,
        "made": made_calls(trajectory),
        "gold": [turn.published for turn in dialogue.turns],
    }


def made_calls(trajectory: Trajectory) -> list[list[str]]:
    """The calls that ran for each request, as Python."""
    made: list[list[str]] = [[]]
    for turn in trajectory.turns:
        if turn.phase is Phase.EXECUTION:
            made[-1] += [_python(result.call) for result in turn.observation.results if result.ran]
            if turn.observation.request is not None:
                made.append([])
    assert len(made) == len(trajectory.task.requests)
    return made


def _python(call: ToolCall) -> str:
    return f"{call.name.rpartition('.')[2]}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"


def main() -> None:
    """Print the figures and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel, or the folder it was unpacked into")
    wheel = parser.parse_args().wheel
    figures = run_gold(wheel)
    for category, count in figures.calls.items():
        print(f"{category:26}{count:6} gold calls")
    started = time.perf_counter()
    episodes, no_task = play_all(wheel)
    seconds = time.perf_counter() - started
    played = Counter(one.change for one in episodes)
    ours = Counter(one.change for one in episodes if one.ours)
    theirs = Counter(one.change for one in episodes if one.theirs)
    differ = [one for one in episodes if one.ours is not one.theirs]
    by_change = Counter(one.change for one in differ)
    print(f"\n{'episodes':20}{'played':>8}{'pass':>8}{'theirs':>8}{'differ':>8}")
    for change in CHANGES:
        print(f"{change:20}{played[change]:8}{ours[change]:8}{theirs[change]:8}{by_change[change]:8}")
    for one in differ[:10]:
        print(f"  {one.trajectory.task.id}, {one.change}: ours {one.ours}, theirs {one.theirs} {one.kind}")
    runs_differ = {"responses": figures.responses_differ, "states": figures.states_differ}
    print_figures(
        "bfcl_dialogues",
        ours={
            "gold calls": dict(figures.calls),
            "differ": runs_differ,
            "seconds": round(figures.seconds, 2),
            "episodes": dict(played),
            "pass": dict(ours),
            "episodes that differ": len(differ),
            "dialogues that are no task": no_task,
            "seconds of all episodes": round(seconds, 1),
        },
        peer={"package": "bfcl-eval", "pass": dict(theirs)},
        targets={
            "gold calls of multi_turn_base": [
                figures.calls["multi_turn_base"], "1142", figures.calls["multi_turn_base"] == 1142,
            ],
            **{f"{name} that differ": [count, "0", count == 0] for name, count in runs_differ.items()},
            "gold episodes that pass": [ours["gold"], f"{played['gold']}", ours["gold"] == played["gold"]],
            "episodes judged otherwise": [len(differ), "0", not differ],
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
