"""A worker process of `PythonPool`: reads requests, forks a process for each, writes replies. `python -m` runs it.

It never runs a tool's code itself. For the first call of a file it compiles the file and imports the installed
libraries that the file names (those of the interpreter, never those of the tools' folder), so that the process forked
for a call has them at once; that process alone runs the file and then the function, is held by the sandbox and by one
more filter, has no descriptor but the one that takes its reply, and is killed before the reply goes out. So whatever a
call did to modules, threads, memory or descriptors ended with it, and the next is forked from a worker that never saw
it. The price is a fork (about 1 ms with the sandbox, 5 with numpy loaded, 15 with torch: a fork copies the tables of
all memory in use), and that the body of the tool's file runs in every call.

Messages in both directions are a length of four bytes (big-endian) and that much JSON. Imports little: what a worker
has loaded, each fork pays for.
"""

import gc
import os
import resource
import select
import signal
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from json import dumps, loads  # by name: a tool may put others into the module
from types import FunctionType
from typing import Any

from envs.executors import sandbox
from envs.executors.python_arguments import fitted
from envs.executors.python_files import ToolFiles

FRAME_BYTES = 4  # the length before each message
JSON_BYTES_OF_A_CHARACTER = 12  # at most: an escaped surrogate pair
_REPLY_FD = 3
_PARENT_CHECK_MS = 1000
_MB = 1024 * 1024

_Reply = dict[str, Any]


def main() -> None:
    """Serve the parent at the other end of descriptor 0 until it is gone."""
    parent = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # what a library prints must not get among the replies
    os.dup2(null, 1)
    settings = _received(parent)
    if settings is None:
        return
    os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [entry for entry in sys.path if entry != settings["code"]]
    try:
        worker = _Worker(parent, settings)
    except OSError as error:
        _send(parent, {"failure": str(error)})
        return
    os.dup2(null, 2)
    os.close(null)
    worker.serve()


class _Worker:
    def __init__(self, parent: int, settings: Mapping[str, Any]) -> None:
        """Confines this process. Raises OSError when it cannot, or cannot read the tools."""
        self._parent, self._settings = parent, settings
        self._parent_pid = os.getppid()
        self._files = ToolFiles(settings["folder"])
        # kept open: the sandbox does not let it be opened
        self._size = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None
        self._filter = b64decode(settings["call_program"])
        if settings["sandbox"] == "kernel":
            readable, program = (self._files.folder, *settings["readable"]), b64decode(settings["worker_program"])
            sandbox.confine(scratch=os.getcwd(), readable=readable, program=program)
        os.listdir(self._files.folder)
        gc.disable()  # collecting would write to, and so copy, the pages that a fork shares

    def serve(self) -> None:
        """Say that a request may come, take it, reply; until the parent is gone, or a call's files cannot be removed.

        Whoever started this worker starts another then.
        """
        while _emptied(os.getcwd()):
            _send(self._parent, {"failure": None})
            request = self._request()
            if request is None:
                return
            path = self._files.path(request["file"])
            if path is None:
                _send(self._parent, _unknown(f"there is no file {request['file']!r}.py among the tools"))
                continue
            try:
                self._files.prepare(path)
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
                problem = f"{request['file']}.py cannot be read ({type(error).__name__}: {error})"
                _send(self._parent, _error(problem))
                continue
            self._call(path, request)

    def _request(self) -> dict[str, Any] | None:
        """The next one; None when the parent is gone, though a process that it forked may keep our socket open."""
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        while not poll.poll(_PARENT_CHECK_MS):
            if os.getppid() != self._parent_pid:
                return None
        return _received(self._parent)

    def _call(self, path: str, request: Mapping[str, Any]) -> None:
        """Fork a process for the call, send its reply, and see it end."""
        taken, given = os.pipe()
        memory = self._taken_bytes() + self._settings["memory_mb"] * _MB
        worker, child = os.getpid(), os.fork()
        if child == 0:
            try:
                self._become_call(worker, given, memory)
                outcome = _outcome(self._files, path, request, self._settings["output_chars"])
                _write(_REPLY_FD, dumps(outcome).encode())
                os.close(_REPLY_FD)  # now: a process takes a while to end
            finally:
                os._exit(0)
        os.close(given)
        written = self._written(taken)
        os.close(taken)
        os.kill(child, signal.SIGKILL)  # for threads that outlive the reply
        reply = _understood(written) if written is not None else None
        if reply is not None:
            _send(self._parent, reply)
        status = os.waitpid(child, 0)[1]
        if written is None:
            _emptied(os.getcwd())
            os._exit(1)
        if reply is None:
            _send(self._parent, _error(f"the tool's process ended{_how(status)} before it gave a result"))

    def _become_call(self, worker: int, reply_fd: int, memory_bytes: int) -> None:
        """What the forked process does before the tool's code."""
        os.dup2(reply_fd, _REPLY_FD)
        os.closerange(_REPLY_FD + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        sandbox.end_with_parent(worker)
        sandbox.limit_resources(
            memory_bytes=memory_bytes,
            cpu_s=self._settings["cpu_s"],
            file_bytes=self._settings["file_mb"] * _MB,
            open_files=self._settings["open_files"],
        )
        if self._filter:
            sandbox.filter_calls(self._filter)
        gc.enable()

    def _written(self, pipe: int) -> bytes | None:
        """What the call's process wrote until it closed the pipe or exceeded the limit; None when the parent ended."""
        limit = self._settings["output_chars"] * JSON_BYTES_OF_A_CHARACTER + 1024
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self._parent, 0)  # its end alone
        parts: list[bytes] = []
        while True:
            ready = dict(poll.poll(_PARENT_CHECK_MS))
            if self._parent in ready or os.getppid() != self._parent_pid:
                return None
            if pipe in ready:
                part = os.read(pipe, _MB)
                parts.append(part)
                if not part or sum(map(len, parts)) > limit:
                    return b"".join(parts)

    def _taken_bytes(self) -> int:
        """The address space of this process, and so of what is forked from it."""
        if self._size is None:
            return 0
        return int(os.pread(self._size, 100, 0).split()[0]) * resource.getpagesize()


def _outcome(files: ToolFiles, path: str, request: Mapping[str, Any], output_chars: int) -> _Reply:
    """Runs the tool's code: in the process of the call."""
    try:
        function = vars(files.module(path)).get(request["function"])
        if not isinstance(function, FunctionType):
            return _unknown(f"there is no function {request['function']!r} in {request['file']}.py")
        text = _text(_result(function, request["arguments"]))
        status, length = "ok", len(text)
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises is its result
        error.__traceback__ = None  # it holds what filled the memory
        text = f"error: {str(error) or type(error).__name__}"
        status, length = "tool_error", len(text)
    text = text[:output_chars].encode(errors="replace").decode()
    return {"status": status, "text": text, "length": length}


def _result(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    by_name, by_position = fitted(function, arguments), []
    inner: Any = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = inner.__code__
    for name in code.co_varnames[: code.co_posonlyargcount]:
        if name not in by_name:
            break
        by_position.append(by_name.pop(name))
    result = function(*by_position, **by_name)
    if hasattr(result, "__await__"):
        import asyncio

        async def awaited() -> Any:
            return await result

        return asyncio.run(awaited())
    return result


def _text(value: Any) -> str:
    """How a Python value reads as an observation: strings bare, everything else as JSON, as far as JSON goes."""
    if isinstance(value, str):
        return str(value)
    try:
        return dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys that are no strings; a value that holds itself
        return repr(value)


def _plain(value: Any) -> Any:
    """What stands in JSON for a value that JSON does not have."""
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        import dataclasses

        return dataclasses.asdict(value)
    if hasattr(value, "model_dump"):  # pydantic's
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):  # numpy's, its scalars too
        return value.tolist()
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def _understood(written: bytes) -> _Reply | None:
    """The reply of a call's process, which may have written anything; None when it is none."""
    try:
        reply = loads(written)
        sound = reply["status"] in ("ok", "tool_error", "unknown_tool") and isinstance(reply["text"], str)
        return {"status": reply["status"], "text": reply["text"], "length": int(reply["length"])} if sound else None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f" with exit code {code}"
    if -code == signal.SIGXCPU:
        return " at its limit of CPU time"
    return f" by signal {-code} ({signal.strsignal(-code)})"


def _error(problem: str) -> _Reply:
    return {"status": "tool_error", "text": f"error: {problem}", "length": 0}


def _unknown(problem: str) -> _Reply:
    return {"status": "unknown_tool", "text": f"error: {problem}", "length": 0}


def _emptied(folder: str) -> bool:
    """Whether what a call left in the folder could be removed."""
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif _emptied(entry.path):
                os.rmdir(entry.path)
            else:
                return False
    except (OSError, RecursionError):
        return False
    return True


def _received(parent: int) -> dict[str, Any] | None:
    """The next message; None when the parent is gone."""
    head = _read(parent, FRAME_BYTES)
    body = _read(parent, int.from_bytes(head, "big"))
    return loads(body) if body else None


def _read(descriptor: int, count: int) -> bytes:
    """`count` bytes; none when there are not as many."""
    parts, missing = [], count
    while missing:
        try:
            part = os.read(descriptor, missing)
        except OSError:
            part = b""
        if not part:
            return b""
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _send(parent: int, message: _Reply) -> None:
    body = dumps(message).encode()
    with suppress(OSError):  # the parent is gone: the next read says so
        _write(parent, len(body).to_bytes(FRAME_BYTES, "big") + body)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
