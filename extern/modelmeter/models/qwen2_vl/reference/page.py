"""A whole page through transformers' Qwen2-VL on the meta device: vision, prefill and decode steps, measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig

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
            modeling_qwen2_vl,
            "Qwen2VLForConditionalGeneration",
            lambda: Qwen2VLConfig(text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied_head),
            dtype,
            attention,
        )
