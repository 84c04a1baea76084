"""Weights on their way to the workers: a version, the tensors, and a hash that proves their arrival."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightUpdate:
    """The trainable parameters of one policy version."""

    version: int
    tensors: Mapping[str, Tensor] = field(hash=False)  # parameter name → tensor, on CPU
    content_hash: str  # weights_hash(tensors)

    def __reduce__(self) -> Any:
        """Pickled as plain arrays, which a shared-memory store hands to every process of a machine without a copy."""
        arrays = {
            name: (tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy(), tensor.dtype, tensor.shape)
            for name, tensor in self.tensors.items()
        }
        return _unpickled, (self.version, arrays, self.content_hash)


def _unpickled(version: int, arrays: Mapping[str, tuple[Any, torch.dtype, torch.Size]], hash: str) -> WeightUpdate:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")  # nobody writes into an update
        tensors = {
            name: (torch.from_numpy(array) if array.size else torch.empty(0, dtype=torch.uint8)).view(dtype).view(shape)
            for name, (array, dtype, shape) in arrays.items()
        }
    return WeightUpdate(version=version, tensors=tensors, content_hash=hash)


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.numpy().tobytes())
    return digest.hexdigest()


def weight_update(version: int, tensors: Mapping[str, Tensor]) -> WeightUpdate:
    """A snapshot of `tensors`, copied to CPU."""
    copied = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    return WeightUpdate(version=version, tensors=copied, content_hash=weights_hash(copied))
