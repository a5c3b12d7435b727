"""The layers of DeepSeek-OCR beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from modelmeter.layers.code import Code, Precision
from modelmeter.layers.decoder.attention import GroupedQueryAttention
from modelmeter.models.common.reference.deep_encoder_cases import VIEWS, DeepEncoderCases
from modelmeter.models.common.reference.deep_encoder_modules import Sizes
from modelmeter.models.deepseek_ocr.config import DecoderSchema
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.layers.vision.mlp_projector import Gelu, MlpProjector
from modelmeter.models.deepseek_ocr.reference.layer_modules import MODULES
from modelmeter.models.deepseek_ocr.reference.plain import PlainProjector
from modelmeter.reference.building import on_meta
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification, every_line

#: layer classes that can have no case because they state no operator, and where what they hold is verified
STATELESS: Final[Mapping[str, str]] = {
    "LayerList": "states no forward pass; its layers run where NoTPTransformer and the like call them",
    "DeepseekOCRModel": "states no forward pass; VisionStage and PageTextStage run its parts together",
}

#: the published decoder
SIZES: Final[Sizes] = asdict(DecoderSchema())


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=DeepseekOCRModel(),
        packages=("modelmeter.models.deepseek_ocr.layers",),
        executions=tuple(MODULES),
        cases=cases_of,
        stateless=STATELESS,
        not_run={name: modules.not_run for name, modules in MODULES.items()},
    )


def cases_of(execution: str) -> Iterator[LayerCase]:
    """Every line of an execution."""
    modules = MODULES[execution]

    def cases(dtype: str, attention: str) -> LayerCases:
        code = Code(EXECUTIONS[execution], attention or "flash", Precision.of(dtype))
        return LayerCases(lambda code: DeepseekOCRModel(code=code), modules, code, attention, SIZES)

    yield from every_line(cases, modules.types)


class LayerCases(DeepEncoderCases):
    """The lines of one type, and of one attention where it matters."""

    tiles = "crops"

    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""
        yield from super().parts()
        yield from self.projectors()

    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""
        yield from super().attending()
        yield from self.grouped_heads()

    def projectors(self) -> Iterator[LayerCase]:
        """The projector, and the types of it that the model does not use."""
        for views, side in VIEWS:
            yield self.case("projector", Given((views, (side // 64) ** 2, 2048)))
        sizes: dict[str, Any] = {"input_dim": 2048, "n_embed": self.sizes["hidden_size"]}
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

    def grouped_heads(self) -> Iterator[LayerCase]:
        """Attention with fewer keys and values than heads, where the real modules can run it."""
        if self.attention != "flash" or self.dtype == "float32":
            return
        sizes = {**self.sizes, "num_key_value_heads": 2}
        modules = type(self.modules)(self.dtype, self.attention, sizes)
        heads, width = sizes["num_attention_heads"], sizes["hidden_size"]
        for tokens, past in ((913, 0), (1, 913)):
            yield self.case(
                "layers.0.self_attn",
                Given((1, tokens, width)),
                self.modules.positions(tokens),
                None,
                replace(self.cache(1, past), kv_heads=2),
                layer=GroupedQueryAttention(width, heads, 2, code=self.code),
                modules=modules,
                note="2 KV heads",
            )
