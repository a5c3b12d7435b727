"""LightOnOCR's vision on shapes: the Pixtral tower over all patches of some pages, and the projection to image tokens.

Source of the walk: `PixtralVisionModel` and `LightOnOcrMultiModalProjector` of transformers 5.23. Patches of all pages
are one sequence [1, S, D]; S = pages x rows x columns. An engine attends page by page and needs no mask. What vLLM and
SGLang do otherwise are traits: docs/counted.md says where it was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Conv2d, LayerList, Linear, RMSNorm, Settings
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.decoder.rotary import apply_rotary_pos_emb, rotary_rows
from modelmeter.layers.parallel import INPUTS, OUTPUTS, ParallelTraits
from modelmeter.layers.vision.clip import eager_attention, fused_attention
from modelmeter.layers.vision.packed import PackedTraits, apply_rotary_pos_emb_vision, on_host, patches_of
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.lighton_ocr.traits import PixtralTraits
from modelmeter.models.lighton_ocr.workload import Geometry
from modelmeter.operators import (
    Parameter,
    add,
    arange,
    attention,
    cat,
    contiguous,
    copy_number,
    cos,
    fill,
    fused,
    gather,
    gelu,
    in_place_output,
    mul,
    packed_attention,
    reshape,
    sin,
    stack,
    to,
    unfold,
)
from modelmeter.shape_tensor import ShapeTensor, Tape


class PixtralAttention(BaseLayer):
    """Attention of patches [1, S, D] -> [1, S, D], each page within itself, and the weights, if eager."""

    def __init__(self, hidden_size: int, num_attention_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.num_heads = self.code.parallel.share("num_heads of vision", num_attention_heads)
        width = hidden_size // num_attention_heads * self.num_heads
        if self.traits(PixtralTraits).qkv_fused:
            self.qkv_proj = Linear(hidden_size, 3 * width, bias=False, split=OUTPUTS, code=self.code)
        else:
            self.k_proj = Linear(hidden_size, width, bias=False, split=OUTPUTS, code=self.code)
            self.v_proj = Linear(hidden_size, width, bias=False, split=OUTPUTS, code=self.code)
            self.q_proj = Linear(hidden_size, width, bias=False, split=OUTPUTS, code=self.code)
        self.o_proj = Linear(width, hidden_size, bias=False, split=INPUTS, code=self.code)

    def forward(
        self,
        hidden_states: ShapeTensor,
        attention_mask: ShapeTensor | None,
        positions: tuple[ShapeTensor, ...],
        pages: int,
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """`positions`: cos and sin [1, S, d], and where an engine attends, the ends of pages.

        Or the places of patches, and the tables of all places.
        """
        batch, patches, _ = hidden_states.shape
        by_head = (batch, patches, self.num_heads, -1)
        if self.traits(PixtralTraits).qkv_fused:
            qkv = self.qkv_proj(hidden_states).view(batch, patches, 3, self.num_heads, -1).unbind(2)
            if self.traits(PackedTraits).attention_packed:
                return self.o_proj(self.attend_packed(qkv, *positions, pages=pages)), None
            query, key, value = (each.transpose(1, 2) for each in qkv)
            query, key = self.chain("rotary", turned, query, key, *positions)
            return self.o_proj(self.attend_within(query, key, value, pages)), None
        query_states = self.q_proj(hidden_states)
        key_states = self.k_proj(hidden_states)
        value_states = self.v_proj(hidden_states)
        query_states = query_states.view(*by_head).transpose(1, 2)
        key_states = key_states.view(*by_head).transpose(1, 2)
        value_states = value_states.view(*by_head).transpose(1, 2)
        query_states, key_states = apply_rotary_pos_emb(query_states, key_states, positions)
        eager = self.attention == "eager" and self.traits(EngineTraits).vision_takes_eager
        attend = eager_attention if eager else fused_attention
        attn_output, attn_weights = attend(query_states, key_states, value_states, attention_mask)
        attn_output = self.o_proj(reshape(attn_output, batch, patches, -1))
        return attn_output, attn_weights

    def attend_packed(
        self, qkv: tuple[ShapeTensor, ...], cosine: ShapeTensor, sine: ShapeTensor, ends: ShapeTensor, *, pages: int
    ) -> ShapeTensor:
        """Query, key and value [1, S, H, d], turned -> [1, S, D]: one kernel, told where pages end.

        SGLang copies each and turns them in one kernel; in vLLM the library's function turns them, written out.
        """
        traits = self.traits(PackedTraits)
        if traits.copied:
            query, key, value = (contiguous(each.select(0, 0)) for each in qkv)
            tables = (cosine.select(0, 0), sine.select(0, 0))
            query, key = fused("rotary", apply_rotary_pos_emb_vision, query, key, *tables)
        else:
            query, key = (each.transpose(1, 2) for each in qkv[:2])
            query, key = apply_rotary_pos_emb(query, key, (cosine, sine))
            query, key = (each.select(0, 0).transpose(0, 1) for each in (query, key))
            value = qkv[2].select(0, 0)
        patches = query.shape[0]
        lengths = ((pages, patches // pages),)
        attended = packed_attention((query, key, value), ends, lengths, log_sum_exp=traits.log_sum_exp_written)
        return attended.view(1, patches, -1)

    def attend_within(self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, pages: int) -> ShapeTensor:
        """One kernel for all pages, each by itself: [1, H, S, d] each -> [1, S, D]."""
        _, heads, patches, width = query.shape
        of_pages = [
            each.transpose(1, 2).view(pages, patches // pages, heads, width).transpose(1, 2)
            for each in (query, key, value)
        ]
        attended = attention(of_pages[0], (of_pages[1],), (of_pages[2],))
        return attended.transpose(1, 2).view(1, patches, heads * width)


def turned(
    query: ShapeTensor, key: ShapeTensor, position_ids: ShapeTensor, cos_sin_cache: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor]:
    """Query and key [1, H, S, d] turned by the rows that a table has of their places, as one kernel over them."""
    turned_query, turned_key = apply_rotary_pos_emb(query, key, rotary_rows(position_ids, cos_sin_cache))
    return in_place_output(query, turned_query), in_place_output(key, turned_key)


class PixtralAttentionLayer(BaseLayer):
    """Pre-norm block over patches, x [1, S, D] -> [1, S, D]."""

    def __init__(
        self, hidden_size: int, intermediate_size: int, num_attention_heads: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.attention_norm = RMSNorm(hidden_size, code=self.code)
        self.feed_forward = GatedMLP(hidden_size, intermediate_size, code=self.code)
        self.attention_ = PixtralAttention(hidden_size, num_attention_heads, code=self.code)
        self.attention_.name = "attention"  # its name in the checkpoint; here that is the kind of attention
        self.ffn_norm = RMSNorm(hidden_size, code=self.code)
        self.ffn_norm.remember_with(self.attention_norm)

    def children(self) -> Iterator[tuple[str, BaseLayer]]:
        """Direct submodules with their names in the checkpoint."""
        return ((child.name, child) for _, child in super().children())

    def forward(
        self,
        hidden_states: ShapeTensor,
        attention_mask: ShapeTensor | None,
        positions: tuple[ShapeTensor, ...],
        pages: int,
        residual: ShapeTensor | None = None,
    ) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual, (attention_mask, positions, pages))
        residual = hidden_states
        hidden_states = self.attention_norm(hidden_states)
        hidden_states, _ = self.attention_(hidden_states, attention_mask, positions, pages)
        hidden_states = add(residual, hidden_states)
        residual = hidden_states
        hidden_states = self.ffn_norm(hidden_states)
        hidden_states = self.feed_forward(hidden_states)
        return add(residual, hidden_states)

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None, of_attention: tuple[Any, ...]
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in the next block's."""
        if residual is None:
            residual, hidden_states = hidden_states, self.attention_norm(hidden_states)
        else:
            residual, hidden_states = self.attention_norm(hidden_states, residual)
        hidden_states, _ = self.attention_(hidden_states, *of_attention)
        residual, hidden_states = self.ffn_norm(hidden_states, residual)
        return self.feed_forward(hidden_states), residual


class PixtralTransformer(BaseLayer):
    """The blocks, one after another; their first input is held by name all along."""

    def __init__(self, block: PixtralAttentionLayer, num_layers: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layers = LayerList([block] * num_layers, code=self.code)

    def forward(self, inputs_embeds: ShapeTensor, *arguments: Any) -> tuple[ShapeTensor, ShapeTensor | None]:
        """`arguments`: of each block. The last output, and the residual that is still to be added, if it is."""
        hidden_states, residual = inputs_embeds, None
        for layer in self.layers:
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = layer(hidden_states, *arguments, residual)
            else:
                hidden_states = layer(hidden_states, *arguments)
        return hidden_states, residual


class PixtralRotaryEmbedding(BaseLayer):
    """Places (row, column) [S, 2] -> cos and sin [S, d]: half of the frequencies turn by the row, half by the column.

    An engine keeps them for all places of the largest grid, side by side, and reads the rows of those that it needs.
    """

    def __init__(self, head_dim: int, max_side: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        # a buffer, not a parameter: it is read, but no checkpoint holds it
        if self.traits(PixtralTraits).positions_given:
            self.buffers = {"cos_sin_cache": self.parameter(max_side**2, head_dim)}
        elif self.traits(PixtralTraits).angles_looked_up:
            self.buffers = {"angles": Parameter(max_side**2, head_dim, dtype="float32")}
        else:
            self.buffers = {"inv_freq": Parameter(head_dim // 2, dtype="float32")}

    def forward(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        inv_freq = self.buffers["inv_freq"].on(position_ids.tape)
        freqs = mul(to(position_ids.unsqueeze(2), "float32"), inv_freq)  # [S, 2, d/2]
        cosine = mul(cos(freqs))
        sine = mul(sin(freqs))
        cosine = recomposed(cosine)
        sine = recomposed(sine)
        return to(cosine, self.dtype), to(sine, self.dtype)

    def of_places(self, places: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """Places [S], numbered in the largest grid, -> cos and sin [S, d] of the angles that a table has of them."""
        freqs = gather(self.buffers["angles"].on(places.tape), places.shape[0], aten="aten.index.Tensor", index=places)
        cosine = cos(freqs)
        sine = sin(freqs)
        return to(cosine, self.dtype), to(sine, self.dtype)


def recomposed(freq: ShapeTensor) -> ShapeTensor:
    """[S, 2, d/2] -> [S, d]: half of the frequencies by the row, half by the column, and all of it twice."""
    freq_h, freq_w = (half.select(1, coordinate) for coordinate, half in enumerate(freq.chunk(2, -1)))
    freq_hw = cat((freq_h, freq_w), -1)
    return cat((freq_hw, freq_hw), -1)


class PixtralVisionModel(BaseLayer):
    """Pixels [pages, 3, H, W] -> hidden states of all patches [1, S, D], and a residual that is still to be added."""

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_channels: int,
        patch_size: int,
        max_side: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if hidden_size % num_attention_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: hidden_size={hidden_size} does not divide by "
                f"num_attention_heads={num_attention_heads} (remainder {hidden_size % num_attention_heads})."
            )
        head_dim = hidden_size // num_attention_heads
        if head_dim % 4:
            raise ModelMeterError(
                f"{type(self).__name__}: heads of {head_dim} elements do not divide by 4, which places of two "
                "coordinates turn; change vision.hidden_size or vision.num_attention_heads."
            )
        self.patch_size = patch_size
        self.patch_conv: BaseLayer
        if self.traits(PackedTraits).patches_by_product:
            self.patch_conv = Linear(num_channels * patch_size**2, hidden_size, bias=False, code=self.code)
        else:
            self.patch_conv = Conv2d(
                num_channels, hidden_size, patch_size, stride=patch_size, bias=False, code=self.code
            )
        self.ln_pre = RMSNorm(hidden_size, code=self.code)
        block = PixtralAttentionLayer(hidden_size, intermediate_size, num_attention_heads, code=self.code)
        self.transformer = PixtralTransformer(block, num_hidden_layers, code=self.code)
        self.patch_positional_embedding = PixtralRotaryEmbedding(head_dim, max_side, code=self.code)
        self.ln_pre.remember_with(block.attention_norm)

    def forward(self, pixel_values: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        if self.traits(PixtralTraits).positions_given:
            return self.forward_positions_given(pixel_values)
        if self.traits(PixtralTraits).angles_looked_up:
            return self.forward_angles_looked_up(pixel_values)
        tape = pixel_values.tape
        patch_embeds = self.patch_conv(pixel_values)
        pages, _, rows, columns = patch_embeds.shape
        patch_embeds_list = patch_embeds.unbind(0)  # held to the end, and with it the convolution's output
        patch_embeds = in_sequence(*patch_embeds_list)
        patch_embeds = self.ln_pre(patch_embeds)
        places = []
        for _ in patch_embeds_list:  # the last page's places are held to the end
            hpos_ids, wpos_ids = meshgrid(tape, rows, columns)
            places.append(stack((reshape(hpos_ids, -1), reshape(wpos_ids, -1))))
        position_ids = cat(places, 0)
        del places
        cosine, sine = self.patch_positional_embedding(position_ids)
        attention_mask = block_mask(patch_embeds, pages)
        positions = (cosine.unsqueeze(0), sine.unsqueeze(0))
        return self.transformer(patch_embeds, attention_mask, positions, pages)  # type: ignore[no-any-return]

    def forward_positions_given(self, pixel_values: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        """The same, as an engine has it: no mask, and rows of tables by the place of each patch."""
        tape, pages = pixel_values.tape, pixel_values.shape[0]
        patch_embeds = self.chain("patches", in_sequence, *self.patch_conv(pixel_values).unbind(0))
        places = tape.input((1, patch_embeds.shape[1]), "int64")
        table = self.patch_positional_embedding.buffers["cos_sin_cache"].on(tape)
        patch_embeds = self.ln_pre(patch_embeds)
        return self.transformer(patch_embeds, None, (places, table), pages)  # type: ignore[no-any-return]

    def forward_angles_looked_up(self, pixel_values: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        """The same, as vLLM and SGLang have it: patches of pages are held to the end as they are made."""
        tape, pages = pixel_values.tape, pixel_values.shape[0]
        if self.traits(PackedTraits).patches_by_product:
            patch_embeds_list = tuple(
                self.patch_conv(patches_of(page.unsqueeze(0), self.patch_size)) for page in pixel_values.unbind(0)
            )
            patch_embeds = cat(patch_embeds_list, 0).unsqueeze(0)
        else:
            patch_embeds_list = self.patch_conv(pixel_values).unbind(0)
            patch_embeds = in_sequence(*patch_embeds_list)
        patch_embeds = self.ln_pre(patch_embeds)
        places = tape.input((patch_embeds.shape[1],), "int64")
        cosine, sine = self.patch_positional_embedding.of_places(places)
        unread = block_mask(patch_embeds, pages) if self.traits(PixtralTraits).mask_unread else None
        positions = (cosine.unsqueeze(0), sine.unsqueeze(0), on_host(tape, (pages + 1,), "int32"))
        return self.transformer(patch_embeds, unread, positions, pages)  # type: ignore[no-any-return]


def meshgrid(tape: Tape, rows: int, columns: int) -> tuple[ShapeTensor, ShapeTensor]:
    """The row and the column of each patch of a page [rows, columns]."""
    hpos_ids, wpos_ids = arange(tape, rows), arange(tape, columns)
    return hpos_ids.view(-1, 1).expand(rows, columns), wpos_ids.view(1, -1).expand(rows, columns)


def in_sequence(*patches: ShapeTensor) -> ShapeTensor:
    """The patches [D, rows, columns] of each page -> [1, S, D]."""
    return cat([each.flatten(1).transpose(0, 1) for each in patches], 0).unsqueeze(0)


def block_mask(patch_embeds: ShapeTensor, pages: int) -> ShapeTensor:
    """The mask to add [1, 1, S, S]: 0 within a page, the least number elsewhere."""
    patches = patch_embeds.shape[1]
    each = patches // pages
    mask = fill(patch_embeds, (patches, patches), patch_embeds.dtype, "aten.full.default")
    for page in range(pages):
        start, end = page * each, (page + 1) * each
        copy_number(mask.narrow(0, start, end).narrow(1, start, end))
    return mask.unsqueeze(0).unsqueeze(0).expand(1, 1, -1, -1)


class LightOnOcrPatchMerger(BaseLayer):
    """Patches of pages [S, D] -> [tokens, D]: squares of them side by side, through one product.

    A last row or column that fills no square is dropped.
    """

    def __init__(self, hidden_size: int, spatial_merge_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.spatial_merge_size = spatial_merge_size
        self.merging_layer = Linear(hidden_size * spatial_merge_size**2, hidden_size, bias=False, code=self.code)

    def forward(self, image_features: ShapeTensor, geometry: Geometry) -> ShapeTensor:
        if self.traits(EngineTraits).chains_fused:
            return self.merging_layer(self.chain("unfold", self.joined, image_features, geometry))  # type: ignore[no-any-return]
        permuted_tensor = self.squares(image_features, geometry)  # held to the end
        image_features = cat(permuted_tensor, 0)
        return self.merging_layer(image_features)  # type: ignore[no-any-return]

    def joined(self, image_features: ShapeTensor, geometry: Geometry) -> ShapeTensor:
        """The squares of all pages [tokens, D * side**2]."""
        return cat(self.squares(image_features, geometry), 0)

    def squares(self, image_features: ShapeTensor, geometry: Geometry) -> list[ShapeTensor]:
        """[S, D] -> those of each page [tokens, D * side**2]."""
        pages, columns, rows = geometry
        width, patches = image_features.shape[1], columns * rows
        permuted_tensor = []
        for page in range(pages):
            image_tokens = image_features.narrow(0, page * patches, (page + 1) * patches)
            image_grid = image_tokens.view(rows, columns, width).permute(2, 0, 1).unsqueeze(0)
            grid = unfold(image_grid, self.spatial_merge_size)
            permuted_tensor.append(grid.view(width * self.spatial_merge_size**2, -1).transpose(0, 1))
        return permuted_tensor


class LightOnOcrMultiModalProjector(BaseLayer):
    """Patches of pages [S, D] -> image tokens of all pages [tokens, out]."""

    def __init__(
        self, hidden_size: int, out_hidden_size: int, spatial_merge_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.norm = RMSNorm(hidden_size, code=self.code)
        self.patch_merger = LightOnOcrPatchMerger(hidden_size, spatial_merge_size, code=self.code)
        whole = self.traits(ParallelTraits).projection == "whole"
        inner = out_hidden_size if whole else self.code.parallel.share("width of the projector", out_hidden_size)
        splits = (None, None) if whole else (OUTPUTS, INPUTS)
        self.linear_1 = Linear(hidden_size, inner, bias=False, split=splits[0], code=self.code)
        self.linear_2 = Linear(inner, out_hidden_size, bias=False, split=splits[1], code=self.code)

    def forward(
        self, image_features: ShapeTensor, geometry: Geometry, residual: ShapeTensor | None = None
    ) -> ShapeTensor:
        """`residual`: to be added first, where the tower hands it on."""
        image_features = self.norm(image_features) if residual is None else self.norm(image_features, residual)[1]
        image_features = self.patch_merger(image_features, geometry)
        hidden_states = self.linear_1(image_features)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.linear_2(hidden_states)  # type: ignore[no-any-return]


class VisionStage(BaseLayer):
    """Pixels [pages, 3, H, W] -> each page's image tokens [tokens, D], then what is held beside them."""

    def __init__(
        self,
        vision_encoder: PixtralVisionModel,
        vision_projection: LightOnOcrMultiModalProjector,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.vision_encoder = vision_encoder
        self.vision_projection = vision_projection

    def forward(
        self, pixel_values: ShapeTensor | tuple[ShapeTensor, ...], geometry: Geometry
    ) -> tuple[ShapeTensor, ...]:
        """`pixel_values`: of all pages, or where pages are a loop of each."""
        if self.traits(PackedTraits).pages_looped:
            assert isinstance(pixel_values, tuple)
            one = geometry._replace(pages=1)
            return tuple(self.features(self.encode(page)[0], None, one) for page in pixel_values)
        assert isinstance(pixel_values, ShapeTensor)
        last_hidden_state, residual = self.encode(pixel_values)
        image_features = self.features(last_hidden_state, residual, geometry)
        count = pixel_values.shape[0]
        each = image_features.shape[0] // count
        pages = [image_features.narrow(0, page * each, (page + 1) * each) for page in range(count)]
        if self.traits(FusionTraits).image_tokens_first or self.traits(FusionTraits).image_tokens_cached:
            return tuple(pages)
        return *pages, last_hidden_state

    def encode(self, pixel_values: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        """Pixels -> the last hidden states [1, S, D], and a residual that is still to be added."""
        return self.vision_encoder.call_remembered("vision_encoder", pixel_values)  # type: ignore[no-any-return]

    def features(self, last_hidden_state: ShapeTensor, residual: ShapeTensor | None, geometry: Geometry) -> ShapeTensor:
        """The last hidden states -> image tokens of all pages."""
        hidden_states = last_hidden_state.select(0, 0)
        if residual is not None:
            residual = residual.select(0, 0)
        if self.traits(PixtralTraits).features_joined:
            hidden_states = cat((hidden_states,), 0)
        return self.vision_projection.call_remembered("vision_projection", hidden_states, geometry, residual)  # type: ignore[no-any-return]
