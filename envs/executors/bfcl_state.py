"""Runs the stateful tools of BFCL's dialogues: the package's own classes, loaded from its wheel or unpacked folder.

They are plain Python without network or files, of a package that the user chose and fetched: they run in this process,
without a sandbox. A session has instances of its own, in the state that its dialogue begins with.
"""

import asyncio
import copy
import importlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envs.datasets.bfcl_dialogues import STATEFUL, BfclDialogue
from envs.executors.backend import Reply, failed
from envs.types import ToolStatus
from retriever.base.errors import UserError
from retriever.tools import ToolDoc

_MODULES = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_STATELESS = frozenset({"MathAPI"})  # nothing to load a state into


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


class BfclStateBackend:
    """A `Backend` for one dialogue; its sessions share nothing."""

    def __init__(self, classes: Mapping[str, type], dialogue: BfclDialogue) -> None:
        """`classes`: of `load_classes`."""
        self._classes, self._dialogue = classes, dialogue
        self._instances: dict[str, Any] = {}
        self._lock = asyncio.Lock()  # one state: one call at a time

    @asynccontextmanager
    async def session(self) -> AsyncIterator["BfclStateBackend"]:
        """See `Backend`: the state that the dialogue begins with."""
        yield BfclStateBackend(self._classes, self._dialogue)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. A call that outlives its deadline goes on in its thread, though none of them waits."""
        class_name, _, method = tool.id.removeprefix("bfcl/").partition(".")
        if class_name not in self._dialogue.classes or method.startswith("_"):
            return Reply(text=f"error: {tool.name!r} cannot be called here", status=ToolStatus.UNKNOWN_TOOL)
        async with asyncio.timeout(timeout_s), self._lock:
            return await asyncio.to_thread(self._reply, class_name, method, arguments)

    async def close(self) -> None:
        """See `Backend`."""
        self._instances.clear()

    def state(self) -> dict[str, dict[str, Any]]:
        """A copy of the public attributes of each instance, by class."""
        instances = {name: self._instance(name) for name in self._dialogue.classes}
        return {
            name: copy.deepcopy({key: value for key, value in vars(one).items() if not key.startswith("_")})
            for name, one in instances.items()
        }

    def _reply(self, class_name: str, method: str, arguments: Mapping[str, Any]) -> Reply:
        try:
            said = getattr(self._instance(class_name), method)(**copy.deepcopy(dict(arguments)))
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            return failed(error)
        status = ToolStatus.TOOL_ERROR if isinstance(said, dict) and "error" in said else ToolStatus.OK
        return Reply(text=said_text(said), status=status)

    def _instance(self, class_name: str) -> Any:
        if class_name not in self._instances:
            instance = self._classes[class_name]()
            if class_name not in _STATELESS:
                initial = copy.deepcopy(self._dialogue.initial.get(class_name, {}))
                instance._load_scenario(initial, long_context=self._dialogue.long_context)
            self._instances[class_name] = instance
        return self._instances[class_name]


def said_text(value: Any) -> str:
    """What a method returned, as the package's own executor writes it: objects as JSON, all else as `str`."""
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return str(value)


def state_differences(left: Mapping[str, Mapping[str, Any]], right: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between two `state()`s, each as "Class.attribute"; BFCL's state check asks that nothing does."""
    names = {(name, key) for state in (left, right) for name, attributes in state.items() for key in attributes}
    missing = object()
    return sorted(
        f"{name}.{key}"
        for name, key in names
        if left.get(name, {}).get(key, missing) != right.get(name, {}).get(key, missing)
    )
