"""A worker process as the pool has it: started, spoken to, killed and buried. `python_worker.py` is what it runs."""

import asyncio
import json
import os
import signal
import site
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from envs.executors.backend import Reply
from envs.executors.python_worker import FRAME_BYTES, PART_BYTES, most_written
from envs.types import ToolStatus
from retriever.base.errors import InfraError

CODE = str(Path(__file__).parents[2])
_PASSED = ("LD_LIBRARY_PATH", "TZ")  # of our environment; nothing else of it reaches a worker
_READY_S = 60  # to start, and as long again to import what a file of tools needs
_MESSAGE_BYTES = 65536  # at most, of what a worker itself says


class WorkerProcess:
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
            except OSError:
                part = b""
            if not part:
                raise EOFError
            self._unread += part


async def _readable(connection: socket.socket) -> None:
    """Wait for something to read. The loop's own `sock_recv` may lose what it read when it is cancelled."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(connection, lambda: None if readable.done() else readable.set_result(None))
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
        "PYTHONPATH": CODE,  # the worker takes it out again
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONHASHSEED": "0",  # sets have the same order in every call
        "MALLOC_ARENA_MAX": "2",  # an arena reserves 64 MB of the address space that a call may have
        "OMP_NUM_THREADS": "1",  # a worker that has threads cannot be forked safely
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
    }
