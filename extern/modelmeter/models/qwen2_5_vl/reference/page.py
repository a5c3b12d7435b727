"""A whole page through transformers' Qwen2.5-VL on the meta device: vision, prefill and decode steps, measured.

The model is called as `generate` calls it, with the library's own cache. What the library derives of a page's grid
before any tensor of the page is touched (positions, the order of windows, lengths of sequences) is handed in, as its
`vision_utils` allow: lengths lie on the host, whose numbers the attention splits by, the rest on the device.

    reference = PageReference(text={...}, vision={...})
    inputs = reference.inputs(pages=1, columns=5, rows=6, prompt_tokens=10)
    stage, cache = reference.prefill(inputs)
    stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import vision_utils
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import ATTENTION, DTYPES, cache_tensors, choice, on_meta
from modelmeter.reference.measurement import Measurement, measure


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T], image tokens of a page, and the image arguments."""

    token_ids: Tensor
    image_tokens: int
    images: Mapping[str, Any]


class PageReference:
    """transformers' whole model on the meta device, in inference. text, vision: values of its configuration."""

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        tied_head: bool = False,
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        with on_meta(dtype):
            config = Qwen2_5_VLConfig(text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied_head)
            build: Any = modeling_qwen2_5_vl.Qwen2_5_VLForConditionalGeneration._from_config
            self.model = build(config, attn_implementation=implementation)
        self.model.eval()
        self.config: Any = config
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

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 10) -> PageInputs:
        """What the processor gives for pages of a merged grid (columns, rows)."""
        vision = self.config.vision_config
        merge = vision.spatial_merge_size
        grid = torch.tensor([[1, merge * rows, merge * columns]] * pages)
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        patches = pages * merge**2 * rows * columns
        window_index, cu_window_seqlens = vision_utils.get_vision_window_index(
            grid, merge, vision.window_size, vision.patch_size
        )
        images = {
            "pixel_values": torch.empty(patches, values, dtype=self.dtype, device="meta"),
            "image_grid_thw": grid,
            "image_position_ids": vision_utils.get_vision_position_ids(grid, merge).to("meta"),
            "image_cu_seqlens": vision_utils.get_vision_cu_seqlens(grid),
            "image_window_index": window_index.to("meta"),
            "image_cu_window_seqlens": cu_window_seqlens,
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

        with patch.object(modeling_qwen2_5_vl, "torch_compilable_check", lambda *_args, **_kwargs: None):
            return measure(self.roots, call, cached=lambda: cache_tensors(cache))
