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

from retriever.base.errors import InfraError, UserError

ROOT = Path(__file__).parents[1]
_START_S = 900.0  # a large model from a slow disk
_CLOSE_S = 5.0
_LAST_LINES = 30
_SHOWN_LINES = 4


def vllm_interpreter(python: str) -> Path:
    """The interpreter of vLLM's environment, `python` relative to the repository. Raises UserError when it has none."""
    path = ROOT / Path(python).expanduser()  # ROOT is dropped where `python` is absolute
    remedy = "make it with bash launch/vllm_environment.sh, or give rollout.vllm.python"
    if not os.access(path, os.X_OK) or path.is_dir():
        raise UserError(f"rollout.engine=vllm: there is no interpreter {path}; {remedy}")
    asked = [str(path), "-P", "-c", "import importlib.util as u; print(u.find_spec('vllm') is not None)"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, env=_environment({}))
    if found.stdout.strip() != "True":
        raise UserError(f"rollout.engine=vllm: {path} has no vLLM ({found.stderr.strip()[-200:]}); {remedy}")
    return path


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
                env=_environment({**environment, "TMPDIR": self._folder}),
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        self._says = threading.Thread(target=self._hear_words, daemon=True)
        self._says.start()
        threading.Thread(target=self._hear, daemon=True).start()
        _, started = self.ask({**settings, "weights_fd": self._weights_fd, "folder": self._folder})
        try:
            started.result(timeout=_START_S)
        except (InfraError, TimeoutError) as error:
            self.close()
            raise InfraError(f"vLLM did not start ({error or f'not within {_START_S:g} s'})") from None
        except BaseException:
            self.close()
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
        """Hand out answers until the process is gone; then tell everybody who waits."""
        with suppress(OSError), self._socket.makefile("r", encoding="utf-8") as replies:
            for line in replies:
                reply = json.loads(line)
                with self._lock:
                    answer = self._asked.pop(reply["id"], None)
                if answer is None or not answer.set_running_or_notify_cancel():
                    continue
                if "error" in reply:
                    answer.set_exception(InfraError(f"vLLM: {reply['error']}"))
                else:
                    answer.set_result(reply)
        code = self._ended()
        self._says.join(_CLOSE_S)
        words = " | ".join(list(self._last_lines)[-_SHOWN_LINES:]) or "it said nothing"
        self._fail(f"the vLLM process ended with code {code}: {words}")

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


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what belongs to our own interpreter, and with what vLLM is told by variables only."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    settled = {
        "PYTHONPATH": str(ROOT),
        "PYTHONNOUSERSITE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, and so nothing is left when it ends
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several workers share the cores
    }
    return {**kept, **settled, **own}
