"""`GlmOcrModel`: a tower over packed patches, tokens made of them by a convolution and an MLP, and a decoder
of four norms a layer.

Source of the walks: `GlmOcrForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

from modelmeter.layers import Conv2d, LayerNorm, Linear, RMSNorm
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.decoder.multi_token import MultiTokenLayer
from modelmeter.layers.parallel import OUTPUTS, ParallelTraits
from modelmeter.layers.vision.packed import Gelu, PackedBlock, PackedTower, PackedTraits, PatchEmbed
from modelmeter.models.common.packed_pages import PackedPagesModel
from modelmeter.models.glm_ocr.executions import EXECUTIONS
from modelmeter.operators import all_gather, contiguous, linear
from modelmeter.shape_tensor import ShapeTensor


class Downsample(Conv2d):
    """Patches [N, D] -> [n, out]: those of a token, next to each other, by a convolution as large as a token.

    Where patches are embedded by a GEMM, this is one too, over rows that are copied into the order of its weight.
    """

    def __init__(self, hidden_size: int, out_hidden_size: int, side: int, **settings: Unpack[Settings]) -> None:
        super().__init__(hidden_size, out_hidden_size, side, stride=side, **settings)
        if self.traits(PackedTraits).patches_by_product:
            self.weight = self.parameter(out_hidden_size, hidden_size * side * side)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        """The tower's own lines around the real module."""
        side = self.stride
        x = x.view(-1, side, side, x.shape[-1]).permute(0, 3, 1, 2)
        if self.traits(PackedTraits).patches_by_product:
            return linear(contiguous(x).view(x.shape[0], -1), self.weight, self.bias)
        return super().forward(x).view(-1, self.weight.shape[0])


class PatchMerger(GatedMLP):
    """Tokens [n, out] -> [n, out]: a projection, a norm and GELU, then the gated MLP."""

    def __init__(self, dim: int, context_dim: int, **settings: Unpack[Settings]) -> None:
        super().__init__(dim, context_dim, **settings)
        #: every device has a part of its outputs, which are gathered; otherwise all of it
        self.gathered = self.code.parallel.ranks > 1 and self.traits(ParallelTraits).projection == "gathered"
        outputs = self.code.parallel.share("width of the merger", dim) if self.gathered else dim
        self.proj = Linear(dim, outputs, bias=False, split=OUTPUTS, code=self.code)
        self.post_projection_norm = LayerNorm(dim, code=self.code)
        self.act1 = Gelu(code=self.code)

    def forward(self, x: ShapeTensor, *_no_residual: Any) -> ShapeTensor:
        """The real module's pass."""
        projected = self.proj(x)
        if self.gathered:
            projected = all_gather(projected, self.code.parallel.ranks)
        projected = self.act1(self.post_projection_norm(projected))
        return super().forward(projected)


def vision_tower(
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
    **settings: Unpack[Settings],
) -> PackedTower:
    """CogViT, by the names of the model's vision configuration. out_hidden_size: of what it gives the decoder."""
    norm = partial(RMSNorm, hidden_size, **settings)
    mlp = GatedMLP(hidden_size, intermediate_size, bias=True, **settings)
    block = PackedBlock(hidden_size, num_heads, norm=norm, mlp=mlp, qk_norm=True, **settings)
    downsample = Downsample(hidden_size, out_hidden_size, spatial_merge_size, **settings)
    return PackedTower(
        merged=spatial_merge_size**2,
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
        # the inner width is the library's rule: as many times the outer one as a picture has channels
        merger=PatchMerger(out_hidden_size, out_hidden_size * in_channels, **settings),
        after={"post_layernorm": norm(), "downsample": downsample},
        **settings,
    )


class GlmOcrModel(PackedPagesModel):
    """GLM-OCR. vision, decoder: architectural arguments of `vision_tower` and `Decoder`."""

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
            decoder=Decoder(
                **decoder,
                in_pairs=True,
                output_norms=True,
                gate_up_joined=True,
                window_mask=False,
                code=self.code,
            ),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def multi_token_layer(self) -> MultiTokenLayer:
        """The checkpoint's layer behind the decoder's, of the same kind as those."""
        block = self.decoder.layers.layers[-1]
        assert isinstance(block, DecoderLayer)
        return MultiTokenLayer(self.decoder.norm.weight.shape[0], block, code=self.code)
