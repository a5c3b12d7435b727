"""A whole page through transformers' Unlimited-OCR on the meta device: vision, prefill and decode steps, measured.

The model is called as `generate` calls it, with the library's own cache; which tensors that cache holds is stated
here, a name each. How the library cuts a page is in `cutting`.

    reference = PageReference()
    inputs = reference.inputs(pages=1, grid=(3, 4), prompt_tokens=10)
    stage, cache = reference.prefill(inputs, experts_hit=64)
    stage = reference.decode_step(cache, experts_hit=6)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig
from transformers.models.unlimited_ocr.processing_unlimited_ocr import UnlimitedOcrProcessor

from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.measurement import Measurement, measure

#: what a layer of the library's cache holds
CACHED = ("prefill_keys", "prefill_values", "keys", "values")


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T], and the image arguments, on meta."""

    token_ids: Tensor
    image_tokens: int
    images: Mapping[str, Any]


class PageReference:
    """transformers' whole model on the meta device, in inference.

    text: values of the text configuration that differ from the library's defaults.
    """

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **text: Any) -> None:
        implementation = choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        accept_every_dtype()
        with on_meta(dtype):
            config = UnlimitedOcrConfig(text_config=text)
            build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
            self.model = build(config, attn_implementation=implementation, experts_implementation="grouped_mm")
        self.model.eval()
        self.config: Any = config
        self.roots: dict[str, nn.Module] = {"": self.model.model, "lm_head": self.model.lm_head}

    @property
    def parameter_count(self) -> int:
        """Distinct parameters."""
        return sum(each.numel() for each in self.model.parameters())

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        model = self.model.model
        return [model.vision_tower, model.multi_modal_projector, model.image_newline, model.view_separator]

    def inputs(
        self,
        *,
        pages: int = 1,
        grid: tuple[int, int] = (1, 1),
        prompt_tokens: int = 10,
        size: int = 1024,
        tile: int = 640,
    ) -> PageInputs:
        """What the processor gives for pages cut into a grid (columns, rows) of tiles; none for (1, 1)."""
        tiles = grid[0] * grid[1] if grid != (1, 1) else 0
        placeholders = placeholder_tokens(size, tile, grid, tiles)
        images: dict[str, Any] = {
            "pixel_values": self._pixels(pages, size),
            "num_local_patches": [tiles] * pages,
            "patches_grid": [list(grid)] * pages,
        }
        if tiles:
            images["pixel_values_local"] = self._pixels(pages * tiles, tile)
        token_ids = torch.empty(pages, placeholders + prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=placeholders, images=images)

    def text_inputs(self, prompt_tokens: int, prompts: int = 1) -> PageInputs:
        """Prompts without an image."""
        token_ids = torch.empty(prompts, prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=0, images={})

    def _pixels(self, views: int, side: int) -> Tensor:
        return torch.empty(views, 3, side, side, dtype=self.dtype, device="meta")

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone, `get_image_features`: pixels -> the image tokens of each page."""
        made: list[int] = []

        def call() -> None:
            outputs = self.model.model.get_image_features(**inputs.images, return_dict=True)
            made.extend(features.shape[0] for features in outputs.pooler_output)

        measured = measure(self.roots, call, weights=self.vision_weights)
        self._check(inputs, made)
        return measured

    def prefill(self, inputs: PageInputs, *, experts_hit: int) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        cache = DynamicCache(config=self.config.text_config)
        made: list[int] = []

        def call() -> None:
            outputs = self._forward(inputs.token_ids, cache, **inputs.images)
            made.extend(features.shape[0] for features in outputs.image_hidden_states or ())

        measured = self._measure(call, cache, experts_hit)
        if inputs.images:
            self._check(inputs, made)
        return measured, cache

    def decode_step(self, cache: DynamicCache, *, pages: int = 1, experts_hit: int) -> Measurement:
        """One step over the cache, which grows by one position, or moves on by one."""
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        return self._measure(lambda: self._forward(token, cache), cache, experts_hit)

    def skip(self, cache: DynamicCache, steps: int, *, pages: int = 1) -> None:
        """Move a cache on by steps, by the library's own update, without running the layers."""
        text = self.config.text_config
        shape = (pages, text.num_key_value_heads, 1, text.head_dim)
        for _ in range(steps):
            for layer in range(text.num_hidden_layers):
                keys, values = (torch.empty(shape, dtype=self.dtype, device="meta") for _ in range(2))
                cache.update(keys, values, layer)

    def _forward(self, token_ids: Tensor, cache: DynamicCache, **images: Any) -> Any:
        return self.model(
            input_ids=token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1, return_dict=True, **images
        )

    def _check(self, inputs: PageInputs, made: list[int]) -> None:
        """In place of the model's own check, which reads a value: one image feature for every placeholder."""
        if made != [inputs.image_tokens] * inputs.token_ids.shape[0]:
            raise ModelMeterError(f"reference: the pages have {inputs.image_tokens} placeholders, and features {made}.")

    def _measure(self, call: Callable[[], object], cache: DynamicCache, experts_hit: int) -> Measurement:
        with patch.object(modeling_unlimited_ocr, "torch_compilable_check", lambda *_args, **_kwargs: None):
            return measure(self.roots, call, cached=lambda: cache_tensors(cache), experts_hit=experts_hit)


def cache_tensors(cache: DynamicCache) -> list[Tensor]:
    """The keys and values that the library's cache holds, layer by layer; none before its first update."""
    held = (getattr(layer, name, None) for layer in cache.layers for name in CACHED)
    return [each for each in held if each is not None]


def placeholder_tokens(size: int, tile: int, grid: tuple[int, int], tiles: int) -> int:
    """Placeholders that the library's processor puts into the prompt for one page, by its own method."""
    token = "<image>"
    processor: Any = SimpleNamespace(image_token=token, patch_size=16, downsample_ratio=4)
    page = {"patches_grid": [grid], "num_local_patches": [tiles]}
    sizes = {"size": {"height": size, "width": size}, "tile_size": tile}
    replace: Any = UnlimitedOcrProcessor.replace_image_token
    return len(replace(processor, page, 0, **sizes)) // len(token)
