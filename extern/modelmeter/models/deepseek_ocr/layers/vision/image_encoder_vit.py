"""The SAM encoder of DeepSeek-OCR, `ImageEncoderViT`: the encoder at the published sizes.

Source: FACTS of the published config.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from modelmeter.layers import Settings
from modelmeter.models.common.deep_encoder import DOWNSAMPLE_RATIO, SamEncoder
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS

__all__ = ["DOWNSAMPLE_RATIO", "ImageEncoderViT"]


class ImageEncoderViT(SamEncoder):
    """`SamEncoder`, every architectural argument of which defaults to the published value."""

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
        super().__init__(
            batch_size=batch_size,
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_dim=mlp_dim,
            out_chans=out_chans,
            qkv_bias=qkv_bias,
            window_size=window_size,
            global_attn_indexes=global_attn_indexes,
            downsample_channels=downsample_channels,
            pretrain_img_size=pretrain_img_size,
            **settings,
        )
