"""PaddleOCR-VL's real modules beside a cost model: whole pages of any size."""

from __future__ import annotations

from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.reference.packed_page import PackedPageWhole
from modelmeter.models.paddleocr_vl.cost_model import CostModel
from modelmeter.models.paddleocr_vl.reference.page import PageReference


class PaddleOCRVLWhole(PackedPageWhole):
    """transformers' whole model of a cost model's configuration."""

    def __init__(self, cost_model: CostModel) -> None:
        super().__init__(cost_model, PageReference)

    def place(self, path: str, run: int, layout: MergedGrid) -> str:
        """Where it is in the library, whose tower is a module within a module."""
        return super().place(path.replace("visual.vision_model", "visual", 1), run, layout)
