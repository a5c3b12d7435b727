"""From a cost model's page to what the reference measures."""

from __future__ import annotations

from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.reference.page import PageGeometry, PageReference


def page_reference(cost_model: CostModel) -> PageReference:
    """The whole model that the cost model's configuration describes, on the meta device."""
    runtime = cost_model.config.runtime
    return PageReference(runtime.dtype, runtime.attention, **vars(cost_model.config.decoder))


def page_geometry(cost_model: CostModel, page: PageCost) -> PageGeometry:
    """The page as the reference takes it."""
    vision = page.vision_config
    return PageGeometry(
        pages=cost_model.config.runtime.batch_size,
        global_side=vision.global_branch.img_size,
        crop_side=0 if vision.crop_branch is None else vision.crop_branch.img_size,
        columns=page.layout.w_crop,
        rows=page.layout.h_crop,
        prompt_tokens=cost_model.prompt_tokens,
    )
