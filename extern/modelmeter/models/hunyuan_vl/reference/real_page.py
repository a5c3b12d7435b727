"""A page through transformers' HunyuanOCR with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.reference.real_pages import check_real, real_page_like
from modelmeter.models.hunyuan_vl.cost_model import CostModel
from modelmeter.models.hunyuan_vl.reference.whole import inputs_of, reference_of
from modelmeter.reference.real_page import RealPage


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_real(cost_model, device)
    reference = reference_of(cost_model)
    inputs = inputs_of(reference, cost_model, page.layout)
    return real_page_like(reference, inputs, cost_model, page, device, kinds_told=True)
