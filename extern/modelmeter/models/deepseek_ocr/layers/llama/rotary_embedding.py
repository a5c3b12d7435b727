"""Rotary position embedding on shapes.

Source of the walk: `UnlimitedOcrTextRotaryEmbedding` and `apply_rotary_pos_emb` of transformers 5.23.
"""

from typing import Any

from modelmeter.layers import BaseLayer
from modelmeter.operators import Parameter, add, cat, cos, mul, neg, sin, to
from modelmeter.shape_tensor import ShapeTensor


class LlamaRotaryEmbedding(BaseLayer):
    """Position ids [1, T] -> cos and sin [1, T, d], built in float32, then cast to the model's type."""

    def __init__(self, head_dim: int, **common: Any) -> None:
        super().__init__(**common)
        # a buffer, not a parameter: it is read, but no checkpoint holds it
        self.buffers = {"inv_freq": Parameter(head_dim // 2, dtype="float32")}

    def forward(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        inv_freq = self.buffers["inv_freq"].on(position_ids.tape)
        freqs = mul(to(position_ids.unsqueeze(2), "float32"), inv_freq)  # [1, T, d/2]
        emb = cat((freqs, freqs), -1)
        cosine = mul(cos(emb))
        sine = mul(sin(emb))
        return to(cosine, self.dtype), to(sine, self.dtype)


def rotate_half(x: ShapeTensor) -> ShapeTensor:
    """The halves of the last dimension exchanged, the second with its sign changed."""
    x1, x2 = x.chunk(2, -1)
    return cat((neg(x2), x1), -1)


def apply_rotary_pos_emb(
    query: ShapeTensor, key: ShapeTensor, cosine: ShapeTensor, sine: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor]:
    """Query and key [B, H, T, d] turned by their positions."""
    cosine = cosine.unsqueeze(1)
    sine = sine.unsqueeze(1)
    q_embed = add(mul(query, cosine), mul(rotate_half(query), sine))
    k_embed = add(mul(key, cosine), mul(rotate_half(key), sine))
    return q_embed, k_embed
