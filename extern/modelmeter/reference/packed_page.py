"""Whole pages through a library's model of packed patches on the meta device: vision, prefill and steps, measured.

The model is called as `generate` calls it, with the library's own cache. What the library derives of a page's grid
before any tensor of the page is touched (positions, lengths of sequences, and what else a model says) is handed in, as
its `vision_utils` allow: lengths lie on the host, by whose numbers attention splits, the rest on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import vision_utils
from transformers.cache_utils import DynamicCache

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import PageInputs, WholePage


class PackedPageReference(WholePage):
    """A whole model of the library on the meta device, in inference.

    modeling: its module, and class_name: its class there. config: makes its configuration.
    """

    def __init__(
        self, modeling: ModuleType, class_name: str, config: Callable[[], Any], dtype: str, attention: str
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        with on_meta(dtype):
            self.config = config()
            model = getattr(modeling, class_name)._from_config(self.config, attn_implementation=implementation)
        super().__init__(model, text=self.config.text_config, dtype=choice("dtype", dtype, DTYPES), modeling=modeling)
        self.roots = {
            "visual": model.model.visual,
            "": model.model.language_model,
            "lm_head": model.lm_head,
        }

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The tower, its merger with it."""
        return [self.model.model.visual]

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
        return self.page_inputs(pages, rows * columns, prompt_tokens, images)

    def prefill(
        self, inputs: PageInputs, *, experts_hit: int | None = None, head: str = "last"
    ) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        cache = DynamicCache(config=self.text)
        return self._pass(inputs.token_ids, cache, experts_hit, head, **inputs.images), cache

    def decode_step(
        self, cache: DynamicCache, *, pages: int = 1, experts_hit: int | None = None, head: str = "last"
    ) -> Measurement:
        """One step over the cache, which grows by one position."""
        return self._pass(torch.empty(pages, 1, dtype=torch.long, device="meta"), cache, experts_hit, head)

    def _pass(
        self, token_ids: Tensor, cache: DynamicCache, experts_hit: int | None, head: str, **images: Any
    ) -> Measurement:
        # made before the pass, as `generate` makes them: three coordinates of each position
        positions = torch.empty(3, *token_ids.shape, dtype=torch.long, device="meta")
        arguments = {"input_ids": token_ids, "position_ids": positions, "past_key_values": cache, **images}
        return self._measure(lambda: self._forward(head, **arguments), cache, experts_hit)
