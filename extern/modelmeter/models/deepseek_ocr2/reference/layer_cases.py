"""The layers of DeepSeek-OCR-2 beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2

from modelmeter.layers.code import Code, Precision
from modelmeter.layers.decoder.cache import NoCache
from modelmeter.models.common.deep_encoder_config import MoeDecoderSchema
from modelmeter.models.common.reference.calls import last_hidden_state, run_whole
from modelmeter.models.common.reference.deep_encoder_cases import SamCases
from modelmeter.models.common.reference.deep_encoder_modules import TransformersModules
from modelmeter.models.deepseek_ocr2.config import EncoderSchema, NarrowSamSchema, VisionSchema
from modelmeter.models.deepseek_ocr2.executions import TRANSFORMERS
from modelmeter.models.deepseek_ocr2.model import DeepseekOcr2Model
from modelmeter.models.deepseek_ocr2.reference.page import PageReference
from modelmeter.models.deepseek_ocr2.reference.whole import sam_values, text_values
from modelmeter.models.deepseek_ocr2.workload import QUERIES
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Cache, Given, LayerCase, LayerVerification, every_line

#: layer classes that can have no case because they state no operator, and where what they hold is verified
STATELESS: Final[Mapping[str, str]] = {
    "LayerList": "states no forward pass; its layers run where SamEncoder, Qwen2Encoder and the like call them",
    "DeepseekOcr2Model": "states no forward pass; VisionStage and TiledTextStage run its parts together",
}

ENCODER: Final = EncoderSchema()
HEAD: Final = ENCODER.hidden_size // ENCODER.num_attention_heads


class MapGiven(nn.Module):
    """In SAM's place: what is given is SAM's map."""

    def forward(self, feature_map: Any) -> BaseModelOutput:
        """The map, as SAM returns it."""
        return BaseModelOutput(last_hidden_state=feature_map)


def call_query_encoder(module: Any, feature_map: Any) -> object:
    """Call the vision tower on what SAM made."""
    with patch.dict(module._modules, sam_encoder=MapGiven()):
        return last_hidden_state(module, feature_map)


def image_arguments(pixels: Any, tiles: Any, count: int) -> dict[str, Any]:
    """Pages of so many tiles each, as keyword arguments."""
    if tiles is None:
        return {"pixel_values": pixels}
    return {"pixel_values": pixels, "pixel_values_local": tiles, "num_local_patches": [count] * pixels.shape[0]}


def call_vision(module: Any, pixels: Any, tiles: Any, count: int) -> object:
    """Call vision and fusion: each page's image tokens, then what the encoder made of both branches."""
    result = module.get_image_features(**image_arguments(pixels, tiles, count))
    return result.pooler_output, result.last_hidden_state, result.local_last_hidden_state


def call_whole(module: Any, input_ids: Any, images: tuple[Any, ...], cache: Any, _hit: int, head: str) -> object:
    """Call the whole model: the logits, then each page's image tokens."""
    arguments = image_arguments(*images) if images else {}
    result = run_whole(modeling_deepseek_ocr2, module, input_ids, cache, head, **arguments)
    return result.logits, result.image_hidden_states


class DeepseekOcr2Modules(TransformersModules):
    """The modules of transformers."""

    calls = MappingProxyType(
        {
            **TransformersModules.calls,
            "EncoderAttention": TransformersModules.calls["GroupedQueryAttention"],
            "SamEncoder": last_hidden_state,
            "Qwen2Encoder": last_hidden_state,
            "QueryEncoder": call_query_encoder,
            "VisionStage": call_vision,
            "TiledTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(
            self.dtype,
            self.attention,
            text=text_values(dict(self.sizes)),
            sam=sam_values(NarrowSamSchema()),
            encoder={**asdict(ENCODER), "vocab_size": 1},
        )

    def part(self, published_path: str) -> Any:
        """A module of transformers' whole model, whose vision tower is the published encoder, SAM among it."""
        tower = self.reference.model.model.vision_tower
        outer, _, inner = published_path.partition("qwen2_model")
        if outer or published_path == "projector":
            return super().part(published_path)
        if not inner:
            return tower
        module = tower.get_submodule(inner.removeprefix(".").replace("model", "vision_encoder", 1))
        if inner.endswith("rotary_emb"):  # it takes a tensor to tell the type by
            return partial(module, meta_tensor((1,), self.dtype))
        return module

    def empty_or_filled(self, cache: Cache) -> Any:
        """The decoder's cache; the encoder is called without any."""
        return None if isinstance(cache.kind, NoCache) else super().empty_or_filled(cache)


class LayerCases(SamCases):
    """The lines of one type, and of one attention where it matters."""

    views = ((1, 1024), (6, 768))
    passes = ((1, 1131, 0, 0), (3, 40, 0, 0), (1, 1, 1131, 0))

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from self.basic()
        yield from self.tower_parts()
        yield from self.encoder_parts()
        yield from self.decoder_parts()

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        yield from self.sam()
        yield from self.encoder()
        yield from self.decoder()

    def encoder_parts(self) -> Iterator[LayerCase]:
        """What the encoder has beside attention, and what stands after it."""
        for views, side in self.views:
            tokens = 2 * QUERIES[side]
            hidden = Given((views, tokens, ENCODER.hidden_size))
            yield self.case("qwen2_model.model.rotary_emb", Given((1, tokens), "int64"))
            yield self.case("qwen2_model.model.norm", hidden)
            yield self.case("qwen2_model.model.layers.0.self_attn.k_proj", hidden)
            yield self.case("qwen2_model.model.layers.0.mlp", hidden)
            yield self.case("projector", Given((views, QUERIES[side], ENCODER.hidden_size)))

    def encoder(self) -> Iterator[LayerCase]:
        """The encoder's attention and layers, the encoder, and with its queries."""
        layer = "qwen2_model.model.layers.0"
        for views, side in self.views:
            patches = QUERIES[side]
            tokens, grid = 2 * patches, side // 64
            hidden = Given((views, tokens, ENCODER.hidden_size))
            tables = (Given((1, tokens, HEAD)), Given((1, tokens, HEAD)))
            mask = Given((views, 1, tokens, tokens), "" if self.attention == "eager" else "bool")
            none = Cache(batch=views, context=0, kv_heads=ENCODER.num_key_value_heads, head_dim=HEAD, kind=NoCache())
            yield self.case(f"{layer}.self_attn", hidden, tables, mask, none)
            yield self.case(layer, hidden, tables, mask, none)
            yield self.case("qwen2_model.model", hidden, patches)
            yield self.case("qwen2_model", Given((views, ENCODER.hidden_size, grid, grid)))

    def stages(self) -> Iterator[LayerCase]:
        """Vision with its fusion, and the whole model."""
        letter = (Given((1, 3, 1024, 1024)), Given((6, 3, 768, 768)), 6)
        batch = (Given((2, 3, 1024, 1024)), Given((4, 3, 768, 768)), 2)
        for images in ((letter[0], None, 0), letter, batch):
            note = f"{images[2]} tiles a page" if images[2] else "no tiles"
            yield self.case("vision", *images, layer=self.model.vision, note=note)
        yield from self.whole(letter)


def make_model(code: Code) -> DeepseekOcr2Model:
    """The layers at the published sizes."""
    return DeepseekOcr2Model(**asdict(VisionSchema()), decoder=asdict(MoeDecoderSchema()), code=code)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=make_model(Code()),
        packages=("modelmeter.models.deepseek_ocr2",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""

    def cases(dtype: str, attention: str) -> LayerCases:
        code = Code(TRANSFORMERS, attention or "flash", Precision.of(dtype))
        return LayerCases(make_model, DeepseekOcr2Modules, code, attention, asdict(MoeDecoderSchema()))

    yield from every_line(cases)
