"""The layers of Unlimited-OCR beside the real modules that they describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from types import MappingProxyType
from typing import Final

from modelmeter.layers.code import Code, Precision
from modelmeter.models.common.reference.calls import last_hidden_state
from modelmeter.models.common.reference.deep_encoder_cases import DeepEncoderCases
from modelmeter.models.common.reference.deep_encoder_modules import (
    TransformersModules,
    call_vision,
    call_whole,
)
from modelmeter.models.unlimited_ocr.config import DecoderSchema, VisionSchema
from modelmeter.models.unlimited_ocr.executions import TRANSFORMERS
from modelmeter.models.unlimited_ocr.model import UnlimitedOcrModel
from modelmeter.models.unlimited_ocr.reference.page import PageReference
from modelmeter.reference.layer_case import Given, LayerCase, LayerVerification, every_line

#: layer classes that can have no case because they state no operator, and where what they hold is verified
STATELESS: Final[Mapping[str, str]] = {
    "LayerList": "states no forward pass; its layers run where NoTPTransformer and the like call them",
    "UnlimitedOcrModel": "states no forward pass; LocalVision and TiledTextStage run its parts together",
}


class UnlimitedOcrModules(TransformersModules):
    """The modules of transformers."""

    calls = MappingProxyType(
        {
            **TransformersModules.calls,
            "SamEncoder": last_hidden_state,
            "ClipEncoder": last_hidden_state,
            "LocalVision": call_vision,
            "TiledTextStage": call_whole,
        }
    )

    @cached_property
    def reference(self) -> PageReference:
        """The model that the modules are parts of."""
        return PageReference(self.dtype, self.attention)

    def mask(self, batch: int, tokens: int, context: int) -> Given | None:
        """The mask of the window: a page's own stands for all pages, until eager attention makes one to add of it."""
        shape = (batch, 1, tokens, context)
        if self.attention == "eager":
            return Given(shape)
        return Given(shape, "bool", (0, tokens * context, context, 1))


class LayerCases(DeepEncoderCases):
    """The lines of one type, and of one attention where it matters: steps on both sides of the window too."""

    passes = ((1, 913, 0, 0), (3, 40, 0, 0), (1, 1, 913, 0), (1, 1, 320, 5), (1, 1, 450, 150))

    def seen(self, context: int, generated: int) -> int:
        """The prompt's, and those of the last steps that a full window still has beside the new one."""
        return context - generated + min(generated, self.sizes["sliding_window"] - 1)


def make_model(code: Code) -> UnlimitedOcrModel:
    """The layers at the published sizes."""
    return UnlimitedOcrModel(**asdict(VisionSchema()), decoder=asdict(DecoderSchema()), code=code)


def verification() -> LayerVerification:
    """What is verified of this model, and what need not be."""
    return LayerVerification(
        model=make_model(Code()),
        packages=("modelmeter.models.unlimited_ocr",),
        executions=(TRANSFORMERS.name,),
        cases=cases_of,
        stateless=STATELESS,
        not_run={},
    )


def cases_of(_: str) -> Iterator[LayerCase]:
    """Every line."""

    def cases(dtype: str, attention: str) -> LayerCases:
        code = Code(TRANSFORMERS, attention or "flash", Precision.of(dtype))
        return LayerCases(make_model, UnlimitedOcrModules, code, attention, asdict(DecoderSchema()))

    yield from every_line(cases)
