"""A whole page through transformers' whole model with real tensors and random weights: the passes that are timed.

page = RealPage("cpu", "bfloat16", "flash", PageGeometry(global_side=512))
page.vision(); page.prefill(); page.decode_step()
"""

from typing import Any

import torch
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.reference.modules import text_config
from modelmeter.models.deepseek_ocr.reference.page import PageGeometry, placeholder_tokens, token_row
from modelmeter.models.deepseek_ocr.reference.whole import check_vision, page_geometry
from modelmeter.reference import real_page as common
from modelmeter.reference.building import ATTENTION, DTYPES, built_on, choice
from modelmeter.reference.timing import check_device


class RealPage(common.RealPage):
    """The model and one page's inputs on a device. architecture: as of `PageReference`."""

    def __init__(
        self,
        device: str,
        dtype: str,
        attention: str,
        geometry: PageGeometry,
        *,
        head: str = "last",
        **architecture: int,
    ) -> None:
        check_device(device)
        text: Any = text_config(**architecture)
        image_token = min(UnlimitedOcrConfig().image_token_id, text.vocab_size - 1)  # a small vocabulary has its own
        config = UnlimitedOcrConfig(text_config=text, image_token_id=image_token)
        torch.manual_seed(0)
        with built_on(device, dtype):
            build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
            model = build(
                config,
                attn_implementation=choice("attention", attention, ATTENTION),
                experts_implementation="grouped_mm",
            )
        grid = [geometry.columns, geometry.rows] if geometry.crops else [1, 1]
        placeholders = placeholder_tokens(geometry.global_side, geometry.crop_side, grid, geometry.crops)
        row = token_row(placeholders, geometry.prompt_tokens, image_token)

        def pixels(views: int, side: int) -> torch.Tensor:
            return torch.randn(views, 3, side, side, device=device).to(DTYPES[dtype])

        images: dict[str, Any] = {
            "pixel_values": pixels(geometry.pages, geometry.global_side),
            "num_local_patches": [geometry.crops] * geometry.pages,
            "patches_grid": [grid] * geometry.pages,
        }
        if geometry.crops:
            images["pixel_values_local"] = pixels(geometry.pages * geometry.crops, geometry.crop_side)
        super().__init__(
            model.eval(),
            text=text,
            modeling=modeling_unlimited_ocr,
            device=device,
            token_ids=torch.tensor([row] * geometry.pages, device=device),
            images=images,
            head=head,
        )


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
