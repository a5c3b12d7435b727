"""Whole pages through a library's model of packed patches on the meta device: vision, prefill and steps, measured.

The model is called as `generate` calls it, with the library's own cache. What the library derives of a page's grid
before any tensor of the page is touched (positions, lengths of sequences, and what else a model says) is handed in, as
its `vision_utils` allow: lengths lie on the host, by whose numbers attention splits, the rest on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import vision_utils
from transformers.cache_utils import DynamicCache

from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import ATTENTION, DTYPES, cache_tensors, choice, on_meta
from modelmeter.reference.measurement import Measurement, measure


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T], image tokens of a page, and the image arguments."""

    token_ids: Tensor
    image_tokens: int
    images: Mapping[str, Any]


class PackedPageReference:
    """A whole model of the library on the meta device, in inference.

    modeling: its module, and class_name: its class there. config: makes its configuration.
    """

    def __init__(
        self, modeling: ModuleType, class_name: str, config: Callable[[], Any], dtype: str, attention: str
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        self.modeling = modeling
        with on_meta(dtype):
            self.config = config()
            self.model = getattr(modeling, class_name)._from_config(self.config, attn_implementation=implementation)
        self.model.eval()
        model = self.model.model
        self.roots: dict[str, nn.Module] = {
            "visual": model.visual,
            "": model.language_model,
            "lm_head": self.model.lm_head,
        }

    @property
    def parameter_count(self) -> int:
        """Distinct parameters."""
        return sum(each.numel() for each in self.model.parameters())

    def derived(self, grid: Tensor) -> dict[str, Tensor]:
        """What the library derives of the grids [pages, 3] of patches, by the names that the model takes it by."""
        return {
            "image_position_ids": vision_utils.get_vision_position_ids(grid, self.merge_size).to("meta"),
            "image_cu_seqlens": vision_utils.get_vision_cu_seqlens(grid),
        }

    @property
    def merge_size(self) -> int:
        """Patches a side that become one token."""
        return int(self.config.vision_config.spatial_merge_size)

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 10) -> PageInputs:
        """What the processor gives for pages of a grid (columns, rows) of tokens."""
        vision, merge = self.config.vision_config, self.merge_size
        grid = torch.tensor([[1, merge * rows, merge * columns]] * pages)
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        patches = pages * merge**2 * rows * columns
        images = {
            "pixel_values": torch.empty(patches, values, dtype=self.dtype, device="meta"),
            "image_grid_thw": grid,
            **self.derived(grid),
        }
        token_ids = torch.empty(pages, rows * columns + prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=rows * columns, images=images)

    def text_inputs(self, prompt_tokens: int, prompts: int = 1) -> PageInputs:
        """Prompts without an image."""
        token_ids = torch.empty(prompts, prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=0, images={})

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone, `get_image_features`: pixels -> the image tokens of each page."""
        made: list[int] = []

        def call() -> None:
            outputs = self.model.model.get_image_features(**inputs.images, return_dict=True)
            made.extend(features.shape[0] for features in outputs.pooler_output)

        measured = measure(self.roots, call, weights=[self.model.model.visual])
        if made != [inputs.image_tokens] * inputs.token_ids.shape[0]:
            raise ModelMeterError(f"reference: the pages have {inputs.image_tokens} placeholders, and features {made}.")
        return measured

    def prefill(self, inputs: PageInputs) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        cache = DynamicCache(config=self.config.text_config)
        return self._measure(inputs.token_ids, cache, **inputs.images), cache

    def decode_step(self, cache: DynamicCache, *, pages: int = 1) -> Measurement:
        """One step over the cache, which grows by one position."""
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        return self._measure(token, cache)

    def _measure(self, token_ids: Tensor, cache: DynamicCache, **images: Any) -> Measurement:
        # made before the pass, as `generate` makes them: three coordinates of each position
        positions = torch.empty(3, *token_ids.shape, dtype=torch.long, device="meta")

        def call() -> None:
            self.model(
                input_ids=token_ids,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                return_dict=True,
                **images,
            )

        with patch.object(self.modeling, "torch_compilable_check", lambda *_args, **_kwargs: None):
            return measure(self.roots, call, cached=lambda: cache_tensors(cache))
