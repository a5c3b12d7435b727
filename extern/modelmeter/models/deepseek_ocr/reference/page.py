"""A whole page through transformers' whole model on the meta device: vision, prefill and every decode step, measured.

The model is `UnlimitedOcrForConditionalGeneration` with full attention in every decoder layer. It is called on what
transformers' processor makes of a page: token ids with a placeholder for every image token, the pixels of the global
view and of the crops, and the grid of crops.

    reference = PageReference()
    inputs = reference.inputs(PageGeometry(pages=1, global_side=1024, crop_side=640, columns=2, rows=3))
    stage, cache = reference.prefill(inputs, experts_hit=64)
    stage.flops, stage.io_bytes, stage.activation_peak_bytes, stage.peak_operator
    stage = reference.decode_step(cache, pages=1, experts_hit=6)

An architecture that the meta kernels cannot run as a GPU would is refused by name.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig
from transformers.models.unlimited_ocr.processing_unlimited_ocr import UnlimitedOcrProcessor

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.reference.deep_encoder_names import place, published_path
from modelmeter.models.deepseek_ocr.reference.modules import text_config
from modelmeter.reference import whole_page
from modelmeter.reference.building import ATTENTION, DTYPES, choice, on_meta
from modelmeter.reference.fused_attention import BIAS_ALIGNMENT_ELEMS
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.whole_page import PageInputs, WholePage

#: elements that the rows of a grouped GEMM's operands must be a multiple of, 16 bytes of half precision
GROUPED_ALIGNMENT_ELEMS = 8


@dataclass(frozen=True, kw_only=True)
class PageGeometry:
    """Pages of equal size, as a vision-language model sees them. Sides in pixels; a grid of 1 x 1 has no crops.

    prompt_tokens: positions that are not image tokens, the begin token included. base_size: side of the view that the
    published code takes in place of crops, the global view's where not given.
    """

    pages: int = 1
    global_side: int
    crop_side: int = 0
    columns: int = 1
    rows: int = 1
    prompt_tokens: int = 10
    base_size: int = 0

    @property
    def crops(self) -> int:
        """Crops of a page."""
        grid = self.columns * self.rows
        return grid if grid > 1 else 0


def values_unchecked() -> AbstractContextManager[None]:
    """Run without the model's check that reads a value and so fails on the meta device; see `whole_page`."""
    return whole_page.values_unchecked(modeling_unlimited_ocr)


class PageReference(WholePage):
    """transformers' whole model on the meta device, in inference.

    `architecture` takes the decoder's names of the published configuration; defaults are the published values. The
    projector's width follows `hidden_size`.
    """

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **architecture: int) -> None:
        implementation = choice("attention", attention, ATTENTION)
        element_type = choice("dtype", dtype, DTYPES)
        text = text_config(**architecture)
        if dtype != "bfloat16":
            accept_every_dtype()
        with on_meta(dtype):
            config: Any = UnlimitedOcrConfig(text_config=text)
            build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
            model = build(config, attn_implementation=implementation, experts_implementation="grouped_mm")
        super().__init__(model, text=config.text_config, dtype=element_type, modeling=modeling_unlimited_ocr)
        self.config = config
        self.attention = attention

    def unused_patch_convolution(self) -> int:
        """Parameters of the published CLIP tower's patch convolution, which never runs and does not exist here."""
        clip = self.config.vision_config.encoder_config
        return int(clip.num_channels * clip.patch_size**2 * clip.hidden_size)

    def place(self, path: str, run: int, *, crops: bool) -> str:
        """Where an operator stands in the cost model's walks, by its module's path and run."""
        return place(published_path(path), run, self._branches(crops))

    @staticmethod
    def _branches(crops: bool) -> Sequence[str]:
        return ("global", "crops") if crops else ("global",)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        model = self.model.model
        return [model.vision_tower, model.multi_modal_projector, model.image_newline, model.view_separator]

    def check(self) -> None:
        """Refuse a decoder of which the meta kernels would fail, or do what no GPU does."""
        text = self.text
        heads, kv_heads = text.num_attention_heads, text.num_key_value_heads
        if kv_heads != heads and self.attention == "eager":
            raise ModelMeterError(
                f"reference: attention=eager with {kv_heads} KV heads for {heads} heads cannot run in transformers "
                "5.23, whose eager function does not repeat the keys; measure attention=flash."
            )
        if kv_heads != heads and self.dtype == torch.float32:
            raise ModelMeterError(
                f"reference: {kv_heads} KV heads for {heads} heads in float32: no fused kernel takes them; "
                "measure bfloat16 or float16."
            )
        if self.attention == "flash" and text.head_dim % BIAS_ALIGNMENT_ELEMS:
            raise ModelMeterError(
                f"reference: heads of {text.head_dim} elements are no multiple of {BIAS_ALIGNMENT_ELEMS}: a GPU's "
                "fused kernel pads them, which is not modelled; change hidden_size or num_attention_heads."
            )
        for name in ("hidden_size", "moe_intermediate_size"):
            if getattr(text, name) % GROUPED_ALIGNMENT_ELEMS:
                raise ModelMeterError(
                    f"reference: {name}={getattr(text, name)} is no multiple of {GROUPED_ALIGNMENT_ELEMS}, which the "
                    "grouped GEMM of experts needs."
                )

    # -- inputs -------------------------------------------------------------------------------------------------------

    def inputs(self, page: PageGeometry) -> PageInputs:
        """What the processor gives for such pages: the begin token, the placeholders, the rest of the prompt."""
        grid = [page.columns, page.rows] if page.crops else [1, 1]
        placeholders = placeholder_tokens(page.global_side, page.crop_side, grid, page.crops)
        images: dict[str, Any] = {
            "pixel_values": self.pixels(page.pages, page.global_side),
            "num_local_patches": [page.crops] * page.pages,
            "patches_grid": [grid] * page.pages,
        }
        if page.crops:
            images["pixel_values_local"] = self.pixels(page.pages * page.crops, page.crop_side)
        return self.page_inputs(page.pages, placeholders, page.prompt_tokens, images)

    def page_inputs(self, pages: int, image_tokens: int, prompt_tokens: int, images: Mapping[str, Any]) -> PageInputs:
        """Token ids with their values: the model's own check looks at them."""
        row = token_row(image_tokens, prompt_tokens, self.config.image_token_id)
        ids = torch.tensor([row] * pages, dtype=torch.long)
        return PageInputs(token_ids=ids, image_tokens=image_tokens, images=images)

    def check_features(self, inputs: PageInputs, made: Sequence[int]) -> None:
        """The model's own check, made up for on real token ids: one image feature for every placeholder."""
        anything = torch.empty(1)  # of features and embeddings, the check looks at the sizes only
        embeddings = anything.expand(*inputs.token_ids.shape, self.text.hidden_size)
        features = anything.expand(sum(made), self.text.hidden_size)
        try:
            self.model.model.get_placeholder_mask(inputs.token_ids, embeddings, features)
        except ValueError as error:
            raise ModelMeterError(f"reference: transformers' model refuses the page: {error}") from error


def token_row(placeholders: int, prompt_tokens: int, image_token: int) -> list[int]:
    """Token ids of one page: the begin token, the placeholders, the text. Other values than these cost the same."""
    begin, text = 0, 1
    return [begin][:prompt_tokens] + [image_token] * placeholders + [text] * max(prompt_tokens - 1, 0)


def placeholder_tokens(global_side: int, crop_side: int, grid: Sequence[int], crops: int) -> int:
    """Placeholders that transformers' processor puts into the prompt for one page, by the processor's own method."""
    token = "<image>"
    processor: Any = SimpleNamespace(image_token=token, patch_size=16, downsample_ratio=4)
    replace: Any = UnlimitedOcrProcessor.replace_image_token
    page = {"patches_grid": [grid], "num_local_patches": [crops]}
    sizes = {"size": {"height": global_side, "width": global_side}, "tile_size": crop_side or global_side}
    return len(replace(processor, page, 0, **sizes)) // len(token)
