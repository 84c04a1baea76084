"""Tasks made from a catalogue's tools, on the command line."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from configs.load import dump_yaml, is_override, load_config
from configs.schema import TaskMakingConfig
from envs.chat_client import ChatClient
from envs.datasets.user_files import write_tasks
from envs.executors.build import build_executor
from envs.executors.executor import Executor
from envs.making.drafts import TemplateWriter
from envs.making.make import TRAIN, LeftOut, MadeTasks, make_tasks
from envs.making.teacher import TeacherWriter
from launch.display import Display, new_console
from retriever.base.errors import UserError
from retriever.catalogue import Catalogue


def make(settings: Sequence[str], *, catalogue: Path, out: Path | None) -> None:
    """Make tasks and write them to `out`; None prints what would be done. Raises UserError."""
    for text in settings:
        if not is_override(text):
            raise UserError(f"{text!r}: expected key=value, e.g. executor.python.folder=my")
    config = load_config(TaskMakingConfig, None, settings)
    for name in ("record", "faults"):
        if getattr(config.executor, name) is not None:
            raise UserError(f"executor.{name}: a gold call is proven by what the tool itself says; leave it out here")
    tools = Catalogue.load(catalogue)
    executor = build_executor(config.executor, config.env, origins={tool.origin for tool in tools})
    if executor is None:
        raise UserError(
            "nothing runs the tools, so that no call could be proven; say what does: executor.python.folder=FOLDER, "
            "executor.mcp=mcp.json; for more see docs/tools.md"
        )
    display = Display(new_console())
    if out is None:
        display.console.print(dump_yaml(config), markup=False, highlight=False)
        display.say(f"# {len(tools):,} tools, at most {len(tools) * config.making.per_tool:,} tasks")
        return
    made = asyncio.run(_made(tools, executor, config, display))
    if not made.tasks:
        raise UserError(f"no task could be made of {len(tools)} tools; {'; '.join(_told(made.left_out))}")
    write_tasks(out, made.tasks)
    display.console.print(_table(made))
    for line in _told(made.left_out):
        display.say(line)
    if not any(task.split == TRAIN for task in made.tasks):
        display.say("there is nothing to train on; give making.unseen_share=0, or more tools or making.per_tool")
    display.say(f"{out}: {len(made.tasks):,} tasks")


async def _made(tools: Catalogue, executor: Executor, config: TaskMakingConfig, display: Display) -> MadeTasks:
    writer = TemplateWriter() if config.teacher is None else TeacherWriter(ChatClient(config.teacher))
    try:
        with display.bar("calling each tool, twice over", 2 * len(tools)) as advance:
            return await make_tasks(tools, executor, writer, config.making, advance=advance)
    finally:
        await executor.close()


def _told(left_out: Mapping[str, LeftOut]) -> list[str]:
    """A line for each reason, the commonest first."""
    ordered = sorted(left_out.items(), key=lambda item: -item[1].count)
    return [f"left out: {found.count}: {reason}, e.g. {' '.join(found.example.split())}" for reason, found in ordered]


def _table(made: MadeTasks) -> Table:
    table = Table("split", box=box.SIMPLE_HEAD)
    for name in ("tasks", "tools", "with a gold answer"):
        table.add_column(name, justify="right")
    for split in dict.fromkeys(task.split for task in made.tasks):
        tasks = [task for task in made.tasks if task.split == split]
        called = {task.gold_tools for task in tasks}
        answered = sum(task.gold_answer is not None for task in tasks)
        table.add_row(split, f"{len(tasks):,}", f"{len(called):,}", f"{answered:,}")
    return table
