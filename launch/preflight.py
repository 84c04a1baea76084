"""What can be known to fail before anything is made: asked by `--dry-run` and by every run, in a second or two.

Nothing heavy is imported and nothing is written here.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from configs.schema import RunConfig
from envs.chat_client import ChatClient
from envs.executors.executor import Executor
from envs.executors.mcp_config import read_mcp_config
from envs.types import Task
from envs.worlds.composing import SPLITS
from envs.worlds.world import build_world
from launch.plan import launched_ranks
from launch.run_folder import folder_of
from retriever.base.errors import UserError
from retriever.base.nearest import did_you_mean
from rollout.batch_files import record_files
from rollout.vllm_environment import vllm_interpreter
from train.config import check_enough, zero_stage

TRAINS = frozenset({"quickstart", "study", "sft", "grpo"})
USES_GRPO = TRAINS - {"sft"}
COLLECT = "rollouts collect"
EVALUATES = frozenset({"quickstart", "study", "eval"})


def preflight(command: str, config: RunConfig) -> None:
    """Raises UserError, or DataError for a line of the user's files, when `command` could not be run with `config`."""
    _check_folder(folder_of(config))
    check_model(config.model.path)
    if command in USES_GRPO:
        zero_stage(config.grpo.deepspeed)
        config.check_trainable()
        _check_records(config)
        if not _reads_records_alone(command, config):
            config.check_placement(ranks=launched_ranks())
    if command == COLLECT:
        if config.grpo.records is not None:
            raise UserError(f"grpo.records={config.grpo.records} is trained on, and nothing here is; leave it out")
        config.check_playable()
    splits = tuple(_wanted_splits(command, config))
    _check_splits(config, splits)
    if not _reads_records_alone(command, config):
        _check_executor(config, splits)
        _check_engine(config)


def check_gpus(command: str, config: RunConfig) -> None:
    """Has this machine the GPUs of the rollout workers? Not asked of a plan, which may be for another one.

    torch is imported, as the run is about to. Raises UserError.
    """
    rollout = config.rollout
    wanted = rollout.workers * rollout.gpus_per_worker
    if not wanted or command == "sft" or _reads_records_alone(command, config):
        return
    import torch

    if wanted > (visible := torch.cuda.device_count()):
        raise UserError(
            f"rollout.workers={rollout.workers} × rollout.gpus_per_worker={rollout.gpus_per_worker:g} asks for "
            f"{wanted:g} GPUs; {visible} are visible here; rollout.gpus_per_worker=0 plays on the CPU, for small models"
        )


def _reads_records_alone(command: str, config: RunConfig) -> bool:
    """Is nothing played at all?"""
    return command == "grpo" and config.grpo.records is not None


def _check_records(config: RunConfig) -> None:
    """Are there as many recorded batches as GRPO is to train on? They are opened when their turn comes."""
    if config.grpo.records is not None:
        check_enough(record_files(config.grpo.records), config.grpo)


def _check_engine(config: RunConfig) -> None:
    """Is there what `rollout.engine` needs? No server is asked anything."""
    rollout = config.rollout
    if rollout.engine == "vllm":
        vllm_interpreter(rollout.vllm.python)
    if rollout.server is not None:
        if config.env.dialect != "qwen3":
            raise UserError(f"env.dialect={config.env.dialect}: rollout.engine=openai takes qwen3 alone; give that")
        ChatClient(rollout.server.chat())  # its key is there


def _wanted_splits(command: str, config: RunConfig) -> Iterator[str]:
    yield from config.evaluation.splits if command in EVALUATES else ()
    plays = command in TRAINS | {COLLECT} and not _reads_records_alone(command, config)
    yield from ("train",) if plays else ()


def _check_executor(config: RunConfig, splits: Sequence[str]) -> None:
    """Can what runs the tools be set up here? MCP servers are started, asked for their tools, and ended."""
    wanted = config.executor
    if not wanted.executes:
        return
    if wanted.record is not None and wanted.record.policy != "replay_only":
        existing = Path(wanted.record.path).expanduser()
        if not existing.parent.is_dir():
            raise UserError(f"executor.record.path={existing}: there is no folder {existing.parent}; make it")
        if not existing.exists():
            wanted = replace(wanted, record=None)  # nothing is made yet
    world = build_world(config.world)
    executor = world.executor(config.env, wanted)
    if executor is not None:
        every = () if config.world.kind == "embedded" else (world.tasks(split, sys.maxsize, 0) for split in splits)
        tasks = [task for of_split in every for task in of_split if task.initial_state]
        asyncio.run(_begin_each(executor, tasks, where=f"{config.world.data}/tasks.jsonl"))
    if wanted.mcp is not None and not (wanted.record and wanted.record.policy == "replay_only"):
        asyncio.run(_ask_servers(wanted.mcp))


async def _begin_each(executor: Executor, tasks: Sequence[Task], *, where: str) -> None:
    """Does something take the state that each begins with? Hours later is too late to hear that it does not."""
    try:
        for task in tasks:
            async with executor.session(task):
                pass
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    finally:
        await executor.close()


async def _ask_servers(path: str) -> None:
    from envs.executors.mcp_servers import McpServers  # the SDK takes a second to load

    servers = McpServers(read_mcp_config(path))
    try:
        await servers.list_tools()
    finally:
        await servers.close()


def _check_splits(config: RunConfig, wanted: tuple[str, ...]) -> None:
    if config.world.kind != "embedded":
        world = build_world(config.world)
        for split in wanted:
            world.tasks(split, 1, 0)
        return
    for split in wanted:
        if split not in SPLITS:
            hint = did_you_mean(split, SPLITS)
            raise UserError(f"no split {split!r} in the embedded world{hint}; it has {', '.join(SPLITS)}")


def _check_folder(folder: Path) -> None:
    """May a run folder be made there?"""
    if len(folder.name) > 200:
        raise UserError(f"name: {len(folder.name)} characters are too many for a folder; give at most 200")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"output_dir: {there} is a file, so {folder} cannot be made; give another output_dir=")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"output_dir: no right to write to {there}; give another output_dir=")


def check_model(path: str, *, what: str = "model.path=") -> None:
    """Is there a model in the folder? Hub names and the shipped base are not looked at."""
    if path == "nano":
        return
    folder = Path(path).expanduser()
    if not folder.exists():
        if path.count("/") == 1 and path[0] not in "/.~":  # OWNER/NAME of the Hub
            return
        raise UserError(f"{what}{path}: no such folder; check the path, or give a Hub name such as Qwen/Qwen3-0.6B")
    if not folder.is_dir():
        raise UserError(f"{what}{path} is a file; give the folder that holds it and its config.json")
    config = folder / "config.json"
    if not config.is_file() and not (folder / "adapter_config.json").is_file():
        raise UserError(f"{what}{path} holds no config.json; give the folder of a Hugging Face model")
    if config.is_file():
        try:
            json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{config}: not valid JSON ({error}); fetch or export the model again") from None
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{what}{path} holds no *.safetensors; other formats are not loaded, convert the weights")
    for file in weights:
        _check_safetensors(file)


def _check_safetensors(file: Path) -> None:
    """The header must fit the file: eight bytes of length, JSON, then as many bytes as it tells of."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        try:
            if length > size - 8:
                raise ValueError("cut short")
            header = json.loads(opened.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            if 8 + length + max(ends, default=0) != size:
                raise ValueError("cut short")
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
            raise UserError(f"{file} is no whole safetensors file; fetch or export the model again") from None
