"""transformers' whole model on the meta device: the parts of `modules`, with embedding, head and separators, as one.

A page goes through it as `generate` would send it: token ids with a placeholder for every image token, the global
view, the crops and their grid; then single tokens over the KV cache that the page left.

    whole = WholeReference()
    cache = whole.empty_cache()
    with values_unchecked():
        whole.model(**whole.page_inputs(903, 10, 1024, 640, (2, 3)), past_key_values=cache)
        whole.model(**whole.step_inputs(), past_key_values=cache)

Left out: the one check that the model makes of values, which meta tensors do not have (`values_unchecked`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicCache
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import (
    UnlimitedOcrConfig,
    UnlimitedOcrTextConfig,
    UnlimitedOcrVisionConfig,
)

from modelmeter.reference.modules import ARCHITECTURE, ATTENTION, DTYPES, on_meta

DTYPE = "bfloat16"


@contextmanager
def values_unchecked() -> Iterator[None]:
    """Run without `torch_compilable_check`, which reads a value and so fails on the meta device.

    The model asks it whether the placeholders are as many as the image's features: whoever turns it off compares the
    features' shape with the number of placeholders that `page_inputs` was asked for.
    """
    module: Any = modeling_unlimited_ocr
    check = module.torch_compilable_check
    module.torch_compilable_check = lambda *_args, **_kwargs: None
    try:
        yield
    finally:
        module.torch_compilable_check = check


class WholeReference:
    """The published architecture in bfloat16, in inference, with full attention in every decoder layer."""

    def __init__(self) -> None:
        sizes: dict[str, Any] = dict(ARCHITECTURE)
        self.text: Any = UnlimitedOcrTextConfig(layer_types=["full_attention"] * sizes["num_hidden_layers"], **sizes)
        self.vision: Any = UnlimitedOcrVisionConfig()
        self.config = UnlimitedOcrConfig(text_config=self.text, vision_config=self.vision)
        build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
        with on_meta(DTYPE):
            self.model: nn.Module = build(
                self.config, attn_implementation=ATTENTION["flash"], experts_implementation="grouped_mm"
            )
        self.model.eval()

    def empty_cache(self) -> DynamicCache:
        """A KV cache that a page's pass fills."""
        return DynamicCache(config=self.text)

    def page_inputs(
        self, image_tokens: int, prompt_tokens: int, global_side: int, crop_side: int, grid: tuple[int, int]
    ) -> dict[str, Any]:
        """What one page sends: ids [1, S], the global view [1, 3, s, s], the crops [w h, 3, c, c], and how they lie.

        grid: columns and rows of the crops. A begin token leads, the image follows, the rest of the prompt ends it.
        """
        begin, other = self.text.bos_token_id, self.text.eos_token_id
        ids = [begin] + [self.config.image_token_id] * image_tokens + [other] * (prompt_tokens - 1)
        columns, rows = grid
        return {
            "input_ids": torch.tensor([ids]).to("meta"),
            "pixel_values": self._pixels(1, global_side),
            "pixel_values_local": self._pixels(columns * rows, crop_side),
            "num_local_patches": [columns * rows],
            "patches_grid": [[columns, rows]],
        }

    def step_inputs(self) -> dict[str, Any]:
        """What one decode step sends: the token before it."""
        return {"input_ids": torch.tensor([[self.text.bos_token_id]]).to("meta")}

    def _pixels(self, views: int, side: int) -> torch.Tensor:
        return torch.empty(views, 3, side, side, dtype=DTYPES[DTYPE], device="meta")

    def unused_patch_convolution(self) -> int:
        """Parameters of the published CLIP tower's patch convolution, which never runs and does not exist here."""
        clip = self.vision.encoder_config
        return int(clip.num_channels * clip.patch_size**2 * clip.hidden_size)
