"""A page through transformers' DeepSeek-OCR-2 with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.reference.real_pages import check_real, real_page_like
from modelmeter.models.deepseek_ocr2.cost_model import CostModel
from modelmeter.models.deepseek_ocr2.reference.whole import DeepseekOcr2Whole
from modelmeter.reference.real_page import RealPage


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_real(cost_model, device)
    whole = DeepseekOcr2Whole(cost_model)
    inputs = whole.inputs(page.layout)
    return real_page_like(whole.page, inputs, cost_model, page, device, experts_implementation="grouped_mm")
