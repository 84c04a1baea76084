"""Tasks from tools: drafts whose calls were executed, so that every gold call is known to work.

Kept is a draft whose call succeeds and says something. What it said is the gold answer where it is short and a second
call says the same. Tools are held out as a whole: what their tasks ask for is met in no task of training.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from envs.executors.executor import Executor
from envs.making.drafts import Draft, Writer
from envs.types import Task, ToolCall, ToolStatus
from retriever.base.canonical import canonical_json
from retriever.base.errors import InfraError, UserError
from retriever.base.seeds import derive_random
from retriever.catalogue import Catalogue
from retriever.splits import split_catalogue
from retriever.tools import ToolDoc

UNSEEN, HELD_OUT, TRAIN = "test", "held_out", "train"  # splits: of tools never trained on; of trained tools; trained on
_ANSWER_CHARS = 200  # nobody answers with more of what a tool said


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingConfig:
    """How many tasks are made of what."""

    per_tool: int = 4
    unseen_share: float = 0.2  # of the tools, all of whose tasks are split "test"
    held_out_share: float = 0.2  # of the other tools' tasks, which are split "held_out"
    seed: int = 0
    concurrency: int = 16  # tools at a time

    def __post_init__(self) -> None:
        for name in ("per_tool", "concurrency"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is below 1; give a positive number")
        for name in ("unseen_share", "held_out_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is not in [0, 1); 0.2 is a fifth")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """What came of it."""

    tasks: tuple[Task, ...]
    left_out: Counter[str] = field(hash=False)  # reason → drafts, or tools that gave none


async def make_tasks(
    catalogue: Catalogue,
    executor: Executor,
    writer: Writer,
    config: MakingConfig,
    *,
    advance: Callable[[int], None] = lambda more: None,
) -> MadeTasks:
    """Tasks for every tool of `catalogue`, in its order. `advance` hears how many more tools are done.

    Raises UserError when `unseen_share` would leave nothing to train on.
    """
    unseen = (
        {*split_catalogue(catalogue, unseen_share=config.unseen_share, seed=config.seed).unseen}
        if config.unseen_share
        else set()
    )
    left_out: Counter[str] = Counter()
    places = asyncio.Semaphore(config.concurrency)

    async def of_tool(tool: ToolDoc) -> list[Task]:
        async with places:
            random = derive_random(config.seed, "make", tool.id)
            drafts = await _written(writer, tool, config.per_tool, random, left_out)
            tasks: list[Task] = []
            for draft in _distinct(drafts, left_out):
                split = UNSEEN if tool.id in unseen else HELD_OUT if random.random() < config.held_out_share else TRAIN
                task = await _proven(draft, executor, f"{tool.id}#{len(tasks) + 1}", split)
                if isinstance(task, Task):
                    tasks.append(task)
                else:
                    left_out[task] += 1
            advance(1)
            return tasks

    found = await asyncio.gather(*map(of_tool, catalogue))
    tasks: dict[str, Task] = {}
    for task in (task for made in found for task in made):
        said = " ".join(task.instruction.casefold().split())
        # who asks the same of another tool, or with other arguments, cannot be told what is meant
        if tasks.setdefault(said, task) is not task:
            left_out["the same instruction was written before"] += 1
    return MadeTasks(tasks=tuple(tasks.values()), left_out=+left_out)


async def _written(
    writer: Writer, tool: ToolDoc, count: int, random: Random, left_out: Counter[str]
) -> Sequence[Draft]:
    try:
        drafts = await writer.drafts(tool, count, random)
    except InfraError as error:  # what was made of other tools is not to be lost
        left_out[f"the writer failed ({error})"] += 1
        return ()
    left_out["nothing could be written for the tool"] += not drafts
    return drafts


def _distinct(drafts: Sequence[Draft], left_out: Counter[str]) -> list[Draft]:
    """Those that call with other arguments than one before."""
    kept = {canonical_json(dict(draft.arguments)): draft for draft in reversed(drafts)}
    left_out["the same call was written before"] += len(drafts) - len(kept)
    return list(kept.values())[::-1]


async def _proven(draft: Draft, executor: Executor, id: str, split: str) -> Task | str:
    """The task, or why there is none."""
    replies = []
    for _ in range(2):
        async with executor.session() as episode:
            result = await episode.call(draft.tool, draft.arguments)
        if result.status is ToolStatus.INFRA_ERROR:
            return f"the machinery failed ({result.text.removeprefix('error: ')})"
        if result.status is not ToolStatus.OK:
            return f"the call ended as {result.status.value}"
        if not result.text.strip():
            return "the call said nothing"
        replies.append(result.text)
    answers = replies[0] == replies[1] and len(replies[0]) <= _ANSWER_CHARS
    return Task(
        id=id,
        instruction=draft.instruction,
        split=split,
        gold_tools=(draft.tool.id,),
        gold_calls=(ToolCall(name=draft.tool.id, arguments=draft.arguments),),
        gold_answer=replies[0] if answers else None,
        tags=("single", *draft.tool.tags[:1]),
    )
