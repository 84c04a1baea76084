"""Attention of single tokens over the cache, in Triton: what goes into it, and how each token reads its own row.

Queries and keys are normed and rotated, and keys and values stored, by one kernel. A GPU's general attention kernels
give a context with one query to a few of its processors, and read every row to the longest one's length. Here a row's
keys are split among programs, each of which leaves a partial softmax (its maximum, its sum, its weighted values); a
second kernel puts them together: Dao et al., "Flash-Decoding" (2023).

Imported where there is a GPU alone: the CPU builds of PyTorch come without Triton.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROGRAMS = 1024  # that a launch should have to keep a GPU busy
_BLOCK = 64  # keys that a program reads at a time


def store_and_rotate(
    qkv: Tensor,
    query_weight: Tensor | None,
    key_weight: Tensor | None,
    epsilon: float,
    scaling: float,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    rows: Tensor,
    positions: Tensor,
) -> Tensor:
    """Queries [B, heads, head_dim], normed where there are weights, rotated and scaled; keys and values are stored.

    `qkv` [B, (heads + 2 groups) head_dim]; `cos` and `sin` [B, head_dim], whose halves are alike; token b's keys and
    values go to positions[b] of the row rows[b] of `keys` and `values`. head_dim: a power of two.
    """
    count, groups, head_dim = qkv.shape[0], keys.shape[1], keys.shape[3]
    heads = qkv.shape[1] // head_dim - 2 * groups
    query = torch.empty(count, heads, head_dim, dtype=qkv.dtype, device=qkv.device)
    normed = query_weight is not None
    _store_and_rotate[(count, heads + 2 * groups)](
        qkv,
        query_weight if normed else qkv,
        key_weight if normed else qkv,
        cos,
        sin,
        query,
        keys,
        values,
        rows,
        positions,
        epsilon,
        scaling,
        keys.stride(0),
        keys.stride(1),
        keys.stride(2),
        HEADS=heads,
        GROUPS=groups,
        HALF=head_dim // 2,
        NORMED=normed,
        num_warps=1,
    )
    return query


def decode_attention(
    query: Tensor, keys: Tensor, values: Tensor, *, rows: Tensor, positions: Tensor, length: int
) -> Tensor:
    """[B, heads, head_dim] for `query` [B, heads, head_dim], scaled already.

    Token b reads the positions 0 … positions[b] < `length` of the row rows[b] of `keys` and `values` [rows, groups,
    positions, head_dim]; heads / groups queries share a key. head_dim: a power of two.
    """
    count, heads, head_dim = query.shape
    groups = keys.shape[1]
    splits = max(1, min(triton.cdiv(_PROGRAMS, count * groups), triton.cdiv(length, _BLOCK)))
    chunk = triton.cdiv(triton.cdiv(length, splits), _BLOCK) * _BLOCK
    splits = triton.cdiv(length, chunk)
    partial = torch.empty(count, heads, splits, head_dim, dtype=torch.float32, device=query.device)
    softmax = torch.empty(2, count, heads, splits, dtype=torch.float32, device=query.device)  # maxima, sums
    out = torch.empty_like(query)
    shared = heads // groups
    _attend[(count, groups, splits)](
        query,
        keys,
        values,
        rows,
        positions,
        partial,
        softmax,
        softmax.stride(0),
        keys.stride(0),
        keys.stride(1),
        keys.stride(2),
        splits,
        SHARED=shared,
        PADDED=max(16, triton.next_power_of_2(shared)),
        HEAD_DIM=head_dim,
        BLOCK=_BLOCK,
        CHUNK=chunk,
        num_warps=4,
    )
    _combine[(count * heads,)](
        partial,
        softmax,
        softmax.stride(0),
        out,
        splits,
        HEAD_DIM=head_dim,
        SPLITS=triton.next_power_of_2(splits),
        num_warps=2,
    )
    return out


@triton.jit
def _store_and_rotate(
    qkv,
    query_weight,
    key_weight,
    cos,
    sin,
    query,
    keys,
    values,
    rows,
    positions,
    epsilon,
    scaling,
    row_stride,
    group_stride,
    position_stride,
    HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    HALF: tl.constexpr,
    NORMED: tl.constexpr,
):
    """One head of one token: of the queries, then of the keys, then of the values."""
    token, head = tl.program_id(0), tl.program_id(1)
    dims = tl.arange(0, HALF)
    kind = qkv.dtype.element_ty
    source = qkv + (token * (HEADS + 2 * GROUPS) + head) * 2 * HALF + dims
    low, high = tl.load(source), tl.load(source + HALF)
    if head < HEADS + GROUPS:
        x, y = low.to(tl.float32), high.to(tl.float32)
        if NORMED:  # rounded as the models do: before the weight, and after
            scale = tl.rsqrt((tl.sum(x * x, 0) + tl.sum(y * y, 0)) / (2 * HALF) + epsilon)
            weight = query_weight + dims
            if head >= HEADS:
                weight = key_weight + dims
            x = (x * scale).to(kind).to(tl.float32) * tl.load(weight).to(tl.float32)
            y = (y * scale).to(kind).to(tl.float32) * tl.load(weight + HALF).to(tl.float32)
            x, y = x.to(kind).to(tl.float32), y.to(kind).to(tl.float32)
        turn = token * 2 * HALF + dims
        c, s = tl.load(cos + turn).to(tl.float32), tl.load(sin + turn).to(tl.float32)
        low, high = (x * c - y * s).to(kind), (y * c + x * s).to(kind)
    if head < HEADS:
        target = query + (token * HEADS + head) * 2 * HALF + dims
        tl.store(target, (low.to(tl.float32) * scaling).to(kind))
        tl.store(target + HALF, (high.to(tl.float32) * scaling).to(kind))
    else:
        row, position = tl.load(rows + token).to(tl.int64), tl.load(positions + token).to(tl.int64)
        group = head - HEADS
        store = keys
        if group >= GROUPS:
            store, group = values, group - GROUPS
        place = store + row * row_stride + group * group_stride + position * position_stride + dims
        tl.store(place, low)
        tl.store(place + HALF, high)


@triton.jit
def _attend(
    query,
    keys,
    values,
    rows,
    positions,
    partial,
    softmax,
    softmax_stride,
    row_stride,
    group_stride,
    position_stride,
    splits,
    SHARED: tl.constexpr,
    PADDED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    token, group, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = tl.load(rows + token).to(tl.int64)
    end = tl.load(positions + token) + 1
    begin = split * CHUNK
    heads = tl.arange(0, PADDED)  # of the group; a matrix product wants 16 rows
    dims = tl.arange(0, HEAD_DIM)
    head = (token * tl.num_programs(1) + group) * SHARED + heads
    q = tl.load(query + head[:, None] * HEAD_DIM + dims[None, :], mask=heads[:, None] < SHARED, other=0.0)
    base = row * row_stride + group.to(tl.int64) * group_stride
    largest = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    weighted = tl.zeros([PADDED, HEAD_DIM], tl.float32)
    for start in range(begin, tl.minimum(begin + CHUNK, end), BLOCK):
        at = start + tl.arange(0, BLOCK)
        place = base + at[:, None] * position_stride + dims[None, :]
        k = tl.load(keys + place, mask=at[:, None] < end, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        scores = tl.where(at[None, :] < end, scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, 1))
        shares = tl.exp(scores - higher[:, None])
        shrink = tl.exp(largest - higher)
        v = tl.load(values + place, mask=at[:, None] < end, other=0.0)
        total = total * shrink + tl.sum(shares, 1)
        weighted = weighted * shrink[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        largest = higher
    slot = head * splits + split
    mine = heads < SHARED
    tl.store(softmax + slot, largest, mask=mine)
    tl.store(softmax + softmax_stride + slot, total, mask=mine)
    tl.store(partial + slot[:, None] * HEAD_DIM + dims[None, :], weighted, mask=mine[:, None])


@triton.jit
def _combine(partial, softmax, softmax_stride, out, splits, HEAD_DIM: tl.constexpr, SPLITS: tl.constexpr):
    head = tl.program_id(0)
    split, dims = tl.arange(0, SPLITS), tl.arange(0, HEAD_DIM)
    slot = head * splits + split
    there = split < splits
    largest = tl.load(softmax + slot, mask=there, other=float("-inf"))
    total = tl.load(softmax + softmax_stride + slot, mask=there, other=0.0)
    scale = tl.exp(largest - tl.max(largest, 0))  # 0 for a split that had nothing to read
    weighted = tl.load(partial + slot[:, None] * HEAD_DIM + dims[None, :], mask=there[:, None], other=0.0)
    value = tl.sum(weighted * scale[:, None], 0) / tl.sum(total * scale, 0)
    tl.store(out + head * HEAD_DIM + dims, value.to(out.dtype.element_ty))
