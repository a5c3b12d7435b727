"""Every layer class beside the real module that it describes, at the sizes at which the two are compared.

A `LayerCase` is one line of the comparison: a layer, its inputs, and the same call of the real module. A class is
verified when it has a case; a class that can have none stands in `EXCUSED` with the reason.

To verify a new layer class: a line in `LayerCases`. To verify another execution: see `layer_modules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from modelmeter.layers import BaseLayer
from modelmeter.layers.code import Code, Precision
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import Gelu, MlpProjector
from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.layer_modules import HEAD_DIM, HEADS, MODULES, DeepEncoderModules
from modelmeter.models.deepseek_ocr.reference.plain import PlainProjector
from modelmeter.reference.building import on_meta
from modelmeter.reference.layer_case import Cache, Given, LayerCase, LayerVerification, layer_at
from modelmeter.units import MODEL_DTYPES, ceil_div

#: layer classes that can have no case because they state no operator, and where what they hold is verified
EXCUSED: Final[Mapping[str, str]] = {
    "LayerList": "states no forward pass; its layers run where NoTPTransformer and the like call them",
    "DeepseekOCRModel": "states no forward pass; VisionStage and PageTextStage run its parts together",
}

#: (views, side): a global view and the crops of a letter page
VIEWS: Final = ((1, 1024), (6, 640))

#: (pages, tokens, positions in the cache): a page's prompt, a batch of prompts, a step
PASSES: Final = ((1, 913, 0), (3, 40, 0), (1, 1, 913))


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=DeepseekOCRModel(),
        packages=("modelmeter.models.deepseek_ocr.layers",),
        executions=tuple(MODULES),
        cases=cases_of,
        stateless=EXCUSED,
        not_run={name: modules.not_run for name, modules in MODULES.items()},
    )


def cases_of(execution: str) -> Iterator[LayerCase]:
    """Every line of an execution."""
    modules = MODULES[execution]
    for dtype in MODEL_DTYPES:
        cases = LayerCases(modules, dtype)
        yield from cases.basic()
        yield from cases.vision_parts()
        yield from cases.projectors()
        yield from cases.decoder_parts()
    for dtype, attention in modules.types:
        cases = LayerCases(modules, dtype, attention)
        yield from cases.vision()
        yield from cases.decoder()
        if dtype == "bfloat16":  # stages run long; what they consist of is compared in every type
            yield from cases.stages()


class LayerCases:
    """The lines of one type, and of one attention where it matters."""

    def __init__(self, modules: type[DeepEncoderModules], dtype: str, attention: str = "") -> None:
        self.dtype = dtype
        self.attention = attention
        self.code = Code(EXECUTIONS[modules.execution], attention or "flash", Precision.of(dtype))
        self.modules = modules(dtype, attention or "flash")
        self.grouped_heads = modules(dtype, attention or "flash", kv_heads=2)
        self.model = DeepseekOCRModel(code=self.code)

    def case(
        self,
        path: str,
        *inputs: Any,
        layer: BaseLayer | None = None,
        modules: DeepEncoderModules | None = None,
        plain: Callable[[], Any] | None = None,
        experts_hit: int | None = None,
        note: str = "",
    ) -> LayerCase:
        """The layer at a published path (or `layer`) and the module there (or a plain one)."""
        verified = layer or layer_at(self.model, path)
        name = type(verified).__name__
        real = modules or self.modules

        def prepare() -> Callable[[], object]:
            return real.prepare(name, plain() if plain else real.part(path), inputs)

        return LayerCase(
            layer=verified,
            inputs=inputs,
            module=path,
            prepare=prepare,
            outputs=real.outputs.get(name, slice(None)),
            dtype=self.dtype,
            attention=self.attention,
            experts_hit=experts_hit,
            note=note,
        )

    @staticmethod
    def cache(batch: int, context: int, *, kv_heads: int = HEADS, layers: int | None = None) -> Cache:
        """A KV cache of the published heads."""
        return Cache(batch=batch, context=context, kv_heads=kv_heads, head_dim=HEAD_DIM, layers=layers)

    def basic(self) -> Iterator[LayerCase]:
        """Products and norms."""
        turned = Given((1, 40, 40, 768), strides=(768 * 1600, 40, 1, 1600))
        yield self.case("sam_model.blocks.0.attn.qkv", Given((25, 14, 14, 768)))
        yield self.case("sam_model.blocks.0.mlp.lin1", turned, note="channels first in memory")
        yield self.case("layers.0.mlp.down_proj", Given((1, 913, 6848)), note="no bias")
        yield self.case("sam_model.patch_embed.proj", Given((1, 3, 1024, 1024)))
        yield self.case("sam_model.neck.2", Given((6, 256, 40, 40)), note="no bias")
        yield self.case("sam_model.net_3", Given((2, 512, 23, 23)), note="an odd side")
        yield self.case("sam_model.blocks.0.norm1", turned, note="channels first in memory")
        yield self.case("vision_model.pre_layrnorm", Given((6, 101, 1024)))

    def vision_parts(self) -> Iterator[LayerCase]:
        """What SAM and CLIP have beside attention."""
        for views, side in VIEWS:
            patches, tokens = side // 16, (side // 64) ** 2 + 1
            yield self.case("sam_model.patch_embed", Given((views, 3, side, side)))
            yield self.case("sam_model.blocks.0.mlp", Given((views, patches, patches, 768)))
            yield self.case("sam_model.neck.1", Given((views, 256, patches, patches)))
            yield self.case("sam_model.neck", Given((views, patches, patches, 768)))
            yield self.case("vision_model.embeddings", Given((views, 1024, side // 64, side // 64)))
            yield self.case("vision_model.transformer.layers.0.mlp", Given((views, tokens, 1024)))

    def projectors(self) -> Iterator[LayerCase]:
        """The projector, and the types of it that the model does not use."""
        for views, side in VIEWS:
            yield self.case("projector", Given((views, (side // 64) ** 2, 2048)))
        sizes: dict[str, Any] = {"input_dim": 2048, "n_embed": ARCHITECTURE["hidden_size"]}
        kinds: tuple[tuple[str, int, dict[str, Any]], ...] = (
            ("identity", 100, {}),
            ("mlp_gelu", 100, {"depth": 1}),
            ("mlp_gelu", 100, {"depth": 3}),
            ("downsample_mlp_gelu", 100, {"depth": 2}),
            ("downsample_mlp_gelu", 49, {"depth": 4, "mlp_ratio": 9}),
            ("downsample_mlp_gelu", 64, {"depth": 3, "mlp_ratio": 2, "downsample_ratio": 3}),
        )
        for kind, tokens, more in kinds:
            yield self.case(
                f"plain torch: {kind}",
                Given((6, tokens, 2048)),
                layer=MlpProjector(projector_type=kind, **sizes, **more, code=self.code),
                plain=partial(self.plain_projector, kind, **sizes, **more),
                note=", ".join(f"{name} {value}" for name, value in more.items()),
            )
        yield self.case(
            "plain torch: GELU",
            Given((6, 100, 1280)),
            layer=Gelu(code=self.code),
            plain=lambda: self.plain_projector("mlp_gelu", depth=2, **sizes).layers[1],
        )

    def plain_projector(self, kind: str, **sizes: int) -> PlainProjector:
        """A projector of plain modules."""
        with on_meta(self.dtype):
            return PlainProjector(kind, **sizes)

    def decoder_parts(self) -> Iterator[LayerCase]:
        """What the decoder has beside attention, and what stands before and after it."""
        for batch, tokens, _ in PASSES:
            hidden, hit = Given((batch, tokens, 1280)), experts_hit(batch * tokens)
            yield self.case("embed_tokens", Given((batch, tokens), "int64"))
            yield self.case(self.modules.rotary_path, Given((1, tokens), "int64"))
            yield self.case("norm", hidden)
            yield self.case("layers.0.mlp", hidden)
            yield self.case("layers.1.mlp.gate", hidden)
            if "Experts" not in self.modules.not_run:
                rows, chosen = batch * tokens, (batch * tokens, ARCHITECTURE["num_experts_per_tok"])
                routed = (Given((rows, 1280)), Given(chosen, "int64"), Given(chosen, "float32"))
                yield self.case("layers.1.mlp.experts", *routed, hit, experts_hit=hit)
            yield self.case("layers.1.mlp", hidden, hit, experts_hit=hit)
            yield self.case("lm_head", hidden)

    def vision(self) -> Iterator[LayerCase]:
        """SAM and CLIP, by part and whole."""
        for views, side in VIEWS:
            patches, tokens = side // 16, (side // 64) ** 2 + 1
            windows = views * ceil_div(patches, 14) ** 2
            yield self.case("sam_model.blocks.0.attn", Given((windows, 14, 14, 768)), note="windows")
            yield self.case("sam_model.blocks.2.attn", Given((views, patches, patches, 768)), note="global")
            yield self.case("sam_model.blocks.0", Given((views, patches, patches, 768)), note="windowed")
            yield self.case("sam_model.blocks.2", Given((views, patches, patches, 768)), note="global")
            yield self.case("vision_model.transformer.layers.0.self_attn", Given((views, tokens, 1024)))
            yield self.case("vision_model.transformer.layers.0", Given((views, tokens, 1024)))
            yield self.case("vision_model.transformer", Given((views, tokens, 1024)))
        turned = Given((1, 40, 40, 768), strides=(768 * 1600, 40, 1, 1600))
        yield self.case("sam_model.blocks.0.attn", Given((1, 14, 14, 768)), note="one window")
        yield self.case("sam_model.blocks.0", Given((1, 28, 28, 768)), note="windowed, nothing padded")
        yield self.case("sam_model.blocks.0", turned, note="windowed, channels first in memory")
        for views, side in (*VIEWS, (2, 720)):
            grid = ceil_div(side, 64)
            yield self.case("sam_model", Given((views, 3, side, side)))
            yield self.case("vision_model", Given((views, 1024, grid, grid)))

    def decoder(self) -> Iterator[LayerCase]:
        """The decoder's attention and layers, and the decoder as a whole."""
        for batch, tokens, past in PASSES:
            hidden, hit = Given((batch, tokens, 1280)), experts_hit(batch * tokens)
            positions = self.modules.positions(tokens)
            mask = self.modules.mask(batch, tokens, past + tokens)
            cache = self.cache(batch, past)
            yield self.case("layers.0.self_attn", hidden, positions, mask, cache)
            yield self.case("layers.0", hidden, positions, mask, cache, hit, note="dense")
            yield self.case("layers.1", hidden, positions, mask, cache, hit, experts_hit=hit, note="experts")
            caches = self.cache(batch, past, layers=ARCHITECTURE["num_hidden_layers"])
            yield self.case("decoder", hidden, caches, hit, layer=self.model.decoder, experts_hit=hit)
        if self.attention == "flash" and self.dtype != "float32":  # what the real modules can run
            for tokens, past in ((913, 0), (1, 913)):
                yield self.case(
                    "layers.0.self_attn",
                    Given((1, tokens, 1280)),
                    self.modules.positions(tokens),
                    None,
                    self.cache(1, past, kv_heads=2),
                    layer=GroupedQueryAttention(1280, HEADS, 2, code=self.code),
                    modules=self.grouped_heads,
                    note="2 KV heads",
                )

    def stages(self) -> Iterator[LayerCase]:
        """SAM with CLIP, vision with its fusion, and the whole model."""
        if "VisionTower" not in self.modules.not_run:
            for views, side in VIEWS:
                yield self.case("vision tower", Given((views, 3, side, side)), layer=self.model.vision.tower)
        letter = (Given((1, 3, 1024, 1024)), Given((6, 3, 640, 640)))
        for pixels, grid in (
            ((letter[0], self.modules.no_crops), (1, 1)),
            (letter, (2, 3)),
            ((Given((2, 3, 1024, 1024)), Given((4, 3, 640, 640))), (2, 1)),
        ):
            note = f"crops {grid[0]}x{grid[1]}" if grid != (1, 1) else "no crops"
            yield self.case("vision", *pixels, grid, layer=self.model.vision, note=note)
        for image, grid, tokens, past, head in (
            (letter, (2, 3), 913, 0, "last"),
            ((), (1, 1), 40, 0, "all"),
            ((), (1, 1), 1, 913, "last"),
        ):
            hit = experts_hit(tokens)
            yield self.case(
                "whole model",
                Given((1, tokens), "int64"),
                image,
                grid,
                self.cache(1, past, layers=ARCHITECTURE["num_hidden_layers"]),
                hit,
                head,
                layer=self.model.text,
                experts_hit=hit,
                note="with an image" if image else f"logits: {head}",
            )


def experts_hit(tokens: int) -> int:
    """The most experts that `tokens` tokens can visit."""
    return min(ARCHITECTURE["n_routed_experts"], ARCHITECTURE["num_experts_per_tok"] * tokens)
