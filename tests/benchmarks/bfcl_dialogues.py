"""The gold calls of BFCL's dialogues, run by us and by bfcl-eval itself: the same responses, the same states?

pip download --no-deps bfcl-eval==2026.3.23
python -m tests.benchmarks.bfcl_dialogues --wheel bfcl_eval-2026.3.23-py3-none-any.whl
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.datasets.bfcl_dialogues import MULTI_TURN, BfclDialogue, read_dialogues
from envs.datasets.bfcl_files import BfclFiles
from envs.executors.bfcl_state import BfclStateBackend, load_classes
from retriever.catalogue import Catalogue
from tests.benchmarks.bfcl_agreement import peer_answers
from tests.benchmarks.timing import print_figures

Played = tuple[list[list[str]], dict[str, str]]  # what the calls of each turn said, and the state at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueFigures:
    """What came of running them all twice."""

    calls: Mapping[str, int]  # by category
    responses_differ: int
    states_differ: int
    seconds: float  # ours


def run_gold(wheel: Path) -> DialogueFigures:
    """Run every gold call in a session of its dialogue, and have the package do the same."""
    read = read_dialogues(BfclFiles(wheel))
    dialogues = [dialogue for category in MULTI_TURN for dialogue in read.dialogues[category]]
    started = time.perf_counter()
    ours = asyncio.run(_play(load_classes(wheel), read.catalogue, dialogues))
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


async def _play(classes: Mapping[str, type], catalogue: Catalogue, dialogues: Sequence[BfclDialogue]) -> list[Played]:
    played = []
    for dialogue in dialogues:
        async with BfclStateBackend(classes, dialogue).session() as session:
            said = [
                [(await session.run(catalogue[call.name], call.arguments, timeout_s=10)).text for call in turn.gold]
                for turn in dialogue.turns
            ]
            state = session.state()
        # Written out, as states come from the package's process too.
        public = {f"{name}.{key}": repr(value) for name, keys in state.items() for key, value in keys.items()}
        played.append((said, public))
    return played


def main() -> None:
    """Print the figures and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel, or the folder it was unpacked into")
    figures = run_gold(parser.parse_args().wheel)
    for category, count in figures.calls.items():
        print(f"{category:26}{count:6} gold calls")
    differ = {"responses": figures.responses_differ, "states": figures.states_differ}
    print_figures(
        "bfcl_dialogues",
        ours={"gold calls": dict(figures.calls), "differ": differ, "seconds": round(figures.seconds, 2)},
        peer={"package": "bfcl-eval"},
        targets={
            "gold calls of multi_turn_base": [
                figures.calls["multi_turn_base"], "1142", figures.calls["multi_turn_base"] == 1142,
            ],
            **{f"{name} that differ": [count, "0", count == 0] for name, count in differ.items()},
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
