"""A page through transformers' Unlimited-OCR with real tensors and random weights: the passes that are timed."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.unlimited_ocr.cost_model import CostModel
from modelmeter.models.unlimited_ocr.reference.whole import check_vision
from modelmeter.reference.building import ATTENTION, DTYPES, built_on
from modelmeter.reference.real_page import RealPage
from modelmeter.reference.timing import check_device


def real_page(cost_model: CostModel, page: PageCost, device: str) -> RealPage:
    """The whole model that the configuration describes, on a device that computes, and the page's inputs."""
    check_device(device)
    config, runtime, workload = cost_model.config, cost_model.config.runtime, cost_model.workload
    if config.execution.name != "transformers":
        raise ModelMeterError(
            f"validate: execution={config.execution.name} has no code here that computes; validate "
            "execution=transformers."
        )
    check_vision(cost_model)
    text = vars(config.decoder)
    image_token = min(UnlimitedOcrConfig().image_token_id, text["vocab_size"] - 1)  # a small vocabulary has its own
    torch.manual_seed(0)
    with built_on(device, runtime.dtype):
        whole: Any = UnlimitedOcrConfig(text_config=text, image_token_id=image_token)
        build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
        model = build(whole, attn_implementation=ATTENTION[runtime.attention], experts_implementation="grouped_mm")
    tiles, *grid = page.layout
    row = [image_token] * page.tokens.total + [1] * cost_model.prompt_tokens

    def pixels(views: int, side: int) -> torch.Tensor:
        return torch.randn(views, 3, side, side, device=device).to(DTYPES[runtime.dtype])

    pages = cost_model.batch_size
    images: dict[str, Any] = {
        "pixel_values": pixels(pages, workload.size),
        "num_local_patches": [tiles] * pages,
        "patches_grid": [grid] * pages,
    }
    if tiles:
        images["pixel_values_local"] = pixels(pages * tiles, workload.tile_size)
    return RealPage(
        model.eval(),
        text=whole.text_config,
        modeling=modeling_unlimited_ocr,
        device=device,
        token_ids=torch.tensor([row] * pages, device=device),
        images=images,
        head=cost_model.head,
    )
