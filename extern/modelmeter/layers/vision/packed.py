"""A vision tower over packed patches, on shapes: pages of any size behind one another, in windows or not.

Patches lie block by block, those of a block that becomes one token next to each other. What follows from a page's grid
alone (positions, the order of windows, where sequences end) comes with the page: the ends lie on the host, by whose
numbers the code splits, the rest on the device.
Source of the walk: `Qwen2_5_VisionTransformerPretrainedModel` and `Qwen2VisionTransformerPretrainedModel` of
transformers 5.23, which call attention once for each sequence and concatenate the results. An engine has one kernel for
all of them. What vLLM and SGLang do otherwise are traits: docs/counted.md says where it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, LayerList, Linear, RMSNorm
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.parallel import INPUTS, OUTPUTS, ParallelTraits
from modelmeter.layers.vision.clip import eager_attention, fused_attention
from modelmeter.operators import (
    Parameter,
    add,
    all_gather,
    arange,
    cat,
    contiguous,
    conv3d,
    cos,
    empty_like,
    fused,
    gather,
    gelu,
    in_place_output,
    index_put,
    mul,
    neg,
    packed_attention,
    reshape,
    sin,
    sort,
    sub,
    to,
)
from modelmeter.shape_tensor import HOST, Repeated, ShapeTensor, Tape

#: positions along a side that an engine's table of cosines and sines has
TABLE_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class PackedTraits:
    """What code of packed towers does where code bases differ; the defaults are transformers'."""

    attention_packed: bool = False
    """Attention is one kernel over all sequences, which is told where they end; otherwise a call for each."""
    log_sum_exp_written: bool = False
    """That kernel writes the log-sum-exp of each query and head, as the FlashAttention package's does."""
    copied: str = ""
    """What is copied out of the GEMM of query, key and value before queries and keys turn, as one kernel and in
    memory of their own: "together", query and key at once; "each", all three. Nothing: they are read where they lie."""
    tables: str = "positions"
    """What cosines and sines of patches come from: "positions", which are turned into them in float32; "grid", tables
    kept for each grid, joined for all pages; "rows", looked up by position, or "rows twice", each of them twice;
    "frequencies", which are looked up by position, in float32; "typed frequencies", which are put into the model's type
    and in order before."""
    positions: str = "given"
    """What a table of positions becomes where the tower has one: "given", rows and their shares that come with the
    pages; "kernel", one kernel for each page, which works them out; "written", operator by operator for each page."""
    features_joined: bool = False
    """The tower puts features of its blocks beside its tokens, in rows of both; otherwise they stand by themselves."""
    patches_by_product: bool = False
    """Patches are embedded by a GEMM; otherwise by a convolution."""
    sum_in_norm: bool = False
    """A block sums its attention's output in its second norm; otherwise by an operator of its own."""
    inverse_order: str = "sorted"
    """The order in which tokens of windows lie in their page: "sorted" out of that of windows; "written", by an index;
    "given" with the page."""
    mlp_aligned: int = 1
    """The inner width of a block's MLP is rounded up to a multiple of this, weights of zeros among the GEMM's."""
    pages_looped: bool = False
    """Pages go through the tower one after another; otherwise together."""


class Grid(NamedTuple):
    """Pages of one size, and the tokens of each; the numbers may be sizes that vary."""

    pages: int
    columns: int
    rows: int

    @property
    def tokens(self) -> int:
        """Of all pages."""
        return self.pages * self.columns * self.rows


class Sequences(NamedTuple):
    """Patches that see each other: all of a page, or those of each window of `side` x `side` tokens of its grid.

    merged: patches of a token. side: 0 where a whole page is one sequence. A window is cut at the right and lower edge
    of a page.
    """

    grid: Grid
    merged: int
    side: int

    def cuts(self, length: int) -> tuple[int, int]:
        """Whole windows along a side of the grid, and the tokens that are left."""
        return divmod(length, self.side)

    @property
    def total(self) -> int:
        """How many sequences there are."""
        if not self.side:
            return self.grid.pages
        (across, right), (down, below) = self.cuts(self.grid.columns), self.cuts(self.grid.rows)
        return self.grid.pages * (across + (1 if right else 0)) * (down + (1 if below else 0))

    @property
    def lengths(self) -> tuple[tuple[int, int], ...]:
        """(how many sequences, patches of each), a pair for each length that there is."""
        pages, columns, rows = self.grid
        if not self.side:
            return ((pages, self.merged * columns * rows),)
        (across, right), (down, below) = self.cuts(columns), self.cuts(rows)
        alike = (
            (across * down, self.side * self.side),
            (down if right else 0, right * self.side),
            (across if below else 0, self.side * below),
            (1 if right and below else 0, right * below),
        )
        return tuple((pages * count, self.merged * tokens) for count, tokens in alike if count != 0)

    def each(self, tape: Tape, call: Callable[[int], Any]) -> Repeated:
        """`call`'s results for the lengths of all sequences, [1, patches, ...] each, in order.

        Those of one length in a row are one repeated call.
        """
        pages, columns, rows = self.grid

        def page() -> Any:
            if not self.side:
                return call(self.merged * columns * rows)
            (across, right), (down, below) = self.cuts(columns), self.cuts(rows)
            whole = tape.repeated(down, lambda: row(across, right, self.side))
            return whole, *(row(across, right, below) if below else ())

        def row(across: int, right: int, height: Any) -> tuple[Any, ...]:
            whole = tape.repeated(across, lambda: call(self.merged * self.side * height))
            return whole, *((call(self.merged * right * height),) if right else ())

        repeated = tape.repeated(pages, page)
        assert repeated is not None  # there is a page
        return repeated


class PageTensors(NamedTuple):
    """What comes with pages of a grid of N patches, n tokens.

    pixel_values: [N, values of a patch]. position_ids: row and column of each patch, [N, 2]. window_index: tokens in
    the order of their windows, [n]; None: as they come. On the host: grid_thw [pages, 3], and where the sequences end,
    cu_seqlens [pages + 1], cu_window_seqlens [windows + 1]. Where an engine brings them: the order in which tokens of
    windows lie in their page, reverse_indices [n], and cosines and sines of a page's patches, [N / pages, d / 2] each.
    """

    pixel_values: ShapeTensor
    position_ids: ShapeTensor
    grid_thw: ShapeTensor
    cu_seqlens: ShapeTensor
    window_index: ShapeTensor | None = None
    cu_window_seqlens: ShapeTensor | None = None
    reverse_indices: ShapeTensor | None = None
    tables: tuple[ShapeTensor, ...] = ()
    interp_indices: ShapeTensor | None = None
    interp_weights: ShapeTensor | None = None


def on_host(tape: Tape, shape: tuple[int, ...], dtype: str) -> ShapeTensor:
    """A tensor in host memory that comes with a page."""
    tensor = tape.input(shape, dtype)
    tensor.storage.kind = HOST
    return tensor


class Conv3d(BaseLayer):
    """Patches [N, c, t, h, w] -> [N, n, 1, 1, 1], a kernel as large as a patch.

    Source: torch.nn.Conv3d.    Counted: the GEMM.    Left out: the bias's sums.
    """

    def __init__(self, *shape: int, bias: bool = False, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.weight = self.parameter(*shape)
        self.bias = self.parameter(shape[0]) if bias else None

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return conv3d(x, self.weight, self.bias)


class PatchEmbed(BaseLayer):
    """Values of patches [N, c t p p] -> [N, D]: a picture stands for t frames."""

    def __init__(
        self,
        embed_dim: int,
        *,
        in_channels: int,
        temporal_patch_size: int,
        patch_size: int,
        bias: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.patch = (in_channels, temporal_patch_size, patch_size, patch_size)
        self.proj: BaseLayer
        if self.traits(PackedTraits).patches_by_product:
            self.proj = Linear(prod(self.patch), embed_dim, bias=bias, code=self.code)
        else:
            self.proj = Conv3d(embed_dim, *self.patch, bias=bias, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        if self.traits(PackedTraits).patches_by_product:
            return self.proj(hidden_states)  # type: ignore[no-any-return]
        hidden_states = hidden_states.view(-1, *self.patch)
        return self.proj(hidden_states).view(hidden_states.shape[0], -1)  # type: ignore[no-any-return]


def patches_of(pixels: ShapeTensor, side: int) -> ShapeTensor:
    """Pixels of pictures [B, c, H, W] -> those of each patch [B S, c * side**2], copied into that order."""
    pictures, channels, height, width = pixels.shape
    blocks = pixels.view(pictures, channels, height // side, side, width // side, side).permute(0, 2, 4, 1, 3, 5)
    return reshape(blocks, pictures * (height // side) * (width // side), channels * side**2)


class AxialRotaryEmbedding(BaseLayer):
    """Positions (row, column) [N, 2] -> cos and sin [N, d] in float32: half of the frequencies turn by each.

    An engine keeps a table of what it looks up by position: cosines and sines, or frequencies.
    """

    def __init__(self, head_dim: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.head_dim = head_dim
        rows = {"cos_sin_cache": self.parameter(TABLE_ROWS, head_dim // 2)}
        tables = {
            "positions": {"inv_freq": Parameter(head_dim // 4, dtype="float32")},
            "rows": rows,
            "rows twice": rows,
        }
        looked_up = {"freqs": Parameter(TABLE_ROWS, head_dim // 4, dtype="float32")}
        # a buffer, not a parameter: it is read, but no checkpoint holds it
        self.buffers = tables.get(self.traits(PackedTraits).tables, looked_up)

    def rows(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Cos and sin [N, d / 2] from a table that has both side by side."""
        table = self.buffers["cos_sin_cache"].on(position_ids.tape)
        return tuple(by_position(half, position_ids) for half in table.chunk(2, -1))

    def frequencies(self, position_ids: ShapeTensor) -> ShapeTensor:
        """The angles that row and column turn by, [N, d / 2], in float32."""
        return by_position(self.buffers["freqs"].on(position_ids.tape), position_ids)

    def forward(self, position_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        inv_freq = self.buffers["inv_freq"].on(position_ids.tape)
        freqs = mul(to(position_ids.unsqueeze(2), "float32"), inv_freq)  # [N, 2, d/4]
        cosine = mul(cos(freqs))
        sine = mul(sin(freqs))
        cosine = over_the_head(cosine)
        sine = over_the_head(sine)
        return cosine, sine


def by_position(table: ShapeTensor, position_ids: ShapeTensor) -> ShapeTensor:
    """Rows of a table [positions, d / 4] by row and column of each patch [N, 2] -> [N, d / 2]."""
    rows = gather(table, *position_ids.shape, aten="aten.index.Tensor", index=position_ids)
    return rows.flatten(1)


def over_the_head(freq: ShapeTensor) -> ShapeTensor:
    """[N, 2, d/4] -> [N, d]: by row and by column, and all of it twice."""
    freq_hw = cat((freq.select(1, 0), freq.select(1, 1)), -1)
    return cat((freq_hw, freq_hw), -1)


def rotate_half(x: ShapeTensor) -> ShapeTensor:
    """The halves of the last dimension exchanged, the second with its sign changed."""
    x1, x2 = x.chunk(2, -1)
    return cat((neg(x2), x1), -1)


def apply_rotary_pos_emb_vision(
    query: ShapeTensor, key: ShapeTensor, cosine: ShapeTensor, sine: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor]:
    """Query and key [N, H, d] turned in float32 by tables [N, d]."""
    dtype = query.dtype
    q, k = to(query, "float32"), to(key, "float32")
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    q_embed = add(mul(q, cosine), mul(rotate_half(q), sine))
    k_embed = add(mul(k, cosine), mul(rotate_half(k), sine))
    q_embed = to(q_embed, dtype)
    k_embed = to(k_embed, dtype)
    return q_embed, k_embed


def turned_in_place(
    query: ShapeTensor, key: ShapeTensor, cosine: ShapeTensor, sine: ShapeTensor
) -> tuple[ShapeTensor, ShapeTensor]:
    """The same; as one kernel, in their own places."""
    q_embed, k_embed = apply_rotary_pos_emb_vision(query, key, cosine, sine)
    return in_place_output(query, q_embed), in_place_output(key, k_embed)


def turned_together(query_key: ShapeTensor, cosine: ShapeTensor, sine: ShapeTensor) -> ShapeTensor:
    """Query and key [2, N, H, d] turned in float32 by tables [N, d / 2], whose numbers pairs of elements share."""
    cosine, sine = (cat((half, half), -1).unsqueeze(1) for half in (cosine, sine))
    wide = to(query_key, "float32")
    return to(add(mul(wide, cosine), mul(rotate_half(wide), sine)), query_key.dtype)


def attention_of(layer: BaseLayer) -> Callable[..., tuple[ShapeTensor, ShapeTensor | None]]:
    """The library's attention of a layer, [1, H, T, d] each -> [1, T, H, d], and the weights where they are made."""
    eager = layer.attention == "eager" and layer.traits(EngineTraits).vision_takes_eager
    return eager_attention if eager else fused_attention


def attend_each(
    attend: Callable[..., Any], projected: tuple[ShapeTensor, ...], cu_seqlens: ShapeTensor, sequences: Sequences
) -> Repeated:
    """What `attend` makes of query, key and value [N, H, d] of each sequence by itself, [1, H, patches, d] each."""
    states = [each.transpose(0, 1).unsqueeze(0) for each in projected]
    ends = cu_seqlens.shape[0]
    sub(cu_seqlens.narrow(0, 1, ends), cu_seqlens.narrow(0, 0, ends - 1))  # the lengths, on the host

    def one(length: int) -> Any:
        """One sequence, of `length` patches: where it lies is of no consequence."""
        return attend(*(each.narrow(2, 0, length) for each in states))

    return sequences.each(cu_seqlens.tape, one)


def heads_of_qkv(layer: BaseLayer, qkv: ShapeTensor, num_heads: int) -> ShapeTensor:
    """Query, key and value side by side [N, 3 H d] -> [N, 3, H, d]: the heads of this device.

    Where the code gathers all devices' outputs before, they are views of those.
    """
    patches, width = qkv.shape
    ranks = layer.code.parallel.ranks
    if ranks == 1 or not layer.traits(ParallelTraits).vision_qkv_gathered:
        return reshape(qkv, patches, 3, num_heads, -1)
    head_dim = width // (3 * num_heads)
    return all_gather(qkv, ranks).view(patches, 3, ranks * num_heads, head_dim).narrow(2, 0, num_heads)


class PackedAttention(BaseLayer):
    """Attention of patches [N, D] -> [N, D], each sequence by itself.

    qk_norm: an RMSNorm over each head's d of query and key before they turn.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, *, qk_norm: bool = False, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.num_heads = self.code.parallel.share("num_heads of vision", num_heads)
        width = hidden_size // num_heads * self.num_heads
        self.qkv = Linear(hidden_size, 3 * width, split=OUTPUTS, code=self.code)
        self.proj = Linear(width, hidden_size, split=INPUTS, code=self.code)
        self.q_norm = self.k_norm = None
        if qk_norm:
            self.q_norm = RMSNorm(hidden_size // num_heads, code=self.code)
            self.k_norm = RMSNorm(hidden_size // num_heads, code=self.code)

    def forward(
        self,
        hidden_states: ShapeTensor,
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ShapeTensor],
        sequences: Sequences,
    ) -> ShapeTensor:
        """`tables`: cos and sin [N, d]. `cu_seqlens`: where the sequences end."""
        patches = hidden_states.shape[0]
        qkv = heads_of_qkv(self, self.qkv(hidden_states), self.num_heads).permute(1, 0, 2, 3)
        if self.traits(PackedTraits).copied:
            attn_output = self.attend_copied(qkv, cu_seqlens, tables, sequences)
            return self.proj(attn_output.view(patches, -1))  # type: ignore[no-any-return]
        query_states, key_states, value_states = qkv.unbind(0)
        del qkv
        if self.q_norm is not None and self.k_norm is not None:
            query_states = self.q_norm(query_states)
            key_states = self.k_norm(key_states)
        query_states, key_states = self.chain("rotary", turned_in_place, query_states, key_states, *tables)
        if self.traits(PackedTraits).attention_packed:
            attn_output = packed_attention((query_states, key_states, value_states), cu_seqlens, sequences.lengths)
            return self.proj(attn_output.view(patches, -1))  # type: ignore[no-any-return]
        attend = attention_of(self)
        attn_outputs = [  # held to the end
            attend_each(
                lambda *states: attend(*states)[0], (query_states, key_states, value_states), cu_seqlens, sequences
            )
        ]
        attn_output = cat(attn_outputs, 1)
        return self.proj(reshape(attn_output, attn_output.shape[1], -1))  # type: ignore[no-any-return]

    def attend_copied(
        self,
        qkv: ShapeTensor,
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ShapeTensor],
        sequences: Sequences,
    ) -> ShapeTensor:
        """Query, key and value [3, N, H, d], copied and turned -> [N, H, d]. The copies are held as the code has them.

        vLLM names the copy of query and key to the end; SGLang drops each for what is made of it.
        """
        if self.traits(PackedTraits).copied == "together":
            value = qkv.select(0, 2)
            if self.q_norm is None or self.k_norm is None:
                qk_reshaped = contiguous(qkv.narrow(0, 0, 2))
            else:  # each copied and normalised, then both joined
                query, key = (contiguous(each) for each in qkv.narrow(0, 0, 2).unbind(0))
                query, key = self.q_norm(query), self.k_norm(key)
                value = contiguous(value)
                qk_reshaped = cat((query.unsqueeze(0), key.unsqueeze(0)), 0)
            query, key = fused("rotary", turned_together, qk_reshaped, *tables).unbind(0)
        else:
            query, key, value = (contiguous(each) for each in qkv.unbind(0))
            if self.q_norm is not None and self.k_norm is not None:
                query, key = self.q_norm(query), self.k_norm(key)
            if 2 * tables[0].shape[1] == query.shape[2]:  # half a row: written out whole, in every block
                cosine, sine = (cat((half, half), -1) for half in tables)
                tables = (cosine, sine)
            query, key = fused("rotary", apply_rotary_pos_emb_vision, query, key, *tables)
        log_sum_exp = self.traits(PackedTraits).log_sum_exp_written
        return packed_attention((query, key, value), cu_seqlens, sequences.lengths, log_sum_exp=log_sum_exp)


class PackedBlock(BaseLayer):
    """Pre-norm block over packed patches, x [N, D] -> [N, D]. norm1, norm2, mlp: the model's kinds of them.

    qk_norm: of `PackedAttention`.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        norm: Callable[[], BaseLayer],
        mlp: BaseLayer,
        qk_norm: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.norm1 = norm()
        self.norm2 = norm()
        self.attn = PackedAttention(hidden_size, num_heads, qk_norm=qk_norm, code=self.code)
        self.mlp = mlp

    def forward(
        self,
        hidden_states: ShapeTensor,
        cu_seqlens: ShapeTensor,
        tables: tuple[ShapeTensor, ShapeTensor],
        sequences: Sequences,
        residual: ShapeTensor | None = None,
    ) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual, (cu_seqlens, tables, sequences))
        if self.traits(PackedTraits).sum_in_norm:
            attended = self.attn(self.norm1(hidden_states), cu_seqlens, tables, sequences)
            residual, normed = self.norm2(hidden_states, attended)
            return add(residual, self.mlp(normed))
        hidden_states = add(hidden_states, self.attn(self.norm1(hidden_states), cu_seqlens, tables, sequences))
        return add(hidden_states, self.mlp(self.norm2(hidden_states)))

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None, of_attention: tuple[Any, ...]
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in the next block's."""
        if residual is None:
            residual, hidden_states = hidden_states, self.norm1(hidden_states)
        else:
            residual, hidden_states = self.norm1(hidden_states, residual)
        hidden_states = self.attn(hidden_states, *of_attention)
        residual, hidden_states = self.norm2(hidden_states, residual)
        return self.mlp(hidden_states), residual


class Gelu(BaseLayer):
    """GELU by the error function.    Source: torch.nn.GELU."""

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return self.chain("gelu", gelu, x)


class PatchMerger(BaseLayer):
    """Patches [N, D] -> tokens [n, out]: the patches of a token, each after a norm, side by side through an MLP."""

    def __init__(
        self, hidden_size: int, out_hidden_size: int, merged: int, *, norm: BaseLayer, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        width = merged * hidden_size
        self.width = width
        self.ln_q = norm
        inner = self.code.parallel.share("width of the merger", width)
        layers = (
            Linear(width, inner, split=OUTPUTS, code=self.code),
            Gelu(code=self.code),
            Linear(inner, out_hidden_size, split=INPUTS, code=self.code),
        )
        self.mlp = LayerList(layers, code=self.code)

    def forward(self, x: ShapeTensor, residual: ShapeTensor | None = None) -> ShapeTensor:
        """`residual`: the last block's, where it is handed on."""
        normed = self.ln_q(x) if residual is None else self.ln_q(x, residual)[1]
        merged = normed = normed.view(-1, self.width)  # held to the end, as the MLP's argument
        for layer in self.mlp:
            merged = layer(merged)
        return merged  # type: ignore[no-any-return]


class PagesTower(BaseLayer):
    """A tower over pages of one grid, behind one another."""

    def tensors(self, tape: Tape, grid: Grid) -> Any:
        """What comes with pages of this grid."""
        raise ModelMeterError(f"{type(self).__name__} does not say what comes with pages.")


class PackedTower(PagesTower):
    """Patches of pages -> the last hidden states [N, D] in the order of windows, and the tokens [n, out] in their own.

    merged: patches of a token. window_side: tokens a side of a window; 0: there are none. blocks: the tower's, with
    whether each attends within windows. after: layers between the blocks and the merger by their names, one after
    another, the first a norm.
    """

    def __init__(
        self,
        *,
        merged: int,
        window_side: int,
        patch_embed: PatchEmbed,
        head_dim: int,
        blocks: list[tuple[PackedBlock, bool]],
        merger: BaseLayer,
        after: Mapping[str, BaseLayer] = MappingProxyType({}),
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.merged = merged
        self.window_side = window_side
        self.windowed = tuple(windowed for _, windowed in blocks)
        self.patch_embed = patch_embed
        self.rotary_pos_emb = AxialRotaryEmbedding(head_dim, code=self.code)
        self.blocks = LayerList([block for block, _ in blocks], code=self.code)
        self.merger = merger
        for name, layer in after.items():
            setattr(self, name, layer)
        self.after = tuple(after.values())

    def tensors(self, tape: Tape, grid: Grid) -> PageTensors:
        """What comes with pages of this grid."""
        patches = self.merged * grid.tokens
        given = PageTensors(
            tape.input((patches, prod(self.patch_embed.patch)), self.dtype),
            tape.input((patches, 2), "int64"),
            on_host(tape, (grid.pages, 3), "int64"),
            on_host(tape, (grid.pages + 1,), "int32"),
        )
        if not self.window_side:
            return given
        windows = Sequences(grid, self.merged, self.window_side).total
        given = given._replace(
            window_index=tape.input((grid.tokens,), "int64"),
            cu_window_seqlens=on_host(tape, (windows + 1,), "int32"),
        )
        traits = self.traits(PackedTraits)
        if traits.inverse_order == "given":
            given = given._replace(reverse_indices=tape.input((grid.tokens,), "int64"))
        if traits.tables == "grid":
            table = (self.merged * grid.columns * grid.rows, self.rotary_pos_emb.head_dim // 2)
            given = given._replace(tables=(tape.input(table, self.dtype), tape.input(table, self.dtype)))
        return given

    def in_windows(self, x: ShapeTensor, window_index: ShapeTensor) -> ShapeTensor:
        """[N, ...] in the order of windows."""
        patches = x.shape[0]
        x = reshape(x, patches // self.merged, self.merged, -1)
        x = gather(x, window_index.shape[0], aten="aten.index.Tensor", index=window_index)
        return reshape(x, patches, -1)

    def rotary_tables(self, position_ids: ShapeTensor, window_index: ShapeTensor | None) -> tuple[ShapeTensor, ...]:
        """Cos and sin [N, d] of patches in the order of windows."""
        tables: tuple[ShapeTensor, ...] = self.rotary_pos_emb(position_ids)
        if window_index is None:
            return tables
        return tuple(self.in_windows(freq, window_index) for freq in tables)

    def engine_tables(self, page: PageTensors, pages: int) -> tuple[ShapeTensor, ...]:
        """The same as an engine has them, [N, d] or [N, d / 2], and what is held beside them."""
        kind = self.traits(PackedTraits).tables
        if kind == "grid":
            return tuple(cat([Repeated(pages, each)], 0) for each in page.tables)
        if kind in ("rows", "rows twice"):
            rows: tuple[ShapeTensor, ...] = self.rotary_pos_emb.rows(page.position_ids)
            return rows if kind == "rows" else tuple(cat((half, half), -1) for half in rows)
        freqs = self.rotary_pos_emb.frequencies(page.position_ids)
        if kind == "typed frequencies":
            freqs = to(freqs, self.dtype)
        if page.window_index is not None:
            freqs = self.in_windows(freqs, page.window_index)
        emb = cat((freqs, freqs), -1)
        return cos(emb), sin(emb), freqs, emb

    def inverse(self, page: PageTensors) -> ShapeTensor:
        """The order in which tokens of windows lie in their page."""
        assert page.window_index is not None
        if page.reverse_indices is not None:
            return page.reverse_indices
        if self.traits(PackedTraits).inverse_order == "sorted":
            return sort(page.window_index)[1]
        inverse = empty_like(page.window_index)
        index_put(inverse, page.window_index, arange(inverse.tape, inverse.shape[0]))
        return inverse

    def forward(self, given: tuple[Any, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        page = PageTensors(*given)
        hidden_states = self.patch_embed(page.pixel_values)
        if page.window_index is not None:
            hidden_states = self.in_windows(hidden_states, page.window_index)
        if self.traits(PackedTraits).tables == "positions":
            tables = self.chain("rotary_tables", self.rotary_tables, page.position_ids, page.window_index)
        else:
            cosine, sine, *_held = self.engine_tables(page, grid.pages)
            tables = (cosine, sine)
        early = page.window_index is not None and self.traits(PackedTraits).inverse_order != "sorted"
        index = self.inverse(page) if early else None
        whole = (page.cu_seqlens, tables, Sequences(grid, self.merged, 0))
        cut = (page.cu_window_seqlens, tables, Sequences(grid, self.merged, self.window_side))
        residual = None
        for block, windowed in zip(self.blocks, self.windowed, strict=True):
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = block(hidden_states, *(cut if windowed else whole), residual)
            else:
                hidden_states = block(hidden_states, *(cut if windowed else whole))
        for layer in self.after:
            hidden_states = layer(hidden_states) if residual is None else layer(hidden_states, residual)[1]
            residual = None
        if page.window_index is None:
            return hidden_states, self.merger(hidden_states, residual)
        if index is None:
            index = self.inverse(page)
        tokens = self.merger(hidden_states, residual)
        return hidden_states, gather(tokens, tokens.shape[0], aten="aten.index.Tensor", index=index)
