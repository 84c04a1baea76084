"""The one door to TRL (pinned exactly: its GRPO internals are experimental)."""

from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

__all__ = ["GRPOConfig", "GRPOTrainer", "SFTConfig", "SFTTrainer"]
