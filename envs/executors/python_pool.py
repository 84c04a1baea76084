"""Python tools in a pool of worker processes: what a call does to its process, no other call sees.

A worker (`python_worker.py`) is held by the kernel's sandbox (`sandbox.py`) and forks a process for each call; why so
is said there. Here is the parent's side: which worker takes a call, the deadline, and the replacement of a worker whose
call exceeded it or was cancelled. Their whole process group is killed then, for a call has no other processes.
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
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.executors import system_calls
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.python_config import PythonConfig
from envs.executors.python_worker import FRAME_BYTES, JSON_BYTES_OF_A_CHARACTER
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

_CODE = str(Path(__file__).parents[2])
_PASSED = ("LD_LIBRARY_PATH", "TZ")  # of our environment; nothing else of it reaches a worker
_READY_S = 60
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

        A process that ends before its function does (os._exit, a crash, a limit) is the tool's error, not ours.
        """
        file, _, function = tool.id.rpartition("/")
        request = {"file": file, "function": function, "arguments": dict(arguments)}
        async with self._place():
            worker = await self._take()
            try:
                async with asyncio.timeout(timeout_s):
                    reply = await worker.reply(request)
            except BaseException:  # also a deadline and a cancellation: nothing of the call may go on
                self._replace(worker)
                raise
            if reply is None:
                self._replace(worker)
            else:
                self._busy.discard(worker)
                self._idle.append(worker)
        if self._closed:
            raise InfraError("the pool was closed during the call")
        if reply is None:
            return Reply(text="error: the worker process ended before the tool replied", status=ToolStatus.TOOL_ERROR)
        text, length = reply["text"], reply["length"]
        cut = f"… [cut from {length} characters]" if length > self._config.output_chars else ""
        return Reply(text=text + cut, status=ToolStatus(reply["status"]))

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

    async def _take(self) -> "_Worker":
        """A worker that is ready, for the caller alone. Raises InfraError when none can be started."""
        while True:
            worker = self._idle.pop() if self._idle else self._start()
            self._busy.add(worker)
            try:
                if await worker.ready():
                    return worker
            except BaseException:
                self._bury(worker)
                raise
            self._bury(worker)

    def _start(self) -> "_Worker":
        if self._closed:
            raise InfraError("the pool is closed")
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="toolscout-python-")
        return _Worker(self._settings, tempfile.mkdtemp(dir=self._scratch))

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


class _Worker:
    """One worker process, its folder and the socket between us."""

    def __init__(self, settings: Mapping[str, Any], scratch: str) -> None:
        """Starts the process, which is ready a moment later. Raises InfraError when there can be none."""
        self._new = True
        self._settings, self._scratch = settings, scratch
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
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

    async def ready(self) -> bool:
        """Wait until it takes a request; False when it ended after an earlier one.

        Raises InfraError when a new one cannot get ready.
        """
        try:
            async with asyncio.timeout(_READY_S):
                if self._new:
                    await self._send(self._settings)
                said = await self._received()
        except TimeoutError:
            raise InfraError(f"a worker process for Python tools was not ready within {_READY_S} s") from None
        if self._new and (said is None or said["failure"]):
            assert self._process.stderr is not None
            told = said["failure"] if said else self._process.stderr.read().decode(errors="replace").strip()
            raise InfraError(f"a worker process for Python tools could not start: {told[-300:]}")
        self._new = False
        return said is not None and self._lives()

    async def reply(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the worker says; None when it ended instead."""
        await self._send(request)
        return await self._received()

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

    def _lives(self) -> bool:
        """Whether the process is there; it may have been ended by others while it waited."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message).encode()
        with suppress(ConnectionError):  # the worker ended: the next read says so
            frame = len(body).to_bytes(FRAME_BYTES, "big") + body
            await asyncio.get_running_loop().sock_sendall(self._socket, frame)

    async def _received(self) -> dict[str, Any] | None:
        try:
            length = int.from_bytes(await self._read(FRAME_BYTES), "big")
            most = self._settings["output_chars"] * JSON_BYTES_OF_A_CHARACTER + 4096
            assert length <= most, f"a worker sends {length} bytes, more than {most}"
            message: dict[str, Any] = json.loads(await self._read(length))
            return message
        except (ConnectionError, EOFError):
            return None

    async def _read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises EOFError when there are fewer."""
        loop, read = asyncio.get_running_loop(), bytearray()
        while len(read) < count:
            part = await loop.sock_recv(self._socket, count - len(read))
            if not part:
                raise EOFError
            read += part
        return bytes(read)


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
