"""The process that runs vLLM in its own environment: started, asked, watched and ended. What is said to it is not here.

Messages are JSON lines over a socket pair, which closes with this process, and the other one ends by that. Weights
go through anonymous shared memory, which nobody has to clean up.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from retriever.base.errors import InfraError
from rollout.vllm_environment import vllm_variables

_START_S = 900.0  # a large model from a slow disk
_CLOSE_S = 5.0
_LAST_LINES = 30
_SHOWN_LINES = 4


class VllmLink:
    """One process of `rollout.vllm_process`. Questions may be asked from any thread."""

    def __init__(self, python: Path, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Raises InfraError, with the last that it said, when it does not start."""
        self.failure: str | None = None
        self._numbers = count()
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()  # around `_asked`, `failure` and whole lines
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._weights_fd = os.memfd_create("toolscout-weights")
        self._folder = tempfile.mkdtemp(prefix="toolscout-vllm-")  # what it leaves in a temporary folder goes here
        self._socket, other = socket.socketpair()
        self._send = self._socket.makefile("w", encoding="utf-8")
        with other:
            self._process = subprocess.Popen(
                [str(python), "-P", "-m", "rollout.vllm_process"],
                stdin=other.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self._weights_fd,),
                env=vllm_variables({**environment, "TMPDIR": self._folder}),
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        self._says = threading.Thread(target=self._hear_words, daemon=True)
        self._says.start()
        threading.Thread(target=self._hear, daemon=True).start()
        self._await_start(settings)

    def _await_start(self, settings: Mapping[str, Any]) -> None:
        _, started = self.ask({**settings, "weights_fd": self._weights_fd, "folder": self._folder})
        try:
            started.result(timeout=_START_S)
        except BaseException as error:
            self.close()
            if isinstance(error, InfraError | TimeoutError):
                raise InfraError(f"vLLM did not start ({str(error) or f'not within {_START_S:g} s'})") from None
            raise

    @property
    def process_id(self) -> int:
        """The other process, for those who watch it or kill it."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any]) -> tuple[int, "Future[Any]"]:
        """The question's number and, later, its answer: a dict, or InfraError."""
        number, answer = next(self._numbers), Future[Any]()
        with self._lock:
            if self.failure is not None:
                answer.set_exception(InfraError(self.failure))
                return number, answer
            self._asked[number] = answer
        self._write({"id": number, **message})
        return number, answer

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to `number` any more."""
        with self._lock:
            known = self._asked.pop(number, None)
        if known is not None:
            self._write({"id": number, "op": "abort"})

    def put_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Lay them where the other process looks for them."""
        with open(f"/proc/self/fd/{self._weights_fd}", "wb") as shared:
            shared.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    def drop_weights(self) -> None:
        """Give their memory back."""
        os.ftruncate(self._weights_fd, 0)

    def close(self) -> None:
        """End the process; again, nothing."""
        if self._socket.fileno() < 0:
            return
        self._fail("the vLLM engine was closed")
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._ended()
        with suppress(OSError):  # what was not sent
            self._send.close()
        self._socket.close()
        os.close(self._weights_fd)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, message: Mapping[str, Any]) -> None:
        with self._lock, suppress(OSError, ValueError):  # it is gone: `_hear` tells everybody
            self._send.write(json.dumps(message) + "\n")
            self._send.flush()

    def _hear(self) -> None:
        """Hand out answers until the process is gone, or says what is none; then tell everybody who waits."""
        with suppress(OSError), self._socket.makefile("r", encoding="utf-8", errors="replace") as replies:
            for line in replies:
                if not self._hand_out(line):
                    self._last_lines.append(f"instead of an answer: {line[:200]!r}")
                    break
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # by which it ends, if it has not
        code = self._ended()
        self._says.join(_CLOSE_S)
        words = " | ".join(list(self._last_lines)[-_SHOWN_LINES:]) or "it said nothing"
        self._fail(f"the vLLM process ended with code {code}: {words}")

    def _hand_out(self, line: str) -> bool:
        """An answer goes to whoever asked. False: it is none, as half of one is that a killed process leaves."""
        try:
            reply = json.loads(line)
            number = int(reply["id"])
        except (ValueError, KeyError, TypeError):
            return False
        with self._lock:
            answer = self._asked.pop(number, None)
        if answer is not None and answer.set_running_or_notify_cancel():
            if "error" in reply:
                answer.set_exception(InfraError(f"vLLM: {reply['error']}"))
            else:
                answer.set_result(reply)
        return True

    def _ended(self) -> int:
        """The exit code, of a process that has no socket any more."""
        try:
            return self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _hear_words(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                if text := line.decode(errors="replace").strip():
                    self._last_lines.append(text)

    def _fail(self, reason: str) -> None:
        with self._lock:
            self.failure = self.failure or reason
            waiting, self._asked = list(self._asked.values()), {}
        for answer in waiting:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(InfraError(self.failure))
