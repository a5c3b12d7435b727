"""A whole page through transformers' DeepSeek-OCR-2 on the meta device: vision, prefill and decode steps, measured.

reference = PageReference(text={"hidden_size": 1280, ...}, sam={...}, encoder={...})
inputs = reference.inputs(pages=1, tiles=6, prompt_tokens=10)
stage, cache = reference.prefill(inputs, experts_hit=64)
stage = reference.decode_step(cache, experts_hit=6)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import nn
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2
from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2Config
from transformers.models.deepseek_ocr2.processing_deepseek_ocr2 import DeepseekOcr2Processor

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.whole_page import PageInputs, WholePage


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference.

    text, sam, encoder: values of these configurations, by the names that the library has for them.
    """

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        sam: Mapping[str, Any],
        encoder: Mapping[str, Any],
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        element_type = choice("dtype", dtype, DTYPES)
        accept_every_dtype()
        with on_meta(dtype):
            config: Any = DeepseekOcr2Config(
                text_config=dict(text), vision_config={"sam_config": dict(sam), "encoder_config": dict(encoder)}
            )
            build: Any = modeling_deepseek_ocr2.DeepseekOcr2ForConditionalGeneration._from_config
            model = build(config, attn_implementation=implementation, experts_implementation="grouped_mm")
        super().__init__(model, text=config.text_config, dtype=element_type, modeling=modeling_deepseek_ocr2)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        model = self.model.model
        return [model.vision_tower, model.multi_modal_projector, model.view_separator]

    def inputs(
        self, *, pages: int = 1, tiles: int = 0, prompt_tokens: int = 10, size: int = 1024, tile: int = 768
    ) -> PageInputs:
        """What the processor gives for pages of so many tiles each."""
        images: dict[str, Any] = {"pixel_values": self.pixels(pages, size), "num_local_patches": [tiles] * pages}
        if tiles:
            images["pixel_values_local"] = self.pixels(pages * tiles, tile)
        return self.page_inputs(pages, placeholder_tokens(size, tile, tiles), prompt_tokens, images)


def placeholder_tokens(size: int, tile: int, tiles: int) -> int:
    """Placeholders that the library's processor puts into the prompt for one page, by its own method."""
    token = "<image>"
    processor: Any = SimpleNamespace(image_token=token, patch_size=16, downsample_ratio=4)
    sizes = {"size": {"height": size, "width": size}, "tile_size": tile}
    replace: Any = DeepseekOcr2Processor.replace_image_token
    return len(replace(processor, {"num_local_patches": [tiles]}, 0, **sizes)) // len(token)
