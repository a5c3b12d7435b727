"""The decoder as a whole on shapes: masks, rotary tables, the layers, the final norm.

Source of the walk: `UnlimitedOcrTextModel.forward` of transformers 5.23, its mask functions included: the mask of the
sliding-window layers is built in every pass, whether a layer uses it or not. An engine builds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from modelmeter.layers import BaseLayer, LayerList, State
from modelmeter.models.deepseek_ocr.layers.decoder.deepseek_v2 import (
    DeepseekV2DecoderLayer,
    DeepseekV2MLP,
    DeepseekV2MoE,
    DeepseekV2RMSNorm,
)
from modelmeter.models.deepseek_ocr.layers.llama.rotary_embedding import LlamaRotaryEmbedding
from modelmeter.operators import add, arange, compare, fill, masked_fill, sub, to, where
from modelmeter.shape_tensor import ShapeTensor, Tape


def mask_indices(tape: Tape, batch: int, tokens: int, context: int) -> tuple[ShapeTensor, ...]:
    """Indices of pages, heads, queries and keys that a mask is a function of."""
    batch_arange = arange(tape, batch)
    head_arange = arange(tape, 1)
    q_arange = add(arange(tape, tokens))
    kv_arange = add(arange(tape, context))
    return batch_arange, head_arange, q_arange, kv_arange


def both(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """Logical and."""
    return compare("aten.bitwise_and.Tensor", left, right)


def either(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """Logical or."""
    return compare("aten.bitwise_or.Tensor", left, right)


def causal(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Which keys are not after which queries, [T, context]."""
    return compare("aten.le.Tensor", keys, queries.unsqueeze(1))


def sliding(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Causal, and within the window."""
    seen = fill(queries, queries.shape, "bool", "aten.new_ones.default").unsqueeze(1)
    seen = both(seen, compare("aten.gt.Tensor", keys, sub(queries).unsqueeze(1)))
    return both(seen, causal(queries, keys))


def prefilled(queries: ShapeTensor, keys: ShapeTensor) -> ShapeTensor:
    """Causal, and among the tokens of the prompt."""
    seen = fill(queries, queries.shape, "bool", "aten.new_ones.default").unsqueeze(1)
    seen = both(seen, causal(queries, keys))
    return both(seen, compare("aten.lt.Scalar", sub(keys)))


def sliding_mask(tape: Tape, batch: int, tokens: int, context: int) -> ShapeTensor:
    """Mask [B, 1, T, context] of a sliding window that keeps the prompt."""
    _batches, _heads, queries, keys = mask_indices(tape, batch, tokens, context)
    allowed = fill(queries, queries.shape, "bool", "aten.new_zeros.default").unsqueeze(1)
    allowed = either(allowed, sliding(queries, keys))
    allowed = either(allowed, prefilled(queries, keys))
    return allowed.unsqueeze(0).unsqueeze(0).expand(batch, -1, -1, -1)


def causal_mask(tape: Tape, batch: int, tokens: int, context: int) -> ShapeTensor:
    """Mask [B, 1, T, context] of full attention."""
    _batches, _heads, queries, keys = mask_indices(tape, batch, tokens, context)
    return causal(queries, keys).unsqueeze(0).unsqueeze(0).expand(batch, -1, -1, -1)


def additive(mask: ShapeTensor, dtype: str) -> ShapeTensor:
    """A mask as numbers to add: 0 where allowed, the least number where not."""
    zero = fill(mask, (), dtype, "aten.zeros.default")
    return where(mask, zero, fill(mask, (), dtype, "aten.scalar_tensor.default"))


def causal_only_mask(position_ids: ShapeTensor, batch: int, dtype: str) -> ShapeTensor | None:
    """The published code's mask [B, 1, T, T] to add, filled in float32; a single token needs none."""
    tokens = position_ids.shape[1]
    if tokens == 1:
        return None
    mask = fill(position_ids, (tokens, tokens), "float32", "aten.full.default")
    mask_cond = arange(position_ids.tape, tokens)
    masked_fill(mask, compare("aten.lt.Tensor", mask_cond, add(mask_cond).view(tokens, 1)))
    mask = to(mask, dtype)
    return mask.unsqueeze(0).unsqueeze(0).expand(batch, 1, tokens, tokens)


class DeepseekV2Model(BaseLayer):
    """Decoder without embedding and head: x [B, T, D] over the cache -> [B, T, D]."""

    def __init__(
        self,
        *,
        hidden_size: int = 1280,
        intermediate_size: int = 6848,
        moe_intermediate_size: int = 896,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 10,
        num_key_value_heads: int = 10,
        n_routed_experts: int = 64,
        num_experts_per_tok: int = 6,
        n_shared_experts: int = 2,
        first_k_dense_replace: int = 1,
        max_position_embeddings: int = 8192,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        dense_mlp = DeepseekV2MLP(hidden_size, intermediate_size, **self.common)
        moe = DeepseekV2MoE(
            hidden_size, moe_intermediate_size, n_routed_experts, num_experts_per_tok, n_shared_experts, **self.common
        )
        dense, sparse = (
            DeepseekV2DecoderLayer(hidden_size, num_attention_heads, num_key_value_heads, mlp=mlp, **self.common)
            for mlp in (dense_mlp, moe)
        )
        sparse.self_attn.remember_with(dense.self_attn)
        for norm in (sparse.input_layernorm, sparse.post_attention_layernorm):
            norm.remember_with(dense.input_layernorm)
        self.layers = LayerList(
            [dense if index < first_k_dense_replace else sparse for index in range(num_hidden_layers)], **self.common
        )
        self.kv_heads = num_key_value_heads
        self.head_dim = hidden_size // num_attention_heads
        self.norm = DeepseekV2RMSNorm(hidden_size, **self.common)
        self.norm.remember_with(dense.input_layernorm)
        if not self.execution.rotary_per_layer:
            self.rotary_emb = LlamaRotaryEmbedding(self.head_dim, max_position_embeddings, **self.common)

    def forward(self, inputs_embeds: ShapeTensor, caches: Sequence[State], experts_hit: int | Fraction) -> ShapeTensor:
        tape = inputs_embeds.tape
        batch, tokens, _ = inputs_embeds.shape
        past = caches[0].items[0].shape[2] if caches[0].items else 0
        full: ShapeTensor | None = None
        if self.execution.positions_given:
            position_ids = tape.input((batch, tokens), "int64")
        elif self.execution.causal_mask_only:
            position_ids = arange(tape, tokens, aten="aten.arange.start").unsqueeze(0)
            full = causal_only_mask(position_ids, batch, self.dtype) if self.attention == "eager" else None
        else:
            position_ids = add(arange(tape, tokens)).unsqueeze(0)
            full, _window = self.masks(tape, batch, tokens, past + tokens)
        hidden_states = inputs_embeds
        positions = self.positions(position_ids)
        if self.execution.residual_handed_on:
            residual = None
            for layer, cache in zip(self.layers, caches, strict=True):
                hidden_states, residual = layer(hidden_states, positions, full, cache, experts_hit, residual)
            return self.norm(hidden_states, residual)[1]  # type: ignore[no-any-return]
        for layer, cache in zip(self.layers, caches, strict=True):
            hidden_states = layer(hidden_states, positions, full, cache, experts_hit)
        return self.norm(hidden_states)  # type: ignore[no-any-return]

    def positions(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """What each layer's attention makes cos and sin of."""
        if self.execution.rotary_per_layer:
            return (position_ids,)
        if self.execution.rotary_tables_kept:
            return position_ids, self.rotary_emb.buffers["cos_sin_cache"].on(position_ids.tape)
        return self.rotary_emb(position_ids)  # type: ignore[no-any-return]

    def masks(self, tape: Tape, batch: int, tokens: int, context: int) -> tuple[ShapeTensor | None, ShapeTensor]:
        """The mask of full attention, none for a fused kernel, and that of a sliding window."""
        if self.attention == "flash":
            return None, sliding_mask(tape, batch, tokens, context)
        full = additive(causal_mask(tape, batch, tokens, context), self.dtype)
        return full, additive(sliding_mask(tape, batch, tokens, context), self.dtype)
