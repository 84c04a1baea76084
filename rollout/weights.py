"""Weights on their way to the workers: a version, the tensors, and a hash that proves their arrival."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from retriever.base.errors import IntegrityError


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


def load_update(model: Any, update: WeightUpdate) -> None:
    """Copy the tensors into the model's parameters; the hash is taken of what they then are.

    Raises IntegrityError, also where they are not all that training changes.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    wanted, sent = ({name: t.shape for name, t in found.items()} for found in (parameters, update.tensors))
    if strange := sorted(name for name in wanted.keys() | sent.keys() if wanted.get(name) != sent.get(name))[:3]:
        raise IntegrityError(
            f"weights {update.version}: what was sent and the engine's model differ in {strange}; is it the same "
            "model, with LoRA on both sides or on none?"
        )
    with torch.no_grad():
        for name, tensor in update.tensors.items():
            parameters[name].copy_(tensor)
    check_arrived(update, weights_hash({name: parameters[name] for name in update.tensors}))


def check_arrived(update: WeightUpdate, arrived: str) -> None:
    """Raises IntegrityError when `arrived`, the hash of what an engine got, is not that of the update."""
    if arrived != update.content_hash:
        raise IntegrityError(
            f"weights of policy version {update.version} arrived corrupted: hash {arrived[:12]}, "
            f"expected {update.content_hash[:12]}; the run stops"
        )
