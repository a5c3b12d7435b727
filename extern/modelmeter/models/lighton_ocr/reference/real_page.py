"""A page through transformers' LightOnOCR with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.lighton_ocr import modeling_lighton_ocr

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.lighton_ocr.cost_model import CostModel
from modelmeter.models.lighton_ocr.reference.page import build_model
from modelmeter.models.lighton_ocr.reference.whole import sizes_of
from modelmeter.reference.building import DTYPES, built_on
from modelmeter.reference.real_page import RealPage
from modelmeter.reference.timing import check_device


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_device(device)
    config, runtime = cost_model.config, cost_model.config.runtime
    if config.execution.name != "transformers":
        raise ModelMeterError(
            f"validate: execution={config.execution.name} has no code here that computes; validate "
            "execution=transformers."
        )
    torch.manual_seed(0)
    with built_on(device, runtime.dtype):
        model = build_model(runtime.attention, **sizes_of(cost_model))
    image_token = model.config.image_token_id
    row = [image_token] * page.tokens.total + [1] * cost_model.prompt_tokens
    (view,) = page.views
    pages, channels = cost_model.batch_size, config.vision.num_channels
    pixels = torch.randn(pages, channels, view.height, view.width, device=device).to(DTYPES[runtime.dtype])
    images: dict[str, Any] = {"pixel_values": pixels, "image_sizes": [(view.height, view.width)] * pages}
    return RealPage(
        model.eval(),
        text=model.config.text_config,
        modeling=modeling_lighton_ocr,
        device=device,
        token_ids=torch.tensor([row] * pages, device=device),
        images=images,
        head=cost_model.head,
    )
