"""A whole page through transformers' Qianfan-OCR on the meta device: vision, prefill and decode steps, measured.

reference = PageReference(text={"hidden_size": 2560, ...}, vision={"hidden_size": 1024, ...})
inputs = reference.inputs(pages=1, views=13, prompt_tokens=30)
stage, cache = reference.prefill(inputs)
stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers.models.qianfan_ocr import modeling_qianfan_ocr
from transformers.models.qianfan_ocr.configuration_qianfan_ocr import QianfanOCRConfig

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.whole_page import PageInputs, WholePage


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference, its head tied or not.

    text, vision: values of these configurations, by the names that the library has for them. downsample_ratio: the
    share of a side that pixel shuffle leaves.
    """

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        downsample_ratio: float = 0.5,
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        element_type = choice("dtype", dtype, DTYPES)
        with on_meta(dtype):
            config: Any = QianfanOCRConfig(
                text_config={"model_type": "qwen3", **text},
                vision_config=dict(vision),
                downsample_ratio=downsample_ratio,
                tie_word_embeddings=text["tie_word_embeddings"],
            )
            build: Any = modeling_qianfan_ocr.QianfanOCRForConditionalGeneration._from_config
            model = build(config, attn_implementation=implementation)
            model.tie_weights()
        super().__init__(model, text=config.text_config, dtype=element_type, modeling=modeling_qianfan_ocr)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        return [self.model.model.vision_tower, self.model.model.multi_modal_projector]

    def inputs(self, *, pages: int = 1, views: int, prompt_tokens: int = 30) -> PageInputs:
        """What the processor gives for pages of so many views each."""
        config = self.model.config
        side, patch = (each[0] for each in (config.vision_config.image_size, config.vision_config.patch_size))
        tokens = int((side // patch) ** 2 * config.downsample_ratio**2)
        return self.page_inputs(
            pages, views * tokens, prompt_tokens, {"pixel_values": self.pixels(pages * views, side)}
        )

    def check_features(self, inputs: PageInputs, made: Sequence[int]) -> None:
        """The model gives the features of each view by themselves: those of a page's views are its own."""
        pages = inputs.token_ids.shape[0]
        views = len(made) // pages
        super().check_features(inputs, [sum(made[page * views : (page + 1) * views]) for page in range(pages)])
