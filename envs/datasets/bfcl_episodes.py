"""BFCL's dialogues as tasks that a policy plays: the gold calls are run, and what they say and leave is the gold.

A dialogue's scenario comes in four categories under one number: as it is; with a function that is missing when it is
needed, and there one request later; with an argument that the user gives one request later; with much that is of no
use in the state. Each is a task, tagged with its category. In open retrieval the missing function stays hidden.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from envs.datasets.bfcl_dialogues import ORIGIN, BfclDialogue, BfclDialogues
from envs.datasets.merged import DataSet
from envs.executors.arguments import ArgumentCheck
from envs.executors.backend import Backend
from envs.executors.bfcl_state import BfclStateBackend
from envs.types import Request, Task
from retriever.base.seeds import derive_random
from retriever.catalogue import Catalogue

SPLIT = "dialogues"
NEW_TOOLS = "There are more tools now. Please try again with them."  # said where BFCL adds functions without a word
_TIMEOUT_S = 60.0  # of a gold call


def dialogue_tasks(read: BfclDialogues, classes: Mapping[str, type], *, train_share: float = 0.0) -> DataSet:
    """The tasks of all dialogues, split `SPLIT`, but for `train_share` of the scenarios: of those all four are "train".

    `classes`: of `load_classes`. Left out are dialogues that no policy could play as their gold calls do: see `_flaw`.
    """
    tasks, left_out = [], Counter[str]()
    check = ArgumentCheck()
    for dialogue in (one for dialogues in read.dialogues.values() for one in dialogues):
        if flaw := _flaw(dialogue, read.catalogue, check):
            left_out[flaw] += 1
            continue
        number = dialogue.id.rpartition("_")[2]
        drawn = derive_random("bfcl dialogues", number).random() < train_share
        tasks.append(dialogue_task(dialogue, read.catalogue, split="train" if drawn else SPLIT))
    checked = asyncio.run(_with_gold(tasks, read.catalogue, BfclStateBackend(classes)))
    return DataSet(catalogue=read.catalogue, tasks=checked, left_out=left_out)


def _flaw(dialogue: BfclDialogue, catalogue: Catalogue, check: ArgumentCheck) -> str | None:
    there = set(dialogue.tools)
    for turn in dialogue.turns:
        there |= {*turn.added}
        if any(call.name not in there for call in turn.gold):
            return "dialogues left out: a gold call is of a function that is not there yet"
        if any(check.problem(catalogue[call.name], call.arguments) for call in turn.gold):
            return "dialogues left out: a gold call does not fit its function's schema"
    return None


def dialogue_task(dialogue: BfclDialogue, catalogue: Catalogue, *, split: str = SPLIT) -> Task:
    """The task of a dialogue but for what its gold calls say and leave."""
    calls = tuple(call for turn in dialogue.turns for call in turn.gold)
    new = {tool_id for turn in dialogue.turns for tool_id in turn.added}
    gold = tuple(dict.fromkeys(call.name for call in calls if call.name not in new))
    requests = tuple(
        Request(
            text=turn.text or NEW_TOOLS,
            new_tools=tuple(catalogue[tool_id] for tool_id in turn.added),
            gold_calls=turn.gold,
        )
        for turn in dialogue.turns
    )
    return Task(
        id=dialogue.id,
        instruction=requests[0].text,
        split=split,
        gold_tools=gold,
        gold_calls=calls,
        tags=(dialogue.category,),
        offered_tools=dialogue.tools,
        expert_queries=tuple(catalogue[tool_id].description.partition(". ")[0] for tool_id in gold),
        requests=requests,
        initial_state={
            ORIGIN: {
                "classes": list(dialogue.classes),
                "load": dict(dialogue.initial),
                "long_context": dialogue.long_context,
            }
        },
    )


async def _with_gold(tasks: Sequence[Task], catalogue: Catalogue, backend: Backend) -> tuple[Task, ...]:
    done = []
    for task in tasks:
        async with backend.session(task) as session:
            requests = [await _with_outcome(request, catalogue, session) for request in task.requests]
        done.append(replace(task, requests=tuple(requests)))
    return tuple(done)


async def _with_outcome(request: Request, catalogue: Catalogue, session: Backend) -> Request:
    replies = [
        (await session.run(catalogue[call.name], call.arguments, timeout_s=_TIMEOUT_S)).text
        for call in request.gold_calls
    ]
    state = {ORIGIN: await session.state()} if request.gold_calls else None
    return replace(request, gold_replies=tuple(replies), gold_state=state)
