"""The real modules of each execution of DeepSeek-OCR, and how they take what the layers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

from modelmeter.models.common.reference.calls import last_hidden_state
from modelmeter.models.common.reference.deep_encoder_modules import (
    DeepEncoderModules,
    TransformersModules,
    call_vision,
    call_whole,
)
from modelmeter.models.deepseek_ocr.reference.page import PageReference
from modelmeter.models.deepseek_ocr.reference.replica import ReplicaCache
from modelmeter.models.deepseek_ocr.reference.replica_page import ReplicaPageReference
from modelmeter.reference.building import DTYPES
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Cache, Given


class DeepseekOcrModules(TransformersModules):
    """The modules of transformers."""

    calls = MappingProxyType(
        {
            **TransformersModules.calls,
            "ImageEncoderViT": last_hidden_state,
            "VitModel": last_hidden_state,
            "VisionStage": call_vision,
            "PageTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(self.dtype, self.attention, num_key_value_heads=self.sizes["num_key_value_heads"])


# -- execution=published --------------------------------------------------------------------------------------------


def call_replica_layer(
    module: Any, hidden: Any, positions: Any, mask: Any, cache: ReplicaCache, hit: int = 0
) -> object:
    """Call the decoder's attention, or a layer of it."""
    number = getattr(module, "self_attn", module).layer
    if len(cache.keys) < number:  # the layers before it have been called
        cache.keys += [hidden] * number
        cache.values += [hidden] * number
    mlp: Any = getattr(module, "mlp", None)
    if hasattr(mlp, "experts_hit"):
        mlp.experts_hit = hit
    result: object = module(hidden, mask, positions[0], cache)
    return result


def call_replica_experts(module: Any, hidden: Any, hit: int) -> object:
    """Call a mixture of experts, of which `hit` have rows."""
    module.experts_hit = hit
    result: object = module(hidden)
    return result


def call_replica_decoder(module: Any, hidden: Any, cache: ReplicaCache, hit: int) -> object:
    """Call the decoder on embeddings."""
    module.declare_experts_hit(hit)
    result: object = module(hidden, cache)
    return result


def replica_images(pixels: Any, crops: Any, grid: tuple[int, int]) -> list[tuple[Any, Any]]:
    """Each page's crops and global view; pages without crops have one empty view in their place."""
    count = grid[0] * grid[1]
    pages = range(pixels.shape[0])
    patches = [crops if count == 1 else crops[page * count : (page + 1) * count] for page in pages]
    return [(patches[page], pixels[page : page + 1]) for page in pages]


def call_replica_vision(module: Any, pixels: Any, crops: Any, grid: tuple[int, int]) -> object:
    """Call vision and fusion: what it goes on holding, each page's image tokens first."""
    result: object = module(None, replica_images(pixels, crops, grid), None, [grid] * pixels.shape[0], None)
    return result


def call_replica_whole(
    module: Any,
    input_ids: Any,
    images: tuple[Any, ...],
    cache: Any,
    hit: int,
    head: str,
    image_mask: Any,
) -> object:
    """Call the whole model."""
    module.model.decoder.declare_experts_hit(hit)
    pages = replica_images(*images) if images else []
    result: object = module(input_ids, pages, image_mask, [images[2] if images else (1, 1)], cache, head)
    return result


class PublishedModules(DeepEncoderModules):
    """The replica of the published code."""

    execution = "published"
    rotary_path = "layers.0.self_attn.rotary_emb"
    # FlashAttention 2 takes half precision only
    types = (("bfloat16", "flash"), ("bfloat16", "eager"), ("float32", "eager"), ("float16", "flash"))
    not_run = MappingProxyType(
        {
            "Experts": "is not run: one expert after another, each a GatedMLP, which MixtureOfExperts calls",
            "VisionTower": "is not run: VisionStage calls the SAM encoder and the CLIP tower itself",
        }
    )
    no_tiles = Given((1, 3, 1024, 1024), "float32")
    calls = MappingProxyType(
        {
            "Neck": lambda module, hidden: module(hidden.permute(0, 3, 1, 2)),
            "MixtureOfExperts": call_replica_experts,
            "GroupedQueryAttention": call_replica_layer,
            "DecoderLayer": call_replica_layer,
            "Decoder": call_replica_decoder,
            "VisionStage": call_replica_vision,
            "PageTextStage": call_replica_whole,
        }
    )
    # the router's logits die with the gate
    outputs = MappingProxyType({"MoEGate": slice(1, None)})

    @cached_property
    def reference(self) -> ReplicaPageReference:
        """The model that the modules are parts of."""
        return ReplicaPageReference(self.dtype, self.attention, num_key_value_heads=self.sizes["num_key_value_heads"])

    def part(self, published_path: str) -> Any:
        """A module of the replica, which has the checkpoint's names."""
        whole = self.reference.model
        beside = {"vision": whole.model, "decoder": whole.model.decoder, "whole model": whole, "lm_head": whole.lm_head}
        if published_path in beside:
            return beside[published_path]
        in_decoder = published_path.partition(".")[0] in ("layers", "norm")
        module: Any = (whole.model.decoder if in_decoder else whole.model).get_submodule(published_path)
        # a rotary embedding is told the type
        return partial(module, DTYPES[self.dtype]) if published_path == self.rotary_path else module

    def empty_or_filled(self, cache: Cache) -> Any:
        """The replica's lists of keys and values."""
        if not cache.context:
            return ReplicaCache()
        shape = (cache.batch, cache.kv_heads, cache.context, self.head_dim)
        layers = range(len(self.reference.model.model.decoder.layers))
        keys, values = ([meta_tensor(shape, self.dtype) for _ in layers] for _ in range(2))
        return ReplicaCache(keys, values)

    def prepare(self, layer: str, module: Any, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """The call; the whole model is given the places of the image tokens too."""
        if layer == "PageTextStage":
            inputs = (*inputs, Given(inputs[0].shape, "bool"))
        return super().prepare(layer, module, inputs)

    def positions(self, tokens: int) -> tuple[Given, ...]:
        """Position ids: every layer makes tables of its own."""
        return (Given((1, tokens), "int64"),)

    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """A mask to add, for eager attention over more than one token."""
        return Given((batch, 1, tokens, context)) if self.attention == "eager" and tokens > 1 else None


#: the modules of each execution
MODULES: Final[Mapping[str, type[DeepEncoderModules]]] = MappingProxyType(
    {each.execution: each for each in (DeepseekOcrModules, PublishedModules)}
)
