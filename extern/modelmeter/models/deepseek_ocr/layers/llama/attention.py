"""The decoder's attention on shapes, fused or in separate steps, with grouped KV heads and a growing cache.

Source of the walk: `UnlimitedOcrTextAttention` of transformers 5.23, and for the published code Llama's attention as it
was when that code was written.
"""

from __future__ import annotations

from typing import Any

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Linear, State
from modelmeter.models.deepseek_ocr.layers.llama.rotary_embedding import LlamaRotaryEmbedding, apply_rotary_pos_emb
from modelmeter.operators import (
    add,
    cat,
    contiguous,
    div,
    matmul,
    mul,
    reshape,
    scaled_dot_product_attention,
    softmax,
    to,
)
from modelmeter.shape_tensor import ACTIVATION, KV, ShapeTensor


class LlamaAttention(BaseLayer):
    """Attention of x [B, T, D] over the cache and itself -> [B, T, D], in separate steps; the weights come too.

    The cache holds keys and values [B, KV heads, context, d]; new ones are copied behind it.
    """

    remembered = True

    def __init__(self, hidden_size: int, num_heads: int, num_key_value_heads: int, **common: Any) -> None:
        super().__init__(**common)
        if num_heads % num_key_value_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: num_attention_heads={num_heads} does not divide by "
                f"num_key_value_heads={num_key_value_heads} (remainder {num_heads % num_key_value_heads}); "
                f"decoder.num_key_value_heads may be "
                f"{', '.join(str(heads) for heads in range(1, num_heads + 1) if num_heads % heads == 0)}."
            )
        if hidden_size % num_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: hidden_size={hidden_size} does not divide by num_attention_heads={num_heads}."
            )
        self.head_dim = hidden_size // num_heads
        self.groups = num_heads // num_key_value_heads
        kv_size = num_key_value_heads * self.head_dim
        self.q_proj = Linear(hidden_size, hidden_size, bias=False, **self.common)
        self.k_proj = Linear(hidden_size, kv_size, bias=False, **self.common)
        self.v_proj = Linear(hidden_size, kv_size, bias=False, **self.common)
        self.o_proj = Linear(hidden_size, hidden_size, bias=False, **self.common)
        if self.execution.rotary_per_layer:
            self.rotary_emb = LlamaRotaryEmbedding(self.head_dim, **self.common)

    def forward(
        self,
        hidden_states: ShapeTensor,
        positions: tuple[ShapeTensor, ...],
        attention_mask: ShapeTensor | None,
        cache: State,
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """`positions`: cos and sin, or position ids where each layer builds those itself."""
        batch, tokens, _ = hidden_states.shape
        by_head = (batch, tokens, -1, self.head_dim)
        # the first keys and values may become the cache as they are
        kept = KV if self.execution.cache_takes_first_as_is and not cache.items else ACTIVATION
        query_states = self.q_proj(hidden_states).view(*by_head).transpose(1, 2)  # [B, H, T, d]
        key_states = self.k_proj(hidden_states).view(*by_head).transpose(1, 2)
        value_states = self.v_proj(hidden_states, kept).view(*by_head).transpose(1, 2)
        if self.execution.rotary_per_layer:
            positions = self.rotary_emb(*positions)
        query_states, key_states = apply_rotary_pos_emb(query_states, key_states, positions, kept)
        key_states, value_states = update(cache, key_states, value_states)
        attn_output, attn_weights = self.attend(query_states, key_states, value_states, attention_mask)
        attn_output = reshape(attn_output, batch, tokens, -1)
        attn_output = self.o_proj(attn_output)
        return attn_output, attn_weights if self.execution.eager_weights_handed_on else None

    def attend(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """Scores, mask, softmax in float32 and the weighted sum -> [B, T, H, d] and the weights [B, H, T, context]."""
        key, value = repeat_kv(key, self.groups), repeat_kv(value, self.groups)
        scale = mul if self.execution.eager_scores_multiplied else div
        attn_weights = scale(matmul(query, key.transpose(-2, -1)))
        if mask is not None:
            attn_weights = add(attn_weights, mask)
        attn_weights = to(softmax(attn_weights, "float32"), query.dtype)
        attn_output = matmul(attn_weights, value)
        return contiguous(attn_output.transpose(1, 2)), attn_weights


class LlamaFlashAttention2(LlamaAttention):
    """The same in one fused kernel, which needs no mask and keeps no weights."""

    def attend(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, mask: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """One fused kernel -> [B, T, H, d]; it takes grouped KV heads as they are."""
        if self.execution.flash_half_precision_only and query.dtype == "float32":
            raise ModelMeterError(
                f"LlamaFlashAttention2: execution={self.execution.name} calls FlashAttention 2, which takes half "
                f"precision only, and runtime.dtype=float32; set runtime.attention=eager or runtime.dtype=bfloat16."
            )
        attn_output = scaled_dot_product_attention(query, key, value, mask)
        return contiguous(attn_output.transpose(1, 2)), None


def update(cache: State, key_states: ShapeTensor, value_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
    """Copy new keys and values behind those of the cache, one after the other, as `DynamicLayer.update` does.

    The first are copied too, but for an execution that keeps them as they are.
    """
    if cache.items:
        cache.items[0] = cat((cache.items[0], key_states), 2, KV)
        cache.items[1] = cat((cache.items[1], value_states), 2, KV)
    elif key_states.storage.kind == KV:  # made to be kept as they are
        cache.items = [key_states, value_states]
    else:  # the library starts from empty tensors
        cache.items = [cat((key_states,), 2, KV)]
        cache.items.append(cat((value_states,), 2, KV))
    return cache.items[0], cache.items[1]


def repeat_kv(x: ShapeTensor, groups: int) -> ShapeTensor:
    """Each KV head written `groups` times, [B, KV heads, S, d] -> [B, heads, S, d]."""
    if groups == 1:
        return x
    batch, heads, positions, width = x.shape
    return reshape(x.unsqueeze(2).expand(-1, -1, groups, -1, -1), batch, heads * groups, positions, width)
