"""A page through transformers' Granite-Docling with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from dataclasses import replace

import torch

from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.reference.real_pages import check_real, real_page_like
from modelmeter.models.granite_docling.cost_model import CostModel
from modelmeter.models.granite_docling.reference.whole import GraniteDoclingWhole
from modelmeter.reference.real_page import RealPage


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_real(cost_model, device)
    whole = GraniteDoclingWhole(cost_model)
    inputs = whole.inputs(page.layout)
    mask = torch.ones_like(inputs.images["pixel_attention_mask"], device=device)  # all of a page is real
    inputs = replace(inputs, images={**inputs.images, "pixel_attention_mask": mask})
    return real_page_like(whole.page, inputs, cost_model, page, device)
