"""The layers of Idefics3 beside the real modules that they describe.

To verify a new layer class: a line in `LayerCases`, and in `calls` how its module is called where it does not simply
take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

from transformers.models.idefics3 import modeling_idefics3

from modelmeter.layers.code import Code, Precision
from modelmeter.models.common.reference.calls import (
    call_attention,
    call_decoder,
    filled_cache,
    last_hidden_state,
    run_whole,
)
from modelmeter.models.common.siglip_config import SiglipSchema
from modelmeter.models.idefics3.config import DecoderSchema, WorkloadSchema
from modelmeter.models.idefics3.executions import TRANSFORMERS
from modelmeter.models.idefics3.model import Idefics3Model
from modelmeter.models.idefics3.reference.page import PageReference, answered
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
    "LayerList": "states no forward pass; its layers run where Idefics3Encoder and Decoder call them",
    "Idefics3Model": "states no forward pass; VisionStage and Idefics3TextStage run its parts together",
}

VISION, DECODER, WORKLOAD = SiglipSchema(), DecoderSchema(), WorkloadSchema()
WIDTH, PATCHES, SIDE, GRID = VISION.hidden_size, 1024, 512, 32

#: (pages, views of each): one view, a narrow page, a batch
PAGES: Final = ((1, 1), (1, 5), (2, 3))
#: (prompts, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 1118, 0), (3, 40, 0), (1, 1, 1118))


def call_encoder(module: Any, hidden: Any) -> object:
    """All blocks."""
    result: object = module(inputs_embeds=hidden).last_hidden_state
    return result


def call_block(module: Any, hidden: Any) -> object:
    """Attention or a block; nothing is masked."""
    result: object = module(hidden, attention_mask=None)
    return result


def call_tower(module: Any, pixels: Any, mask: Any) -> object:
    """The tower, which asks whether a patch is masked."""
    with answered(1, 1):
        return last_hidden_state(module, pixels, mask)


def call_vision(module: Any, pixels: Any, mask: Any) -> object:
    """Each page's image tokens, then what the tower gave."""
    with answered(*pixels.shape[:2]):
        result = module.get_image_features(pixel_values=pixels, pixel_attention_mask=mask)
    return result.pooler_output, result.last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """The whole model: the logits, then the image tokens of all pages."""
    arguments: dict[str, Any] = {}
    if images:
        arguments = {"pixel_values": images[0], "pixel_attention_mask": images[1]}
    with answered(*(images[0].shape[:2] if images else (1, 1))):
        result = run_whole(modeling_idefics3, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class Idefics3Modules(RealModules):
    """The modules of transformers, by the paths of the layers."""

    execution = TRANSFORMERS.name
    calls = MappingProxyType(
        {
            "Idefics3Encoder": call_encoder,
            "Idefics3VisionTransformer": call_tower,
            "NoTPAttention": call_block,
            "SiglipEncoderLayer": call_block,
            "VisionStage": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "Idefics3TextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(
            self.dtype,
            self.attention,
            text=asdict(DECODER),
            vision={**asdict(VISION), "patch_size": WORKLOAD.patch_size},
            scale_factor=WORKLOAD.scale_factor,
        )

    def part(self, path: str) -> Any:
        """A module of transformers' whole model."""
        model = self.reference.model
        beside = {
            "vision": model.model,
            "decoder": model.model.text_model,
            "whole model": model,
            "lm_head": model.lm_head,
        }
        if path in beside:
            return beside[path]
        if path == "rotary_emb":  # it takes a tensor to tell the type by
            return partial(model.model.text_model.rotary_emb, meta_tensor((1,), self.dtype))
        vision = path.startswith(("vision_model", "connector"))
        return model.model.get_submodule(path if vision else f"text_model.{path}")

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class LayerCases(ModelCases):
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, dtype: str, attention: str) -> None:
        code = Code(TRANSFORMERS, attention or "flash", Precision.of(dtype))
        super().__init__(make_model(code), Idefics3Modules(dtype, code.attention), attention)

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        for pages, views in PAGES:
            tiles = pages * views
            pixels, hidden = Given((tiles, 3, SIDE, SIDE)), Given((tiles, PATCHES, WIDTH))
            yield self.case("vision_model.embeddings.patch_embedding", pixels)
            yield self.case("vision_model.embeddings", pixels, Given((tiles, GRID, GRID), "bool"))
            yield self.case("vision_model.encoder.layers.0.layer_norm1", hidden)
            yield self.case("vision_model.encoder.layers.0.self_attn.q_proj", hidden)
            yield self.case("vision_model.encoder.layers.0.mlp", hidden)
            yield self.case("connector.modality_projection", Given((tiles, 64, 16 * WIDTH)))
            yield self.case("connector", hidden)
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, DECODER.hidden_size))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((1, tokens), "int64"))
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden, note="the embedding's weight")

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        for pages, views in PAGES:
            tiles = pages * views
            hidden = Given((tiles, PATCHES, WIDTH))
            yield self.case("vision_model.encoder.layers.0.self_attn", hidden)
            yield self.case("vision_model.encoder.layers.0", hidden)
            yield self.case("vision_model.encoder", hidden)
            yield self.case("vision_model", Given((tiles, 3, SIDE, SIDE)), Given((tiles, GRID, GRID), "bool"))
            yield self.case("vision", *images_of(pages, views), layer=self.model.vision)
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, DECODER.hidden_size))
            tables = (Given((1, tokens, DECODER.head_dim)), Given((1, tokens, DECODER.head_dim)))
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            caches = self.cache(prompts, past, layers=DECODER.num_hidden_layers)
            yield self.case("decoder", hidden, caches, 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        pages, views = PAGES[2]
        for image, ids, past, head in (
            (images_of(pages, views), (pages, 64 * views + 30), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 1118, "last"),
        ):
            caches = self.cache(ids[0], past, layers=DECODER.num_hidden_layers)
            note = "with an image" if image else f"logits: {head}"
            yield self.case(
                "whole model", Given(ids, "int64"), image, caches, 0, head, layer=self.model.text, note=note
            )

    def cache(self, batch: int, context: int, layers: int | None = None) -> Cache:
        """A KV cache of this decoder."""
        return Cache(
            batch=batch,
            context=context,
            kv_heads=DECODER.num_key_value_heads,
            head_dim=DECODER.head_dim,
            kind=self.model.decoder.cache_kind,
            layers=layers,
        )


def images_of(pages: int, views: int) -> tuple[Given, Given]:
    """Pixels, and which of them are real."""
    return Given((pages, views, 3, SIDE, SIDE)), Given((pages, views, SIDE, SIDE), "int64")


def make_model(code: Code) -> Idefics3Model:
    """The layers at the published sizes."""
    return Idefics3Model(
        vision={**asdict(VISION), "patch_size": WORKLOAD.patch_size},
        size=WORKLOAD.max_image_size,
        scale_factor=WORKLOAD.scale_factor,
        decoder=asdict(DECODER),
        code=code,
    )


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=make_model(Code()),
        packages=("modelmeter.models.idefics3",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""
    yield from every_line(LayerCases)
