"""Weights from one process to others by `torch.distributed`: over sockets with gloo, between GPUs with NCCL.

A group of its own, beside whatever a process has from torchrun or DeepSpeed. How its members find each other is not
known here: they are given a store of keys and values.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from retriever.base.errors import InfraError

Backend = Literal["gloo", "nccl"]
Shapes = Mapping[str, tuple[torch.Size, torch.dtype]]  # parameter name → what its tensor will be, in the order sent

BUCKET_BYTES = 64 << 20  # on their way at a time: what a broadcast takes beside the tensors themselves
# A failed broadcast is the caller's to repair; torch's own way is to end the process.
_NCCL_SETTINGS = {
    "TORCH_NCCL_BLOCKING_WAIT": "1",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
    "TORCH_NCCL_ENABLE_MONITORING": "0",
}


class CallStore(dist.Store):
    """torch's store of keys and values, as calls `ask(method, *arguments)` to somebody who keeps them.

    It has the methods that gloo and NCCL call when a group is made, and no others.
    """

    def __init__(self, ask: Callable[..., Any], *, timeout_s: float) -> None:
        super().__init__()
        self._ask, self._timeout_s = ask, timeout_s

    def set(self, key: str, value: bytes) -> None:  # type: ignore[override]
        """See `torch.distributed.Store`."""
        self._ask("set", key, value)

    def get(self, key: str) -> bytes:
        """See `torch.distributed.Store`; waits until somebody has set it."""
        self.wait([key])
        found: bytes = self._ask("get", key)
        return found

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Raises InfraError when they are not set in time."""
        timeout_s = self._timeout_s if timeout is None else timeout.total_seconds()
        if not self._ask("wait", list(keys), timeout_s):
            raise InfraError(f"{', '.join(keys)}: not set by the other ranks within {timeout_s:g} s")


class BroadcastGroup:
    """One rank of it; rank 0 sends. Everything takes `timeout_s` at the most, and what fails raises InfraError.

    After a failure the group is of no use. `host` is the address that gloo listens on, and no other.
    """

    def __init__(
        self, store: CallStore, *, rank: int, size: int, backend: Backend, host: str, timeout_s: float
    ) -> None:
        self._store, self._rank = store, rank  # torch holds the store's C++ half alone
        self._timeout_s = timeout_s
        self._device = torch.device("cuda:0" if backend == "nccl" else "cpu")  # the trainer's, or the worker's only one
        with _failing("no group could be made"):
            store.set(f"here/{rank}", b"")  # NCCL would wait without end for one that never comes
            store.wait([f"here/{other}" for other in range(size)], timedelta(seconds=timeout_s))
            make = _nccl if backend == "nccl" else _gloo
            self._group = make(store, rank, size, host, timedelta(seconds=timeout_s))

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """From rank 0, while every other one receives."""
        assert self._rank == 0
        self._pass(tensors)

    def receive(self, shapes: Shapes) -> dict[str, Tensor]:
        """What rank 0 sends, on CPU."""
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
        self._pass(tensors)
        return tensors

    def abort(self) -> None:
        """End what is under way by NCCL in another thread. By gloo it ends with the connection to any rank."""
        if self._device.type == "cuda":
            with suppress(RuntimeError):
                self._group.abort()

    def _pass(self, tensors: Mapping[str, Tensor]) -> None:
        end_s = monotonic() + self._timeout_s
        with _failing("no broadcast"):
            for pieces in _buckets([_bytes(tensor) for tensor in tensors.values()], BUCKET_BYTES):
                sizes = [piece.numel() for piece in pieces]
                if self._rank == 0:
                    bucket = torch.cat(pieces).to(self._device)
                else:
                    bucket = torch.empty(sum(sizes), dtype=torch.uint8, device=self._device)
                self._broadcast(bucket, timedelta(seconds=max(end_s - monotonic(), 0.001)))
                if self._rank != 0:
                    for piece, got in zip(pieces, bucket.split(sizes), strict=True):
                        piece.copy_(got)

    def _broadcast(self, bucket: Tensor, timeout: timedelta) -> None:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor, options.timeout = 0, 0, timeout
        self._group.broadcast([bucket], options).wait(timeout)


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """What the receivers must know beforehand."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _bytes(tensor: Tensor) -> Tensor:
    """[bytes] of uint8; of a contiguous tensor the very memory."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _buckets(flat: Sequence[Tensor], bucket_bytes: int) -> Iterator[list[Tensor]]:
    """The bytes in their order, cut into buckets of `bucket_bytes` and a last one."""
    bucket: list[Tensor] = []
    room = bucket_bytes
    for rest in flat:
        while rest.numel():
            piece, rest = rest[:room], rest[room:]
            bucket.append(piece)
            room -= piece.numel()
            if not room:
                yield bucket
                bucket, room = [], bucket_bytes
    if bucket:
        yield bucket


def _gloo(store: CallStore, rank: int, size: int, host: str, timeout: timedelta) -> Any:
    options: Any = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
    options._timeout, options._threads = timeout, 1
    return dist.ProcessGroupGloo(store, rank, size, options)


def _nccl(store: CallStore, rank: int, size: int, host: str, timeout: timedelta) -> Any:
    """NCCL chooses its interfaces itself, by NCCL_SOCKET_IFNAME."""
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = timeout
    before = {name: os.environ.get(name) for name in _NCCL_SETTINGS}
    os.environ.update(_NCCL_SETTINGS)  # read while it is made; the trainer's own group keeps its ways
    try:
        return dist.ProcessGroupNCCL(store, rank, size, options)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """torch's errors, those of a lost connection among them, as InfraError."""
    try:
        yield
    except RuntimeError as error:
        raise InfraError(f"{what}: {str(error).strip().splitlines()[0]}") from error
