"""The one door to TRL (pinned exactly: its GRPO internals are experimental)."""

from typing import Any

from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.kernels import chunked_logprob
from trl.trainer import utils

__all__ = ["GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer", "one_device", "score_labelled_positions_alone"]


def score_labelled_positions_alone() -> None:
    """Let TRL's fused head project labelled positions alone on a CPU too, as it does on GPUs that run Triton.

    Elsewhere it projects all of them, to spare devices that compile a graph per shape. A CPU compiles none, and there
    the head was two fifths of a nano step.
    """

    def compact(device: Any) -> bool:
        return device.type == "cpu" or chunked_logprob._use_triton(device)

    utils._use_triton = compact  # read by `add_fused_lm_head` alone; the kernels keep their own


def one_device(arguments: Any) -> Any:
    """A Trainer's arguments, for one device a process.

    Where no launcher started it and several GPUs are visible, the Trainer would wrap the model in DataParallel and
    multiply the batch by their number.
    """
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments
