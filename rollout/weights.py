"""Weights on their way to the workers: a version, the tensors, and a hash that proves their arrival."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightUpdate:
    """The trainable parameters of one policy version."""

    version: int
    tensors: Mapping[str, Tensor] = field(hash=False)  # parameter name → tensor, on CPU
    content_hash: str  # weights_hash(tensors)


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
