"""The layers of LightOnOCR beside the real modules that they describe.

To verify a new layer class: a line in `LayerCases`, and in `calls` how its module is called where it does not simply
take the inputs of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final

from transformers.models.lighton_ocr import modeling_lighton_ocr

from modelmeter.layers.code import Code, Precision
from modelmeter.models.common.reference.calls import (
    call_attention,
    call_decoder,
    filled_cache,
    last_hidden_state,
    run_whole,
)
from modelmeter.models.lighton_ocr.config import DecoderSchema, VisionSchema, WorkloadSchema
from modelmeter.models.lighton_ocr.executions import TRANSFORMERS
from modelmeter.models.lighton_ocr.model import LightOnOcrModel
from modelmeter.models.lighton_ocr.reference.page import PageReference
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
    "LayerList": "states no forward pass; its layers run where PixtralTransformer and Decoder call them",
    "LightOnOcrModel": "states no forward pass; VisionStage and LightOnOcrTextStage run its parts together",
}

WIDTH, HEAD, KV_HEADS, LAYERS, PATCH = 1024, 128, 8, 28, 14

#: (pages, columns, rows) in patches: a letter page, one with a row and a column that are dropped, a batch of them
PAGES: Final = ((1, 85, 110), (1, 43, 15), (2, 17, 21))
#: (prompts, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 2320, 0), (3, 40, 0), (1, 1, 2320))


def image_sizes(geometry: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Height and width of each page."""
    pages, columns, rows = geometry
    return [(rows * PATCH, columns * PATCH)] * pages


def call_block(module: Any, hidden: Any, mask: Any, tables: Any, _pages: int) -> object:
    """Attention of the tower, or a block."""
    cosine, sine = tables
    tables = (cosine.squeeze(0), sine.squeeze(0))
    result: object = module(hidden, attention_mask=mask, position_embeddings=tables)
    return result


def call_blocks(module: Any, hidden: Any, mask: Any, tables: Any, pages: int) -> object:
    """All of them."""
    result: Any = call_block(module, hidden, mask, tables, pages)
    return result.last_hidden_state


def call_merged(module: Any, features: Any, geometry: tuple[int, int, int]) -> object:
    """The patch merger, or all of the projection."""
    result: object = module(features, image_sizes(geometry))
    return result


def call_vision(module: Any, pixels: Any, geometry: tuple[int, int, int]) -> object:
    """Each page's image tokens, then what the tower gave."""
    result = module.get_image_features(pixel_values=pixels, image_sizes=image_sizes(geometry))
    return result.pooler_output, result.last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """The whole model: the logits, then the image tokens of all pages."""
    arguments: dict[str, Any] = {}
    if images:
        pixels, geometry = images
        arguments = {"pixel_values": pixels, "image_sizes": image_sizes(geometry)}
    result = run_whole(modeling_lighton_ocr, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class LightOnOcrModules(RealModules):
    """The modules of transformers, by the paths of the layers."""

    execution = TRANSFORMERS.name
    calls = MappingProxyType(
        {
            "PixtralVisionModel": last_hidden_state,
            "PixtralAttention": call_block,
            "PixtralAttentionLayer": call_block,
            "PixtralTransformer": call_blocks,
            "LightOnOcrPatchMerger": call_merged,
            "LightOnOcrMultiModalProjector": call_merged,
            "VisionStage": call_vision,
            "GroupedQueryAttention": call_attention,
            "DecoderLayer": call_attention,
            "Decoder": call_decoder,
            "LightOnOcrTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        vision = {**asdict(VisionSchema()), "head_dim": 64}
        return PageReference(self.dtype, self.attention, text=asdict(DecoderSchema()), vision=vision)

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
        if path in (
            "rotary_emb",
            "vision_encoder.patch_positional_embedding",
        ):  # they take a tensor to tell the type by
            of_text = "language_model." if path == "rotary_emb" else ""
            return partial(model.model.get_submodule(f"{of_text}{path}"), meta_tensor((1,), self.dtype))
        vision = path.startswith("vision_")
        return model.model.get_submodule(path if vision else f"language_model.{path}")

    def empty_or_filled(self, cache: Cache) -> Any:
        """The library's cache."""
        return filled_cache(self.reference.text, cache, self.dtype)


class LayerCases(ModelCases):
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, dtype: str, attention: str) -> None:
        code = Code(TRANSFORMERS, attention or "flash", Precision.of(dtype))
        super().__init__(make_model(code), LightOnOcrModules(dtype, code.attention), attention)

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        for pages, columns, rows in PAGES:
            patches = pages * columns * rows
            geometry, note = (pages, columns, rows), f"{pages} of {columns}x{rows}"
            hidden, features = Given((1, patches, WIDTH)), Given((patches, WIDTH))
            yield self.case("vision_encoder.patch_conv", Given((pages, 3, rows * PATCH, columns * PATCH)))
            yield self.case("vision_encoder.ln_pre", hidden)
            yield self.case("vision_encoder.patch_positional_embedding", Given((patches, 2), "int64"))
            yield self.case("vision_encoder.transformer.layers.0.attention.q_proj", hidden, note="no bias")
            yield self.case("vision_encoder.transformer.layers.0.feed_forward", hidden)
            yield self.case("vision_projection.patch_merger", features, geometry, note=note)
            yield self.case("vision_projection", features, geometry, note=note)
        for prompts, tokens, _ in PASSES:
            hidden = Given((prompts, tokens, WIDTH))
            yield self.case("embed_tokens", Given((prompts, tokens), "int64"))
            yield self.case("rotary_emb", Given((1, tokens), "int64"))
            yield self.case("layers.0.self_attn.q_norm", Given((prompts, tokens, 16, HEAD)))
            yield self.case("layers.0.mlp", hidden)
            yield self.case("norm", hidden)
            yield self.case("lm_head", hidden, note="the embedding's weight")

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        for pages, columns, rows in PAGES:
            patches = pages * columns * rows
            tables = (Given((1, patches, 64)), Given((1, patches, 64)))
            hidden, mask = Given((1, patches, WIDTH)), Given((1, 1, patches, patches))
            note = f"{pages} of {columns}x{rows}"
            blocks = "vision_encoder.transformer"
            for path in (f"{blocks}.layers.0.attention", f"{blocks}.layers.0", blocks):
                yield self.case(path, hidden, mask, tables, pages, note=note)
            pixels = Given((pages, 3, rows * PATCH, columns * PATCH))
            yield self.case("vision_encoder", pixels, note=note)
            yield self.case("vision", pixels, (pages, columns, rows), layer=self.model.vision, note=note)
        for prompts, tokens, past in PASSES:
            hidden = Given((prompts, tokens, WIDTH))
            tables = (Given((1, tokens, HEAD)), Given((1, tokens, HEAD)))
            causal = Given((prompts, 1, tokens, past + tokens)) if self.attention == "eager" else None
            yield self.case("layers.0.self_attn", hidden, tables, causal, self.cache(prompts, past))
            yield self.case("layers.0", hidden, tables, causal, self.cache(prompts, past), 0)
            caches = self.cache(prompts, past, layers=LAYERS)
            yield self.case("decoder", hidden, caches, 0, layer=self.model.decoder)

    def stages(self) -> Iterator[LayerCase]:
        """The whole model."""
        pages, columns, rows = PAGES[2]
        tokens = 10 + (columns // 2) * (rows // 2)
        pixels = Given((pages, 3, rows * PATCH, columns * PATCH))
        for image, ids, past, head in (
            ((pixels, PAGES[2]), (pages, tokens), 0, "last"),
            ((), (1, 40), 0, "all"),
            ((), (1, 1), 2320, "last"),
        ):
            caches = self.cache(ids[0], past, layers=LAYERS)
            note = "with an image" if image else f"logits: {head}"
            inputs = (Given(ids, "int64"), image, caches, 0, head)
            yield self.case("whole model", *inputs, layer=self.model.text, note=note)

    def cache(self, batch: int, context: int, layers: int | None = None) -> Cache:
        """A KV cache of this decoder."""
        kind = self.model.decoder.cache_kind
        return Cache(
            batch=batch, context=context, generated=0, kv_heads=KV_HEADS, head_dim=HEAD, kind=kind, layers=layers
        )


def make_model(code: Code) -> LightOnOcrModel:
    """The layers at the published sizes."""
    workload = WorkloadSchema()
    return LightOnOcrModel(
        vision={**asdict(VisionSchema()), "patch_size": workload.patch_size, "max_side": 110},
        spatial_merge_size=workload.spatial_merge_size,
        decoder=asdict(DecoderSchema()),
        code=code,
    )


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=make_model(Code()),
        packages=("modelmeter.models.lighton_ocr",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""
    yield from every_line(LayerCases)
