"""A whole page through transformers' GLM-OCR on the meta device: vision, prefill and decode steps, measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.glm_ocr import modeling_glm_ocr
from transformers.models.glm_ocr.configuration_glm_ocr import GlmOcrConfig

from modelmeter.reference.packed_page import PackedPageReference


class PageReference(PackedPageReference):
    """transformers' whole model. text, vision: values of its configuration."""

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        tied_head: bool = False,
    ) -> None:
        super().__init__(
            modeling_glm_ocr,
            "GlmOcrForConditionalGeneration",
            lambda: GlmOcrConfig(text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied_head),
            dtype,
            attention,
        )
