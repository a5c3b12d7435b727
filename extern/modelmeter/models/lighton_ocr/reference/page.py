"""A whole page through transformers' LightOnOCR on the meta device: vision, prefill and decode steps, measured.

The model is called as `generate` calls it, with the library's own cache. The sizes of pages are numbers on the host, as
the model's own fallback has them.

    reference = PageReference()
    inputs = reference.inputs(columns=85, rows=110, prompt_tokens=10)
    stage, cache = reference.prefill(inputs)
    stage = reference.decode_step(cache)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.models.lighton_ocr import modeling_lighton_ocr
from transformers.models.lighton_ocr.configuration_lighton_ocr import LightOnOcrConfig

from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import ATTENTION, DTYPES, cache_tensors, choice, on_meta
from modelmeter.reference.measurement import Measurement, measure

#: what the library's defaults of the text model leave out
TEXT: Mapping[str, Any] = {"model_type": "qwen3", "tie_word_embeddings": True}
VISION: Mapping[str, Any] = {"model_type": "pixtral", "patch_size": 14, "hidden_act": "silu"}


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T] on meta, and the image arguments."""

    token_ids: Tensor
    image_tokens: int
    images: Mapping[str, Any]


class PageReference:
    """transformers' whole model on the meta device, in inference.

    text, vision: values of these configurations, by the names that the library has for them.
    """

    def __init__(
        self,
        dtype: str = "bfloat16",
        attention: str = "flash",
        *,
        text: Mapping[str, Any],
        vision: Mapping[str, Any],
        spatial_merge_size: int = 2,
    ) -> None:
        implementation = choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        with on_meta(dtype):
            config: Any = LightOnOcrConfig(
                text_config={**TEXT, **text},
                vision_config={**VISION, **vision},
                tie_word_embeddings={**TEXT, **text}["tie_word_embeddings"],
                spatial_merge_size=spatial_merge_size,
            )
            build: Any = modeling_lighton_ocr.LightOnOcrForConditionalGeneration._from_config
            self.model = build(config, attn_implementation=implementation)
        self.model.tie_weights()
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
        return [self.model.model.vision_encoder, self.model.model.vision_projection]

    def inputs(self, *, pages: int = 1, columns: int, rows: int, prompt_tokens: int = 10) -> PageInputs:
        """What the processor gives for pages of so many patches."""
        side, merge = self.config.vision_config.patch_size, self.config.spatial_merge_size
        height, width = rows * side, columns * side
        placeholders = (rows // merge) * (columns // merge)
        images = {
            "pixel_values": torch.empty(pages, 3, height, width, dtype=self.dtype, device="meta"),
            "image_sizes": [(height, width)] * pages,
        }
        token_ids = torch.empty(pages, placeholders + prompt_tokens, dtype=torch.long, device="meta")
        return PageInputs(token_ids=token_ids, image_tokens=placeholders, images=images)

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

        measured = measure(self.roots, call, weights=self.vision_weights)
        self._check(inputs, made)
        return measured

    def prefill(self, inputs: PageInputs) -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its images included, and the cache that it filled."""
        cache = DynamicCache(config=self.config.text_config)
        made: list[int] = []

        def call() -> None:
            outputs = self._forward(inputs.token_ids, cache, **inputs.images)
            if outputs.image_hidden_states is not None:
                made.append(outputs.image_hidden_states.shape[0])

        measured = self._measure(call, cache)
        if inputs.images:
            self._check(inputs, [each // inputs.token_ids.shape[0] for each in made] * inputs.token_ids.shape[0])
        return measured, cache

    def decode_step(self, cache: DynamicCache, *, pages: int = 1) -> Measurement:
        """One step over the cache, which grows by one position."""
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        return self._measure(lambda: self._forward(token, cache), cache)

    def _forward(self, token_ids: Tensor, cache: DynamicCache, **images: Any) -> Any:
        return self.model(
            input_ids=token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1, return_dict=True, **images
        )

    def _check(self, inputs: PageInputs, made: list[int]) -> None:
        """In place of the model's own check, which reads a value: one image feature for every placeholder."""
        if made != [inputs.image_tokens] * inputs.token_ids.shape[0]:
            raise ModelMeterError(f"reference: the pages have {inputs.image_tokens} placeholders, and features {made}.")

    def _measure(self, call: Callable[[], object], cache: DynamicCache) -> Measurement:
        with patch.object(modeling_lighton_ocr, "torch_compilable_check", lambda *_args, **_kwargs: None):
            return measure(self.roots, call, cached=lambda: cache_tensors(cache))
