"""A whole page through transformers' Qwen2.5-VL on the meta device: vision, prefill and decode steps, measured.

reference = PageReference(text={...}, vision={...})
inputs = reference.inputs(pages=1, columns=5, rows=6, prompt_tokens=10)
stage, cache = reference.prefill(inputs)
stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import vision_utils
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from modelmeter.reference.packed_page import PackedPageReference


class PageReference(PackedPageReference):
    """transformers' whole model. text, vision: values of its configuration."""

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        tied_head: bool = False,
    ) -> None:
        super().__init__(
            modeling_qwen2_5_vl,
            "Qwen2_5_VLForConditionalGeneration",
            lambda: Qwen2_5_VLConfig(text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied_head),
            dtype,
            attention,
        )

    def derived(self, grid: Tensor) -> dict[str, Tensor]:
        """Positions and lengths, and the order and the lengths of windows."""
        vision = self.config.vision_config
        window_index, cu_window_seqlens = vision_utils.get_vision_window_index(
            grid, self.merge_size, vision.window_size, vision.patch_size
        )
        windows = {"image_window_index": window_index.to("meta"), "image_cu_window_seqlens": cu_window_seqlens}
        return super().derived(grid) | windows
