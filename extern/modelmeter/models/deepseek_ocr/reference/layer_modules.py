"""The real modules of each execution, and how they take what the layers take.

To verify another execution: a class like these, which finds the module of a published path, makes its KV cache, and
says in `calls` which modules do not simply take the inputs of the layer's `forward` in their order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, ClassVar, Final

from modelmeter.models.common.reference.deep_encoder_names import transformers_path
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.modules import filled_cache
from modelmeter.models.deepseek_ocr.reference.page import PageReference, values_unchecked
from modelmeter.models.deepseek_ocr.reference.replica import ReplicaCache
from modelmeter.models.deepseek_ocr.reference.replica_page import ReplicaPageReference
from modelmeter.reference.building import DTYPES
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Cache, Given, RealModules
from modelmeter.reference.whole_page import LOGITS_TO_KEEP

#: the published decoder
HEADS: Final = ARCHITECTURE["num_attention_heads"]
HEAD_DIM: Final = ARCHITECTURE["hidden_size"] // HEADS


class DeepEncoderModules(RealModules):
    """The modules of one execution, by their published paths."""

    #: type and attention of the lines in which attention matters
    types: ClassVar[tuple[tuple[str, str], ...]]
    #: the path of the (first) rotary embedding
    rotary_path: ClassVar[str]
    #: what stands for the crops of a page of 1024 pixels without any
    no_crops: ClassVar[Given | None] = None

    def __init__(self, dtype: str, attention: str, kv_heads: int = HEADS) -> None:
        super().__init__(dtype, attention)
        self.kv_heads = kv_heads

    @abstractmethod
    def part(self, published_path: str) -> Any:
        """The module at a published path, or one that the checkpoint has no name for.

        Those are "vision tower" (SAM and CLIP), "vision" (with the fusion), "decoder" and "whole model".
        """

    @abstractmethod
    def positions(self, tokens: int) -> tuple[Given, ...]:
        """What tells a decoder layer the positions."""

    @abstractmethod
    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """The attention mask that a decoder layer is given."""


# -- execution=transformers -----------------------------------------------------------------------------------------


def last_hidden_state(module: Any, *inputs: Any) -> object:
    """Call a module that returns a record."""
    result: object = module(*inputs).last_hidden_state
    return result


def call_attention(module: Any, hidden: Any, tables: Any, mask: Any, cache: Any, _hit: int = 0) -> object:
    """Call the decoder's attention, or a layer of it."""
    result: object = module(hidden, position_embeddings=tables, attention_mask=mask, past_key_values=cache)
    return result


def call_decoder(module: Any, hidden: Any, cache: Any, _hit: int) -> object:
    """Call the decoder on embeddings."""
    result: object = module(inputs_embeds=hidden, past_key_values=cache, use_cache=True).last_hidden_state
    return result


def image_arguments(pixels: Any, crops: Any, grid: tuple[int, int]) -> dict[str, Any]:
    """Pages of one grid, as keyword arguments."""
    if crops is None:
        return {"pixel_values": pixels}
    pages, (columns, rows) = pixels.shape[0], grid
    of_crops = {"num_local_patches": [columns * rows] * pages, "patches_grid": [grid] * pages}
    return {"pixel_values": pixels, "pixel_values_local": crops, **of_crops}


def call_vision(module: Any, pixels: Any, crops: Any, grid: tuple[int, int]) -> object:
    """Call vision and fusion: each page's image tokens, then the features of both branches."""
    result = module.get_image_features(**image_arguments(pixels, crops, grid))
    return result.pooler_output, result.last_hidden_state, result.local_last_hidden_state


def call_whole(
    module: Any, input_ids: Any, pixels: tuple[Any, ...], grid: tuple[int, int], cache: Any, _hit: int, head: str
) -> object:
    """Call the whole model: the logits, then each page's image tokens."""
    images = image_arguments(pixels[0], pixels[1], grid) if pixels else {}
    kept = {"logits_to_keep": LOGITS_TO_KEEP[head]}
    with values_unchecked():
        result = module(input_ids, past_key_values=cache, use_cache=True, **kept, **images)
    return result.logits, result.image_hidden_states


class TransformersModules(DeepEncoderModules):
    """The modules of transformers."""

    execution = "transformers"
    rotary_path = "rotary_emb"
    # not float16 with eager attention: its softmax copies its input on the meta device, which it does not on a GPU
    types = (
        ("bfloat16", "flash"),
        ("bfloat16", "eager"),
        ("float32", "flash"),
        ("float32", "eager"),
        ("float16", "flash"),
    )
    calls = MappingProxyType(
        {
            "NoTPTransformerBlock": lambda module, hidden: module(hidden, attention_mask=None),
            "NoTPTransformer": lambda module, hidden: module(inputs_embeds=hidden).last_hidden_state,
            "ImageEncoderViT": last_hidden_state,
            "VitModel": last_hidden_state,
            "VisionTower": last_hidden_state,
            "Experts": lambda module, hidden, indices, weights, _hit: module(hidden, indices, weights),
            "MixtureOfExperts": lambda module, hidden, _hit: module(hidden),
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "VisionStage": call_vision,
            "PageTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(self.dtype, self.attention, num_key_value_heads=self.kv_heads)

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
        """transformers' growing cache."""
        text, dtype = self.reference.config.text_config, self.reference.dtype
        return filled_cache(text, dtype, cache.batch, cache.context)

    def positions(self, tokens: int) -> tuple[Given, ...]:
        """Cosines and sines."""
        return (Given((1, tokens, HEAD_DIM)), Given((1, tokens, HEAD_DIM)))

    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """A mask to add, for eager attention."""
        return Given((batch, 1, tokens, context)) if self.attention == "eager" else None


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
    pixels: tuple[Any, ...],
    grid: tuple[int, int],
    cache: Any,
    hit: int,
    head: str,
    image_mask: Any,
) -> object:
    """Call the whole model."""
    module.model.decoder.declare_experts_hit(hit)
    images = replica_images(pixels[0], pixels[1], grid) if pixels else []
    result: object = module(input_ids, images, image_mask, [grid], cache, head)
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
    no_crops = Given((1, 3, 1024, 1024), "float32")
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
        return ReplicaPageReference(self.dtype, self.attention, num_key_value_heads=self.kv_heads)

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
        shape = (cache.batch, cache.kv_heads, cache.context, HEAD_DIM)
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
    {each.execution: each for each in (TransformersModules, PublishedModules)}
)
