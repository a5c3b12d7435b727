"""`DeepseekOcr2Model`: SAM, a language model as encoder, a linear projector, a decoder with experts.

Source of the walk: `DeepseekOcr2ForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Linear, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.models.common.deep_encoder import SamEncoder, TiledTextStage
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.deepseek_ocr2.executions import EXECUTIONS
from modelmeter.models.deepseek_ocr2.layers.vision import QueryEncoder, VisionStage
from modelmeter.models.deepseek_ocr2.workload import PageGeometry
from modelmeter.operators import Parameter
from modelmeter.shape_tensor import Tape


class DeepseekOcr2Model(VisionLanguageModel):
    """DeepSeek-OCR-2. sam, encoder, decoder: architectural arguments of `SamEncoder`, `Qwen2Encoder` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = TiledTextStage

    def __init__(
        self,
        *,
        sam: Mapping[str, Any],
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, width = text.pop("vocab_size"), text["hidden_size"]
        of_vision = self.code.vision()
        self.sam_model = SamEncoder(**sam, code=self.code)
        self.qwen2_model = QueryEncoder(**encoder, code=of_vision)
        self.projector = Linear(encoder["hidden_size"], width, code=of_vision)
        self.view_seperator = self.parameter(width)  # the published name, misspelt there
        parts = (self.sam_model, self.qwen2_model, self.projector, self.view_seperator)
        self.assemble(
            vision=VisionStage(*parts, code=of_vision),
            decoder=Decoder(**text, window_mask=False, code=self.code),
            vocab_size=vocab_size,
        )

    def images(self, tape: Tape, geometry: PageGeometry) -> tuple[Any, ...]:
        """Pixels of the global views and of the tiles, and how many of these a page has."""
        pages, size, tile, tiles = geometry
        views = tape.input((pages, 3, size, size), self.dtype)
        return views, tape.input((pages * tiles, 3, tile, tile), self.dtype) if tile else None, tiles

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.sam_model, self.qwen2_model, self.projector, self.embed_tokens, self.decoder):
            yield from part.parameters_as_converted()
        yield from (self.view_seperator, *self.lm_head.parameters_as_converted())

    def vision_weight_bytes(self) -> int:
        """Bytes of the parameters that the vision stage needs."""
        parts = self.vision_parts().values()
        return self.view_seperator.nbytes + sum(part.forward_memory_weight() for part in parts)

    part_titles = MappingProxyType({"sam_model": "SAM", "qwen2_model": "Qwen2 encoder"})

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """SAM, the encoder and the projector, each called for the global views and for the tiles."""
        return {"sam_model": self.sam_model, "qwen2_model": self.qwen2_model, "projector": self.projector}
