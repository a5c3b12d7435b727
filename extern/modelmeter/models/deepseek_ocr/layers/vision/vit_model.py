"""The CLIP tower of DeepSeek-OCR, `VitModel`: the tower at the published sizes. It takes the SAM map as its patches.

Source: the published config.
"""

from __future__ import annotations

from typing import Unpack

from modelmeter.layers import Settings
from modelmeter.models.common.deep_encoder import ClipEncoder
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS


class VitModel(ClipEncoder):
    """`ClipEncoder`, every architectural argument of which defaults to the published value."""

    executions = EXECUTIONS

    def __init__(
        self,
        *,
        batch_size: int = 1,
        img_size: int = 1024,
        patch_size: int = 16,
        hidden_size: int = 1024,
        num_layers: int = 24,
        num_attention_heads: int = 16,
        ffn_hidden_size: int = 4096,
        num_positions: int = 257,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            img_size=img_size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_attention_heads=num_attention_heads,
            ffn_hidden_size=ffn_hidden_size,
            num_positions=num_positions,
            **settings,
        )
