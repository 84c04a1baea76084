"""Single tokens through a model of Llama's family (Llama, Qwen2, Qwen3, SmolLM2 …) in a third of the kernels.

For CUDA graphs of decode steps and short prefills. It computes with the Hugging Face model's own parameters: those of
query, key and value, and of gate and up, are laid side by side in memory, so that one product serves them; what stands
between products is compiled. LoRA adapters are added, not merged. Not here: long prefills, and models that are built
otherwise (`ForwardPasses` compares the two).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rollout.row_cache import RowCache


def fused_decoder(network: Any) -> "FusedDecoder | None":
    """The decoder of a Hugging Face causal LM; None where it is built otherwise. Its parameters are moved in memory."""
    try:
        return FusedDecoder(network)
    except (AttributeError, TypeError):
        return None


class FusedDecoder:
    """The layers of one model, ready for decode steps."""

    def __init__(self, network: Any) -> None:
        """Raises AttributeError or TypeError when the model lacks what its family has."""
        body = network.model
        self._embed, self._rotary, self._final, self._head = (
            body.embed_tokens,
            body.rotary_emb,
            _Norm.of(body.norm),
            network.lm_head,
        )
        self._layers = [_Layer.of(layer) for layer in body.layers]

    def logits(
        self, ids: Tensor, positions: Tensor, rows: Tensor, cache: RowCache, *, length: int, wanted: int
    ) -> Tensor:
        """[wanted, V] of the first tokens, for ids [B] that stand at `positions` [B] < `length` of the rows `rows` [B].

        The keys and values of all of them are stored before any of them reads, in every layer: several may belong to
        one row, in any order.
        """
        residual = self._embed(ids)  # [B, hidden]
        cos, sin = (t[:, 0] for t in self._rotary(residual[:, None], positions[:, None]))  # [B, head_dim]
        attend = _attention(rows, positions, length, residual)
        pieces = _pieces(residual.device.type)
        first = self._layers[0].before
        normed = pieces.norm(residual, first.weight, first.epsilon)
        for index, layer in enumerate(self._layers):
            keys, values = cache.keys[index], cache.values[index]
            assert keys is not None, "the cache is allocated by a prefill"
            assert values is not None
            norms = (layer.query_norm, layer.key_norm)
            query = pieces.store_and_rotate(
                layer.attend_in(normed),
                *(norm and norm.weight for norm in norms),
                norms[0].epsilon if norms[0] else 0.0,
                layer.scaling,
                cos,
                sin,
                keys,
                values,
                rows,
                positions,
            )
            attended = attend(query, keys, values)
            update = layer.attend_out(attended.reshape(len(ids), -1))
            residual, normed = pieces.add_norm(residual, update, layer.between.weight, layer.between.epsilon)
            update = layer.mlp_out(pieces.gated(layer.mlp_in(normed)))
            after = self._layers[index + 1].before if index + 1 < len(self._layers) else self._final
            residual, normed = pieces.add_norm(residual, update, after.weight, after.epsilon)
        return torch.Tensor(self._head(normed[:wanted]))


def _attention(
    rows: Tensor, positions: Tensor, length: int, like: Tensor
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Of queries [B, heads, head_dim], scaled already, each over its row up to its position."""
    if like.device.type == "cuda":
        from rollout.decode_attention import decode_attention  # needs Triton

        return partial(decode_attention, rows=rows, positions=positions, length=length)
    visible = torch.arange(length, device=like.device) <= positions[:, None]
    mask = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
    mask = mask.masked_fill_(~visible, -torch.inf)[:, None, None]  # [B, 1, 1, length]

    def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        count, _, head_dim = query.shape
        grouped = query.view(count, keys.shape[1], -1, head_dim)  # a group's queries read its keys together
        read = (keys[rows, :, :length], values[rows, :, :length])
        return F.scaled_dot_product_attention(grouped, *read, attn_mask=mask, scale=1.0)

    return attend


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    epsilon: float

    @staticmethod
    def of(module: Any) -> "_Norm":
        return _Norm(module.weight, float(module.variance_epsilon))


@dataclass(frozen=True, slots=True)
class _Layer:
    before: _Norm
    attend_in: "_Linear"  # hidden → queries, keys, values
    query_norm: _Norm | None
    key_norm: _Norm | None
    scaling: float
    attend_out: "_Linear"
    between: _Norm
    mlp_in: "_Linear"  # hidden → gate, up
    mlp_out: "_Linear"

    @staticmethod
    def of(layer: Any) -> "_Layer":
        attention, mlp = layer.self_attn, layer.mlp
        if not isinstance(mlp.act_fn, nn.SiLU) and type(mlp.act_fn).__name__ != "SiLUActivation":
            raise TypeError("another activation")
        norms = [_Norm.of(getattr(attention, name)) if hasattr(attention, name) else None for name in _NORMS]
        return _Layer(
            before=_Norm.of(layer.input_layernorm),
            attend_in=_Linear([attention.q_proj, attention.k_proj, attention.v_proj]),
            query_norm=norms[0],
            key_norm=norms[1],
            scaling=float(attention.scaling),
            attend_out=_Linear([attention.o_proj]),
            between=_Norm.of(layer.post_attention_layernorm),
            mlp_in=_Linear([mlp.gate_proj, mlp.up_proj]),
            mlp_out=_Linear([mlp.down_proj]),
        )


_NORMS = ("q_norm", "k_norm")


class _Linear:
    """Several projections of one input as one product; each may have a LoRA adapter."""

    def __init__(self, modules: Sequence[Any]) -> None:
        bases = [getattr(module, "base_layer", module) for module in modules]
        if not all(isinstance(base, nn.Linear) for base in bases):
            raise TypeError("a projection is no nn.Linear")
        self._weight = _side_by_side([base.weight for base in bases])
        biases = [base.bias for base in bases if base.bias is not None]
        if len(biases) not in (0, len(bases)):
            raise TypeError("some projections have a bias, others have not")
        self._bias = _side_by_side(biases) if biases else None
        self._adapters: list[tuple[slice, Tensor, Tensor, float]] = []
        end = 0
        for module, base in zip(modules, bases, strict=True):
            begin, end = end, end + base.out_features
            for name in getattr(module, "active_adapters", ()):
                down, up = module.lora_A[name].weight, module.lora_B[name].weight
                self._adapters.append((slice(begin, end), down, up, float(module.scaling[name])))

    def __call__(self, x: Tensor) -> Tensor:
        """[B, out] for x [B, in]."""
        out = F.linear(x, self._weight, self._bias)
        for part, down, up, scale in self._adapters:
            change = F.linear(F.linear(x.to(down.dtype), down), up)
            out[:, part] = out[:, part] + change * scale
        return out


def _side_by_side(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One tensor [sum of rows, …] of which the parameters become views: whoever writes to them writes to it."""
    if len(parameters) == 1:
        return parameters[0].data
    first, size = parameters[0].data, sum(parameter.shape[0] for parameter in parameters)
    together = first.new_empty(size, *first.shape[1:])
    begin = 0
    for parameter in parameters:
        end = begin + parameter.shape[0]
        together[begin:end] = parameter.data
        parameter.data = together[begin:end]
        begin = end
    return together


# --- what stands between the products, compiled ------------------------------------------------------------------


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm over the last dimension, rounded as the models do: before the weight."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def _add_norm(residual: Tensor, update: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    residual = residual + update
    return residual, _norm(residual, weight, epsilon)


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def _store_and_rotate(
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
    """Queries [B, heads, head_dim], normed, rotated and scaled; this token's keys and values go into the cache."""
    count, groups, head_dim = qkv.shape[0], keys.shape[1], keys.shape[3]
    heads = qkv.shape[1] // head_dim - 2 * groups
    query, key, value = (
        part.view(count, -1, head_dim)
        for part in qkv.split([heads * head_dim, groups * head_dim, groups * head_dim], dim=1)
    )
    if query_weight is not None and key_weight is not None:
        query, key = _norm(query, query_weight, epsilon), _norm(key, key_weight, epsilon)
    keys[rows, :, positions] = _rotated(key, cos, sin)
    values[rows, :, positions] = value
    return _rotated(query, cos, sin) * scaling


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos[:, None] + turned * sin[:, None]


@dataclass(frozen=True, slots=True)
class _Pieces:
    norm: Callable[..., Tensor]
    add_norm: Callable[..., tuple[Tensor, Tensor]]
    gated: Callable[..., Tensor]
    store_and_rotate: Callable[..., Tensor]


@cache
def _pieces(device: str) -> _Pieces:
    """For a GPU compiled, the last a kernel of our own; else as they stand."""
    if device != "cuda":
        return _Pieces(_norm, _add_norm, _gated, _store_and_rotate)
    from rollout.decode_attention import store_and_rotate  # needs Triton

    return _Pieces(torch.compile(_norm), torch.compile(_add_norm), torch.compile(_gated), store_and_rotate)
