"""A whole page through transformers' LightOnOCR on the meta device: vision, prefill and decode steps, measured.

The sizes of pages are numbers on the host, as the model itself has them where no sizes are given.

    reference = PageReference(text={"hidden_size": 1024, ...}, vision={"hidden_size": 1024, ...})
    inputs = reference.inputs(columns=85, rows=110, prompt_tokens=10)
    stage, cache = reference.prefill(inputs)
    stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.lighton_ocr import modeling_lighton_ocr
from transformers.models.lighton_ocr.configuration_lighton_ocr import LightOnOcrConfig

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.whole_page import PageInputs, WholePage

#: what the library's classes of the parts would take otherwise
TEXT: Mapping[str, Any] = {"model_type": "qwen3", "tie_word_embeddings": True}
VISION: Mapping[str, Any] = {"model_type": "pixtral", "patch_size": 14, "hidden_act": "silu"}


def build_model(
    attention: str, *, text: Mapping[str, Any], vision: Mapping[str, Any], spatial_merge_size: int = 2
) -> Any:
    """transformers' whole model, on the device and of the type of the day, its head tied or not.

    text, vision: values of these configurations, by the names that the library has for them. A small vocabulary has an
    image token of its own.
    """
    of_text = {**TEXT, **text}
    config: Any = LightOnOcrConfig(
        text_config=of_text,
        vision_config={**VISION, **vision},
        tie_word_embeddings=of_text["tie_word_embeddings"],
        spatial_merge_size=spatial_merge_size,
        image_token_id=min(LightOnOcrConfig.image_token_id, of_text["vocab_size"] - 1),
    )
    build: Any = modeling_lighton_ocr.LightOnOcrForConditionalGeneration._from_config
    model = build(config, attn_implementation=choice("attention", attention, ATTENTION))
    model.tie_weights()
    return model


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference. sizes: of `build_model`."""

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **sizes: Any) -> None:
        with on_meta(dtype):
            model = build_model(attention, **sizes)
        self.config = model.config
        text, element_type = model.config.text_config, choice("dtype", dtype, DTYPES)
        super().__init__(model, text=text, dtype=element_type, modeling=modeling_lighton_ocr)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        return [self.model.model.vision_encoder, self.model.model.vision_projection]

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 10) -> PageInputs:
        """What the processor gives for pages of so many patches."""
        side, merge = self.config.vision_config.patch_size, self.config.spatial_merge_size
        height, width = rows * side, columns * side
        channels = self.config.vision_config.num_channels
        images = {
            "pixel_values": torch.empty(pages, channels, height, width, dtype=self.dtype, device="meta"),
            "image_sizes": [(height, width)] * pages,
        }
        return self.page_inputs(pages, (rows // merge) * (columns // merge), prompt_tokens, images)

    def features_of_pages(self, image_hidden_states: Any, pages: int) -> Sequence[int]:
        """The model hands on the features of all pages as one tensor; the pages are alike."""
        return [image_hidden_states.shape[0] // pages] * pages
