"""Python tools in a pool of worker processes: what a call does to its process, no other call sees.

A worker (`python_worker.py`) is held by the kernel's sandbox (`sandbox.py`) and forks a process for each call; why so
is said there. Here is the parent's side: which worker takes a call, the deadline, and the replacement of a worker whose
call exceeded it or was cancelled. Their whole process group is killed then, for a call has no other processes. A worker
that is only getting ready for a call, which may mean to import a large library, goes on when the call is given up: the
next one finds it done.
"""

import asyncio
import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from base64 import b64encode
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.executors import system_calls
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.python_config import PythonConfig
from envs.executors.python_worker import FRAME_BYTES, PART_BYTES, most_written
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

_CODE = str(Path(__file__).parents[2])
_PASSED = ("LD_LIBRARY_PATH", "TZ")  # of our environment; nothing else of it reaches a worker
_READY_S = 60  # to start, and as long again to import what a file of tools needs
_MESSAGE_BYTES = 65536  # at most, of what a worker itself says
_LEAVE_S = 5  # for the calls that run when the pool is closed


class PythonPool(Stateless):
    """A `Backend`. The tool `shop/orders/get_order` is the function `get_order` of `shop/orders.py` in the folder."""

    def __init__(self, config: PythonConfig) -> None:
        """Starts nothing yet. Raises UserError when there is no such folder, or no sandbox on this machine."""
        self._config = config
        folder = Path(config.folder).expanduser()
        if not folder.is_dir():
            raise UserError(f"folder={config.folder!r} is no folder; give the one that holds the tools' Python files")
        for path in config.readable:
            if not Path(path).expanduser().exists():
                raise UserError(f"readable={path!r} does not exist; name a file or folder, or leave it out")
        confined = config.sandbox == "kernel"
        if confined and (lack := system_calls.missing()):
            raise UserError(f"sandbox=kernel needs {lack}; sandbox=none runs tools unprotected")
        self._settings = asdict(config) | {
            "folder": str(folder.resolve()),
            "readable": [str(Path(path).expanduser().resolve()) for path in config.readable],
            "code": _CODE,
            "worker_program": b64encode(system_calls.worker_program()).decode() if confined else "",
            "call_program": b64encode(system_calls.call_program()).decode() if confined else "",
        }
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._burials: list[threading.Thread] = []
        self._scratch: str | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._places = asyncio.Semaphore(config.workers)

    async def run(self, tool: ToolDoc, arguments: Mapping[str, Any], *, timeout_s: float) -> Reply:
        """See `Backend`. The time until a worker is free and ready is not part of `timeout_s`.

        A call's process that ends before its function does (os._exit, a crash, a limit) is the tool's error. A worker
        that ends, or cannot fork, is ours.
        """
        file, _, function = tool.id.rpartition("/")
        call = json.dumps({"function": function, "arguments": dict(arguments)}).encode()
        async with self._place():
            worker = await self._take(file)
            try:
                async with asyncio.timeout(timeout_s):
                    reply = await worker.reply(file, call)
            except InfraError as error:
                self._replace(worker)
                raise InfraError("the pool was closed during the call") if self._closed else error
            except BaseException:  # a deadline or a cancellation: nothing of the call may go on
                self._replace(worker)
                raise
            self._free(worker)
        return reply

    async def close(self) -> None:
        """End all workers and remove their folders. Calls that still run, and later ones, get an InfraError."""
        self._closed = True
        for worker in self._busy:
            worker.kill()  # whoever waits for it sees it end, and buries it
        for _ in range(_LEAVE_S * 100):
            if not self._busy:
                break
            await asyncio.sleep(0.01)
        for worker in [*self._idle, *self._busy]:
            self._bury(worker)
        await asyncio.to_thread(self._finish_burials)

    def _place(self) -> asyncio.Semaphore:
        """One of as many places as there are workers, in the event loop that runs now."""
        if self._closed:
            raise InfraError("the pool is closed")
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._places = asyncio.get_running_loop(), asyncio.Semaphore(self._config.workers)
        return self._places

    async def _take(self, file: str) -> "_Worker":
        """A worker that is ready for the file's tools, for the caller alone.

        Raises InfraError when there can be none.
        """
        while True:
            worker = self._best(file)
            self._busy.add(worker)
            try:
                if await worker.ready(file):
                    return worker
            except asyncio.CancelledError:  # the caller's deadline, or its end
                self._free(worker)
                raise
            except BaseException:
                self._bury(worker)
                raise
            self._bury(worker)

    def _best(self, file: str) -> "_Worker":
        """One that waits; else one that soon will, or a new one; else one that is long at getting ready."""
        soon = [worker for worker in reversed(self._idle) if worker.knows(file) or not worker.prepares()]
        if soon:
            worker = max(soon, key=lambda worker: (worker.has_said(), worker.knows(file)))
        elif len(self._idle) + len(self._busy) < self._config.workers:
            return self._start()
        else:
            worker = self._idle[-1]
        self._idle.remove(worker)
        return worker

    def _start(self) -> "_Worker":
        if self._closed:
            raise InfraError("the pool is closed")
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="toolscout-python-")
            self._leave = weakref.finalize(self, _leave, self._idle, self._busy, self._scratch, os.getpid())
        return _Worker(self._settings, tempfile.mkdtemp(dir=self._scratch))

    def _free(self, worker: "_Worker") -> None:
        """The worker may take another call."""
        if self._closed:
            self._bury(worker)
        else:
            self._busy.discard(worker)
            self._idle.append(worker)

    def _replace(self, worker: "_Worker") -> None:
        """Bury the worker; another gets ready until the next call."""
        self._bury(worker)
        with suppress(InfraError):  # the next call will try, and say so
            self._idle.append(self._start())

    def _bury(self, worker: "_Worker") -> None:
        """Kill the worker and the call in it; its folder is removed while we go on."""
        self._busy.discard(worker)
        with suppress(ValueError):
            self._idle.remove(worker)
        worker.kill()
        worker.hang_up()
        burial = threading.Thread(target=worker.bury, name="bury a tool's worker")
        burial.start()
        self._burials = [*(thread for thread in self._burials if thread.is_alive()), burial]

    def _finish_burials(self) -> None:
        for burial in self._burials:
            burial.join()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._leave.detach()


def _leave(idle: Collection["_Worker"], busy: Collection["_Worker"], scratch: str, owner: int) -> None:
    """What `close` does, for a pool that nobody closed: when it is no more, or this interpreter ends."""
    if os.getpid() != owner:  # a fork of the pool's process
        return
    for worker in [*idle, *busy]:
        worker.kill()
        worker.bury()
    shutil.rmtree(scratch, ignore_errors=True)


class _Worker:
    """One worker process, its folder and the socket between us."""

    def __init__(self, settings: Mapping[str, Any], scratch: str) -> None:
        """Starts the process, which is ready a moment later. Raises InfraError when there can be none."""
        self._new, self._is_ready, self._preparing = True, False, False
        self._files: set[str] = set()  # those that it was told to prepare
        self._due = time.monotonic() + _READY_S  # when it must be ready
        self._settings, self._scratch, self._unread = settings, scratch, bytearray()
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-W", "ignore", "-m", "envs.executors.python_worker"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd=scratch,
                    env=_environment(scratch),
                    start_new_session=True,  # its process group is its own: one kill ends all in it
                )
            except OSError as error:
                self._socket.close()
                raise InfraError(f"no worker process for Python tools could be started: {error}") from error

        with suppress(ConnectionError):  # the worker ended: the next read says so
            self._socket.sendall(_framed(json.dumps(settings).encode()))
        self._socket.setblocking(False)

    def has_said(self) -> bool:
        """Whether `ready` knows at once."""
        return self._is_ready or bool(self._unread) or self._peeked() is not None

    def knows(self, file: str) -> bool:
        """Whether it has prepared the file, or will have when it is ready."""
        return file in self._files

    def prepares(self) -> bool:
        """Whether it may be importing libraries, which may take long."""
        return self._preparing and not self.has_said()

    async def ready(self, file: str) -> bool:
        """Wait until it takes a call of the file's tools; False when it ended after an earlier call.

        Given up, it can be waited for again. Raises InfraError when it does not get ready.
        """
        if not await self._said_ready():
            return False
        if file not in self._files:
            self._files.add(file)
            self._is_ready, self._preparing, self._due = False, True, time.monotonic() + _READY_S
            await self._send(file, b"")
            if not await self._said_ready():
                raise InfraError(f"a worker process for Python tools ended when it imported what {file}.py names")
        return self._peeked() != b""  # it may have been ended by others while it waited

    async def reply(self, file: str, call: bytes) -> Reply:
        """What the tool said. Raises InfraError when the worker ended instead, or had no process for the call."""
        self._is_ready = False
        chars = self._settings["output_chars"]
        most, written = most_written(chars) + PART_BYTES, bytearray()
        await self._send(file, call)
        try:
            while part := await self._frame(PART_BYTES):
                written += part
                if len(written) > most:
                    raise InfraError(f"a worker process for Python tools sends more than {most} bytes")
            self._due = time.monotonic() + _READY_S
            reply = _understood(bytes(written), chars)
            if reply is not None:
                return reply
            end = json.loads(await self._frame(_MESSAGE_BYTES))
        except EOFError:
            raise InfraError("a worker process for Python tools ended during the call") from None
        if end["failure"]:
            raise InfraError(end["failure"])
        problem = f"error: the tool's process ended{end['how']} before it gave a result"
        return Reply(text=problem, status=ToolStatus.TOOL_ERROR)

    def kill(self) -> None:
        """End the worker and the call in it."""
        if self._process.returncode is None:  # not waited for, so its number is nobody else's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Close the socket: in the event loop's thread, when nobody waits for it."""
        self._socket.close()

    def bury(self) -> None:
        """After `kill`: wait for the end, and remove what a tool left, however deep."""
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        for command in (("rm", "-rf"), ("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            if Path(self._scratch).exists():
                subprocess.run([*command, "--", self._scratch], check=False, stderr=subprocess.DEVNULL)

    async def _said_ready(self) -> bool:
        """Wait for it; False when the worker ended."""
        try:
            async with asyncio.timeout(self._due - time.monotonic()):
                while not self._is_ready:
                    said = json.loads(await self._frame(_MESSAGE_BYTES))
                    if self._new and said["failure"]:
                        raise InfraError(f"a worker process for Python tools could not start: {said['failure']}")
                    self._is_ready = "how" not in said  # the end of a call comes first
        except TimeoutError:
            raise InfraError(f"a worker process for Python tools was not ready within {_READY_S} s") from None
        except EOFError:
            if not self._new:
                return False
            assert self._process.stderr is not None
            told = self._process.stderr.read().decode(errors="replace").strip()
            raise InfraError(f"a worker process for Python tools could not start: {told[-300:]}") from None
        self._new = self._preparing = False
        return True

    def _peeked(self) -> bytes | None:
        """A byte that waits to be read; none at the end, None before it comes."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    async def _send(self, file: str, call: bytes) -> None:
        with suppress(ConnectionError):  # the worker ended: the next read says so
            request = _framed(json.dumps(file).encode()) + _framed(call)
            await asyncio.get_running_loop().sock_sendall(self._socket, request)

    async def _frame(self, most: int) -> bytes:
        """The next frame. Raises EOFError when the worker ended, InfraError when it announces more than `most` bytes.

        Given up, it can be read again.
        """
        while True:
            length = int.from_bytes(self._unread[:FRAME_BYTES], "big")
            if length > most:
                raise InfraError(f"a worker process for Python tools sends {length} bytes, more than {most}")
            if len(self._unread) >= (end := FRAME_BYTES + length):
                frame = bytes(self._unread[FRAME_BYTES:end])
                del self._unread[:end]
                return frame
            try:
                part = self._socket.recv(PART_BYTES)
            except BlockingIOError:
                await _readable(self._socket)
                continue
            except ConnectionError:
                part = b""
            if not part:
                raise EOFError
            self._unread += part


async def _readable(connection: socket.socket) -> None:
    """Wait for something to read. The loop's own `sock_recv` may lose what it read when it is cancelled."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(connection, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(connection)


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(FRAME_BYTES, "big") + body


def _understood(written: bytes, output_chars: int) -> Reply | None:
    """The reply of a call's process, which may have written anything; None when it is none."""
    try:
        reply = json.loads(written)
        status, text, length = ToolStatus(reply["status"]), reply["text"], reply["length"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    told = (ToolStatus.OK, ToolStatus.TOOL_ERROR, ToolStatus.UNKNOWN_TOOL)
    if status not in told or not isinstance(text, str) or not isinstance(length, int):
        return None
    length = max(length, len(text))
    cut = f"… [cut from {length} characters]" if length > output_chars else ""
    return Reply(text=text[:output_chars].encode(errors="replace").decode() + cut, status=status)


def _environment(scratch: str) -> dict[str, str]:
    """What a worker, and so a tool, finds in its environment: nothing of ours that could be a secret."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "PYTHONPATH": _CODE,  # the worker takes it out again
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONHASHSEED": "0",  # sets have the same order in every call
        "MALLOC_ARENA_MAX": "2",  # an arena reserves 64 MB of the address space that a call may have
        "OMP_NUM_THREADS": "1",  # a worker that has threads cannot be forked safely
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
    }
