"""`LightOnOcrModel`: a Pixtral tower, a projection that merges squares of patches, a Qwen3 decoder, a tied head.

Source of the walk: `LightOnOcrForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.packed import PackedTraits
from modelmeter.models.common.deep_encoder import TiledTextStage
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.lighton_ocr.executions import EXECUTIONS
from modelmeter.models.lighton_ocr.layers.vision import (
    LightOnOcrMultiModalProjector,
    PixtralVisionModel,
    VisionStage,
)
from modelmeter.models.lighton_ocr.workload import Geometry
from modelmeter.operators import Parameter
from modelmeter.shape_tensor import Tape


class LightOnOcrTextStage(TiledTextStage):
    """The stages with text; the image tokens of all pages are handed on together."""

    pages_joined = True


class LightOnOcrModel(VisionLanguageModel):
    """LightOnOCR. vision, decoder: architectural arguments of `PixtralVisionModel` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = LightOnOcrTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        spatial_merge_size: int,
        decoder: Mapping[str, Any],
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, tied_head = text.pop("vocab_size"), text.pop("tie_word_embeddings")
        self.pixels = (vision["num_channels"], vision["patch_size"])
        self.vision_encoder = PixtralVisionModel(**vision, code=self.code.vision())
        self.vision_projection = LightOnOcrMultiModalProjector(
            vision["hidden_size"], text["hidden_size"], spatial_merge_size, code=self.code.vision()
        )
        self.assemble(
            vision=VisionStage(self.vision_encoder, self.vision_projection, code=self.code),
            decoder=Decoder(**text, qk_norm=True, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def images(self, tape: Tape, geometry: Geometry) -> tuple[Any, ...]:
        """The pixels of all pages, and their patches. Pages are taken one by one, so laws are of a number of them."""
        channels, side = self.pixels
        pages, columns, rows = int(geometry.pages), geometry.columns, geometry.rows
        page = (channels, rows * side, columns * side)
        if self.traits(PackedTraits).pages_looped:
            each = tuple(tape.input((1, *page), self.dtype) for _ in range(pages))
            return each, Geometry(pages, columns, rows)
        return tape.input((pages, *page), self.dtype), Geometry(pages, columns, rows)

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.vision_encoder, self.vision_projection, self.embed_tokens, self.decoder, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, and the projection's."""
        return self.vision_encoder.forward_memory_weight() + self.vision_projection.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """Tower and projection."""
        return {"vision_encoder": self.vision_encoder, "vision_projection": self.vision_projection}
