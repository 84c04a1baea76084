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
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.executors import sandbox
from envs.executors.backend import Reply
from envs.executors.executor import Stateless
from envs.executors.python_config import PythonConfig
from envs.executors.python_files import FRAME_BYTES, JSON_BYTES_OF_A_CHARACTER
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

_CODE = str(Path(__file__).parents[2])
_PASSED = ("LD_LIBRARY_PATH", "TZ")  # of our environment; nothing else of it reaches a worker
_START_S = 60


class PythonPool(Stateless):
    """A `Backend`. The tool `shop/orders/get_order` is the function `get_order` of `shop/orders.py` in the folder."""

    def __init__(self, config: PythonConfig) -> None:
        """Starts nothing yet. Raises UserError when there is no such folder, or no sandbox on this machine."""
        self._config = config
        folder = Path(config.folder).expanduser()
        if not folder.is_dir():
            raise UserError(f"folder={config.folder!r} is no folder; give the one that holds the tools' Python files")
        if config.sandbox == "kernel" and (lack := sandbox.missing()):
            raise UserError(f"sandbox=kernel needs {lack}; sandbox=none runs tools unprotected")
        self._settings = asdict(config) | {"folder": str(folder.resolve()), "code": _CODE}
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
            worker = self._take()
            try:
                await worker.start()
                async with asyncio.timeout(timeout_s):
                    reply = await worker.reply(request)
            except BaseException:  # also a deadline and a cancellation: nothing of the call may go on
                self._bury(worker)
                raise
            if reply is None or reply["soiled"]:
                self._bury(worker)
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

    def _take(self) -> "_Worker":
        """A worker that lives, for the caller alone. Raises InfraError when none can be started."""
        if self._closed:
            raise InfraError("the pool is closed")
        while self._idle:
            worker = self._idle.pop()
            if worker.lives():
                break
            self._bury(worker)
        else:
            worker = self._start()
        self._busy.add(worker)
        return worker

    def _start(self) -> "_Worker":
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="toolscout-python-")
        return _Worker(self._settings, tempfile.mkdtemp(dir=self._scratch))

    def _bury(self, worker: "_Worker") -> None:
        """Kill the worker and what runs in it; remove its folder, and start another, while we go on."""
        busy = worker in self._busy
        self._busy.discard(worker)
        with suppress(ValueError):
            self._idle.remove(worker)
        worker.kill()
        burial = threading.Thread(target=worker.bury, name="bury a tool's worker")
        burial.start()
        self._burials = [*(thread for thread in self._burials if thread.is_alive()), burial]
        if busy and worker.ready and not self._closed:
            with suppress(InfraError):  # the next call will try, and say so
                self._idle.append(self._start())

    def _finish_burials(self) -> None:
        for burial in self._burials:
            burial.join()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


class _Worker:
    """One worker process, its folder and the socket between us."""

    def __init__(self, settings: Mapping[str, Any], scratch: str) -> None:
        """Starts the process, which is ready a moment later. Raises InfraError when there can be none."""
        self.ready = False
        self._settings, self._scratch = settings, scratch
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-s", "-P", "-W", "ignore", "-m", "envs.executors.python_worker"],
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

    def lives(self) -> bool:
        """Whether the process is still there; it may end by other hands while it waits."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def start(self) -> None:
        """Wait until the worker has confined itself. Raises InfraError when it cannot."""
        if self.ready:
            return
        try:
            async with asyncio.timeout(_START_S):
                greeting = await self._exchange(self._settings)
        except TimeoutError:
            raise InfraError(f"a worker process for Python tools was not ready within {_START_S} s") from None
        if greeting is None or greeting["failure"]:
            assert self._process.stderr is not None
            told = greeting["failure"] if greeting else self._process.stderr.read().decode(errors="replace").strip()
            raise InfraError(f"a worker process for Python tools could not start: {told[-300:]}")
        self.ready = True

    async def reply(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the worker says; None when it ended instead."""
        return await self._exchange(request)

    def kill(self) -> None:
        """End the worker and the call in it. Once only: the number of a process that was waited for is free again."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._socket.close()

    def bury(self) -> None:
        """After `kill`: wait for the end, and remove what a tool left, however deep."""
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        for command in (("rm", "-rf"), ("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            if Path(self._scratch).exists():
                subprocess.run([*command, "--", self._scratch], check=False, stderr=subprocess.DEVNULL)

    async def _exchange(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        body = json.dumps(message).encode()
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, len(body).to_bytes(FRAME_BYTES, "big") + body)
            length = int.from_bytes(await self._read(FRAME_BYTES), "big")
            most = self._settings["output_chars"] * JSON_BYTES_OF_A_CHARACTER + 4096
            assert length <= most, f"a worker replies with {length} bytes, more than {most}"
            reply: dict[str, Any] = json.loads(await self._read(length))
            return reply
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
        "PYTHONHASHSEED": "0",  # sets have the same order in every call
        "MALLOC_ARENA_MAX": "2",  # an arena reserves 64 MB of the address space that a call may have
        "OMP_NUM_THREADS": "1",  # a worker that has threads cannot be forked safely
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
    }
