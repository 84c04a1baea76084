"""The one door to TRL (pinned exactly: its GRPO internals are experimental)."""

from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.trainer import utils

__all__ = ["GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer"]

# Its fused head projects labelled positions alone on GPUs that run Triton, all positions elsewhere, to spare devices
# that compile a graph per shape. A CPU compiles none, and there the head is two fifths of a nano step.
_on_triton = utils._use_triton
utils._use_triton = lambda device: device.type == "cpu" or _on_triton(device)
