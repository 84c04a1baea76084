"""A worker process of `PythonPool`: reads requests, forks a process for each, writes replies. `python -m` runs it.

It never runs a tool's code itself. For the first call of a file it compiles the file and imports the installed
libraries that the file names (those of the interpreter, never those of the tools' folder), so that the process forked
for a call has them at once; that process alone runs the file and then the function, is held by the sandbox and by one
more filter, has no descriptor but the one that takes its reply, and is killed before its reply counts. So whatever a
call did to modules, threads, memory or descriptors ended with it, and the next is forked from a worker that never saw
it: arguments and replies pass through buffers that are overwritten, and are parsed by the call's process and the pool
alone. The price is a fork (about 1 ms with the sandbox, 5 with numpy loaded, 15 with torch: a fork copies the tables of
all memory in use), and that the body of the tool's file runs in every call.

What goes to and fro is in frames, a length of four bytes (big-endian) and that much. A request is two: the file's name
as JSON, and the call as JSON, empty where the file is only to be prepared. The answer to a call is what its process
wrote, in any number of frames, an empty frame, and how the process ended (`CallEnd`); before each request the worker
says that it is ready (`Ready`). Imports little: what a worker has loaded, each fork pays for.
"""

import gc
import os
import resource
import select
import signal
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from json import dumps, loads  # by name: a tool may put others into the module
from types import FunctionType
from typing import Any, TypedDict

from envs.executors import sandbox
from envs.executors.python_arguments import fitted
from envs.executors.python_files import ToolFiles

FRAME_BYTES = 4  # the length before each message
PART_BYTES = 65536  # at most, of what a call's process wrote, in a frame
_JSON_BYTES_OF_A_CHARACTER = 12  # at most: an escaped surrogate pair
_BEGUN = b" "  # what a call's process writes before it meets the tool's code; JSON may begin with it
_REPLY_FD = 3
_PARENT_CHECK_MS = 1000
_EMPTYING_S = 0.2  # longer than that, and a fresh worker is there sooner
_MB = 1024 * 1024

_Reply = dict[str, Any]


class Ready(TypedDict):
    """The worker takes a request; or it cannot be confined, and ends."""

    failure: str | None


class CallEnd(TypedDict):
    """How a call's process ended."""

    failure: str | None  # ours: the tool's code did not begin
    how: str  # " with exit code 3"


def most_written(output_chars: int) -> int:
    """The bytes that a call's process may write: a reply of so many characters as JSON."""
    return output_chars * _JSON_BYTES_OF_A_CHARACTER + 1024


def main() -> None:
    """Serve the parent at the other end of descriptor 0 until it is gone."""
    parent = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # what a library prints must not get among the replies
    os.dup2(null, 1)
    frame = _frame(parent)
    if frame is None:
        return
    settings = loads(frame)
    os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [entry for entry in sys.path if entry != settings["code"]]
    try:
        worker = _Worker(parent, settings)
    except OSError as error:
        _tell(parent, Ready(failure=str(error)))
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
        self._buffer = bytearray(FRAME_BYTES + PART_BYTES + FRAME_BYTES)
        gc.disable()  # collecting would write to, and so copy, the pages that a fork shares

    def serve(self) -> None:
        """Say that a request may come, take it, reply; until the parent is gone, or a call left more files than can be
        removed at once.

        Whoever started this worker starts another then.
        """
        while _emptied(os.getcwd(), before=time.monotonic() + _EMPTYING_S):
            _tell(self._parent, Ready(failure=None))
            request = self._request()
            if request is None:
                return
            file, call = request
            path = self._files.path(file)
            problem = self._prepared(path, file)
            if not call:
                continue
            end = CallEnd(failure=None, how="")
            if path is None or problem is not None:
                _send(self._parent, dumps(problem).encode())
                _send(self._parent, b"")
            else:
                end = self._call(path, file, call)
            _tell(self._parent, end)

    def _request(self) -> tuple[str, bytearray] | None:
        """The next one: a file and the call, empty when the file is to be prepared alone.

        None when the parent is gone, though a process that it forked may keep our socket open.
        """
        poll = select.poll()
        poll.register(self._parent, select.POLLIN)
        while not poll.poll(_PARENT_CHECK_MS):
            if os.getppid() != self._parent_pid:
                return None
        file = _frame(self._parent)
        call = _frame(self._parent) if file is not None else None
        return (loads(file), call) if file is not None and call is not None else None

    def _prepared(self, path: str | None, file: str) -> _Reply | None:
        """Prepare the file for calls; what a call of it is told where it cannot be."""
        if path is None:
            return _unknown(f"there is no file {file!r}.py among the tools")
        try:
            self._files.prepare(path)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return _error(f"{file}.py cannot be read ({type(error).__name__}: {error})")
        return None

    def _call(self, path: str, file: str, call: bytearray) -> CallEnd:
        """Fork a process for the call, pass its reply on, see it end and say how it did."""
        memory = self._taken_bytes() + self._settings["memory_mb"] * _MB
        worker = os.getpid()
        try:
            taken, given = os.pipe()
            child = os.fork()
        except OSError as error:
            _send(self._parent, b"")
            return CallEnd(failure=f"there is no process for the call: {error}", how="")
        if child == 0:
            try:
                self._become_call(worker, given, memory)
                os.write(_REPLY_FD, _BEGUN)
                outcome = _outcome(self._files, path, file, call, self._settings["output_chars"])
                _write(_REPLY_FD, dumps(outcome).encode())
                os.close(_REPLY_FD)  # now: a process takes a while to end
            finally:
                os._exit(0)
        call[:] = bytes(len(call))
        os.close(given)
        written = self._pass_on(taken, child)
        os.close(taken)
        if written is None:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if written is None:
            _emptied(os.getcwd())
            os._exit(1)
        how = _how(status)
        return CallEnd(failure=None if written else f"the call's process ended{how} before the tool began", how=how)

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

    def _pass_on(self, pipe: int, child: int) -> int | None:
        """Send the parent what the call's process writes, until it closes the pipe or exceeds the limit; kill it then.

        Gives the number of bytes; None when the parent ended.
        """
        most, total, held = most_written(self._settings["output_chars"]), 0, 0
        buffer = memoryview(self._buffer)[: FRAME_BYTES + PART_BYTES]
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self._parent, 0)  # its end alone
        while total <= most:
            ready = dict(poll.poll(_PARENT_CHECK_MS))
            if self._parent in ready or os.getppid() != self._parent_pid:
                return None
            if pipe in ready:
                count = os.readv(pipe, [buffer[FRAME_BYTES + held :]])
                if not count:
                    break
                total, held = total + count, held + count
                if held == PART_BYTES:
                    self._flush(held)
                    held = 0
        os.kill(child, signal.SIGKILL)  # for threads that outlive the reply
        self._flush(held, last=True)
        return total

    def _flush(self, held: int, *, last: bool = False) -> None:
        """Send what the buffer holds, and overwrite it: later calls inherit this memory. `last`: an empty frame too."""
        self._buffer[:FRAME_BYTES] = held.to_bytes(FRAME_BYTES, "big")
        end = FRAME_BYTES + held
        if last and held:
            end += FRAME_BYTES  # after what it held, the buffer is empty: that is the empty frame
        with suppress(OSError):  # the parent is gone: the next poll or read says so
            _write(self._parent, memoryview(self._buffer)[:end])
        self._buffer[:end] = bytes(end)

    def _taken_bytes(self) -> int:
        """The address space of this process, and so of what is forked from it."""
        if self._size is None:
            return 0
        return int(os.pread(self._size, 100, 0).split()[0]) * resource.getpagesize()


def _outcome(files: ToolFiles, path: str, file: str, call: bytearray, output_chars: int) -> _Reply:
    """Runs the tool's code: in the process of the call."""
    try:
        request = loads(call)
        function = vars(files.module(path)).get(request["function"])
        if not isinstance(function, FunctionType):
            return _unknown(f"there is no function {request['function']!r} in {file}.py")
        text = _text(_result(function, request["arguments"]))
        status, length = "ok", len(text)
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises is its result
        error.__traceback__ = None  # it holds what filled the memory
        text = f"error: {str(error) or type(error).__name__}"
        status, length = "tool_error", len(text)
    return {"status": status, "text": text[:output_chars], "length": length}


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


def _emptied(folder: str, before: float = float("inf")) -> bool:
    """Whether what a call left in the folder could be removed, and in time (by `time.monotonic`)."""
    entries = []
    try:
        with os.scandir(folder) as listed:
            for entry in listed:
                entries.append(entry)
                if time.monotonic() > before:
                    return False
        for entry in entries:
            if time.monotonic() > before:
                return False
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif _emptied(entry.path, before):
                os.rmdir(entry.path)
            else:
                return False
    except (OSError, RecursionError):
        return False
    return True


def _frame(parent: int) -> bytearray | None:
    """What the next frame holds; None when the parent is gone."""
    head = _read(parent, FRAME_BYTES)
    return _read(parent, int.from_bytes(head, "big")) if head is not None else None


def _read(descriptor: int, count: int) -> bytearray | None:
    """`count` bytes, of which this process has no copy elsewhere; None when there are not as many."""
    read, have = bytearray(count), 0
    while have < count:
        try:
            part = os.readv(descriptor, [memoryview(read)[have:]])
        except OSError:
            part = 0
        if not part:
            return None
        have += part
    return read


def _tell(parent: int, message: Ready | CallEnd) -> None:
    _send(parent, dumps(message).encode())


def _send(parent: int, body: bytes) -> None:
    with suppress(OSError):  # the parent is gone: the next read says so
        _write(parent, len(body).to_bytes(FRAME_BYTES, "big") + body)


def _write(descriptor: int, data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
