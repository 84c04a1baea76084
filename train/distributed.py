"""What ranks do together; the only module that knows DeepSpeed."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from retriever.base.errors import ToolscoutError, UserError
from rollout.policy import trainable

T = TypeVar("T")


def check_world_size(found: int) -> None:
    """The launchers say how many ranks they started; `accelerate launch` on CPU silently starts just one."""
    wanted = os.environ.get("TOOLSCOUT_WORLD_SIZE")
    if wanted is not None and int(wanted) != found:
        raise UserError(f"{found} ranks are running, the launcher was to start {wanted}; use launch/train_torchrun.sh")


def on_first_rank(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 and give every rank its value; an error there is raised on all, so that none waits."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return work()
    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = work()
        except Exception as error:
            box[1] = error if isinstance(error, ToolscoutError) else ToolscoutError(f"rank 0: {error!r}")
            dist.broadcast_object_list(box, src=0)
            raise
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise box[1]
    return box[0]


def exit_rank(code: int) -> NoReturn:
    """End this process, a rank's, with `code`; threads that still work are not waited for.

    Not as Python ends by itself: gloo's threads free tensors, for which they take Python's lock, and one that asks an
    ending interpreter for it aborts the process ("terminate called", pytorch/pytorch#190489). Leaving the group first
    ends them only where nothing else holds it, but torch's and DeepSpeed's modules do.
    """
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # a pipe that nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def full_weights(model: Any) -> dict[str, Tensor]:
    """The trainable parameters, whole, on CPU; a collective call where ZeRO-3 has them in pieces."""
    parameters = trainable(model)
    sharded = [parameter for parameter in parameters.values() if hasattr(parameter, "ds_id")]
    if not sharded:
        return {name: parameter.detach().cpu() for name, parameter in parameters.items()}
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded):
        return {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}


def forget_deepspeed() -> None:
    """Load models whole from here on, also in a process that trained under ZeRO-3."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def reduced_max(value: float) -> float:
    """The largest value over all ranks."""
    return _reduced(value, dist.ReduceOp.MAX)


def reduced_sum(value: float) -> float:
    """The sum over all ranks."""
    return _reduced(value, dist.ReduceOp.SUM)


def _reduced(value: float, how: Any) -> float:
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, op=how)
    return float(tensor)
