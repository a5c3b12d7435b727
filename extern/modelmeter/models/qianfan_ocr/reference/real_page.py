"""A page through transformers' Qianfan-OCR with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.reference.real_pages import check_real, real_page_like
from modelmeter.models.qianfan_ocr.cost_model import CostModel
from modelmeter.models.qianfan_ocr.reference.whole import QianfanOcrWhole
from modelmeter.reference.real_page import RealPage


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_real(cost_model, device)
    whole = QianfanOcrWhole(cost_model)
    return real_page_like(whole.page, whole.inputs(page.layout), cost_model, page, device)
