"""A whole page through transformers' Idefics3 on the meta device: vision, prefill and decode steps, measured.

The model asks its pixels three things that have no answer without data, and is told what they are of pages of one size:
which tiles are not padding (all), how many each page has, and whether each patch is real (all are).

    reference = PageReference(text={"hidden_size": 576, ...}, vision={"hidden_size": 768, ...}, scale_factor=4)
    inputs = reference.inputs(pages=1, views=17, side=512, prompt_tokens=30)
    stage, cache = reference.prefill(inputs)
    stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.models.idefics3 import modeling_idefics3
from transformers.models.idefics3.configuration_idefics3 import Idefics3Config

from modelmeter.reference.answers import Answers
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.masked_index import entries_declared
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import PageInputs, WholePage


@contextmanager
def answered(pages: int, views: int) -> Iterator[None]:
    """Run with `views` real tiles in each of the pages."""
    with Answers([views] * pages), entries_declared(pages * views):
        yield


def build_model(attention: str, *, text: Mapping[str, Any], vision: Mapping[str, Any], scale_factor: int) -> Any:
    """transformers' whole model, on the device and of the type of the day, its head tied or not.

    text, vision: values of these configurations, by the names that the library has for them. A small vocabulary has an
    image token of its own.
    """
    config: Any = Idefics3Config(
        text_config={"model_type": "llama", "pad_token_id": None, **text},
        vision_config=dict(vision),
        scale_factor=scale_factor,
        tie_word_embeddings=text["tie_word_embeddings"],
        image_token_id=min(100270, text["vocab_size"] - 1),
    )
    build: Any = modeling_idefics3.Idefics3ForConditionalGeneration._from_config
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
        super().__init__(model, text=text, dtype=element_type, modeling=modeling_idefics3)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        return [self.model.model.vision_model, self.model.model.connector]

    def inputs(self, *, pages: int = 1, views: int, side: int = 512, prompt_tokens: int = 30) -> PageInputs:
        """What the processor gives for pages of so many views each."""
        vision = self.config.vision_config
        pixels = torch.empty(pages, views, vision.num_channels, side, side, dtype=self.dtype, device="meta")
        mask = torch.empty(pages, views, side, side, dtype=torch.long, device="meta")
        tokens = (side // vision.patch_size // self.config.scale_factor) ** 2
        return self.page_inputs(
            pages, views * tokens, prompt_tokens, {"pixel_values": pixels, "pixel_attention_mask": mask}
        )

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone."""
        with answered(*inputs.images["pixel_values"].shape[:2]):
            return super().vision(inputs)

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        if not inputs.images:
            return super().prefill(inputs, experts_hit=experts_hit, head=head)
        with answered(*inputs.images["pixel_values"].shape[:2]):
            return super().prefill(inputs, experts_hit=experts_hit, head=head)

    def features_of_pages(self, image_hidden_states: Any, pages: int) -> Sequence[int]:
        """The model hands on the features of all pages as one tensor; the pages are alike."""
        return [image_hidden_states.shape[0] // pages] * pages
