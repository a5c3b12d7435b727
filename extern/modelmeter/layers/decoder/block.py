"""A decoder's block on shapes: attention, then a gated MLP or a mixture of experts, each after a norm.

Source of the walk: `UnlimitedOcrTextDecoderLayer` and `Qwen3DecoderLayer` of transformers 5.23; an engine sums
residuals in the norms.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, State
from modelmeter.layers.basic import RMSNorm
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.layers.decoder.deepstack import Features, add_and_normalize
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.operators import add, mul
from modelmeter.shape_tensor import ShapeTensor


class DecoderLayer(BaseLayer):
    """Pre-norm decoder layer, x [B, T, D] -> [B, T, D]; dense or with experts, by its `mlp`.

    output_norms: what attention and MLP make is normalised too, before it is summed. multiplied: it is multiplied by a
    number before that; an engine at its best has the number in the weights.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        self_attn: GroupedQueryAttention,
        mlp: GatedMLP | MixtureOfExperts,
        output_norms: bool = False,
        multiplied: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.self_attn = self_attn
        self.mlp = mlp
        self.multiplied = multiplied
        self.input_layernorm = RMSNorm(hidden_size, code=self.code)
        self.post_attention_layernorm = RMSNorm(hidden_size, code=self.code)
        self.post_self_attn_layernorm = self.post_mlp_layernorm = None
        if output_norms:
            self.post_self_attn_layernorm = RMSNorm(hidden_size, code=self.code)
            self.post_mlp_layernorm = RMSNorm(hidden_size, code=self.code)
        for norm in self.norms():
            norm.remember_with(self.input_layernorm)

    def norms(self) -> Iterator[RMSNorm]:
        """The norms that there are."""
        norms = (self.input_layernorm, self.post_attention_layernorm)
        further = (self.post_self_attn_layernorm, self.post_mlp_layernorm)
        yield from (norm for norm in (*norms, *further) if norm is not None)

    def forward(
        self,
        hidden_states: ShapeTensor,
        positions: tuple[ShapeTensor, ...],
        attention_mask: ShapeTensor | None,
        cache: State,
        experts_hit: int | Fraction = 0,
        residual: ShapeTensor | None = None,
        features: Features | None = None,
    ) -> Any:
        """`positions`: what attention makes cos and sin of.

        `residual`: the layer before's, where it is handed on; `features`: of image tokens that are added to it then.
        """
        arguments = (experts_hit,) if isinstance(self.mlp, MixtureOfExperts) else ()
        if self.traits(EngineTraits).add_norm_fused:
            of_attention = (positions, attention_mask, cache)
            return self.forward_add_norm(hidden_states, residual, features, of_attention, arguments)
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states, _ = self.self_attn(hidden_states, positions, attention_mask, cache)
        if self.post_self_attn_layernorm is not None:
            hidden_states = self.post_self_attn_layernorm(hidden_states)
        hidden_states = self.summed(residual, hidden_states)
        residual = hidden_states
        hidden_states = self.post_attention_layernorm(hidden_states)
        hidden_states = self.mlp(hidden_states, *arguments)
        if self.post_mlp_layernorm is not None:
            hidden_states = self.post_mlp_layernorm(hidden_states)
        return self.summed(residual, hidden_states)

    def summed(self, residual: ShapeTensor, hidden_states: ShapeTensor) -> ShapeTensor:
        """The residual and what a part of the layer makes."""
        return add(residual, mul(hidden_states) if self.multiplied else hidden_states)

    def forward_add_norm(
        self,
        hidden_states: ShapeTensor,
        residual: ShapeTensor | None,
        features: Features | None,
        of_attention: tuple[Any, ...],
        of_mlp: tuple[int | Fraction, ...],
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in the next layer's."""
        if residual is None:
            residual, hidden_states = hidden_states, self.input_layernorm(hidden_states)
        else:
            residual, hidden_states = add_and_normalize(self.input_layernorm, hidden_states, residual, features)
        hidden_states, _ = self.self_attn(hidden_states, *of_attention)
        if self.post_self_attn_layernorm is not None:
            hidden_states = self.post_self_attn_layernorm(hidden_states)
        residual, hidden_states = self.post_attention_layernorm(hidden_states, residual)
        hidden_states = self.mlp(hidden_states, *of_mlp)
        if self.post_mlp_layernorm is not None:
            hidden_states = self.post_mlp_layernorm(hidden_states)
        return hidden_states, residual
