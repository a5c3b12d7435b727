"""DeepSeek-OCR-2's vision on shapes: SAM, then a language model as encoder, whose queries become the image tokens.

Source of the walk: `DeepseekOcr2VisionModel`, `DeepseekOcr2VisionEncoder` and `DeepseekOcr2Model.get_image_features` of
transformers 5.23.
"""

from __future__ import annotations

from typing import Any, Unpack

from modelmeter.layers import BaseLayer, LayerList, Linear, RMSNorm, Settings, State
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.cache import NoCache
from modelmeter.layers.decoder.masks import additive, blockwise_mask, prefix_block
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.decoder.rotary import RotaryEmbedding
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.models.common.deep_encoder import FusionTraits, SamEncoder
from modelmeter.models.deepseek_ocr2.workload import QUERIES
from modelmeter.operators import Parameter, arange, attention, cat
from modelmeter.shape_tensor import ShapeTensor


class EncoderAttention(GroupedQueryAttention):
    """Grouped-query attention of x [B, T, D] over itself -> [B, T, D]; nothing is kept."""

    def attend_paged(self, hidden_states: ShapeTensor, positions: tuple[ShapeTensor, ...], cache: State) -> ShapeTensor:
        """As an engine does: turned in place, one kernel that needs no mask in memory -> [B, H, T, d]."""
        query, key, value = self.project(hidden_states)
        query, key = self.chain("rotary", self.turn_in_place, query, key, *positions)
        return attention(query, (key,), (value,))


class Qwen2Encoder(BaseLayer):
    """Decoder layers as an encoder, x [B, T, D] -> [B, T, D]: patches see each other, a query sees them and those
    before it.

    An engine looks its rotary tables up, and makes no mask.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self_attn = EncoderAttention(
            hidden_size,
            num_attention_heads,
            num_key_value_heads,
            qkv_bias=True,
            cache_kind=NoCache(),
            code=self.code,
        )
        mlp = GatedMLP(hidden_size, intermediate_size, code=self.code)
        layer = DecoderLayer(hidden_size, self_attn=self_attn, mlp=mlp, code=self.code)
        self.layers = LayerList([layer] * num_hidden_layers, code=self.code)
        self.norm = RMSNorm(hidden_size, code=self.code)
        self.norm.remember_with(layer.input_layernorm)
        self.rotary_emb = RotaryEmbedding(self_attn.head_dim, 2 * max(QUERIES.values()), code=self.code)

    def forward(self, inputs_embeds: ShapeTensor, num_patches: int) -> ShapeTensor:
        """`num_patches`: the first positions, which are patches; the others are queries."""
        tape = inputs_embeds.tape
        batch, tokens, _ = inputs_embeds.shape
        nothing = State()
        if self.traits(DecoderTraits).position_ids_given:
            places = tape.input((batch, tokens), "int64")
            positions = (places, self.rotary_emb.buffers["cos_sin_cache"].on(tape))
            return self.run(inputs_embeds, positions, None, nothing)
        position_ids = arange(tape, tokens).unsqueeze(0)
        block_ids = prefix_block(inputs_embeds, num_patches)  # held to the end
        attention_mask = blockwise_mask(block_ids)
        if self.attention == "eager":
            attention_mask = additive(attention_mask, self.dtype)
        return self.run(inputs_embeds, self.rotary_emb(position_ids), attention_mask, nothing)

    def run(self, hidden_states: ShapeTensor, *arguments: Any) -> ShapeTensor:
        """The layers and the norm. `arguments`: of each layer."""
        if self.traits(EngineTraits).add_norm_fused:
            residual = None
            for layer in self.layers:
                hidden_states, residual = layer(hidden_states, *arguments, 0, residual)
            return self.norm(hidden_states, residual)[1]  # type: ignore[no-any-return]
        for layer in self.layers:
            hidden_states = layer(hidden_states, *arguments)
        return self.norm(hidden_states)  # type: ignore[no-any-return]


class QueryEncoder(BaseLayer):
    """SAM's map [B, D, h, w] -> what the encoder makes of its queries [B, queries, D].

    The checkpoint's `qwen2_model`; its two modules around the encoder, which do nothing, are one here.
    """

    def __init__(self, *, hidden_size: int, **settings: Any) -> None:
        super().__init__(code=settings["code"])
        self.query_768 = self.parameter(QUERIES[768], hidden_size)
        self.query_1024 = self.parameter(QUERIES[1024], hidden_size)
        self.model = Qwen2Encoder(hidden_size=hidden_size, **settings)

    def forward(self, feature_map: ShapeTensor) -> ShapeTensor:
        patches = feature_map.flatten(2).transpose(1, 2)
        batch, num_patches, _ = patches.shape
        queries = self.queries(num_patches).on(feature_map.tape).unsqueeze(0).expand(batch, -1, -1)
        combined = cat((patches, queries), 1)
        hidden_states = self.model(combined, num_patches)
        return hidden_states.narrow(1, num_patches, hidden_states.shape[1])  # type: ignore[no-any-return]

    def queries(self, num_patches: int) -> Parameter:
        """The table for a view of so many patches."""
        return self.query_768 if num_patches <= QUERIES[768] else self.query_1024


class VisionStage(BaseLayer):
    """Pages through vision, as batches: all global views, then all tiles, then page by page.

    global pixels [B, 3, s, s], tile pixels [B n, 3, c, c] or None, and the n tiles of a page -> what the caller goes on
    holding: each page's image tokens first. An engine holds these alone.
    """

    def __init__(
        self,
        sam_model: SamEncoder,
        qwen2_model: QueryEncoder,
        projector: Linear,
        separator: Parameter,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.sam_model = sam_model
        self.qwen2_model = qwen2_model
        self.projector = projector
        self.separator = separator

    def forward(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, tiles: int
    ) -> tuple[ShapeTensor, ...]:
        global_hidden = self.hidden_states("global", global_pixels)
        global_features = self.projector.call_remembered("global.projector", global_hidden)
        held: tuple[ShapeTensor, ...] = (global_hidden,)
        local_features = None
        if tile_pixels is not None:
            local_hidden = self.hidden_states("local", tile_pixels)
            local_features = self.projector.call_remembered("local.projector", local_hidden)
            held = (global_hidden, local_hidden)
        view_separator = self.separator.on(global_pixels.tape).unsqueeze(0)
        pages, width = [], view_separator.shape[1]
        for page in range(global_pixels.shape[0]):
            parts = [global_features.select(0, page), view_separator]
            if local_features is not None:
                parts.insert(0, local_features.narrow(0, page * tiles, (page + 1) * tiles).view(-1, width))
            pages.append(cat(parts, 0))
        return tuple(pages) if self.traits(FusionTraits).image_tokens_first else (*pages, *held)

    def hidden_states(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        """What the encoder makes of views."""
        feature_map = self.sam_model.call_remembered(f"{branch}.sam_model", pixels)
        return self.qwen2_model.call_remembered(f"{branch}.qwen2_model", feature_map)  # type: ignore[no-any-return]
