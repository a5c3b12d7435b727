"""Unlimited-OCR's real modules beside a cost model: whole pages, and steps on both sides of the window."""

from __future__ import annotations

from typing import Any

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.patches_grid import PatchesGrid
from modelmeter.models.common.reference.deep_encoder_names import (
    TORCHINFO_COUNTS_TWICE,
    TORCHINFO_LEAVES_OUT,
    place,
    published_in_whole,
    published_path,
)
from modelmeter.models.unlimited_ocr.config import VisionSchema
from modelmeter.models.unlimited_ocr.cost_model import CostModel
from modelmeter.models.unlimited_ocr.reference.page import PageReference
from modelmeter.reference.comparison import check_measured
from modelmeter.reference.whole_page import Whole


class UnlimitedOcrWhole(Whole):
    """transformers' whole model of a cost model's configuration."""

    torchinfo_counts_twice = TORCHINFO_COUNTS_TWICE
    torchinfo_leaves_out = TORCHINFO_LEAVES_OUT

    def __init__(self, cost_model: CostModel) -> None:
        check_vision(cost_model)
        config = cost_model.config
        check_measured(config.execution.name, ("transformers",))
        super().__init__(
            cost_model, PageReference(config.runtime.dtype, config.runtime.attention, **vars(config.decoder))
        )

    def published_paths(self, path: str) -> tuple[str, ...]:
        """By the checkpoint's names."""
        return published_in_whole(path)

    def inputs(self, layout: PatchesGrid) -> Any:
        """What the processor makes of such pages."""
        workload = self.cost_model.workload
        return self.page.inputs(
            pages=self.cost_model.batch_size,
            grid=(layout.num_columns, layout.num_rows),
            prompt_tokens=self.cost_model.prompt_tokens,
            size=workload.size,
            tile=workload.tile_size,
        )

    def place(self, path: str, run: int, layout: PatchesGrid) -> str:
        """By the published name, the projector's layer being all of it; the tiles run after the global view."""
        branches = ("global", "local") if layout.num_local_patches else ("global",)
        return place(published_path(path).replace("projector.layers", "projector"), run, branches)


def check_vision(cost_model: CostModel) -> None:
    """Refuse a vision tower that is not the library's, which is all that the reference modules are."""
    if cost_model.config.vision != VisionSchema():
        raise ModelMeterError(
            "verify: the configuration changes vision.*; the reference measures the library's default architecture "
            "only, so leave vision.* as it is."
        )
