"""Tasks from tools: drafts whose calls were executed, so that every gold call is known to work.

Kept is a draft whose call succeeds and says something. What it said is the gold answer where it is short and a second
call, more than a second after the first, says the same. Tools are held out as a whole: what their tasks ask for is met
in no task of training.

Every call is a real one, with what it does to the world: keep out tools that delete, send or pay.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

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
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")  # of an object without a text of its own

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingConfig:
    """How many tasks are made of what."""

    per_tool: int = 4
    unseen_share: float = 0.2  # of the tools, all of whose tasks are split "test"
    held_out_share: float = 0.2  # of the other tools' tasks, which are split "held_out"
    seed: int = 0
    concurrency: int = 16  # tools at a time
    apart_s: float = 1.1  # between the two calls of a task: what tells the second of the day is no answer

    def __post_init__(self) -> None:
        for name in ("per_tool", "concurrency"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is below 1; give a positive number")
        if self.apart_s < 0:
            raise UserError(f"apart_s={self.apart_s} is negative; 0 calls again at once")
        for name in ("unseen_share", "held_out_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is not in [0, 1); 0.2 is a fifth")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Drafts, or tools that gave none, that became no task for one reason."""

    count: int
    example: str  # the first: a tool's id, and what it said


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """What came of it."""

    tasks: tuple[Task, ...]
    left_out: Mapping[str, LeftOut] = field(hash=False)  # by reason


async def make_tasks(
    catalogue: Catalogue,
    executor: Executor,
    writer: Writer,
    config: MakingConfig,
    *,
    advance: Callable[[int], None] = lambda more: None,
) -> MadeTasks:
    """Tasks for every tool of `catalogue`, in its order. `advance` hears how many more tools are done, twice each.

    Raises UserError when `unseen_share` would leave nothing to train on.
    """
    making = _Making(catalogue, executor, writer, config)
    places = asyncio.Semaphore(config.concurrency)

    async def each(work: Callable[[ToolDoc], Awaitable[T]]) -> list[T]:
        async def placed(tool: ToolDoc) -> T:
            async with places:
                result = await work(tool)
                advance(1)
                return result

        return await asyncio.gather(*map(placed, catalogue))

    await each(making.first_calls)
    await asyncio.sleep(config.apart_s)
    found = await each(making.second_calls)
    return MadeTasks(tasks=making.distinct(task for tasks in found for task in tasks), left_out=making.left_out())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """A draft, and what its first call said."""

    draft: Draft
    split: str
    reply: str


class _Making:
    """One making of tasks."""

    def __init__(self, catalogue: Catalogue, executor: Executor, writer: Writer, config: MakingConfig) -> None:
        self._executor, self._writer, self._config = executor, writer, config
        share = config.unseen_share
        self._unseen = {*split_catalogue(catalogue, unseen_share=share, seed=config.seed).unseen} if share else set()
        self._called: dict[str, list[_Called]] = {}  # by tool id
        self._left_out: dict[str, list[str]] = {}  # by reason: an example each

    async def first_calls(self, tool: ToolDoc) -> None:
        """Draft, and call for the first time."""
        random = derive_random(self._config.seed, "make", tool.id)
        try:
            drafts = await self._writer.drafts(tool, self._config.per_tool, random)
        except InfraError as error:  # what is made of other tools is not to be lost
            self._leave_out("the writer failed", tool, str(error))
            return
        if not drafts:
            self._leave_out("nothing could be written for the tool", tool)
        self._called[tool.id] = []
        for draft in self._distinct_calls(drafts):
            trained = HELD_OUT if random.random() < self._config.held_out_share else TRAIN
            reply = await self._reply(draft)
            if reply is not None:
                split = UNSEEN if tool.id in self._unseen else trained
                self._called[tool.id].append(_Called(draft=draft, split=split, reply=reply))

    async def second_calls(self, tool: ToolDoc) -> list[Task]:
        """Call again, and say what the tasks are."""
        tasks: list[Task] = []
        for called in self._called.get(tool.id, ()):
            again = await self._reply(called.draft)
            if again is not None:
                same = again == called.reply and len(again) <= _ANSWER_CHARS and not _ADDRESS.search(again)
                tasks.append(_task(called, f"{tool.id}#{len(tasks) + 1}", again if same else None))
        return tasks

    def distinct(self, tasks: Iterable[Task]) -> tuple[Task, ...]:
        """Those that say something else than one before: of two, it could not be told what is meant."""
        kept: dict[str, Task] = {}
        for task in tasks:
            if kept.setdefault(" ".join(task.instruction.casefold().split()), task) is not task:
                self._left_out.setdefault("the same instruction was written before", []).append(task.id)
        return tuple(kept.values())

    def left_out(self) -> dict[str, LeftOut]:
        """So far."""
        return {
            reason: LeftOut(count=len(examples), example=examples[0]) for reason, examples in self._left_out.items()
        }

    def _leave_out(self, reason: str, tool: ToolDoc, said: str = "") -> None:
        self._left_out.setdefault(reason, []).append(f"{tool.id}: {said[:200]}" if said else tool.id)

    def _distinct_calls(self, drafts: Sequence[Draft]) -> list[Draft]:
        kept: dict[str, Draft] = {}
        for draft in drafts:
            if kept.setdefault(canonical_json(dict(draft.arguments)), draft) is not draft:
                self._leave_out("the same call was written before", draft.tool)
        return list(kept.values())

    async def _reply(self, draft: Draft) -> str | None:
        """What one call said; None, and the reason remembered, where no task can rest on it."""
        async with self._executor.session() as episode:
            result = await episode.call(draft.tool, draft.arguments)
        if result.status is not ToolStatus.OK:
            self._leave_out(f"the call ended as {result.status.value}", draft.tool, result.text)
        elif result.text.strip() in ("", "null"):
            self._leave_out("the call said nothing", draft.tool)
        else:
            return result.text
        return None


def _task(called: _Called, id: str, answer: str | None) -> Task:
    draft = called.draft
    return Task(
        id=id,
        instruction=draft.instruction,
        split=called.split,
        gold_tools=(draft.tool.id,),
        gold_calls=(ToolCall(name=draft.tool.id, arguments=draft.arguments),),
        gold_answer=answer,
        tags=("single", *draft.tool.tags[:1]),
    )
