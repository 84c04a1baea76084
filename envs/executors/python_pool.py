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
import tempfile
import threading
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
from envs.executors.python_process import CODE, WorkerProcess
from envs.executors.scratch import Scratch
from retriever.base.errors import InfraError, UserError
from retriever.tools import ToolDoc

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
            "code": CODE,
            "worker_program": b64encode(system_calls.worker_program()).decode() if confined else "",
            "call_program": b64encode(system_calls.call_program()).decode() if confined else "",
        }
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._burials: list[threading.Thread] = []
        self._scratch: Scratch | None = None
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
            except InfraError:
                self._replace(worker)
                if self._closed:
                    raise InfraError("the pool was closed during the call") from None
                raise
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

    async def _take(self, file: str) -> WorkerProcess:
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

    def _best(self, file: str) -> WorkerProcess:
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

    def _start(self) -> WorkerProcess:
        if self._closed:
            raise InfraError("the pool is closed")
        if self._scratch is None:
            self._scratch = Scratch("toolscout-python-")
            self._leave = weakref.finalize(self, _leave, self._idle, self._busy, self._scratch, os.getpid())
        return WorkerProcess(self._settings, tempfile.mkdtemp(dir=self._scratch.path))

    def _free(self, worker: WorkerProcess) -> None:
        """The worker may take another call."""
        if self._closed:
            self._bury(worker)
        else:
            self._busy.discard(worker)
            self._idle.append(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        """Bury the worker; another gets ready until the next call."""
        self._bury(worker)
        with suppress(InfraError):  # the next call will try, and say so
            self._idle.append(self._start())

    def _bury(self, worker: WorkerProcess) -> None:
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
            self._scratch.remove()
            self._leave.detach()


def _leave(idle: Collection[WorkerProcess], busy: Collection[WorkerProcess], scratch: Scratch, owner: int) -> None:
    """What `close` does, for a pool that nobody closed: when it is no more, or this interpreter ends."""
    if os.getpid() != owner:  # a fork of the pool's process
        return
    for worker in [*idle, *busy]:
        worker.kill()
        worker.bury()
    scratch.remove()
