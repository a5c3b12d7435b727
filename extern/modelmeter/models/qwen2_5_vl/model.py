"""`Qwen2_5VLModel`: a windowed tower over packed patches, a merger, and Qwen2.5's decoder.

Source of the walks: `Qwen2_5_VLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Unpack

from modelmeter.layers import RMSNorm
from modelmeter.layers.code import Code, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.mlp import GatedMLP
from modelmeter.layers.vision.packed import PackedBlock, PackedTower, PackedTraits, PatchEmbed, PatchMerger
from modelmeter.models.common.packed_pages import PackedPagesModel
from modelmeter.models.qwen2_5_vl.executions import EXECUTIONS
from modelmeter.units import ceil_div


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
    window_size: int,
    out_hidden_size: int,
    fullatt_block_indexes: list[int],
    **settings: Unpack[Settings],
) -> PackedTower:
    """The tower by the names of the model's vision configuration. window_size: pixels a side."""
    merged = spatial_merge_size**2
    aligned = Code.resolve("vision_tower", EXECUTIONS, settings).execution.traits(PackedTraits).mlp_aligned
    inner_size = ceil_div(intermediate_size, aligned) * aligned
    norm = partial(RMSNorm, hidden_size, **settings)

    def block() -> PackedBlock:
        mlp = GatedMLP(hidden_size, inner_size, bias=True, **settings)
        return PackedBlock(hidden_size, num_heads, norm=norm, mlp=mlp, **settings)

    within, over = block(), block()
    return PackedTower(
        merged=merged,
        window_side=window_size // spatial_merge_size // patch_size,
        patch_embed=PatchEmbed(
            hidden_size,
            in_channels=in_channels,
            temporal_patch_size=temporal_patch_size,
            patch_size=patch_size,
            **settings,
        ),
        head_dim=hidden_size // num_heads,
        blocks=[(over, False) if index in fullatt_block_indexes else (within, True) for index in range(depth)],
        merger=PatchMerger(hidden_size, out_hidden_size, merged, norm=norm(), **settings),
        **settings,
    )


class Qwen2_5VLModel(PackedPagesModel):
    """Qwen2.5-VL. vision, decoder: architectural arguments of `vision_tower` and `Decoder`."""

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
