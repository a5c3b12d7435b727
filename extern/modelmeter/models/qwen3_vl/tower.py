"""The vision tower of Qwen3-VL on shapes: packed patches with a table of positions, a merger, and those of DeepStack.

Source of the walk: `Qwen3VLVisionModel` of transformers 5.23; of what vLLM and SGLang do otherwise, docs/counted.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Embedding, LayerList, LayerNorm, Linear
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.vision.packed import (
    Grid,
    PackedBlock,
    PackedTower,
    PackedTraits,
    PageTensors,
    PatchEmbed,
    Sequences,
)
from modelmeter.operators import (
    add,
    cat,
    fused,
    gather,
    gelu,
    mul,
    mul_in_place,
    reshape,
    sub,
    to,
    total,
)
from modelmeter.shape_tensor import Repeated, ShapeTensor, Tape

#: rows of the table of positions that make the position of a patch: its neighbours along both sides
TAPS = 4


class VisionMLP(BaseLayer):
    """linear_fc2(gelu(linear_fc1(x))), x [..., D] -> [..., D]."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = self.code.parallel.share("intermediate_size of vision", intermediate_size)
        self.linear_fc1 = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.linear_fc2 = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_state: ShapeTensor) -> ShapeTensor:
        """The real module's pass."""
        return self.linear_fc2(self.chain("gelu", gelu, self.linear_fc1(hidden_state)))  # type: ignore[no-any-return]


class PatchMerger(BaseLayer):
    """Patches [N, D] -> tokens [n, out]: the patches of a token side by side through an MLP.

    use_postshuffle_norm: they are normalised together; otherwise each before they are joined.
    """

    def __init__(
        self,
        hidden_size: int,
        out_hidden_size: int,
        merged: int,
        *,
        use_postshuffle_norm: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.width = merged * hidden_size
        self.use_postshuffle_norm = use_postshuffle_norm
        self.norm = LayerNorm(self.width if use_postshuffle_norm else hidden_size, code=self.code)
        inner = self.code.parallel.share("width of the merger", self.width)
        self.linear_fc1 = Linear(self.width, inner, split=OUTPUTS, code=self.code)
        self.linear_fc2 = Linear(inner, out_hidden_size, split=INPUTS, code=self.code)

    def forward(self, x: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """The real module's pass. `residual`: the last block's, where it is handed on; then so is its sum with x."""
        if self.use_postshuffle_norm:
            x = x.view(-1, self.width)
            residual = None if residual is None else residual.view(-1, self.width)
        total_sum = None
        if residual is None:
            x = self.norm(x).view(-1, self.width)
        else:
            total_sum, x = self.norm(x, residual)
            x = x.view(-1, self.width)
        tokens = self.linear_fc2(self.chain("gelu", gelu, self.linear_fc1(x)))
        return tokens if total_sum is None else (tokens, total_sum)


class VisionTower(PackedTower):
    """Patches of pages -> the last hidden states [N, D], the tokens [n, out], and features [n, out] of some blocks.

    num_position_embeddings: rows of the table that positions of patches are made of. deepstack_visual_indexes: blocks
    whose output becomes features.
    """

    def __init__(
        self,
        *,
        depth: int,
        hidden_size: int,
        intermediate_size: int,
        num_heads: int,
        in_channels: int,
        patch_size: int,
        spatial_merge_size: int,
        temporal_patch_size: int,
        out_hidden_size: int,
        num_position_embeddings: int,
        deepstack_visual_indexes: Sequence[int],
        **settings: Unpack[Settings],
    ) -> None:
        merged = spatial_merge_size**2
        mlp = VisionMLP(hidden_size, intermediate_size, **settings)
        norm = partial(LayerNorm, hidden_size, **settings)
        block = PackedBlock(hidden_size, num_heads, norm=norm, mlp=mlp, **settings)
        super().__init__(
            merged=merged,
            window_side=0,
            patch_embed=PatchEmbed(
                hidden_size,
                in_channels=in_channels,
                temporal_patch_size=temporal_patch_size,
                patch_size=patch_size,
                bias=True,
                **settings,
            ),
            head_dim=hidden_size // num_heads,
            blocks=[(block, False)] * depth,
            merger=PatchMerger(hidden_size, out_hidden_size, merged, **settings),
            **settings,
        )
        self.pos_embed = Embedding(num_position_embeddings, hidden_size, code=self.code)
        self.deepstack_visual_indexes = tuple(deepstack_visual_indexes)
        merger = PatchMerger(hidden_size, out_hidden_size, merged, use_postshuffle_norm=True, **settings)
        self.deepstack_merger_list = LayerList([merger] * len(deepstack_visual_indexes), code=self.code)

    def tensors(self, tape: Tape, grid: Grid) -> PageTensors:
        """What comes with pages of this grid: rows of the table of positions, too, and their shares."""
        taps = (self.merged * grid.tokens, TAPS)
        return (
            super()
            .tensors(tape, grid)
            ._replace(interp_indices=tape.input(taps, "int64"), interp_weights=tape.input(taps, "float32"))
        )

    def from_taps(
        self, hidden_states: ShapeTensor, indices: ShapeTensor, weights: ShapeTensor
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """Patches [N, D] with their positions, and these in float32, of rows of the table and the share of each."""
        pos_embeds = total(mul(self.pos_embed(indices), weights.unsqueeze(2), "float32"), 1)
        return add(hidden_states, to(pos_embeds, hidden_states.dtype)), pos_embeds

    def from_taps_at_once(self, *given: ShapeTensor) -> ShapeTensor:
        """The patches of that alone."""
        return self.from_taps(*given)[0]

    def positions_of_page(self, table: ShapeTensor, patches: int) -> ShapeTensor:
        """Positions of a page's patches [N, D], of rows of the table that the kernel finds."""
        rows = gather(table, patches, TAPS, aten="aten.embedding.default")
        return total(mul(rows), 1)

    def written_positions(self, tape: Tape, rows: int, columns: int) -> ShapeTensor:
        """The same operator by operator, but for what there is one of for each row and column of patches."""
        tall, wide = tape.input((rows, 1), "float32"), tape.input((1, columns), "float32")
        w11 = mul(tall, wide)
        w10, w01 = sub(tall.expand(-1, columns), w11), sub(wide.expand(rows, -1), w11)
        w00 = sub(sub(tall).expand(-1, columns), w01)
        floor = tape.input((rows, columns), "int64", (1, 0))
        h_grid, w_grid = (cat([floor.unsqueeze(0)] * TAPS, 0) for _ in range(2))
        h_grid_idx = mul(h_grid)
        indices = add(h_grid_idx, w_grid).view(TAPS, -1)
        weights = to(cat([each.unsqueeze(0) for each in (w00, w01, w10, w11)], 0).view(TAPS, -1, 1), self.dtype)
        combined = total(mul_in_place(self.pos_embed(indices), weights), 0)
        side = round(self.merged**0.5)
        blocks = combined.view(rows // side, side, columns // side, side, -1).permute(0, 2, 1, 3, 4)
        return cat([reshape(blocks, rows * columns, -1)], 0)

    def at_positions(self, hidden_states: ShapeTensor, page: PageTensors, grid: Grid) -> tuple[ShapeTensor, ...]:
        """Patches [N, D] with their positions, and what the code holds beside them."""
        kind = self.traits(PackedTraits).positions
        tape, patches = hidden_states.tape, self.merged * grid.columns * grid.rows
        if kind == "kernel":
            table = self.pos_embed.weight.on(tape)
            each = fused("pos_embed_interpolate", self.positions_of_page, table, patches)
            pos_embeds = cat([Repeated(grid.pages, each)], 0)
            return add(hidden_states, pos_embeds), pos_embeds
        if kind == "written":
            side = round(self.merged**0.5)
            pos_embeds = self.written_positions(tape, side * grid.rows, side * grid.columns)
            return add(hidden_states, pos_embeds), pos_embeds
        given = (hidden_states, page.interp_indices, page.interp_weights)
        if self.traits(EngineTraits).chains_fused:
            return (self.chain("add_positions", self.from_taps_at_once, *given),)
        return self.from_taps(*given)  # type: ignore[arg-type]

    def forward(self, given: tuple[Any, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        """The real module's pass."""
        page = PageTensors(*given)
        hidden_states = self.patch_embed(page.pixel_values)
        hidden_states, *_held = self.at_positions(hidden_states, page, grid)
        if self.traits(PackedTraits).tables == "positions":
            tables = self.chain("rotary_tables", self.rotary_tables, page.position_ids, None)
        else:
            cosine, sine, *_beside = self.engine_tables(page, grid.pages)
            tables = (cosine, sine)
        whole = (page.cu_seqlens, tables, Sequences(grid, self.merged, 0))
        mergers = iter(self.deepstack_merger_list)
        features = []
        residual = None
        for index, block in enumerate(self.blocks):
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = block(hidden_states, *whole, residual)
            else:
                hidden_states = block(hidden_states, *whole)
            if index not in self.deepstack_visual_indexes:
                continue
            if residual is None:
                features.append(next(mergers)(hidden_states))
            else:  # summed by the merger's norm, and no more by the next block's
                feature, hidden_states = next(mergers)(hidden_states, residual)
                features.append(feature)
                hidden_states, residual = hidden_states.view(*residual.shape), None
        tokens = self.merger(hidden_states) if residual is None else self.merger(hidden_states, residual)[0]
        if self.traits(PackedTraits).features_joined:
            return hidden_states, cat([tokens, *features], 1)
        return hidden_states, tokens, *features
