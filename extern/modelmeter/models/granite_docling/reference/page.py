"""A whole page through transformers' Granite-Docling on the meta device: vision, prefill and decode steps, measured.

The model asks for the numbers of tiles, which no tensor has without data, and indexes by masks: it is told what they
are of pages of one size.

    reference = PageReference(text={"hidden_size": 1024, ...}, vision={"hidden_size": 768, ...})
    inputs = reference.inputs(pages=1, views=13, prompt_tokens=30)
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
from transformers.models.granite_docling import modeling_granite_docling
from transformers.models.granite_docling.configuration_granite_docling import GraniteDoclingConfig

from modelmeter.reference.answers import Answers
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.masked_index import entries_declared
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import PageInputs, WholePage


@contextmanager
def answered(pages: int, views: int, positions: int, image_tokens: int) -> Iterator[None]:
    """Run with so many real tiles in each of the pages, and so many image tokens among its positions."""
    entries: dict[tuple[int, ...], int] = {(pages, views): pages * views, (pages, positions): pages * image_tokens}
    with Answers([image_tokens] * pages), entries_declared(entries):
        yield


def build_model(attention: str, *, text: Mapping[str, Any], vision: Mapping[str, Any]) -> Any:
    """transformers' whole model, on the device and of the type of the day, its head tied or not.

    text, vision: values of these configurations, by the names that the library has for them. A small vocabulary has an
    image token of its own.
    """
    config: Any = GraniteDoclingConfig(
        text_config={
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            **text,
        },
        vision_config=dict(vision),
        tie_word_embeddings=text["tie_word_embeddings"],
        image_token_id=min(100337, text["vocab_size"] - 1),
    )
    build: Any = modeling_granite_docling.GraniteDoclingForConditionalGeneration._from_config
    model = build(config, attn_implementation=choice("attention", attention, ATTENTION))
    model.tie_weights()
    return model


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference. sizes: of `build_model`."""

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **sizes: Any) -> None:
        with on_meta(dtype):
            model = build_model(attention, **sizes)
        self.config = model.config
        text: Any = model.config.text_config
        text.head_dim = text.hidden_size // text.num_attention_heads
        super().__init__(model, text=text, dtype=choice("dtype", dtype, DTYPES), modeling=modeling_granite_docling)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The part whose parameters the vision stage needs."""
        return [self.model.model.vision_model]

    def inputs(self, *, pages: int = 1, views: int, route: str = "coarse", prompt_tokens: int = 30) -> PageInputs:
        """What the processor gives for pages of so many views each."""
        vision = self.config.vision_config
        side = vision.image_size
        images: dict[str, Any] = {
            "pixel_values": torch.empty(pages, views, vision.num_channels, side, side, dtype=self.dtype, device="meta"),
            "pixel_attention_mask": torch.empty(pages, views, dtype=torch.bool, device="meta"),
        }
        scale = vision.scale_factor
        if route == "fine":
            images["tile_fine_mask"] = torch.empty(pages, dtype=torch.bool, device="meta")
            scale //= 2
        return self.page_inputs(pages, views * (side // vision.patch_size // scale) ** 2, prompt_tokens, images)

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone."""
        with answered(*self.numbers(inputs)):
            return super().vision(inputs)

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        if not inputs.images:
            return super().prefill(inputs, experts_hit=experts_hit, head=head)
        with answered(*self.numbers(inputs)):
            return super().prefill(inputs, experts_hit=experts_hit, head=head)

    def numbers(self, inputs: PageInputs) -> tuple[int, int, int, int]:
        """What `answered` takes."""
        pages, views = inputs.images["pixel_values"].shape[:2]
        return pages, views, inputs.token_ids.shape[1], inputs.image_tokens

    def features_of_pages(self, image_hidden_states: Any, pages: int) -> Sequence[int]:
        """The model hands on the features of all pages as one tensor; the pages are alike."""
        return [image_hidden_states.shape[0] // pages] * pages
