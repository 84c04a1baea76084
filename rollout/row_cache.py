"""The keys and values of all contexts: one cache whose rows are contexts, [rows, heads, length, head_dim] a layer.

Not here: which context has which row (`transformers_engine`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from retriever.base.errors import UserError

LENGTH_STEP = 256  # the cache grows by so many positions


class RowCache(Cache):
    """Keys and values; `update` writes in place.

    One forward pass works on the rows `rows` (a slice of the first ones while decoding, an index while prefilling) and
    writes at `positions` [B, Q]; it reads the first `length` positions, and the attention mask hides the rest.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[])
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.rows: slice | Tensor = slice(0, 0)
        self.row_index = torch.empty(0, dtype=torch.long)  # [B] the same rows as numbers
        self.positions = torch.empty(0, dtype=torch.long)  # [B, Q]
        self.length = 0
        self._shape = (0, 0)  # rows, positions: what is allocated

    def reserve(self, rows: int, length: int) -> None:
        """Have room for `rows` rows of `length` positions from the next pass on; never less than before."""
        self._shape = (max(self._shape[0], rows), max(self._shape[1], -(-length // LENGTH_STEP) * LENGTH_STEP))

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        """Store this pass's keys and values; returns all that the pass may attend to, [B, heads, length, head_dim]."""
        stored = []
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            tensor = self._allocated(store, layer_idx, states)
            tensor[self.row_index[:, None], :, self.positions] = states.transpose(1, 2)
            stored.append(tensor[self.rows, :, : self.length])
        return stored[0], stored[1]

    def copy(self, source: int, target: int, begin: int, end: int) -> None:
        """Positions `begin` to `end` of one row into another."""
        with torch.inference_mode():
            self.grow()
            for tensor in (*self.keys, *self.values):
                assert tensor is not None
                tensor[target, :, begin:end] = tensor[source, :, begin:end]

    def grow(self) -> None:
        """Allocate what is reserved now; only after a first pass, which shows what each layer stores."""
        for store in (self.keys, self.values):
            for layer, tensor in enumerate(store):
                assert tensor is not None, "nothing was stored yet"
                self._allocated(store, layer, tensor)

    def release(self) -> None:
        """Give the memory back; the next pass allocates anew."""
        for store in (self.keys, self.values):
            store[:] = [None if tensor is None else tensor[:0, :, :0].clone() for tensor in store]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Unused by models that are given positions and a mask; required by the interface."""
        return 0

    def _allocated(self, store: list[Tensor | None], layer: int, like: Tensor) -> Tensor:
        tensor = store[layer]
        rows, length = self._shape
        if tensor is None or tensor.shape[0] < rows or tensor.shape[2] < length:
            grown = like.new_zeros(rows, like.shape[1], length, like.shape[3])
            if tensor is not None:
                grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
            store[layer] = tensor = grown
        return tensor


def token_bytes(config: Any, bytes_per_number: int) -> int:
    """Bytes of one token's keys and values in all layers of a model with this text config."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * int(heads) * int(head_dim) * bytes_per_number


def rows_that_fit(
    config: Any,
    *,
    max_rows: int,
    length: int,
    shape: Callable[[int], tuple[int, int]],
    cache_gb: float,
    bytes_per_number: int,
) -> int:
    """How many contexts of `length` tokens have room in `cache_gb` GB (0: no limit); at most `max_rows`.

    `shape`: contexts → the rows and positions that are allocated for them. Raises UserError when not one has room.
    """

    def gigabytes(contexts: int) -> float:
        rows, positions = shape(contexts)
        return rows * positions * token_bytes(config, bytes_per_number) / 1e9

    if not cache_gb:
        return max_rows
    fit = next((rows for rows in range(max_rows, 0, -1) if gigabytes(rows) <= cache_gb), 0)
    if not fit:
        raise UserError(
            f"rollout.kv_cache_gb={cache_gb:g} has no room for one context of rollout.max_context={length} tokens, "
            f"which takes {gigabytes(1):.3g} GB in {shape(1)[0]} rows of {shape(1)[1]} positions; raise it, or lower "
            "rollout.max_context"
        )
    return fit
