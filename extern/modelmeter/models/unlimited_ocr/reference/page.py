"""A whole page through transformers' Unlimited-OCR on the meta device: vision, prefill and decode steps, measured.

The model is called as `generate` calls it, with the library's own cache. How the library cuts a page is in `cutting`.

    reference = PageReference()
    inputs = reference.inputs(pages=1, grid=(3, 4), prompt_tokens=10)
    stage, cache = reference.prefill(inputs, experts_hit=64)
    stage = reference.decode_step(cache, experts_hit=6)
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig
from transformers.models.unlimited_ocr.processing_unlimited_ocr import UnlimitedOcrProcessor

from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.whole_page import PageInputs, WholePage


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference.

    text: values of the text configuration that differ from the library's defaults.
    """

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **text: Any) -> None:
        implementation = choice("attention", attention, ATTENTION)
        element_type = choice("dtype", dtype, DTYPES)
        accept_every_dtype()
        with on_meta(dtype):
            config: Any = UnlimitedOcrConfig(text_config=text)
            build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
            model = build(config, attn_implementation=implementation, experts_implementation="grouped_mm")
        super().__init__(model, text=config.text_config, dtype=element_type, modeling=modeling_unlimited_ocr)

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
            "pixel_values": self.pixels(pages, size),
            "num_local_patches": [tiles] * pages,
            "patches_grid": [list(grid)] * pages,
        }
        if tiles:
            images["pixel_values_local"] = self.pixels(pages * tiles, tile)
        return self.page_inputs(pages, placeholders, prompt_tokens, images)


def placeholder_tokens(size: int, tile: int, grid: tuple[int, int], tiles: int) -> int:
    """Placeholders that the library's processor puts into the prompt for one page, by its own method."""
    token = "<image>"
    processor: Any = SimpleNamespace(image_token=token, patch_size=16, downsample_ratio=4)
    page = {"patches_grid": [grid], "num_local_patches": [tiles]}
    sizes = {"size": {"height": size, "width": size}, "tile_size": tile}
    replace: Any = UnlimitedOcrProcessor.replace_image_token
    return len(replace(processor, page, 0, **sizes)) // len(token)
