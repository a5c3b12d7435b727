"""Qwen3-VL's real modules beside a cost model: whole pages of any size."""

from __future__ import annotations

from modelmeter.models.common.reference.packed_page import PackedPageWhole
from modelmeter.models.qwen3_vl.cost_model import CostModel
from modelmeter.models.qwen3_vl.reference.page import PageReference


class Qwen3VLWhole(PackedPageWhole):
    """transformers' whole model of a cost model's configuration."""

    def __init__(self, cost_model: CostModel) -> None:
        super().__init__(cost_model, PageReference)
