"""HunyuanOCR's vision on shapes: a SigLIP2 tower over the patches of all pages, and a merger, page by page.

Source of the walk: `HunYuanVLVisionTransformer` and `HunYuanVLVisionPatchMerger` of transformers 5.23; modules have the
names of the checkpoint. Patches of all pages are one sequence [1, N, D], of which each page attends within itself. What
vLLM and an engine at its best do otherwise are traits: docs/counted.md says where it was read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Conv2d, LayerList, LayerNorm, Linear, RMSNorm, Settings
from modelmeter.layers.code import EngineTraits
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.vision.clip import (
    attention_over_sequences,
    eager_attention,
    fused_attention,
    strided_attention,
)
from modelmeter.layers.vision.packed import Gelu, Grid, on_host
from modelmeter.models.common.deep_encoder import FusionTraits
from modelmeter.models.common.packed_pages import of_pages
from modelmeter.models.hunyuan_vl.traits import HunYuanTraits
from modelmeter.operators import (
    Parameter,
    add,
    cat,
    clone,
    contiguous,
    floor_divide,
    gelu,
    mul,
    product,
    sub,
    take_number,
    to,
    upsample_bilinear,
)
from modelmeter.shape_tensor import Repeated, ShapeTensor, Tape


def of_each(tape: Tape, pages: int, call: Callable[[], Any]) -> Repeated:
    """`call`'s results for each of one page or more."""
    repeated = tape.repeated(pages, call)
    assert repeated is not None  # there is a page
    return repeated


class PageTensors(NamedTuple):
    """What comes with pages of a grid of N patches.

    pixel_values: [N, values of a patch]. On the host: grid_thw [pages, 3], and where the pages end, cu_seqlens
    [pages + 1].
    """

    pixel_values: ShapeTensor
    grid_thw: ShapeTensor
    cu_seqlens: ShapeTensor


class VisionPatchEmbed(BaseLayer):
    """Values of patches [N, c p p] -> [1, N, D]: a convolution over each, and its row of a table resized to the page.

    The table has a row for a class token, which nobody reads, before those of its grid.
    """

    def __init__(
        self, hidden_size: int, num_channels: int, patch_size: int, max_image_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.patch = (num_channels, patch_size, patch_size)
        self.position_edge = max_image_size // patch_size
        self.patch_embedding = Conv2d(num_channels, hidden_size, patch_size, stride=patch_size, code=self.code)
        self.position_embedding = self.parameter(self.position_edge**2 + 1, hidden_size)
        if self.traits(HunYuanTraits).table_kept:
            # a buffer, not a parameter: it is read, but no checkpoint holds it
            self.buffers = {"patch_pos_embed": Parameter(self.position_edge**2, hidden_size, dtype="float32")}

    def trained(self, tape: Tape) -> ShapeTensor:
        """The table as a picture [1, D, edge, edge], in float32."""
        if self.traits(HunYuanTraits).table_kept:
            table = self.buffers["patch_pos_embed"].on(tape)
        else:
            table = self.position_embedding.on(tape)
            table = table.narrow(0, 1, table.shape[0])
        table = table.view(1, self.position_edge, self.position_edge, -1).permute(0, 3, 1, 2)
        return to(table, "float32")

    def interpolate_pos_encoding(
        self, tape: Tape, rows: int, columns: int, numbers: tuple[ShapeTensor, ...] = ()
    ) -> ShapeTensor:
        """The positions of a page of so many patches [N, D]. `numbers`: where the code takes rows and columns from."""
        patch_pos_embed = self.trained(tape)
        for number in numbers:
            take_number(number)
        patch_pos_embed = upsample_bilinear(patch_pos_embed, rows, columns)
        width = patch_pos_embed.shape[1]
        return to(patch_pos_embed.permute(0, 2, 3, 1).view(rows * columns, width), self.dtype)

    def forward(
        self, pixel_values: ShapeTensor, grid_thw: ShapeTensor, pages: int, rows: int, columns: int
    ) -> ShapeTensor:
        """`grid_thw`: on the host, the numbers of each page's frames, rows and columns."""
        patches = pixel_values.shape[0]
        patch_embeds = self.patch_embedding(pixel_values.view(patches, *self.patch))
        embeddings = patch_embeds.view(patches, -1)
        if self.traits(EngineTraits).chains_fused:
            of_page = embeddings.view(pages, rows * columns, -1)
            return self.chain("add_positions", self.add_positions, of_page, rows, columns).view(1, patches, -1)
        table_kept = self.traits(HunYuanTraits).table_kept

        def page() -> ShapeTensor:
            if table_kept:
                return self.interpolate_pos_encoding(embeddings.tape, rows, columns)
            frames, *sides = grid_thw.select(0, 0).unbind(0)
            positions = self.interpolate_pos_encoding(embeddings.tape, rows, columns, tuple(sides))
            take_number(frames)
            return clone(positions, "aten.repeat.default")  # for each frame, of which there is one

        position_embeddings_list = [of_each(embeddings.tape, pages, page)]  # held to the end
        position_embeddings = cat(position_embeddings_list, 0)
        return add(embeddings, position_embeddings).unsqueeze(0)

    def add_positions(self, embeddings: ShapeTensor, rows: int, columns: int) -> ShapeTensor:
        """Patches [pages, N, D] of pages that are alike, and the positions of one."""
        return add(embeddings, self.interpolate_pos_encoding(embeddings.tape, rows, columns).unsqueeze(0))


class VisionAttention(BaseLayer):
    """Attention of patches [1, N, D] -> [1, N, D], each page within itself. pages: None within one page."""

    def __init__(self, hidden_size: int, num_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.num_heads = self.code.parallel.share("num_heads of vision", num_heads)
        width = hidden_size // num_heads * self.num_heads
        if self.traits(HunYuanTraits).qkv_fused:
            self.qkv = Linear(hidden_size, 3 * width, split=OUTPUTS, code=self.code)
        else:
            self.q_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.k_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
            self.v_proj = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.o_proj = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor, cu_seqlens: ShapeTensor, pages: int) -> ShapeTensor:
        """`cu_seqlens`: where the pages end."""
        if self.traits(HunYuanTraits).qkv_fused:
            return self.forward_qkv_fused(hidden_states, pages)
        query = self.q_proj(hidden_states)
        key = self.k_proj(hidden_states)
        value = self.v_proj(hidden_states)
        patches = hidden_states.shape[1]
        states = tuple(each.view(1, patches, self.num_heads, -1).transpose(1, 2) for each in (query, key, value))
        ends = cu_seqlens.shape[0]
        sub(cu_seqlens.narrow(0, 1, ends), cu_seqlens.narrow(0, 0, ends - 1))  # the lengths, on the host
        attend = eager_attention if self.attention == "eager" else fused_attention
        length = patches // pages

        def page() -> ShapeTensor:
            """One page: where it lies is of no consequence."""
            return attend(*(each.narrow(2, 0, length) for each in states))[0]

        attn_outputs = [of_each(hidden_states.tape, pages, page)]  # held to the end
        attn_output = cat(attn_outputs, 1)
        return self.o_proj(attn_output.view(1, patches, -1))  # type: ignore[no-any-return]

    def forward_qkv_fused(self, x: ShapeTensor, pages: int) -> ShapeTensor:
        """Queries, keys and values as views of one GEMM, and one kernel for all pages, which are alike."""
        patches = x.shape[1]
        qkv = self.qkv(x).view(pages, patches // pages, 3, self.num_heads, -1)
        query, key, value = (each.transpose(1, 2) for each in qkv.unbind(2))
        attend = strided_attention if self.traits(EngineTraits).at_its_best else attention_over_sequences
        attn_output, _ = attend(query, key, value)
        return self.o_proj(attn_output.view(1, patches, -1))  # type: ignore[no-any-return]


class VisionMLP(BaseLayer):
    """dense_4h_to_h(gelu(dense_h_to_4h(x))), x [1, N, D] -> [1, N, D]."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = self.code.parallel.share("intermediate_size of vision", intermediate_size)
        self.dense_h_to_4h = Linear(hidden_size, width, split=OUTPUTS, code=self.code)
        self.dense_4h_to_h = Linear(width, hidden_size, split=INPUTS, code=self.code)

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.dense_h_to_4h(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.dense_4h_to_h(hidden_states)  # type: ignore[no-any-return]


class VisionBlock(BaseLayer):
    """Pre-norm block over patches, x [1, N, D] -> [1, N, D]."""

    def __init__(self, hidden_size: int, intermediate_size: int, num_heads: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.input_layernorm = LayerNorm(hidden_size, code=self.code)
        self.self_attn = VisionAttention(hidden_size, num_heads, code=self.code)
        self.post_attention_layernorm = LayerNorm(hidden_size, code=self.code)
        self.mlp = VisionMLP(hidden_size, intermediate_size, code=self.code)

    def forward(
        self, hidden_states: ShapeTensor, cu_seqlens: ShapeTensor, pages: int, residual: ShapeTensor | None = None
    ) -> Any:
        """`residual`: the block before's, where it is handed on; then so is this one's, beside the MLP's output."""
        if self.traits(EngineTraits).add_norm_fused:
            return self.forward_add_norm(hidden_states, residual, cu_seqlens, pages)
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states = self.self_attn(hidden_states, cu_seqlens, pages)
        hidden_states = add(residual, hidden_states)
        residual = hidden_states
        hidden_states = self.post_attention_layernorm(hidden_states)
        hidden_states = self.mlp(hidden_states)
        return add(residual, hidden_states)

    def forward_add_norm(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None, cu_seqlens: ShapeTensor, pages: int
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """The same, each sum in the norm that comes after it, the last one in what comes after the block."""
        if residual is None:
            residual, hidden_states = hidden_states, self.input_layernorm(hidden_states)
        else:
            residual, hidden_states = self.input_layernorm(hidden_states, residual)
        hidden_states = self.self_attn(hidden_states, cu_seqlens, pages)
        residual, hidden_states = self.post_attention_layernorm(hidden_states, residual)
        return self.mlp(hidden_states), residual


class VisionPatchMerger(BaseLayer):
    """Patches of pages [pages, N, D] -> tokens [pages, n, out]: squares of patches, a newline a row, begin and end."""

    def __init__(
        self, hidden_size: int, out_hidden_size: int, spatial_merge_size: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        side, width = spatial_merge_size, 4 * hidden_size
        squares = Conv2d(hidden_size, 2 * hidden_size, side, stride=side, code=self.code)
        wider = Conv2d(2 * hidden_size, width, 1, code=self.code)
        self.proj = LayerList((squares, Gelu(code=self.code), wider), code=self.code)
        self.mlp = Linear(width, out_hidden_size, code=self.code)
        self.image_newline = self.parameter(width)
        self.image_begin = self.parameter(out_hidden_size)
        self.image_end = self.parameter(out_hidden_size)
        self.image_sep = self.parameter(out_hidden_size)  # nobody reads it
        self.before_rms = RMSNorm(hidden_size, code=self.code)
        self.after_rms = RMSNorm(out_hidden_size, code=self.code)

    def forward(
        self, hidden_states: ShapeTensor, rows: int, columns: int, residual: ShapeTensor | None = None
    ) -> ShapeTensor:
        """`residual`: the last block's, where it is handed on."""
        if residual is None:
            hidden_states = self.before_rms(hidden_states)
        else:
            hidden_states = self.before_rms(hidden_states, residual)[1]
        pages, _, width = hidden_states.shape
        hidden_states = hidden_states.view(pages, rows, columns, width).permute(0, 3, 1, 2)
        for layer in self.proj:
            hidden_states = layer(hidden_states)
        hidden_states = self.chain("newlines", self.with_newlines, hidden_states)
        hidden_states = self.mlp(hidden_states)
        if self.traits(EngineTraits).chains_fused:
            return self.chain("ends_and_norm", self.ended_and_normalized, hidden_states)
        hidden_states = self.with_ends(hidden_states)
        return self.after_rms(hidden_states)  # type: ignore[no-any-return]

    def with_newlines(self, x: ShapeTensor) -> ShapeTensor:
        """Squares [B, C, h, w] -> positions [B, h (w + 1), C], a newline behind each row; as one kernel, in order."""
        batch, channels, rows, _ = x.shape
        newline = self.image_newline.on(x.tape).view(1, channels, 1, 1).expand(batch, channels, rows, 1)
        x = cat((x, newline), -1)
        positions = x.view(batch, channels, -1).transpose(1, 2)
        return contiguous(positions) if self.traits(EngineTraits).chains_fused else positions

    def with_ends(self, x: ShapeTensor) -> ShapeTensor:
        """Tokens [B, n, D] between the one that begins a page and the one that ends it."""
        batch, _, width = x.shape
        begin, end = (
            each.on(x.tape).view(1, 1, -1).expand(batch, 1, width) for each in (self.image_begin, self.image_end)
        )
        return cat((begin, x, end), 1)

    def ended_and_normalized(self, x: ShapeTensor) -> ShapeTensor:
        """The same, and its norm, in one kernel."""
        return self.after_rms.normalize(self.with_ends(x))  # type: ignore[no-any-return]


class VisionTransformer(BaseLayer):
    """Patches of pages -> the last hidden states [1, N, D], and the tokens of all pages [1, n, out], or of each."""

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_channels: int,
        out_hidden_size: int,
        patch_size: int,
        spatial_merge_size: int,
        max_image_size: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if hidden_size % num_attention_heads:
            raise ModelMeterError(
                f"{type(self).__name__}: hidden_size={hidden_size} does not divide by "
                f"num_attention_heads={num_attention_heads} (remainder {hidden_size % num_attention_heads})."
            )
        self.merge_size = spatial_merge_size
        self.embeddings = VisionPatchEmbed(hidden_size, num_channels, patch_size, max_image_size, code=self.code)
        block = VisionBlock(hidden_size, intermediate_size, num_attention_heads, code=self.code)
        self.layers = LayerList([block] * num_hidden_layers, code=self.code)
        self.perceive = VisionPatchMerger(hidden_size, out_hidden_size, spatial_merge_size, code=self.code)

    def tensors(self, tape: Tape, grid: Grid) -> PageTensors:
        """What comes with pages of this grid."""
        channels, height, width = self.embeddings.patch
        patches = self.merge_size**2 * grid.tokens
        return PageTensors(
            tape.input((patches, channels * height * width), self.dtype),
            on_host(tape, (grid.pages, 3), "int64"),
            on_host(tape, (grid.pages + 1,), "int32"),
        )

    def forward(self, given: tuple[Any, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        page = PageTensors(*given)
        rows, columns = self.merge_size * grid.rows, self.merge_size * grid.columns
        hidden_states = self.embeddings(page.pixel_values, page.grid_thw, grid.pages, rows, columns)
        residual = None
        for layer in self.layers:
            if self.traits(EngineTraits).add_norm_fused:
                hidden_states, residual = layer(hidden_states, page.cu_seqlens, grid.pages, residual)
            elif self.traits(HunYuanTraits).pages_apart:
                hidden_states = self.by_page(layer, hidden_states, page.cu_seqlens, grid.pages)
            else:
                hidden_states = layer(hidden_states, page.cu_seqlens, grid.pages)
        return hidden_states, *self.merged(hidden_states, page.grid_thw, grid, residual)

    def by_page(self, layer: Any, hidden_states: ShapeTensor, cu_seqlens: ShapeTensor, pages: int) -> ShapeTensor:
        """A block over each page by itself, whose results are joined, also of one page alone."""
        one = hidden_states.narrow(1, 0, hidden_states.shape[1] // pages)
        return cat([of_each(hidden_states.tape, pages, lambda: layer(one, cu_seqlens, 1))], 1)

    def merged(
        self, hidden_states: ShapeTensor, grid_thw: ShapeTensor, grid: Grid, residual: ShapeTensor | None
    ) -> tuple[ShapeTensor, ...]:
        """The tokens of all pages, one behind another, or those of each."""
        rows, columns, pages = self.merge_size * grid.rows, self.merge_size * grid.columns, grid.pages
        _, patches, width = hidden_states.shape
        each = patches // pages
        if self.traits(HunYuanTraits).merged_together:
            assert residual is not None
            of_pages = (pages, each, width)
            tokens = self.perceive(hidden_states.view(*of_pages), rows, columns, residual.view(*of_pages))
            return (tokens.view(1, -1, tokens.shape[2]),)
        if self.traits(HunYuanTraits).pages_apart:
            items = (hidden_states.narrow(1, page * each, (page + 1) * each) for page in range(pages))
            return tuple(self.perceive(item, rows, columns) for item in items)
        product(grid_thw)  # patches of each page, on the host
        one = hidden_states.narrow(1, 0, each)
        processed_items = [of_each(hidden_states.tape, pages, lambda: self.perceive(one, rows, columns))]
        return (cat(processed_items, 1),)


class VisionStage(BaseLayer):
    """Pages' patches to the image tokens of each page, and the tower's last hidden states, held beside them."""

    def __init__(self, vit: VisionTransformer, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.vit = vit

    def forward(self, given: PageTensors, grid: Grid) -> tuple[ShapeTensor, ...]:
        """Each page's image tokens [n, D], then the last hidden states where they are held."""
        hidden_states, *features = self.vit.call_remembered("vit", given, grid)
        if self.traits(HunYuanTraits).pages_apart:
            return tuple(image_features.select(0, 0) for image_features in features)
        tokens = features[0].select(0, 0)
        pages = of_pages(tokens, grid.pages)
        if self.traits(FusionTraits).image_tokens_first:
            return pages
        # the tokens of each page, on the host: rows, columns and newlines, begin and end
        merged_h, merged_w = floor_divide(given.grid_thw.narrow(1, 1, 3)).unbind(1)
        add(mul(merged_h, add(merged_w)))
        return *pages, hidden_states
