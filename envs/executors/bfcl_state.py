"""Runs the stateful tools of BFCL's dialogues: the package's own classes, loaded from its wheel or unpacked folder.

They are plain Python without network or files, of a package that the user chose and fetched: they run in this process,
without a sandbox. A session has instances of its own, in the state that its task begins with. Of what they are asked,
only computing with numbers can take longer than a moment, and nothing could interrupt it: see `_too_large`.
"""

import asyncio
import copy
import importlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envs.datasets.bfcl_dialogues import ORIGIN, STATEFUL
from envs.executors.backend import Reply, failed
from envs.executors.executor import Stateless
from envs.types import Task, ToolStatus
from retriever.base.errors import UserError
from retriever.tools import ToolDoc

_MODULES = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_STATELESS = frozenset({"MathAPI"})  # nothing to load a state into
_MOST, _MOST_DIGITS = 1e12, 10_000  # of a number, and of an exponent or a precision, that MathAPI is asked with
_math = threading.Lock()  # MathAPI sets the precision of the whole process


def load_classes(source: str | Path) -> Mapping[str, type]:
    """The eight classes by name, from a wheel or the folder it was unpacked into. Raises UserError."""
    source = Path(source).expanduser().resolve()
    sys.path.insert(0, str(source))
    try:
        loaded = {
            name: getattr(importlib.import_module(f"{_MODULES}.{module}"), name)
            for name, (module, _) in STATEFUL.items()
        }
        origin = importlib.import_module(_MODULES).__file__ or ""
    except (ImportError, AttributeError) as error:
        raise UserError(f"the classes of bfcl-eval cannot be loaded from {source} ({error}); fetch it again") from None
    finally:
        sys.path.remove(str(source))
    if not Path(origin).is_relative_to(source):
        raise UserError(f"bfcl-eval was already loaded from {origin}; use one wheel or folder in a process")
    return loaded


class BfclStateBackend(Stateless):
    """A `Backend` whose sessions share nothing. Outside of one, and without an initial state, no tool can be called."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        """`classes`: of `load_classes`."""
        self._classes = classes

    @asynccontextmanager
    async def session(self, task: Task | None = None) -> AsyncIterator[Any]:
        """See `Backend`. Raises UserError for an initial state that the classes do not take."""
        begins = None if task is None else task.initial_state.get(ORIGIN)
        if task is None or begins is None:
            yield self
            return
        try:
            instances = await asyncio.to_thread(_instances, self._classes, begins)
        except Exception as error:  # whatever the classes, or a user's own file, make of it
            raise UserError(
                f"task {task.id!r}: its initial_state is none of BFCL's classes ({type(error).__name__}: {error}); "
                "mend it, or fetch the tasks again"
            ) from error
        yield _Session(instances)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`."""
        return _not_here(tool)


class _Session(Stateless):
    """The backend of one episode."""

    def __init__(self, instances: Mapping[str, Any]) -> None:
        self._instances = instances
        self._lock = asyncio.Lock()  # one state: one call at a time

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. A call that outlives its deadline goes on in its thread, though none of them waits."""
        class_name, _, method = tool.id.removeprefix("bfcl/").partition(".")
        if class_name not in self._instances or method.startswith("_"):
            return _not_here(tool)
        async with asyncio.timeout(timeout_s), self._lock:
            return await asyncio.to_thread(self._reply, class_name, method, arguments)

    async def state(self) -> Mapping[str, Any]:
        """The public attributes of each instance, by class."""
        async with self._lock:
            return await asyncio.to_thread(public_state, self._instances)

    def _reply(self, class_name: str, method: str, arguments: Mapping[str, Any]) -> Reply:
        call = getattr(self._instances[class_name], method)
        try:
            if class_name != "MathAPI":
                said = call(**copy.deepcopy(dict(arguments)))
            elif problem := _too_large(arguments):
                said = {"error": problem}
            else:
                with _math:
                    said = call(**arguments)
            status = ToolStatus.TOOL_ERROR if isinstance(said, dict) and "error" in said else ToolStatus.OK
            return Reply(text=said_text(said), status=status)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            return failed(error)


def _instances(classes: Mapping[str, type], begins: Mapping[str, Any]) -> dict[str, Any]:
    """`begins`: {"classes": [name, …], "load": {name: …}, "long_context": whether they hold much that is of no use}."""
    instances: dict[str, Any] = {}
    for name in begins["classes"]:
        instances[name] = instance = classes[name]()
        if name not in _STATELESS:
            load = copy.deepcopy(begins["load"].get(name, {}))
            instance._load_scenario(load, long_context=bool(begins["long_context"]))
    return instances


def _not_here(tool: ToolDoc) -> Reply:
    return Reply(text=f"error: {tool.name!r} cannot be called here", status=ToolStatus.UNKNOWN_TOOL)


def _too_large(arguments: Mapping[str, Any]) -> str | None:
    """Why MathAPI is not asked: 9**9**9 would hold the whole process for hours."""
    for name, value in arguments.items():
        most = _MOST_DIGITS if name in ("exponent", "precision") else _MOST
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and abs(number) > most:
                return f"{name} is beyond {most:g}"
    return None


def said_text(value: Any) -> str:
    """What a method returned, as the package's own executor writes it: objects as JSON, all else as `str`."""
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return str(value)


def public_state(instances: Mapping[str, Any]) -> dict[str, Any]:
    """The public attributes of each instance, by class, as JSON."""
    return {name: _public(instance, ()) for name, instance in instances.items()}


def _public(value: Any, within: tuple[int, ...]) -> Any:
    """`value` as JSON: of an object its public attributes, but for what it is itself a part of."""
    if value is None or isinstance(value, str | int | float):
        return value
    if id(value) in within:
        return "…"
    inside = (*within, id(value))
    if isinstance(value, Mapping):
        return {str(key): _public(item, inside) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item, inside) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_public(item, inside) for item in value), key=repr)
    if not hasattr(value, "__dict__"):
        return str(value)
    return {
        key: _public(item, inside)
        for key, item in vars(value).items()
        if not key.startswith("_") and key != "parent"  # of a folder, which its equality passes over too
    }
