"""Seeds are derived from names, never from the order in which things happen to run."""

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part, the same on every machine: `derive_seed(run.seed, "task", task.id)`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_random(*parts: int | str) -> random.Random:
    """A `random.Random` seeded by `derive_seed`."""
    return random.Random(derive_seed(*parts))
