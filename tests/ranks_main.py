"""Small real policies and recorded segments, and GRPO over them: in this process, or as ranks that a launcher starts.

    torchrun --nproc_per_node 2 -m tests.ranks_main OUT --world-size 2 [--lora] [--deepspeed PATH] [--die-at N]

Not a test: `test_grpo`, `test_ranks` and `test_resume` build on it.
"""

from typing import Any

import torch

from train.nano.curriculum import tokenizer_texts
from train.nano.model import nano_config, new_nano, train_tokenizer


def tiny_policy(*, hidden: int = 32, layers: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """(model, tokenizer): the nano architecture, smaller yet, with random weights."""
    torch.set_num_threads(1)  # bits depend on it, a rank has one, and matrices this small gain nothing from two
    tokenizer = train_tokenizer(tokenizer_texts(0, 60))
    torch.manual_seed(seed)
    return new_nano(nano_config(tokenizer, hidden=hidden, layers=layers)).eval(), tokenizer
