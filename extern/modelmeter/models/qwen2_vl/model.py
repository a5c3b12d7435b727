"""`Qwen2VLModel`: a tower over packed patches that all see each other, a merger, and Qwen2's decoder.

Source of the walks: `Qwen2VLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, LayerNorm, Linear
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.vision.clip import quick_gelu
from modelmeter.layers.vision.packed import PackedBlock, PackedTower, PatchEmbed, PatchMerger
from modelmeter.models.common.packed_pages import PackedPagesModel
from modelmeter.models.qwen2_vl.executions import EXECUTIONS
from modelmeter.shape_tensor import ShapeTensor


class QuickGelu(BaseLayer):
    """x * sigmoid(1.702 x), written out, or one kernel."""

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        """x [..., D] -> [..., D]."""
        return self.chain("quick_gelu", quick_gelu, x)


class VisionMlp(BaseLayer):
    """fc2(quick_gelu(fc1(x))), x [N, D] -> [N, D]."""

    def __init__(self, dim: int, hidden_dim: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        width = self.code.parallel.share("mlp_ratio x embed_dim of vision", hidden_dim)
        self.fc1 = Linear(dim, width, split=OUTPUTS, code=self.code)
        self.act = QuickGelu(code=self.code)
        self.fc2 = Linear(width, dim, split=INPUTS, code=self.code)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        """The real module's pass."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


def vision_tower(
    *,
    depth: int,
    embed_dim: int,
    hidden_size: int,
    mlp_ratio: int,
    num_heads: int,
    in_channels: int,
    patch_size: int,
    spatial_merge_size: int,
    temporal_patch_size: int,
    **settings: Unpack[Settings],
) -> PackedTower:
    """The tower by the names of the model's vision configuration. hidden_size: of what it gives the decoder."""
    merged = spatial_merge_size**2
    norm = partial(LayerNorm, embed_dim, **settings)
    mlp = VisionMlp(embed_dim, mlp_ratio * embed_dim, **settings)
    block = PackedBlock(embed_dim, num_heads, norm=norm, mlp=mlp, **settings)
    return PackedTower(
        merged=merged,
        window_side=0,
        patch_embed=PatchEmbed(
            embed_dim,
            in_channels=in_channels,
            temporal_patch_size=temporal_patch_size,
            patch_size=patch_size,
            **settings,
        ),
        head_dim=embed_dim // num_heads,
        blocks=[(block, False)] * depth,
        merger=PatchMerger(embed_dim, hidden_size, merged, norm=norm(), **settings),
        **settings,
    )


class Qwen2VLModel(PackedPagesModel):
    """Qwen2-VL. vision, decoder: architectural arguments of `vision_tower` and `Decoder`."""

    executions = EXECUTIONS

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
            visual=vision_tower(**vision, code=self.code.vision()),
            decoder=Decoder(**decoder, qkv_bias=True, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )
