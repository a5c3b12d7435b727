"""What SAM encoders are made of, on shapes: patches, windows, attention with relative positions, blocks, the neck.

Source of the walk: `UnlimitedOcrSamVisionEncoder` of transformers 5.23; where the published code, or an engine at its
best, runs the same network differently, a trait of the execution says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Conv2d, LayerNorm, Linear
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.operators import (
    BIAS_ALIGNMENT,
    add,
    arange,
    attention,
    bmm,
    contiguous,
    div,
    gather,
    gelu,
    in_place_output,
    matmul,
    mean,
    mul,
    pad,
    reshape,
    scaled_dot_product_attention,
    softmax,
    sqrt,
    square,
    strided_bmm,
    sub,
    to,
    upsample_bicubic,
    upsample_linear,
)
from modelmeter.shape_tensor import ACTIVATION, HOST, ShapeTensor, Tape
from modelmeter.units import ceil_div

GridSize = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SamTraits:
    """What SAM encoders' code does where code bases differ; the defaults are transformers'."""

    rel_pos_always_resized: bool = True
    """A table of relative positions is resized even where it has the wanted length; otherwise only where it has not."""
    rel_pos_resized_in_float32: bool = False
    """A table of relative positions that has not the wanted length is resized in float32; otherwise in its type."""
    rel_pos_index_on_host: bool = True
    """The indices of relative positions are made in host memory."""
    rel_pos_bias_copied: bool = True
    """The two terms of relative position are summed over the grid and the sum copied; otherwise the terms are
    flattened first, kept by name, and the sum is used as it is."""
    norm_kept: bool = True
    """A SAM block keeps the result of its second norm by name to its end."""
    resized_table_kept: bool = False
    """The float32 copy of the SAM encoder's position table is kept by name while it is resized and cast."""
    windows_always_padded: bool = True
    """A grid is padded to whole windows, which copies it, even where nothing is added."""
    layer_norm_2d_fused: bool = True
    """The LayerNorm over channels is one operator; otherwise it is written out."""
    map_cloned: bool = False
    """The map is cloned between the two strided convolutions of the SAM encoder."""
    blocks_output_kept: bool = False
    """The result of the SAM encoder's blocks is kept by name to its end."""


class MLPBlock(BaseLayer):
    """lin2(gelu(lin1(x))), x [B, H, W, D] -> [B, H, W, D]."""

    remembered = True

    def __init__(self, embedding_dim: int, mlp_dim: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.lin1 = Linear(embedding_dim, mlp_dim, code=self.code)
        self.lin2 = Linear(mlp_dim, embedding_dim, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.lin1(hidden_states)  # [B, H, W, D] -> [B, H, W, F]
        hidden_states = gelu(hidden_states)
        return self.lin2(hidden_states)  # type: ignore[no-any-return]


def get_rel_pos(table: ShapeTensor, side: int, traits: SamTraits) -> ShapeTensor:
    """A relative position table [L, d] as [side, side, d]: resized to 2 * side - 1 rows, then one row a pair."""
    length = 2 * side - 1
    tape, dtype = table.tape, table.dtype
    rel_pos_resized = table
    if traits.rel_pos_always_resized:
        rel_pos_resized = upsample_linear(table.unsqueeze(0).transpose(1, 2), length)  # [1, d, length]
        rel_pos_resized = rel_pos_resized.view(-1, length).permute(1, 0)
    elif table.shape[0] != length:
        table = to(table, "float32" if traits.rel_pos_resized_in_float32 else dtype)
        rel_pos_resized = to(upsample_linear(table.unsqueeze(0).transpose(1, 2), length), dtype)
        rel_pos_resized = rel_pos_resized.view(-1, length).permute(1, 0)
    kind = HOST if traits.rel_pos_index_on_host else ACTIVATION
    q_coords = mul(arange(tape, side, kind).unsqueeze(1), dtype="float32")
    k_coords = mul(arange(tape, side, kind).unsqueeze(0), dtype="float32")
    relative_coords = add(sub(q_coords, k_coords))  # [side, side]
    return gather(rel_pos_resized, side, side, aten="aten.index.Tensor", index=to(relative_coords, "int64"))


def product_by_row(query: ShapeTensor, rel_pos: ShapeTensor) -> ShapeTensor:
    """einsum "bhwc,hkc->bhwk" as PyTorch runs it: one GEMM a row of the grid."""
    batch, height, width, channels = query.shape
    rows = reshape(query.permute(1, 0, 2, 3), height, batch * width, channels)
    product = bmm(rows, rel_pos.transpose(1, 2))  # [h, b w, k]
    return product.view(height, batch, width, -1).permute(1, 0, 2, 3)


def product_by_column(query: ShapeTensor, rel_pos: ShapeTensor) -> ShapeTensor:
    """einsum "bhwc,wkc->bhwk" as PyTorch runs it: one GEMM a column of the grid."""
    batch, height, width, channels = query.shape
    columns = reshape(query.permute(2, 0, 1, 3), width, batch * height, channels)
    product = bmm(columns, rel_pos.transpose(1, 2))  # [w, b h, k]
    return product.view(width, batch, height, -1).permute(1, 2, 0, 3)


def sum_in_aligned_rows(rel_h: ShapeTensor, rel_w: ShapeTensor) -> ShapeTensor:
    """The bias [B, heads, HW, HW] of a term a row [B, heads, H, W, H] and a term a column [B, heads, H, W, W], its rows
    at a multiple of `BIAS_ALIGNMENT` elements."""
    batch, heads, height, width, _ = rel_h.shape
    positions = height * width
    bias = reshape(add(rel_h.unsqueeze(5), rel_w.unsqueeze(4)), batch, heads, positions, positions)
    missing = -positions % BIAS_ALIGNMENT
    return pad(bias, 0, 0, 0, missing).narrow(3, 0, positions) if missing else bias


class Attention(BaseLayer):
    """Attention with decomposed relative positions, x [B, H, W, D] -> [B, H, W, D] and the weights, if eager.

    The bias [B, heads, HW, HW] is in memory whatever the kernel: it is never "flash".
    """

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool, input_size: GridSize, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.num_heads = num_heads
        self.qkv = Linear(dim, dim * 3, bias=qkv_bias, code=self.code)
        self.proj = Linear(dim, dim, code=self.code)
        self.rel_pos_h = self.parameter(2 * input_size[0] - 1, dim // num_heads)
        self.rel_pos_w = self.parameter(2 * input_size[1] - 1, dim // num_heads)

    def decomposed_rel_pos(self, query: ShapeTensor, height: int, width: int) -> tuple[ShapeTensor, ...]:
        """The bias: the sum [B heads, H, W, H, W] of a term a row and a term a column, or both terms, flattened."""
        relative_position_height, relative_position_width = self.relative_positions(query.tape, height, width)
        reshaped_query = reshape(query, query.shape[0], height, width, -1)
        rel_h = product_by_row(reshaped_query, relative_position_height)
        rel_w = product_by_column(reshaped_query, relative_position_width)
        if self.traits(SamTraits).rel_pos_bias_copied:
            return (add(rel_h.unsqueeze(4), rel_w.unsqueeze(3)),)
        rel_h = reshape(rel_h, query.shape[0], height * width, height, 1)
        rel_w = reshape(rel_w, query.shape[0], height * width, 1, width)
        return rel_h, rel_w

    def relative_positions(self, tape: Tape, height: int, width: int) -> tuple[ShapeTensor, ShapeTensor]:
        """The tables of rows [H, H, d] and of columns [W, W, d]."""
        traits = self.traits(SamTraits)
        of_rows = self.chain("rel_pos", get_rel_pos, self.rel_pos_h.on(tape), height, traits)
        return of_rows, self.chain("rel_pos", get_rel_pos, self.rel_pos_w.on(tape), width, traits)

    def aligned_bias(self, query: ShapeTensor, height: int, width: int) -> ShapeTensor:
        """The bias of a query [B, heads, HW, d], which both GEMMs read as it lies, in aligned rows."""
        of_rows, of_columns = self.relative_positions(query.tape, height, width)
        grid = query.view(*query.shape[:2], height, width, -1)
        rel_h = strided_bmm(grid, of_rows.transpose(1, 2))  # [B, heads, H, W, H]
        rel_w = strided_bmm(grid.transpose(2, 3), of_columns.transpose(1, 2)).transpose(2, 3)  # [B, heads, H, W, W]
        return self.chain("rel_pos_bias", sum_in_aligned_rows, rel_h, rel_w)

    def forward(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor | None]:
        batch, height, width, _ = hidden_states.shape
        if self.traits(EngineTraits).attention_fused_only:
            return self.forward_strided(hidden_states), None
        qkv = reshape(self.qkv(hidden_states), batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = reshape(qkv, 3, batch * self.num_heads, height * width, -1).unbind(0)
        attend = self.attend_fused
        if self.attention == "eager" and self.traits(EngineTraits).vision_takes_eager:
            attend = self.attend_eager
        return attend(query, key, value, (batch, height, width))

    def forward_strided(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """Query, key and value read where they lie in their GEMM, by kernels that take the bias as it is made."""
        batch, height, width, _ = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # [B, heads, HW, d]
        attn_output = attention(query, (key,), (value,), self.aligned_bias(query, height, width))
        del qkv, query, key, value
        return self.proj(attn_output.transpose(1, 2).view(batch, height, width, -1))  # type: ignore[no-any-return]

    def attend_fused(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, grid: tuple[int, int, int]
    ) -> tuple[ShapeTensor, ShapeTensor | None]:
        """One fused kernel, the relative positions as its bias."""
        batch, height, width = grid
        heads, positions = self.num_heads, height * width
        if self.traits(SamTraits).rel_pos_bias_copied:
            (attn_bias,) = self.decomposed_rel_pos(query, height, width)
        else:  # both terms are kept by name
            rel_h, rel_w = self.decomposed_rel_pos(query, height, width)
            attn_bias = add(rel_h, rel_w)
        attn_bias = reshape(attn_bias, batch, heads, positions, positions)
        query = query.view(batch, heads, positions, -1)
        key = key.view(batch, heads, positions, -1)
        value = value.view(batch, heads, positions, -1)
        attn_output = scaled_dot_product_attention(query, key, value, attn_bias)
        attn_output = reshape(
            attn_output.view(batch, heads, height, width, -1).permute(0, 2, 3, 1, 4), batch, height, width, -1
        )
        return self.proj(attn_output), None

    def attend_eager(
        self, query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, grid: tuple[int, int, int]
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Scores, bias, softmax in float32 and the weighted sum, one after another."""
        batch, height, width = grid
        attn_weights = matmul(mul(query), key.transpose(-2, -1))  # [B heads, HW, HW]
        (decomposed_rel_pos,) = self.decomposed_rel_pos(query, height, width)
        decomposed_rel_pos = reshape(decomposed_rel_pos, *attn_weights.shape)
        attn_weights = add(attn_weights, decomposed_rel_pos)
        attn_weights = to(softmax(attn_weights, "float32"), query.dtype)
        attn_output = matmul(attn_weights, value).view(batch, self.num_heads, height, width, -1)
        attn_output = reshape(attn_output.permute(0, 2, 3, 1, 4), batch, height, width, -1)
        return self.proj(attn_output), attn_weights


def window_partition(hidden_states: ShapeTensor, window: int, always_padded: bool) -> tuple[ShapeTensor, GridSize]:
    """[B, H, W, D] -> [B windows, window, window, D] and the padded (H, W); the grid is padded to whole windows."""
    batch, height, width, channels = hidden_states.shape
    rows, columns = ceil_div(height, window), ceil_div(width, window)
    if always_padded or height % window or width % window:
        hidden_states = pad(hidden_states, 0, rows * window - height, columns * window - width, 0)
    hidden_states = reshape(hidden_states, batch, rows, window, columns, window, channels)
    windows = contiguous(hidden_states.permute(0, 1, 3, 2, 4, 5))
    return windows.view(-1, window, window, channels), (rows * window, columns * window)


def window_unpartition(windows: ShapeTensor, window: int, padded: GridSize, original: GridSize) -> ShapeTensor:
    """[B windows, window, window, D] -> [B, H, W, D], the padding cut off."""
    rows, columns = padded[0] // window, padded[1] // window
    batch = windows.shape[0] // (rows * columns)
    hidden_states = reshape(windows, batch, rows, columns, window, window, -1)
    hidden_states = contiguous(hidden_states.permute(0, 1, 3, 2, 4, 5)).view(batch, *padded, -1)
    return contiguous(hidden_states.narrow(1, 0, original[0]).narrow(2, 0, original[1]))


class Block(BaseLayer):
    """Transformer block over the whole grid (window 0) or over windows, x [B, H, W, D] -> [B, H, W, D]."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        qkv_bias: bool,
        window: int,
        grid: GridSize,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.window = window
        self.norm1 = LayerNorm(dim, code=self.code)
        input_size = (window, window) if window else grid
        self.attn = Attention(dim, num_heads, qkv_bias=qkv_bias, input_size=input_size, code=self.code)
        self.norm2 = LayerNorm(dim, code=self.code)
        self.mlp = MLPBlock(dim, mlp_dim, code=self.code)

    def forward(self, hidden_states: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual)
        residual = hidden_states
        hidden_states = self.norm1(hidden_states)
        if self.window:
            original = (hidden_states.shape[1], hidden_states.shape[2])
            hidden_states, padded = window_partition(
                hidden_states, self.window, self.traits(SamTraits).windows_always_padded
            )
        # the eager weights are kept by name through the MLP, as the module keeps them
        hidden_states, _attn_weights = self.attn(hidden_states)
        if self.window:
            hidden_states = window_unpartition(hidden_states, self.window, padded, original)
        hidden_states = add(residual, hidden_states)
        if self.traits(SamTraits).norm_kept:
            layernorm_output = self.norm2(hidden_states)
            return add(hidden_states, self.mlp(layernorm_output))
        return add(hidden_states, self.mlp(self.norm2(hidden_states)))

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in one chain with the norm after it and the way into windows or out of them."""
        residual, hidden_states = self.chain("add_norm_partition", self.enter, hidden_states, residual)
        hidden_states, _ = self.attn(hidden_states)
        residual, hidden_states = self.chain("unpartition_add_norm", self.leave, hidden_states, residual)
        return self.mlp(hidden_states), residual

    def enter(self, hidden_states: ShapeTensor, residual: ShapeTensor | None) -> tuple[ShapeTensor, ShapeTensor]:
        """The new residual, in the place of the old one, and its norm, in windows if there are any."""
        if residual is not None:
            hidden_states = in_place_output(residual, add(residual, hidden_states))
        normed = self.norm1(hidden_states)
        if self.window:
            normed, _ = window_partition(normed, self.window, self.traits(SamTraits).windows_always_padded)
        return hidden_states, normed

    def leave(self, hidden_states: ShapeTensor, residual: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """The new residual, in the place of the old one, and its norm; windows are read but for their padding."""
        if self.window:
            rows = hidden_states.view(-1, hidden_states.shape[-1])
            hidden_states = gather(rows, *residual.shape[:3], aten="aten.index.Tensor")
        hidden_states = in_place_output(residual, add(residual, hidden_states))
        return hidden_states, self.norm2(hidden_states)


class PatchEmbed(BaseLayer):
    """Pixels [B, 3, H, W] -> [B, H/patch, W/patch, D]: one convolution, its result seen channels last."""

    def __init__(self, in_chans: int, embed_dim: int, patch_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.proj = Conv2d(in_chans, embed_dim, patch_size, stride=patch_size, code=self.code)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        return self.proj(pixel_values).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class LayerNorm2d(LayerNorm):
    """LayerNorm over the channels of [B, D, H, W]."""

    def forward(self, features: ShapeTensor) -> ShapeTensor:  # type: ignore[override]
        if not self.traits(SamTraits).layer_norm_2d_fused:
            return self.forward_written_out(features)
        features = features.permute(0, 2, 3, 1)
        features = super().forward(features)
        return features.permute(0, 3, 1, 2)

    def forward_written_out(self, x: ShapeTensor) -> ShapeTensor:
        """Mean, deviation, variance, scale and shift, one after another."""
        u = mean(x, 1)
        s = mean(square(sub(x, u)), 1)
        x = div(sub(x, u), sqrt(add(s)))
        by_channel = (-1, 1, 1)
        weight, bias = self.weight.on(x.tape).view(*by_channel), self.bias.on(x.tape).view(*by_channel)
        return add(mul(weight, x), bias)


class Neck(BaseLayer):
    """[B, H, W, D] -> [B, out_chans, H, W]: two convolutions, each with a LayerNorm2d; named 0 to 3 as published."""

    def __init__(self, dim: int, out_chans: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.steps = (
            Conv2d(dim, out_chans, 1, bias=False, code=self.code),
            LayerNorm2d(out_chans, code=self.code),
            Conv2d(out_chans, out_chans, 3, padding=1, bias=False, code=self.code),
            LayerNorm2d(out_chans, code=self.code),
        )
        for index, step in enumerate(self.steps):
            step.name = str(index)

    def children(self) -> Any:
        return ((step.name, step) for step in self.steps)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = hidden_states.permute(0, 3, 1, 2)
        for step in self.steps:
            hidden_states = step(hidden_states)
        return hidden_states


def resize(table: ShapeTensor, grid: GridSize, dtype: str, *, table_kept: bool) -> ShapeTensor:
    """A position table [1, D, h, w] for another grid, in float32, then in `dtype`.

    table_kept: the float32 copy of the table is kept by name to the end.
    """
    if table_kept:
        table = to(table, "float32")
        return to(upsample_bicubic(table, *grid), dtype)
    return to(upsample_bicubic(to(table, "float32"), *grid), dtype)
