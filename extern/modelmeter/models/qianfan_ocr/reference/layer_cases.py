"""The layers of Qianfan-OCR beside the real modules that they describe.

To verify a new layer class: a line in `LayerCases`, and in `calls` how its module is called where it does not simply
take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

from transformers.models.qianfan_ocr import modeling_qianfan_ocr

from modelmeter.models.common.reference.calls import (
    call_attention,
    call_decoder,
    filled_cache,
    last_hidden_state,
    run_whole,
)
from modelmeter.models.qianfan_ocr.cost_model import CostModel, load_cost_model
from modelmeter.models.qianfan_ocr.executions import TRANSFORMERS
from modelmeter.models.qianfan_ocr.reference.page import PageReference
from modelmeter.models.qianfan_ocr.reference.whole import ATTENTION, LIBRARY_ATTENTION, sizes_of
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import (
    Cache,
    Given,
    LayerCase,
    LayerVerification,
    ModelCases,
    RealModules,
    every_line,
)

#: layer classes that can have no case because they state no operator, and where what they hold is verified
STATELESS: Final[Mapping[str, str]] = {
    "LayerList": "states no forward pass; its layers run where VisionModel and Decoder call them",
    "QianfanOcrModel": "states no forward pass; VisionStage and QianfanTextStage run its parts together",
}

SIDE, PATCHES, TOKENS, OF_TOWER, SHUFFLED = 448, 1024, 256, 1024, 4096
WIDTH, HEADS, KV_HEADS, HEAD, LAYERS = 2560, 32, 8, 128, 36

#: views of a page that is not cut, and of a letter page
VIEWS: Final = (1, 13)
#: (prompts, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 3358, 0), (3, 40, 0), (1, 1, 3358))


def call_tower_attention(module: Any, hidden: Any) -> object:
    """Attention of the tower: what it gives, and its weights where it has any."""
    output, weights = module(hidden)
    return output if weights is None else (output, weights)


def call_vision(module: Any, pixels: Any, _pages: int) -> object:
    """The image tokens of all views, then what the tower gave."""
    result = module.get_image_features(pixel_values=pixels)
    return result.pooler_output, result.last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """The whole model: the logits, then the image tokens of all views."""
    arguments = {"pixel_values": images[0]} if images else {}
    result = run_whole(modeling_qianfan_ocr, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class QianfanOcrModules(RealModules):
    """The modules of transformers, by the paths of the layers."""

    execution = TRANSFORMERS.name
    calls = MappingProxyType(
        {
            "VisionAttention": call_tower_attention,
            "VisionModel": last_hidden_state,
            "VisionStage": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "QianfanTextStage": call_whole,
        }
    )

    def __init__(self, cost_model: CostModel) -> None:
        runtime = cost_model.config.runtime
        super().__init__(runtime.dtype, runtime.attention)
        self.cost_model = cost_model

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(self.dtype, self.attention, **sizes_of(self.cost_model))

    def part(self, path: str) -> Any:
        """A module of transformers' whole model."""
        model = self.reference.model
        beside = {
            "vision": model.model,
            "decoder": model.model.language_model,
            "whole model": model,
            "lm_head": model.lm_head,
        }
        if path in beside:
            return beside[path]
        if path.startswith(("vision_tower", "multi_modal_projector")):
            return model.model.get_submodule(path.replace(ATTENTION, LIBRARY_ATTENTION))
        module = model.model.get_submodule(f"language_model.{path}")
        # it takes a tensor to tell the type by
        return partial(module, meta_tensor((1,), self.dtype)) if path == "rotary_emb" else module

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class LayerCases(ModelCases):
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, dtype: str, attention: str) -> None:
        cost_model = load_cost_model([f"runtime.dtype={dtype}", f"runtime.attention={attention or 'flash'}"])
        super().__init__(cost_model.model, QianfanOcrModules(cost_model), attention)

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        block = "vision_tower.layers.0"
        for views in VIEWS:
            hidden = Given((views, PATCHES + 1, OF_TOWER))
            pixels, shuffled = Given((views, 3, SIDE, SIDE)), Given((views, TOKENS, SHUFFLED))
            yield self.case("vision_tower.embeddings.patch_embeddings.projection", pixels)
            yield self.case("vision_tower.embeddings.patch_embeddings", pixels)
            yield self.case("vision_tower.embeddings", pixels)
            yield self.case(f"{block}.layernorm_before", hidden)
            yield self.case(f"{block}.attn.q_proj", hidden)
            yield self.case(f"{block}.mlp", hidden)
            yield self.case("multi_modal_projector", shuffled)
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, WIDTH))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((1, tokens), "int64"))
            yield self.case("layers.0.self_attn.q_norm", Given((prompts, tokens, HEADS, HEAD)))
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden)

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        for views in VIEWS:
            hidden, pixels = Given((views, PATCHES + 1, OF_TOWER)), Given((views, 3, SIDE, SIDE))
            yield self.case("vision_tower.layers.0.attn", hidden)
            yield self.case("vision_tower.layers.0", hidden)
            yield self.case("vision_tower", pixels)
            yield self.case("vision", pixels, 1, layer=self.model.vision)
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, WIDTH))
            tables = (Given((1, tokens, HEAD)), Given((1, tokens, HEAD)))
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            yield self.case("decoder", hidden, self.cache(prompts, past, LAYERS), 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        pixels = Given((10, 3, SIDE, SIDE))
        for images, ids, past, head in (
            ((pixels, 2), (2, 5 * TOKENS + 30), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 3358, "last"),
        ):
            note = "two pages of 5 views" if images else f"logits: {head}"
            inputs = (Given(ids, "int64"), images, self.cache(ids[0], past, LAYERS), 0, head)
            yield self.case("whole model", *inputs, layer=self.model.text, note=note)

    def cache(self, batch: int, context: int, layers: int | None = None) -> Cache:
        """A KV cache of this decoder."""
        return Cache(batch=batch, context=context, kv_heads=KV_HEADS, head_dim=HEAD, layers=layers)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=load_cost_model().model,
        packages=("modelmeter.models.qianfan_ocr",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""
    yield from every_line(LayerCases)
