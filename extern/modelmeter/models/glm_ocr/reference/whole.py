"""GLM-OCR's real modules beside a cost model: whole pages of any size."""

from __future__ import annotations

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.reference.packed_page import PackedPageWhole
from modelmeter.models.glm_ocr.cost_model import CostModel
from modelmeter.models.glm_ocr.reference.page import PageReference


class GlmOcrWhole(PackedPageWhole):
    """transformers' whole model of a cost model's configuration."""

    def __init__(self, cost_model: CostModel) -> None:
        super().__init__(cost_model, PageReference)

    def place(self, path: str, run: int, layout: MergedGrid) -> str:
        """Where it is in the library, whose decoder calls its activation by another name than the tower."""
        return super().place(path.removesuffix(".activation_fn"), run, layout)
