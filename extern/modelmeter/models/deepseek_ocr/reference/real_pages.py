"""From a cost model's page to the real model with random weights that is timed."""

from __future__ import annotations

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.reference.real_page import RealPage
from modelmeter.models.deepseek_ocr.reference.whole import check_vision, page_geometry


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    config = cost_model.config
    if config.execution.name != "transformers":
        raise ModelMeterError(
            f"validate: execution={config.execution.name} has no code here that computes; validate "
            "execution=transformers."
        )
    check_vision(cost_model)
    return RealPage(
        device,
        config.runtime.dtype,
        config.runtime.attention,
        page_geometry(cost_model, page.layout),
        head=cost_model.head,
        **vars(config.decoder),
    )
