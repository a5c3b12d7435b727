"""A whole page through transformers' HunyuanOCR on the meta device: vision, prefill and decode steps, measured.

The grids of pages and where these end are numbers on the host, by which the model splits; positions are given, as
`generate` gives them.

    reference = PageReference(text={"hidden_size": 1024, ...}, vision={"hidden_size": 1152, ...})
    inputs = reference.inputs(columns=40, rows=52, prompt_tokens=40)
    stage, cache = reference.prefill(inputs)
    stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import vision_utils
from transformers.cache_utils import DynamicCache
from transformers.models.hunyuan_vl import modeling_hunyuan_vl
from transformers.models.hunyuan_vl.configuration_hunyuan_vl import HunYuanVLConfig

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import PageInputs, WholePage


@contextmanager
def run_on_meta(image_cu_seqlens: Tensor | None = None) -> Iterator[list[int]]:
    """Let the whole model run, without its check of values and given where pages end -> the features that it made.

    Its `get_placeholder_mask` copies the embeddings under the mask to count them, and how many these are is in the
    values alone, which the meta device has not; its `forward` does not hand on what `get_image_features` would take of
    where pages end.
    """
    features: list[int] = []

    def placeholder_mask(model: Any, input_ids: Tensor, inputs_embeds: Tensor, image_features: Tensor) -> Tensor:
        features.append(image_features.shape[0])
        special_image_mask = input_ids == model.config.image_token_id
        _n_image_tokens = special_image_mask.sum()
        return special_image_mask.unsqueeze(-1).expand_as(inputs_embeds).to(inputs_embeds.device)

    with (
        patch.object(modeling_hunyuan_vl.HunYuanVLModel, "get_placeholder_mask", placeholder_mask),
        patch.object(modeling_hunyuan_vl, "get_vision_attention_seqlens", lambda *_, **__: (image_cu_seqlens, None)),
    ):
        yield features


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference. text, vision: values of its configurations."""

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        tied_head: bool = True,
    ) -> None:
        with on_meta(dtype):
            self.config = HunYuanVLConfig(
                text_config={**text, "tie_word_embeddings": tied_head},
                vision_config=dict(vision),
                tie_word_embeddings=tied_head,
                image_token_id=min(HunYuanVLConfig.image_token_id, text["vocab_size"] - 1),
            )
            build: Any = modeling_hunyuan_vl.HunYuanVLForConditionalGeneration._from_config
            model = build(self.config, attn_implementation=choice("attention", attention, ATTENTION))
        super().__init__(
            model, text=self.config.text_config, dtype=choice("dtype", dtype, DTYPES), modeling=modeling_hunyuan_vl
        )
        self.axes = len(self.text.rope_parameters["mrope_section"])
        self.roots = {"vit": model.model.vision_tower, "": model.model.language_model, "lm_head": model.lm_head}

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The tower, its merger with it."""
        return [self.model.model.vision_tower]

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 40) -> PageInputs:
        """What the processor gives for pages of a grid (columns, rows) of tokens."""
        vision: Any = self.config.vision_config
        merge = vision.spatial_merge_size
        grid = torch.tensor([[1, merge * rows, merge * columns]] * pages)
        patches, values = pages * merge**2 * rows * columns, vision.num_channels * vision.patch_size**2
        images = {
            "pixel_values": torch.empty(patches, values, dtype=self.dtype, device="meta"),
            "image_grid_thw": grid,
            "image_cu_seqlens": vision_utils.get_vision_cu_seqlens(grid),
        }
        return self.page_inputs(pages, rows * (columns + 1) + 2, prompt_tokens, images)

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        cache = DynamicCache(config=self.text)
        images = dict(inputs.images)
        with run_on_meta(images.pop("image_cu_seqlens", None)) as features:
            measured = self._pass(inputs.token_ids, cache, experts_hit, head, **images)
        pages = inputs.token_ids.shape[0]
        for made in features:  # by each instrument
            self.check_features(inputs, [made // pages] * pages)
        return measured, cache

    def decode_step(
        self, cache: DynamicCache, *, pages: int = 1, experts_hit: int | None = None, head: str = "last"
    ) -> Measurement:
        """One step over the cache, which grows by one position."""
        return self._pass(torch.empty(pages, 1, dtype=torch.long, device="meta"), cache, experts_hit, head)

    def _pass(
        self, token_ids: Tensor, cache: DynamicCache, experts_hit: int | None, head: str, **images: Any
    ) -> Measurement:
        # made before the pass, as `generate` makes them: the coordinates of each position
        positions = torch.empty(self.axes, *token_ids.shape, dtype=torch.long, device="meta")
        arguments = {"input_ids": token_ids, "position_ids": positions, "past_key_values": cache, **images}
        return self._measure(lambda: self._forward(head, **arguments), cache, experts_hit)
