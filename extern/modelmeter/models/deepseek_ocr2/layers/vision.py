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
from modelmeter.models.common.deep_encoder import FusionTraits, PageLoopTraits, SamEncoder
from modelmeter.models.deepseek_ocr2.traits import QueryEncoderTraits
from modelmeter.models.deepseek_ocr2.workload import QUERIES
from modelmeter.operators import (
    Parameter,
    add,
    arange,
    attention,
    cat,
    clone,
    fill,
    index_put,
    sum_all,
    to_device,
)
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
            cache_kind=NoCache(copied=self.traits(QueryEncoderTraits).cached_decoder),
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
        if self.traits(DecoderTraits).position_ids_given:
            places = tape.input((batch, tokens), "int64")
            positions = (places, self.rotary_emb.buffers["cos_sin_cache"].on(tape))
            return self.run(inputs_embeds, positions, None)
        if self.traits(QueryEncoderTraits).cached_decoder:
            attention_mask = mask_by_query(inputs_embeds, num_patches)
            position_ids = add(arange(tape, tokens)).unsqueeze(0)
            return self.run(inputs_embeds, self.rotary_emb(position_ids), attention_mask)
        position_ids = arange(tape, tokens).unsqueeze(0)
        block_ids = prefix_block(inputs_embeds, num_patches)  # held to the end
        attention_mask = blockwise_mask(block_ids)
        if self.attention == "eager":
            attention_mask = additive(attention_mask, self.dtype)
        return self.run(inputs_embeds, self.rotary_emb(position_ids), attention_mask)

    def run(
        self, hidden_states: ShapeTensor, positions: tuple[ShapeTensor, ...], attention_mask: ShapeTensor | None
    ) -> ShapeTensor:
        """The layers and the norm."""
        states = tuple(State() for _ in self.layers)
        if self.traits(EngineTraits).add_norm_fused:
            residual = None
            for layer, state in zip(self.layers, states, strict=True):
                hidden_states, residual = layer(hidden_states, positions, attention_mask, state, 0, residual)
            return self.norm(hidden_states, residual)[1]  # type: ignore[no-any-return]
        for layer, state in zip(self.layers, states, strict=True):
            hidden_states = layer(hidden_states, positions, attention_mask, state)
        return self.norm(hidden_states)  # type: ignore[no-any-return]


def mask_by_query(inputs_embeds: ShapeTensor, num_patches: int) -> ShapeTensor:
    """The mask to add [B, 1, T, T] of inputs [B, T, D], as code fills it that takes one query after another."""
    tape = inputs_embeds.tape
    batch, tokens, _ = inputs_embeds.shape

    def put_number(target: ShapeTensor, *index_shapes: tuple[int, ...]) -> None:
        """A number put at places that the host brings, an index for each dimension."""
        number = fill(target, (), target.dtype, "aten.scalar_tensor.default")
        index = tuple(to_device(tape.input(shape, "int64")) for shape in index_shapes)
        index_put(target, index, number)

    def of_view() -> ShapeTensor:
        mask = fill(inputs_embeds, (tokens, tokens), inputs_embeds.dtype, "aten.full.default")
        patches = mask.narrow(0, 0, num_patches).narrow(1, 0, num_patches)
        put_number(patches, patches.shape, patches.shape)  # patches see each other
        for query in range(num_patches, tokens):
            row = mask.select(0, query)
            put_number(row.narrow(0, 0, num_patches), (num_patches,))
            before = row.narrow(0, num_patches, query + 1)
            put_number(before, before.shape)
        return mask.unsqueeze(0)

    masks = tape.repeated(batch, of_view)
    assert masks is not None  # a page has a view
    return cat((masks,), 0).unsqueeze(1)


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
        if self.traits(PageLoopTraits).first:
            return self.forward_by_page(global_pixels, tile_pixels, tiles)
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

    def forward_by_page(
        self, global_pixels: ShapeTensor, tile_pixels: ShapeTensor | None, tiles: int
    ) -> tuple[ShapeTensor, ...]:
        """Page after page, its global view first; of each only its image tokens are left."""
        sum_all(global_pixels)  # is there an image at all?
        pages = []
        for page in range(global_pixels.shape[0]):
            local_features = None
            global_features = self.rows("global", clone(global_pixels.narrow(0, page, page + 1)))
            if tile_pixels is not None:
                patches = tile_pixels.narrow(0, page * tiles, (page + 1) * tiles)
                sum_all(patches)  # are there tiles?
                local_features = self.rows("local", patches)
            view_separator = self.separator.on(global_pixels.tape).unsqueeze(0)
            parts = [global_features, view_separator]
            pages.append(cat(parts if local_features is None else [local_features, *parts], 0))
        return tuple(pages)

    def rows(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        """Image tokens of views, one below another [n, D]."""
        features = self.projector.call_remembered(f"{branch}.projector", self.hidden_states(branch, pixels))
        return features.view(-1, features.shape[2])  # type: ignore[no-any-return]

    def hidden_states(self, branch: str, pixels: ShapeTensor) -> ShapeTensor:
        """What the encoder makes of views."""
        feature_map = self.sam_model.call_remembered(f"{branch}.sam_model", pixels)
        return self.qwen2_model.call_remembered(f"{branch}.qwen2_model", feature_map)  # type: ignore[no-any-return]
