"""The real modules of models with the deep encoder, and how they take what the layers take.

To verify another execution: a class like these, which finds the module of a published path, makes its KV cache, and
says in `calls` which modules do not simply take the inputs of the layer's `forward` in their order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from transformers.models.unlimited_ocr import modeling_unlimited_ocr

from modelmeter.models.common.reference.calls import (
    call_attention,
    call_decoder,
    filled_cache,
    last_hidden_state,
    run_whole,
)
from modelmeter.models.common.reference.deep_encoder_names import transformers_path
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import TYPES, Cache, Given, RealModules
from modelmeter.reference.whole_page import WholePage

Sizes: TypeAlias = Mapping[str, Any]


class DeepEncoderModules(RealModules):
    """The modules of one execution, by their published paths. sizes: of the decoder, by the names of its config."""

    #: type and attention of the lines in which attention matters
    types: ClassVar[tuple[tuple[str, str], ...]]
    #: the path of the (first) rotary embedding
    rotary_path: ClassVar[str]
    #: what stands for the tiles of a page of 1024 pixels without any
    no_tiles: ClassVar[Given | None] = None

    def __init__(self, dtype: str, attention: str, sizes: Sizes) -> None:
        super().__init__(dtype, attention)
        self.sizes = sizes

    @property
    def head_dim(self) -> int:
        """Elements of a head."""
        return self.sizes["hidden_size"] // self.sizes["num_attention_heads"]

    @abstractmethod
    def part(self, published_path: str) -> Any:
        """The module at a published path, or one that the checkpoint has no name for.

        Those are "vision tower" (SAM and the encoder after it), "vision" (with the fusion), "decoder", "whole model".
        """

    @abstractmethod
    def positions(self, tokens: int) -> tuple[Given, ...]:
        """What tells a decoder layer the positions."""

    @abstractmethod
    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """The attention mask that a decoder layer is given."""


def image_arguments(pixels: Any, tiles: Any, grid: tuple[int, int]) -> dict[str, Any]:
    """Pages of one grid, as keyword arguments."""
    if tiles is None:
        return {"pixel_values": pixels}
    pages, (columns, rows) = pixels.shape[0], grid
    of_tiles = {"num_local_patches": [columns * rows] * pages, "patches_grid": [grid] * pages}
    return {"pixel_values": pixels, "pixel_values_local": tiles, **of_tiles}


def call_vision(module: Any, pixels: Any, tiles: Any, grid: tuple[int, int]) -> object:
    """Call vision and fusion: each page's image tokens, then the features of both branches."""
    result = module.get_image_features(**image_arguments(pixels, tiles, grid))
    return result.pooler_output, result.last_hidden_state, result.local_last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """Call the whole model: the logits, then each page's image tokens."""
    arguments = image_arguments(*images) if images else {}
    result = run_whole(modeling_unlimited_ocr, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class TransformersModules(DeepEncoderModules):
    """The modules of transformers; a model says whose parts they are, and how its own layers are called."""

    execution = "transformers"
    rotary_path = "rotary_emb"
    types = TYPES
    calls = MappingProxyType(
        {
            "NoTPTransformerBlock": lambda module, hidden: module(hidden, attention_mask=None),
            "NoTPTransformer": lambda module, hidden: module(inputs_embeds=hidden).last_hidden_state,
            "VisionTower": last_hidden_state,
            "Experts": lambda module, hidden, indices, weights, _hit: module(hidden, indices, weights),
            "MixtureOfExperts": lambda module, hidden, _hit: module(hidden),
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
        }
    )

    @property
    @abstractmethod
    def reference(self) -> WholePage:
        """The model that the modules are parts of."""

    def part(self, published_path: str) -> Any:
        """A module of transformers' whole model."""
        model = self.reference.model
        if published_path == self.rotary_path:  # it takes a tensor to tell the type by
            return partial(model.model.language_model.rotary_emb, meta_tensor((1,), self.dtype))
        beside = {
            "vision tower": model.model.vision_tower,
            "vision": model.model,
            "decoder": model.model.language_model,
            "whole model": model,
            "lm_head": model.lm_head,
        }
        if published_path in beside:
            return beside[published_path]
        return model.model.get_submodule(transformers_path(published_path))

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)

    def positions(self, tokens: int) -> tuple[Given, ...]:
        """Cosines and sines."""
        return (Given((1, tokens, self.head_dim)), Given((1, tokens, self.head_dim)))

    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """A mask to add, for eager attention."""
        return Given((batch, 1, tokens, context)) if self.attention == "eager" else None
