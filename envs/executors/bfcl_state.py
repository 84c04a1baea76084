"""Runs the stateful tools of BFCL's dialogues: the package's own classes, loaded from its wheel or unpacked folder.

They are plain Python without network or files, of a package that the user chose and fetched: they run in this process,
without a sandbox. A session has instances of its own, in the state that its task begins with, and shares nothing with
another. Nothing could interrupt a call, so none may take longer than a moment: numbers are limited (`_too_large`), and
so is what a state holds (`_Public`), for folders copied into one another double with each copy.
"""

import asyncio
import copy
import importlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
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
_MOST, _MOST_DIGITS = 1e12, 10_000  # of a number, and of an exponent or a count of digits, that MathAPI is asked with
_MOST_STATE = 200_000  # characters and parts of one instance's state; 40,000 are the most that gold calls leave
_MOST_DEEP = 100  # parts within one another
_OF_MODULE = frozenset({"MathAPI", "VehicleControlAPI"})  # write what their module holds: a precision, a reply's dict
_module = threading.Lock()


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
        self._left = False  # did a call not end in time? it may go on, so that the state is nobody's any more

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. Nothing ends a call that outlives its deadline, so the session ends: no further one runs."""
        class_name, _, method = tool.id.removeprefix("bfcl/").partition(".")
        if class_name not in self._instances or method.startswith("_"):
            return _not_here(tool)
        async with asyncio.timeout(timeout_s), self._lock:
            if self._left:
                raise TimeoutError
            self._left = True
            reply = await asyncio.to_thread(self._reply, class_name, method, tool, arguments)
            self._left = False
            return reply

    async def state(self) -> Mapping[str, Any]:
        """The public attributes of each instance, by class; empty where they cannot be seen, as no gold state is."""
        async with self._lock:
            if self._left:
                return {}
            try:
                return await asyncio.to_thread(public_state, self._instances)
            except StateTooLarge:
                return {}

    def _reply(self, class_name: str, method: str, tool: ToolDoc, arguments: Mapping[str, Any]) -> Reply:
        instance = self._instances[class_name]
        try:
            if class_name == "MathAPI" and (problem := _too_large(tool, arguments)):
                raise ValueError(problem)
            public_state({class_name: instance})  # what could take long with a large one is not begun
            with _module if class_name in _OF_MODULE else nullcontext():
                said = getattr(instance, method)(**copy.deepcopy(dict(arguments)))
                text = said_text(said)
            status = ToolStatus.TOOL_ERROR if isinstance(said, dict) and "error" in said else ToolStatus.OK
            return Reply(text=text, status=status)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            return failed(error)


def _instances(classes: Mapping[str, type], begins: Mapping[str, Any]) -> dict[str, Any]:
    """`begins`: {"classes": [name, …], "load": {name: …}, "long_context": whether they hold much that is of no use}."""
    instances = {}
    for name in begins["classes"]:
        instances[name] = classes[name]()
        if name not in _STATELESS:
            _load(instances[name], begins["load"].get(name, {}), long_context=bool(begins["long_context"]))
    return copy.deepcopy(instances)  # what they load for a long context they take from their modules, uncopied


def _load(instance: Any, scenario: Mapping[str, Any], *, long_context: bool) -> None:
    """A class takes whatever is given, and fails at its first call; an attribute is to be what it is by default."""
    instance._load_scenario(copy.deepcopy(scenario), long_context=long_context)
    default = type(instance)()
    default._load_scenario({}, long_context=long_context)
    for key, value in vars(instance).items():
        usual = vars(default).get(key)
        kinds = (int, float) if isinstance(usual, int | float) else (type(usual),)
        if usual is not None and not isinstance(value, kinds):
            raise TypeError(f"{key} of {type(instance).__name__} is {value!r:.80}, not a {kinds[-1].__name__}")


def _not_here(tool: ToolDoc) -> Reply:
    return Reply(text=f"error: {tool.name!r} cannot be called here", status=ToolStatus.UNKNOWN_TOOL)


def _too_large(tool: ToolDoc, arguments: Mapping[str, Any]) -> str | None:
    """Why MathAPI is not asked: 9**9**9, or rounding to -10**7 digits, would hold the whole process for long."""
    types = tool.parameters.get("properties", {})
    for name, value in arguments.items():
        counts = name == "exponent" or types.get(name, {}).get("type") == "integer"
        most = _MOST_DIGITS if counts else _MOST
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


class StateTooLarge(Exception):
    """A state holds more than any gold calls leave."""


def public_state(instances: Mapping[str, Any]) -> dict[str, Any]:
    """The public attributes of each instance, by class, as JSON. Raises StateTooLarge."""
    return {name: _Public().of(instance, ()) for name, instance in instances.items()}


class _Public:
    """Writes one instance as JSON, and counts what it writes: what is there twice is written twice."""

    def __init__(self) -> None:
        self._left = _MOST_STATE

    def of(self, value: Any, within: tuple[int, ...]) -> Any:
        """`value` as JSON: of an object its public attributes, but for what it is itself a part of."""
        self._count(1, within)
        if value is None or isinstance(value, str | int | float):
            self._count(len(value) if isinstance(value, str) else 0, within)
            return value
        if id(value) in within:
            return "…"
        inside = (*within, id(value))
        if isinstance(value, Mapping):
            return {self._key(key, within): self.of(item, inside) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, inside) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self.of(item, inside) for item in value), key=repr)
        if not hasattr(value, "__dict__"):
            return str(value)
        return {
            key: self.of(item, inside)
            for key, item in vars(value).items()
            if not key.startswith("_") and key != "parent"  # of a folder, which its equality passes over too
        }

    def _key(self, key: Any, within: tuple[int, ...]) -> str:
        text = str(key)
        self._count(len(text), within)
        return text

    def _count(self, size: int, within: tuple[int, ...]) -> None:
        self._left -= size
        if self._left < 0 or len(within) > _MOST_DEEP:
            raise StateTooLarge(
                f"what is there has grown beyond {_MOST_STATE:,} characters, or {_MOST_DEEP} parts within one another; "
                "nothing more can be done with it"
            )
