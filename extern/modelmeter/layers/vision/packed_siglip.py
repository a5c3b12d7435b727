"""A SigLIP tower over packed patches, on shapes: pages of any size behind one another, each attending within itself.

Patches lie row by row. A square table of learned positions is resampled to each page's grid by four rows of it a patch
and their weights; rows and columns turn queries and keys besides. What follows from a page's grid alone comes with the
page, as in `layers.vision.packed`.
Source of the walk: `PaddleOCRVisionTransformer` of transformers 5.23. What engines do otherwise are traits:
docs/counted.md says where it was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, Final, NamedTuple, Unpack

from modelmeter.layers import BaseLayer, Conv2d, Embedding, LayerList, LayerNorm, Linear
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.vision.packed import (
    AxialRotaryEmbedding,
    Gelu,
    Grid,
    PackedTraits,
    PagesTower,
    Sequences,
    apply_rotary_pos_emb_vision,
    attend_each,
    attention_of,
    by_position,
    heads_of_qkv,
    on_host,
    turned_in_place,
    turned_together,
)
from modelmeter.operators import (
    add,
    arange,
    cat,
    clone,
    contiguous,
    cos,
    floor_divide,
    fused,
    mul,
    packed_attention,
    remainder,
    reshape,
    sin,
    stack,
    to,
    total,
    upsample_bilinear,
)
from modelmeter.shape_tensor import Repeated, ShapeTensor, Tape

#: rows of the table of positions that a patch's position is made of: the corners around it
TAPS: Final = 4


@dataclass(frozen=True, kw_only=True)
class SiglipTraits:
    """What code of this tower does where code bases differ; the defaults are transformers'."""

    qkv_fused: bool = False
    """Query, key and value are one GEMM; otherwise three."""
    positions_resampled: bool = False
    """The table of positions is resampled to a page's grid as a picture, and what it gives copied; otherwise each patch
    is given four rows of it and their weights, which come with the page."""
    angles_made: bool = False
    """Row and column of each patch are worked out on the device in every pass, and angles for them, in float32;
    otherwise positions come with the page, and cosines and sines are made of them."""
    turned_in_float32: bool = False
    """Queries and keys are joined by a copy and cast to float32, turned by one kernel, and cast back, by cosines and
    sines that each block makes of its own; otherwise cosines and sines are made once."""


class PatchTensors(NamedTuple):
    """What comes with pages of N patches.

    pixel_values: [N, channels, p, p]. position_ids: row and column of each patch, [N, 2]. interp_indices,
    interp_weights: rows of the table of positions that each patch is given, [N, 4], and their weights in float32. On
    the host: grid_thw [pages, 3], and where the pages end, cu_seqlens [pages + 1].
    """

    pixel_values: ShapeTensor
    position_ids: ShapeTensor
    grid_thw: ShapeTensor
    cu_seqlens: ShapeTensor
    interp_indices: ShapeTensor
    interp_weights: ShapeTensor


class SiglipEmbeddings(BaseLayer):
    """Patches [N, c, p, p] -> [N, D], with their positions, resampled from a table of side x side."""

    def __init__(
        self, hidden_size: int, *, num_channels: int, patch_size: int, side: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.side = side
        self.patch_embedding: BaseLayer
        if self.traits(PackedTraits).patches_by_product:
            self.patch_embedding = Linear(num_channels * patch_size**2, hidden_size, code=self.code)
        else:
            self.patch_embedding = Conv2d(num_channels, hidden_size, patch_size, stride=patch_size, code=self.code)
        self.position_embedding = Embedding(side**2, hidden_size, code=self.code)

    def forward(
        self, pixel_values: ShapeTensor, indices: ShapeTensor, weights: ShapeTensor, rows: int, columns: int
    ) -> ShapeTensor:
        """`rows`, `columns`: patches of a page."""
        patches = pixel_values.shape[0]
        if self.traits(PackedTraits).patches_by_product:
            pixel_values = pixel_values.view(patches, -1)
        embeddings = self.patch_embedding(pixel_values).view(patches, -1)
        if self.traits(SiglipTraits).positions_resampled:
            return self.with_resampled(embeddings, rows, columns)
        return self.chain("embed", self.with_positions, embeddings, indices, weights)

    def with_resampled(self, embeddings: ShapeTensor, rows: int, columns: int) -> ShapeTensor:
        """One page's patches [N, D] and its positions, the table of which is a picture [1, D, side, side]."""
        table = self.position_embedding.weight.on(embeddings.tape)
        patch_pos_embed = table.view(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        patch_pos_embed = upsample_bilinear(patch_pos_embed, rows, columns).permute(0, 2, 3, 1)
        # for each frame, of which there is one
        position_embedding = clone(patch_pos_embed.view(rows * columns, -1), "aten.repeat.default")
        del patch_pos_embed
        image_embeddings = add(embeddings, position_embedding)
        return cat((image_embeddings,), 0)

    def with_positions(self, embeddings: ShapeTensor, indices: ShapeTensor, weights: ShapeTensor) -> ShapeTensor:
        """[N, D] and the positions that the rows `indices` make with `weights`, [N, 4] each."""
        pos_embeds = total(mul(self.position_embedding(indices), weights.unsqueeze(2), "float32"), 1)
        return add(embeddings, to(pos_embeds, embeddings.dtype))


class SiglipAttention(BaseLayer):
    """Attention of patches [N, D] -> [N, D], each page by itself, and the weights of each, where they are made.

    Source: `PaddleOCRVisionAttention`.
    """

    def __init__(self, hidden_size: int, num_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.num_heads = self.code.parallel.share("num_heads of vision", num_heads)
        width = hidden_size // num_heads * self.num_heads
        if self.traits(SiglipTraits).qkv_fused:
            self.qkv_proj = Linear(hidden_size, 3 * width, split=OUTPUTS, code=self.code)
        else:
            self.k_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.v_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.q_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.out_proj = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(
        self,
        hidden_states: ShapeTensor,
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ...],
        sequences: Sequences,
    ) -> tuple[ShapeTensor, Any]:
        """`tables`: cos and sin [N, d], or angles [N, d / 2]. `cu_seqlens`: where the pages end."""
        patches = hidden_states.shape[0]
        if self.traits(PackedTraits).copied:
            attn_output = self.attend_copied(self.project(hidden_states), cu_seqlens, tables, sequences)
            return self.out_proj(attn_output.view(patches, -1)), None
        query_states, key_states, value_states = self.project(hidden_states)
        query_states, key_states = self.chain("rotary", turned_in_place, query_states, key_states, *tables)
        if self.traits(PackedTraits).attention_packed:
            attn_output = packed_attention((query_states, key_states, value_states), cu_seqlens, sequences.lengths)
            return self.out_proj(attn_output.view(patches, -1)), None
        attended = attend_each(attention_of(self), (query_states, key_states, value_states), cu_seqlens, sequences)
        attn_output = cat([Repeated(attended.times, attended.result[0])], 1)
        attn_output = contiguous(reshape(attn_output, patches, -1))
        return self.out_proj(attn_output), Repeated(attended.times, attended.result[1])

    def attend_copied(
        self,
        projected: tuple[ShapeTensor, ...],
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ...],
        sequences: Sequences,
    ) -> ShapeTensor:
        """Query, key and value [N, H, d], copied and turned -> [N, H, d]."""
        query, key, value = projected
        if self.traits(SiglipTraits).turned_in_float32:
            qk_concat = cat((query.unsqueeze(0), key.unsqueeze(0)), 0)
            (angles,) = tables
            query, key = self.turn(qk_concat, cos(angles), sin(angles)).unbind(0)
        else:
            query, key, value = (contiguous(each) for each in projected)
            query, key = fused("rotary", apply_rotary_pos_emb_vision, query, key, *tables)
        log_sum_exp = self.traits(PackedTraits).log_sum_exp_written
        return packed_attention((query, key, value), cu_seqlens, sequences.lengths, log_sum_exp=log_sum_exp)

    @staticmethod
    def turn(query_key: ShapeTensor, cosine: ShapeTensor, sine: ShapeTensor) -> ShapeTensor:
        """[2, N, H, d], cast to float32 before and back after."""
        wide = to(query_key, "float32")
        return to(fused("rotary", turned_together, wide, cosine, sine), query_key.dtype)

    def project(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Query, key and value, [N, H, d] each."""
        if self.traits(SiglipTraits).qkv_fused:
            return heads_of_qkv(self, self.qkv_proj(hidden_states), self.num_heads).unbind(1)
        by_head = (hidden_states.shape[0], self.num_heads, -1)
        query_states = self.q_proj(hidden_states).view(*by_head)
        key_states = self.k_proj(hidden_states).view(*by_head)
        value_states = self.v_proj(hidden_states).view(*by_head)
        return query_states, key_states, value_states


class SiglipMLP(BaseLayer):
    """fc2(gelu(fc1(x))), x [N, D] -> [N, D]; GELU by tanh."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.activation_fn = Gelu(code=self.code)
        width = self.code.parallel.share("intermediate_size of vision", intermediate_size)
        self.fc1 = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.fc2 = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))  # type: ignore[no-any-return]


class SiglipEncoderLayer(BaseLayer):
    """Pre-norm block over packed patches, x [N, D] -> [N, D]."""

    def __init__(self, hidden_size: int, num_heads: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layer_norm1 = LayerNorm(hidden_size, code=self.code)
        self.self_attn = SiglipAttention(hidden_size, num_heads, code=self.code)
        self.layer_norm2 = LayerNorm(hidden_size, code=self.code)
        self.mlp = SiglipMLP(hidden_size, intermediate_size, code=self.code)

    def forward(
        self,
        hidden_states: ShapeTensor,
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ...],
        sequences: Sequences,
        residual: ShapeTensor | None = None,
    ) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        of_attention = (cu_seqlens, tables, sequences)
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual, of_attention)
        residual = hidden_states
        hidden_states = self.layer_norm1(hidden_states)
        hidden_states, _weights = self.self_attn(hidden_states, *of_attention)  # the weights are held to the end
        hidden_states = add(residual, hidden_states)
        residual = hidden_states
        hidden_states = self.layer_norm2(hidden_states)
        hidden_states = self.mlp(hidden_states)
        return add(residual, hidden_states)

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None, of_attention: tuple[Any, ...]
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in the next block's."""
        if residual is None:
            residual, hidden_states = hidden_states, self.layer_norm1(hidden_states)
        else:
            residual, hidden_states = self.layer_norm1(hidden_states, residual)
        hidden_states, _ = self.self_attn(hidden_states, *of_attention)
        residual, hidden_states = self.layer_norm2(hidden_states, residual)
        return self.mlp(hidden_states), residual


class SiglipEncoder(BaseLayer):
    """Blocks over patches x [N, D] -> [N, D], and where they are handed on, the residual that is still to be added."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        num_hidden_layers: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        layer = SiglipEncoderLayer(hidden_size, num_heads, intermediate_size, code=self.code)
        self.layers = LayerList([layer] * num_hidden_layers, code=self.code)
        self.rotary_pos_emb = AxialRotaryEmbedding(hidden_size // num_heads, code=self.code)

    def forward(
        self, inputs_embeds: ShapeTensor, position_ids: ShapeTensor, cu_seqlens: ShapeTensor, sequences: Sequences
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """`position_ids`: row and column of each patch, [N, 2]."""
        hidden_states, residual = inputs_embeds, None
        tables: tuple[ShapeTensor, ...]
        if self.traits(SiglipTraits).angles_made:
            tables = self.made_tables(inputs_embeds, sequences.grid, sequences.merged)
        else:
            tables = self.chain("rotary_tables", self.rotary_pos_emb, position_ids)
        for layer in self.layers:
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = layer(hidden_states, cu_seqlens, tables, sequences, residual)
            else:
                hidden_states = layer(hidden_states, cu_seqlens, tables, sequences)
        return hidden_states, residual

    def made_tables(self, patches: ShapeTensor, grid: Grid, merged: int) -> tuple[ShapeTensor, ...]:
        """Of one page's patches [N, ...]: angles [N, d / 2], or cosines and sines of them, [N, d] each."""
        tape, side = patches.tape, isqrt(merged)
        pids = self.places(patches)
        longest = side * max(grid.rows, grid.columns)
        inv_freq = self.rotary_pos_emb.buffers["inv_freq"].on(tape)
        of_places = mul(arange(tape, longest, dtype="float32").unsqueeze(1), inv_freq)  # [longest, d / 4]
        angles = by_position(of_places, pids)
        if self.traits(SiglipTraits).turned_in_float32:
            return (angles,)
        emb = cat((angles, angles), -1)
        return cos(emb), sin(emb)

    @staticmethod
    def places(patches: ShapeTensor) -> ShapeTensor:
        """Row and column of each patch of one page, [N, 2]."""
        image_pids = remainder(arange(patches.tape, patches.shape[0]))
        rows, columns = floor_divide(image_pids), remainder(image_pids)
        return stack((cat((rows,), 0), cat((columns,), 0)))


class SiglipTower(PagesTower):
    """Pages' patches -> [N, D], normalised: `SiglipEmbeddings`, `SiglipEncoder`, and a norm.

    merged: patches of a token of a page's grid.
    """

    def __init__(
        self,
        *,
        merged: int,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_channels: int,
        image_size: int,
        patch_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.merged = merged
        self.patch = (num_channels, patch_size, patch_size)
        self.embeddings = SiglipEmbeddings(
            hidden_size,
            num_channels=num_channels,
            patch_size=patch_size,
            side=image_size // patch_size,
            code=self.code,
        )
        self.encoder = SiglipEncoder(
            hidden_size, num_attention_heads, intermediate_size, num_hidden_layers, code=self.code
        )
        self.post_layernorm = LayerNorm(hidden_size, code=self.code)

    def tensors(self, tape: Tape, grid: Grid) -> PatchTensors:
        """What comes with pages of this grid."""
        patches = self.merged * grid.tokens
        return PatchTensors(
            tape.input((patches, *self.patch), self.dtype),
            tape.input((patches, 2), "int64"),
            on_host(tape, (grid.pages, 3), "int64"),
            on_host(tape, (grid.pages + 1,), "int32"),
            tape.input((patches, TAPS), "int64"),
            tape.input((patches, TAPS), "float32"),
        )

    def forward(self, given: tuple[ShapeTensor, ...], grid: Grid) -> ShapeTensor:
        page = PatchTensors(*given)
        side = isqrt(self.merged)
        hidden_states = self.embeddings(
            page.pixel_values, page.interp_indices, page.interp_weights, side * grid.rows, side * grid.columns
        )
        last_hidden_state, residual = self.encoder(  # the embeddings are held by name to the end
            hidden_states, page.position_ids, page.cu_seqlens, Sequences(grid, self.merged, 0)
        )
        if residual is not None:
            return self.post_layernorm(last_hidden_state, residual)[1]  # type: ignore[no-any-return]
        return self.post_layernorm(last_hidden_state)  # type: ignore[no-any-return]
