"""A page through transformers' Qwen3-VL with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.reference.packed_page import reference_of
from modelmeter.models.common.reference.real_pages import check_real, real_page_like
from modelmeter.models.qwen3_vl.cost_model import CostModel
from modelmeter.models.qwen3_vl.reference.page import PageReference
from modelmeter.reference.real_page import RealPage


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_real(cost_model, device)
    reference = reference_of(cost_model, PageReference)
    columns, rows = page.layout
    inputs = reference.inputs(
        pages=cost_model.batch_size, columns=columns, rows=rows, prompt_tokens=cost_model.prompt_tokens
    )
    return real_page_like(reference, inputs, cost_model, page, device, kinds_told=True)
