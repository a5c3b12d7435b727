"""The layers of Granite-Docling beside the real modules that they describe.

To verify a new layer class: a line in `LayerCases`, and in `calls` how its module is called where it does not simply
take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

from transformers.models.granite_docling import modeling_granite_docling

from modelmeter.layers.code import Code, Precision
from modelmeter.models.common.reference.calls import (
    call_attention,
    call_decoder,
    filled_cache,
    run_whole,
)
from modelmeter.models.granite_docling.config import DecoderSchema, TappedSchema, WorkloadSchema
from modelmeter.models.granite_docling.executions import TRANSFORMERS
from modelmeter.models.granite_docling.model import GraniteDoclingModel
from modelmeter.models.granite_docling.reference.page import PageReference, answered
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
    "LayerList": "states no forward pass; its layers run where VisionModel, ConnectorPath and Decoder call them",
    "Encoder": "states no forward pass; VisionModel runs its layers",
    "GraniteDoclingModel": "states no forward pass; VisionStage and GraniteDoclingTextStage run its parts together",
}

VISION, DECODER, WORKLOAD = TappedSchema(), DecoderSchema(), WorkloadSchema()
WIDTH, PATCHES, SIDE = VISION.hidden_size, 1024, 512
VISION_VALUES = {**asdict(VISION), "patch_size": WORKLOAD.patch_size, "scale_factor": WORKLOAD.scale_factor}
HEAD = DECODER.hidden_size // DECODER.num_attention_heads
TAPS = len(VISION.deepstack_visual_indexes)

#: (pages, views of each, route): one view, a page in two tiles, a batch
PAGES: Final = ((1, 1, "coarse"), (1, 3, "fine"), (2, 2, "coarse"))
#: tokens of a view
TOKENS: Final = {"coarse": 64, "fine": 256}
#: (prompts, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 862, 0), (3, 40, 0), (1, 1, 862))


def call_block(module: Any, hidden: Any) -> object:
    """Attention or a block; nothing is masked."""
    result: object = module(hidden, attention_mask=None)
    return result


def call_path(module: Any, hidden: Any, tapped: Any) -> object:
    """Tokens, then the features of each tap."""
    tokens, features = module(hidden, list(tapped))
    return tokens, *features


def call_connector(module: Any, hidden: Any, tapped: Any, route: str) -> object:
    """Tokens, then the features of each tap, on a route."""
    tokens, features = module(hidden, list(tapped), fine=route == "fine")
    return tokens, *features


def call_tower(module: Any, pixels: Any, route: str) -> object:
    """Last hidden states, tokens, the features of each tap."""
    result = module(pixels, fine=route == "fine")
    return result.last_hidden_state, result.pooler_output, *result.deepstack_features


def image_arguments(pixels: Any, mask: Any, route: str) -> dict[str, Any]:
    """Pages as keyword arguments of the whole model."""
    told = {"tile_fine_mask": mask} if route == "fine" else {}  # that it is there is all that is asked
    return {"pixel_values": pixels, "pixel_attention_mask": mask, **told}


def call_vision(module: Any, pixels: Any, mask: Any, route: str) -> object:
    """Each page's image tokens, the features of each tap for all of them, then what the tower gave."""
    pages, views = pixels.shape[:2]
    with answered(pages, views, 0, views * TOKENS[route]):
        result = module.get_image_features(**image_arguments(pixels, mask, route))
    taps = [features[0]._base for features in result.deepstack_features]
    return result.pooler_output, *taps, result.last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """The whole model: the logits, then the image tokens of all pages."""
    arguments: dict[str, Any] = {}
    views, route = 1, "coarse"
    if images:
        pixels, mask, route = images
        arguments, views = image_arguments(pixels, mask, route), pixels.shape[1]
    with answered(input_ids.shape[0], views, input_ids.shape[1], views * TOKENS[route]):
        result = run_whole(modeling_granite_docling, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class GraniteDoclingModules(RealModules):
    """The modules of transformers, by the paths of the layers."""

    execution = TRANSFORMERS.name
    calls = MappingProxyType(
        {
            "ConnectorPath": call_path,
            "Connector": call_connector,
            "VisionModel": call_tower,
            "NoTPAttention": call_block,
            "SiglipEncoderLayer": call_block,
            "VisionStage": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "GraniteDoclingTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(
            self.dtype,
            self.attention,
            text=asdict(DECODER),
            vision={**VISION_VALUES, "out_hidden_size": DECODER.hidden_size},
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
        vision = path.startswith("vision_model")
        return model.model.get_submodule(path if vision else f"text_model.{path}")

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class LayerCases(ModelCases):
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, dtype: str, attention: str) -> None:
        code = Code(TRANSFORMERS, attention or "flash", Precision.of(dtype))
        super().__init__(make_model(code), GraniteDoclingModules(dtype, code.attention), attention)

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        for pages, views, route in PAGES:
            tiles, tokens = pages * views, TOKENS[route]
            pixels, hidden = Given((tiles, 3, SIDE, SIDE)), Given((tiles, PATCHES, WIDTH))
            merged = Given((tiles, tokens, WIDTH * PATCHES // tokens))
            connector = "vision_model.connector"
            yield self.case("vision_model.embeddings.patch_embedding", pixels)
            yield self.case("vision_model.embeddings", pixels)
            yield self.case("vision_model.encoder.layers.0.layer_norm1", hidden)
            yield self.case("vision_model.encoder.layers.0.mlp", hidden)
            yield self.case(f"{connector}.{route}.projection", merged, note="no bias")
            yield self.case(f"{connector}.{route}.pos_embed", Given((tiles, tokens, DECODER.hidden_size)))
            yield self.case(f"{connector}.{route}.deepstack_mergers.0", merged)
            yield self.case(f"{connector}.{route}", hidden, (hidden,) * TAPS)
            yield self.case(connector, hidden, (hidden,) * TAPS, route, note=route)
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, DECODER.hidden_size))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((1, tokens), "int64"))
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden, note="the embedding's weight")

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        for pages, views, route in PAGES:
            tiles = pages * views
            hidden = Given((tiles, PATCHES, WIDTH))
            yield self.case("vision_model.encoder.layers.0.self_attn", hidden)
            yield self.case("vision_model.encoder.layers.0", hidden)
            yield self.case("vision_model", Given((tiles, 3, SIDE, SIDE)), route, note=route)
            yield self.case("vision", *images_of(pages, views, route), layer=self.model.vision, note=route)
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, DECODER.hidden_size))
            tables = (Given((1, tokens, HEAD)), Given((1, tokens, HEAD)))
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            caches = self.cache(prompts, past, layers=DECODER.num_hidden_layers)
            yield self.case("decoder", hidden, caches, 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        pages, views, route = PAGES[2]
        for image, ids, past, head in (
            (images_of(pages, views, route), (pages, TOKENS[route] * views + 30), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 862, "last"),
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
            head_dim=HEAD,
            kind=self.model.decoder.cache_kind,
            layers=layers,
        )


def images_of(pages: int, views: int, route: str) -> tuple[Any, ...]:
    """Pixels, which views are real, and the route."""
    return Given((pages, views, 3, SIDE, SIDE)), Given((pages, views), "bool"), route


def make_model(code: Code) -> GraniteDoclingModel:
    """The layers at the published sizes."""
    return GraniteDoclingModel(
        vision=VISION_VALUES,
        size=WORKLOAD.size,
        decoder=asdict(DECODER),
        code=code,
    )


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=make_model(Code()),
        packages=("modelmeter.models.granite_docling",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""
    yield from every_line(LayerCases)
