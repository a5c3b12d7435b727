"""A whole page through transformers' PaddleOCR-VL on the meta device: vision, prefill and decode steps, measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import vision_utils
from transformers.models.paddleocr_vl import modeling_paddleocr_vl
from transformers.models.paddleocr_vl.configuration_paddleocr_vl import PaddleOCRVLConfig

from modelmeter.reference.packed_page import PackedPageReference
from modelmeter.reference.whole_page import PageInputs


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
            modeling_paddleocr_vl,
            "PaddleOCRVLForConditionalGeneration",
            lambda: PaddleOCRVLConfig(
                text_config={**text, "tie_word_embeddings": tied_head},
                vision_config=dict(vision),
                tie_word_embeddings=tied_head,
            ),
            dtype,
            attention,
        )
        self.roots = {"projector": self.model.model.projector, **self.roots}

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The tower, and the projector."""
        return [*super().vision_weights, self.model.model.projector]

    def derived(self, grid: Tensor) -> dict[str, Tensor]:
        """What the library derives of the grids, patches row by row, and where the positions of each come from."""
        side = self.model.model.visual.vision_model.embeddings.num_grid_per_side
        indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(grid, side)
        return {
            "image_position_ids": vision_utils.get_vision_position_ids(grid, 1).to("meta"),
            "image_cu_seqlens": vision_utils.get_vision_cu_seqlens(grid),
            "image_interp_indices": indices.to("meta"),
            "image_interp_weights": weights.to("meta"),
        }

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 10) -> PageInputs:
        """What the processor gives for pages of a grid (columns, rows) of tokens."""
        vision, merge = self.config.vision_config, self.merge_size
        grid = torch.tensor([[1, merge * rows, merge * columns]] * pages)
        shape = (pages * merge**2 * rows * columns, vision.num_channels, vision.patch_size, vision.patch_size)
        images = {
            "pixel_values": torch.empty(shape, dtype=self.dtype, device="meta"),
            "image_grid_thw": grid,
            **self.derived(grid),
        }
        return self.page_inputs(pages, rows * columns, prompt_tokens, images)
