"""`Qwen3VLModel`: a tower over packed patches with a table of positions, DeepStack mergers, and Qwen3's decoder.

Source of the walks: `Qwen3VLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Embedding, LayerList, LayerNorm, Linear
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.layers.vision.packed import Grid, PackedBlock, PackedTower, PageTensors, PatchEmbed, Sequences
from modelmeter.models.common.packed_pages import PackedPagesModel, PackedTextStage, of_pages
from modelmeter.models.qwen3_vl.executions import EXECUTIONS
from modelmeter.operators import add, cat, gelu, mul, to, total
from modelmeter.shape_tensor import ShapeTensor, Tape

#: rows of the table of positions that make the position of a patch: its neighbours along both sides
TAPS = 4


class VisionMLP(BaseLayer):
    """linear_fc2(gelu(linear_fc1(x))), x [..., D] -> [..., D]."""

    def __init__(self, hidden_size: int, intermediate_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.linear_fc1 = Linear(hidden_size, intermediate_size, code=self.code)
        self.linear_fc2 = Linear(intermediate_size, hidden_size, code=self.code)

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
        self.linear_fc1 = Linear(self.width, self.width, code=self.code)
        self.linear_fc2 = Linear(self.width, out_hidden_size, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        """The real module's pass."""
        x = self.norm(x.view(-1, self.width) if self.use_postshuffle_norm else x).view(-1, self.width)
        return self.linear_fc2(self.chain("gelu", gelu, self.linear_fc1(x)))  # type: ignore[no-any-return]


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

    def forward(self, given: tuple[Any, ...], grid: Grid) -> tuple[ShapeTensor, ...]:
        """The real module's pass."""
        page = PageTensors(*given)
        assert page.interp_indices is not None and page.interp_weights is not None
        hidden_states = self.patch_embed(page.pixel_values)
        taps = mul(self.pos_embed(page.interp_indices), page.interp_weights.unsqueeze(2), "float32")
        pos_embeds = total(taps, 1)
        del taps
        hidden_states = add(hidden_states, to(pos_embeds, hidden_states.dtype))
        tables = self.rotary_pos_emb(page.position_ids)
        whole = (page.cu_seqlens, tables, Sequences(grid, self.merged, 0))
        mergers = iter(self.deepstack_merger_list)
        features = []
        for index, block in enumerate(self.blocks):
            hidden_states = block(hidden_states, *whole)
            if index in self.deepstack_visual_indexes:
                features.append(next(mergers)(hidden_states))
        return hidden_states, self.merger(hidden_states), *features


class Qwen3VLTextStage(PackedTextStage):
    """The stages with text; features of the tower's blocks are added in the decoder's first layers."""

    def deepstack(self, outputs: tuple[ShapeTensor, ...], mask: ShapeTensor, pages: int) -> Deepstack:
        """The features behind the last hidden states, page by page and joined again."""
        return Deepstack(mask.select(2, 0), tuple(cat(of_pages(each, pages), 0) for each in outputs[1:]))


class Qwen3VLModel(PackedPagesModel):
    """Qwen3-VL. vision, decoder: architectural arguments of `VisionTower` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = Qwen3VLTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        decoder: Mapping[str, Any],
        vocab_size: int,
        tied_head: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.assemble_pages(
            visual=VisionTower(**vision, code=self.code.vision()),
            decoder=Decoder(
                **decoder,
                qk_norm=True,
                window_mask=False,
                mrope_interleaved=True,
                layer_outputs_kept=True,
                code=self.code,
            ),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )
