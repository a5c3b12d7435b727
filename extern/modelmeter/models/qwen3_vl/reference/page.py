"""A whole page through transformers' Qwen3-VL on the meta device: vision, prefill and decode steps, measured.

reference = PageReference(text={...}, vision={...})
inputs = reference.inputs(pages=1, columns=5, rows=6, prompt_tokens=10)
stage, cache = reference.prefill(inputs)
stage = reference.decode_step(cache)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import vision_utils
from transformers.cache_utils import DynamicCache
from transformers.models.qwen3_vl import modeling_qwen3_vl
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig, Qwen3VLVisionConfig

from modelmeter.reference.masked_index import entries_declared
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.packed_page import PackedPageReference
from modelmeter.reference.whole_page import PageInputs


def interpolation(grid: Tensor, vision: Qwen3VLVisionConfig) -> tuple[Tensor, Tensor]:
    """Rows of the table of positions and their shares for the patches of grids [pages, 3], as the tower derives them.

    Their numbers are of no consequence, but their shapes are.
    """
    side = math.isqrt(vision.num_position_embeddings)
    return vision_utils.get_vision_interpolation_indices_and_weights(
        grid, side, align_corners=True, spatial_merge_size=vision.spatial_merge_size
    )


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
            modeling_qwen3_vl,
            "Qwen3VLForConditionalGeneration",
            lambda: Qwen3VLConfig(text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied_head),
            dtype,
            attention,
        )

    def derived(self, grid: Tensor) -> dict[str, Tensor]:
        """Positions and lengths, and rows of the table of positions with their shares."""
        indices, weights = interpolation(grid, self.config.vision_config)
        taps = {"image_interp_indices": indices.to("meta"), "image_interp_weights": weights.to("meta")}
        return super().derived(grid) | taps

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The same; its mask of image tokens indexes hidden states, and what it finds there is declared."""
        with entries_declared(inputs.image_tokens * inputs.token_ids.shape[0]):
            return super().prefill(inputs, experts_hit=experts_hit, head=head)
