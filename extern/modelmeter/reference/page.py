"""A whole page through transformers' whole model on the meta device: vision, prefill and every decode step, measured.

The model is `UnlimitedOcrForConditionalGeneration` with full attention in every decoder layer. It is called on what
transformers' processor makes of a page: token ids with a placeholder for every image token, the pixels of the global
view and of the crops, and the grid of crops. `generate` drops an attention mask that masks nothing, so none is given;
it asks for the logits of the last position, or as `head` says. The KV cache is the library's own `DynamicCache`.

Two things that `generate` does around the model are left out: it hands position ids in, which the model makes itself
when they are not given, and it encodes the image before the prompt is embedded, and keeps the features while it
decodes. What is measured is the model's own forward pass, pixels in.

    reference = PageReference()
    inputs = reference.inputs(PageGeometry(pages=1, global_side=1024, crop_side=640, columns=2, rows=3))
    stage, cache = reference.prefill(inputs, experts_hit=64)
    stage.flops, stage.io_bytes, stage.activation_peak_bytes, stage.peak_operator
    stage = reference.decode_step(cache, pages=1, experts_hit=6)

An architecture that the meta kernels cannot run as a GPU would is refused by name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.models.unlimited_ocr import modeling_unlimited_ocr
from transformers.models.unlimited_ocr.configuration_unlimited_ocr import UnlimitedOcrConfig
from transformers.models.unlimited_ocr.processing_unlimited_ocr import UnlimitedOcrProcessor

from modelmeter.errors import ModelMeterError, near
from modelmeter.reference.building import ATTENTION, DTYPES, cache_tensors, choice, on_meta
from modelmeter.reference.fused_attention import BIAS_ALIGNMENT_ELEMS
from modelmeter.reference.grouped_mm import accept_every_dtype
from modelmeter.reference.measurement import Measurement, measure
from modelmeter.reference.modules import published_path, text_config
from modelmeter.reference.places import module_flops, place

#: positions of which the head makes logits, and the library's name for it; none: the head does not run
LOGITS_TO_KEEP: Mapping[str, int | None] = {"last": 1, "all": 0, "none": None}

#: elements that the rows of a grouped product's operands must be a multiple of, 16 bytes of half precision
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


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the processor gives for some pages: token ids [B, T], with their values, and the image arguments on meta."""

    token_ids: Tensor
    images: Mapping[str, Any]


@contextmanager
def values_unchecked() -> Iterator[None]:
    """Run without `torch_compilable_check`, which reads a value and so fails on the meta device.

    The model asks it whether the placeholders are as many as the image's features: whoever turns it off compares the
    features' shape with the number of placeholders that `PageReference.inputs` made.
    """
    module: Any = modeling_unlimited_ocr
    check = module.torch_compilable_check
    module.torch_compilable_check = lambda *_args, **_kwargs: None
    try:
        yield
    finally:
        module.torch_compilable_check = check


class PageReference:
    """transformers' whole model on the meta device, in inference.

    `architecture` takes the decoder's names of the published configuration; defaults are the published values. The
    projector's width follows `hidden_size`.
    """

    def __init__(self, dtype: str = "bfloat16", attention: str = "flash", **architecture: int) -> None:
        implementation = choice("attention", attention, ATTENTION)
        self.dtype = choice("dtype", dtype, DTYPES)
        text = text_config(**architecture)
        if dtype != "bfloat16":
            accept_every_dtype()
        with on_meta(dtype):
            config = UnlimitedOcrConfig(text_config=text)
            build: Any = modeling_unlimited_ocr.UnlimitedOcrForConditionalGeneration._from_config
            self.model = build(config, attn_implementation=implementation, experts_implementation="grouped_mm")
        self.model.eval()
        self.config: Any = config
        self.attention = attention
        self.roots: dict[str, nn.Module] = {"": self.model.model, "lm_head": self.model.lm_head}

    def unused_patch_convolution(self) -> int:
        """Parameters of the published CLIP tower's patch convolution, which never runs and does not exist here."""
        clip = self.config.vision_config.encoder_config
        return int(clip.num_channels * clip.patch_size**2 * clip.hidden_size)

    def module_flops(self, measured: Measurement, *, crops: bool) -> dict[str, int]:
        """FLOPs of a stage by published module path."""
        return module_flops(measured, published_path, self._branches(crops))

    def place(self, path: str, run: int, *, crops: bool) -> str:
        """Where an operator stands in the cost model's walks, by its module's path and run."""
        return place(published_path(path), run, self._branches(crops))

    def _branches(self, crops: bool) -> Sequence[str]:
        return ("global", "crops") if crops else ("global",)

    @property
    def vision_weights(self) -> list[nn.Module | nn.Parameter]:
        """The parts whose parameters the vision stage needs."""
        model = self.model.model
        return [model.vision_tower, model.multi_modal_projector, model.image_newline, model.view_separator]

    @property
    def moe_layers(self) -> frozenset[int]:
        """Numbers of the decoder layers whose feed-forward part is a mixture of experts."""
        layers = self.model.model.language_model.layers
        return frozenset(number for number, layer in enumerate(layers) if hasattr(layer.mlp, "experts"))

    def check_decoder(self) -> None:
        """Refuse a decoder of which the meta kernels would fail, or do what no GPU does."""
        text = self.config.text_config
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
                    "grouped product of experts needs."
                )

    # -- inputs -------------------------------------------------------------------------------------------------------

    def inputs(self, page: PageGeometry) -> PageInputs:
        """What the processor gives for such pages: the begin token, the placeholders, the rest of the prompt."""
        grid = [page.columns, page.rows] if page.crops else [1, 1]
        placeholders = placeholder_tokens(page.global_side, page.crop_side, grid, page.crops)
        images: dict[str, Any] = {
            "pixel_values": self._pixels(page.pages, page.global_side),
            "num_local_patches": [page.crops] * page.pages,
            "patches_grid": [grid] * page.pages,
        }
        if page.crops:
            images["pixel_values_local"] = self._pixels(page.pages * page.crops, page.crop_side)
        return self._inputs(page.pages, placeholders, page.prompt_tokens, images)

    def text_inputs(self, prompt_tokens: int, prompts: int = 1) -> PageInputs:
        """A prompt without an image."""
        return self._inputs(prompts, 0, prompt_tokens, {})

    def _inputs(self, pages: int, placeholders: int, prompt_tokens: int, images: Mapping[str, Any]) -> PageInputs:
        row = token_row(placeholders, prompt_tokens, self.config.image_token_id)
        return PageInputs(token_ids=torch.tensor([row] * pages, dtype=torch.long), images=images)

    def _pixels(self, views: int, side: int) -> Tensor:
        return torch.empty(views, 3, side, side, dtype=self.dtype, device="meta")

    # -- stages -------------------------------------------------------------------------------------------------------

    def vision(self, inputs: PageInputs) -> Measurement:
        """The vision part alone, `get_image_features`: pixels -> the image tokens of each page."""
        made: list[int] = []

        def call() -> None:
            outputs = self.model.model.get_image_features(**inputs.images, return_dict=True)
            made.extend(features.shape[0] for features in outputs.pooler_output)

        measured = measure(self.roots, call, weights=self.vision_weights)
        self._check_features(inputs, sum(made))
        return measured

    def prefill(self, inputs: PageInputs, *, experts_hit: int, head: str = "last") -> tuple[Measurement, DynamicCache]:
        """The prompt's pass, its image included, and the cache that it filled."""
        self.check_decoder()
        cache = DynamicCache(config=self.config.text_config)
        input_ids = inputs.token_ids.to("meta")
        made: list[int] = []

        def call() -> None:
            outputs = self._forward(head, input_ids=input_ids, past_key_values=cache, **inputs.images)
            made.extend(features.shape[0] for features in outputs.image_hidden_states or ())

        measured = self._measure(call, cache, experts_hit)
        self._check_features(inputs, sum(made))
        return measured, cache

    def decode_step(self, cache: DynamicCache, *, pages: int = 1, experts_hit: int, head: str = "last") -> Measurement:
        """One step over the cache, which grows by one position."""
        token = torch.empty(pages, 1, dtype=torch.long, device="meta")
        return self._measure(lambda: self._forward(head, input_ids=token, past_key_values=cache), cache, experts_hit)

    def _forward(self, head: str, **arguments: Any) -> Any:
        if head not in LOGITS_TO_KEEP:
            raise ModelMeterError(f"PageReference: head={head} is unknown; {near(head, LOGITS_TO_KEEP)}")
        kept = LOGITS_TO_KEEP[head]
        if kept is None:
            return self.model.model(**arguments, use_cache=True, return_dict=True)
        return self.model(**arguments, use_cache=True, logits_to_keep=kept, return_dict=True)

    def _check_features(self, inputs: PageInputs, made: int) -> None:
        """The model's own check, made up for on real token ids: one image feature for every placeholder."""
        width = self.config.text_config.hidden_size
        anything = torch.empty(1)  # of features and embeddings, the check looks at the sizes only
        embeddings = anything.expand(*inputs.token_ids.shape, width)
        try:
            self.model.model.get_placeholder_mask(inputs.token_ids, embeddings, anything.expand(made, width))
        except ValueError as error:
            raise ModelMeterError(f"reference: transformers' model refuses the page: {error}") from error

    def _measure(self, call: Callable[[], object], cache: DynamicCache, experts_hit: int | None) -> Measurement:
        with values_unchecked():
            return measure(self.roots, call, cached=lambda: cache_tensors(cache), experts_hit=experts_hit)


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
