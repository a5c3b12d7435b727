"""The SAM encoder of DeepSeek-OCR, `ImageEncoderViT`, on shapes.

Source of the walk: `UnlimitedOcrSamVisionEncoder` of transformers 5.23; where the published code, or an engine at its
best, runs the same network differently, a trait of the execution says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from modelmeter.checks import check_batch_size
from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, Conv2d, LayerList, Settings, run_blocks
from modelmeter.layers.vision.sam import Block, GridSize, Neck, PatchEmbed, SamTraits, resize
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.operators import add, clone
from modelmeter.shape_tensor import ShapeTensor, Tape

#: patches a side that become one token: the strides of net_2 and net_3
DOWNSAMPLE_RATIO = 4


class ImageEncoderViT(BaseLayer):
    """SAM encoder: pixels [B, 3, H, W] -> map [B, 1024, H/64, W/64] (the strided convolutions round up).

    batch_size: views. img_size: side of a view in pixels, or (height, width); a multiple of `patch_size`.
    pretrain_img_size: the side that the position tables were trained for.
    Source: FACTS of the published config. Counted: everything. Left out: a kernel's own scratch memory.
    """

    executions = EXECUTIONS

    def __init__(
        self,
        *,
        batch_size: int = 1,
        img_size: int | Sequence[int] = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        out_chans: int = 256,
        qkv_bias: bool = True,
        window_size: int = 14,
        global_attn_indexes: Sequence[int] = (2, 5, 8, 11),
        downsample_channels: Sequence[int] = (512, 1024),
        pretrain_img_size: int = 1024,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        check_view_side("ImageEncoderViT", height, patch_size)
        check_view_side("ImageEncoderViT", width, patch_size)
        check_batch_size("ImageEncoderViT", batch_size)
        if embed_dim % num_heads:
            raise ModelMeterError(f"ImageEncoderViT: embed_dim={embed_dim} does not divide by num_heads={num_heads}.")
        grid = (pretrain_img_size // patch_size, pretrain_img_size // patch_size)
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size, code=self.code)
        self.pos_embed = self.parameter(1, *grid, embed_dim)
        windowed, over_all = (
            Block(embed_dim, num_heads, mlp_dim, qkv_bias=qkv_bias, window=window, grid=grid, code=self.code)
            for window in (window_size, 0)
        )
        over_all.mlp.remember_with(windowed.mlp)
        self.blocks = LayerList(
            [over_all if index in global_attn_indexes else windowed for index in range(depth)], code=self.code
        )
        self.neck = Neck(embed_dim, out_chans, code=self.code)
        middle, last = downsample_channels
        self.net_2 = Conv2d(out_chans, middle, 3, stride=2, padding=1, bias=False, code=self.code)
        self.net_3 = Conv2d(middle, last, 3, stride=2, padding=1, bias=False, code=self.code)
        self.bind((batch_size, in_chans, height, width))

    def interpolate_pos_encoding(self, grid: GridSize, tape: Tape) -> ShapeTensor:
        """The position table for a grid; resized in float32 where it was trained for another one."""
        pos_embed = self.pos_embed.on(tape)
        if pos_embed.shape[1:3] == grid:
            return pos_embed
        pos_embed = pos_embed.permute(0, 3, 1, 2)
        resized = resize(pos_embed, grid, self.dtype, table_kept=self.traits(SamTraits).resized_table_kept)
        return resized.permute(0, 2, 3, 1)

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        # [B, 3, H, W] -> [B, h, w, D]; who runs the blocks holds each's input no longer than it needs it
        hidden_states = run_blocks(
            self.blocks, self.chain("add_positions", self.add_positions, self.patch_embed(pixel_values))
        )
        if self.traits(SamTraits).map_cloned:  # the blocks' result is kept by name
            return self.downsample(self.neck(hidden_states))
        hidden_states = self.neck(hidden_states)  # -> [B, 256, h, w]
        return self.downsample(hidden_states)

    def add_positions(self, hidden_states: ShapeTensor) -> ShapeTensor:
        """Patches [B, h, w, D] and the positions of their grid."""
        _, height, width, _ = hidden_states.shape
        return add(hidden_states, self.interpolate_pos_encoding((height, width), hidden_states.tape))

    def downsample(self, neck_output: ShapeTensor) -> ShapeTensor:
        """Two strided convolutions, [B, 256, h, w] -> [B, 1024, h/4, w/4]."""
        conv2_output = self.net_2(neck_output)
        if self.traits(SamTraits).map_cloned:
            return self.net_3(clone(conv2_output))  # type: ignore[no-any-return]
        return self.net_3(conv2_output)  # type: ignore[no-any-return]


def check_view_side(who: str, side: object, patch_size: int) -> None:
    """Raise `ModelMeterError` unless a view's side is a positive multiple of the patch size."""
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise ModelMeterError(f"{who}: img_size={side!r} is not a number of pixels; give a positive whole number.")
    if side % patch_size:
        below = side // patch_size * patch_size
        nearest = [str(size) for size in (below, below + patch_size) if size]
        raise ModelMeterError(
            f"{who}: img_size={side} is no multiple of patch_size={patch_size}; the nearest sizes that work are "
            f"{' and '.join(nearest)}."
        )
