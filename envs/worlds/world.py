"""A world: the tools that exist, the tasks that are set in it, and where calls run. Built from a `WorldConfig`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from envs.config import EnvConfig
from envs.datasets.stabletoolbench import read_stabletoolbench
from envs.datasets.user_files import read_tasks
from envs.executors.build import build_executor
from envs.executors.config import ExecutorConfig
from envs.executors.executor import Executor
from envs.executors.functions import FunctionBackend
from envs.types import Task
from envs.worlds.embedded import EmbeddedWorld
from retriever.base.errors import UserError
from retriever.base.seeds import derive_random
from retriever.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """Where tools and tasks come from."""

    kind: Literal["embedded", "files", "stabletoolbench"] = "embedded"
    data: str | None = None  # files: a folder with tools.jsonl and tasks.jsonl; stabletoolbench: its folder
    # Does a task's search show the whole catalogue, or the tools that the task itself offers, where it offers some?
    # None: open for stabletoolbench, given for files.
    api_list: Literal["open", "given"] | None = None
    seed: int = 0  # embedded: which tools are the unseen ones
    checkers: tuple[str, ...] = ()  # files: Python modules that a task's `checker` may be from; they are imported

    def __post_init__(self) -> None:
        if (self.kind == "embedded") != (self.data is None):
            raise UserError(
                f"world.kind={self.kind} {'takes no' if self.kind == 'embedded' else 'needs'} world.data (a path)"
            )

    @property
    def executes(self) -> bool:
        """Whether such a world brings what runs its tools."""
        return self.kind == "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A catalogue, tasks by split, and the functions behind the tools (None: nothing can be executed)."""

    catalogue: Catalogue
    tasks: Callable[[str, int, int], tuple[Task, ...]]  # (split, count, seed) → tasks
    call: Callable[[str, Mapping[str, Any]], str] | None
    unseen_tools: frozenset[str] = frozenset()  # ids of tools that training never shows

    def executor(self, env: EnvConfig, config: ExecutorConfig) -> Executor | None:
        """What runs this world's calls under the limits of `env`; None where nothing can be executed.

        Raises UserError or DataError for what cannot be set up.
        """
        own = {} if self.call is None else {"python": FunctionBackend(self.call)}
        origins = {tool.origin for tool in self.catalogue}
        return build_executor(config, env, origins=origins, own=own)


def build_world(config: WorldConfig) -> World:
    """The world that `config` names. Raises UserError or DataError for what cannot be read."""
    if config.kind == "embedded":
        embedded = EmbeddedWorld.build(config.seed)
        return World(
            catalogue=Catalogue.of(embedded.tools),
            tasks=embedded.tasks,
            call=embedded.call,
            unseen_tools=embedded.unseen_tools,
        )
    assert config.data is not None
    if config.kind == "files":
        catalogue = Catalogue.load(f"{config.data}/tools.jsonl")
        tasks = read_tasks(f"{config.data}/tasks.jsonl", catalogue, checkers=config.checkers)
        if config.api_list == "open":
            tasks = tuple(replace(task, offered_tools=()) for task in tasks)
    else:
        bench = read_stabletoolbench(config.data, given=config.api_list == "given")
        catalogue, tasks = bench.catalogue, bench.tasks
    return World(catalogue=catalogue, tasks=_by_split(tasks, config), call=None)


def _by_split(tasks: tuple[Task, ...], config: WorldConfig) -> Callable[[str, int, int], tuple[Task, ...]]:
    """Tasks of a fixed set: those of the split, in an order drawn by the seed, at most `count`."""

    def draw(split: str, count: int, seed: int) -> tuple[Task, ...]:
        chosen = [task for task in tasks if task.split == split]
        if not chosen:
            known = ", ".join(sorted({task.split for task in tasks}))
            other = known.split(", ")[0] or "test"
            raise UserError(
                f"{config.data} has no task in split {split!r}, but in {known or 'none'}; give its tasks "
                f'"split": "{split}", or name another split: evaluation.splits=[{other}] for policies, split={other} '
                "for toolscout retriever"
            )
        derive_random(seed, "tasks", split).shuffle(chosen)
        return tuple(chosen[:count])

    return draw
