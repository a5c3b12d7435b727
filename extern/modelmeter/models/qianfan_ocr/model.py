"""`QianfanOcrModel`: InternViT over views of one size, pixel shuffle and a projector, a Qwen3 decoder.

Source of the walk: `QianfanOCRForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.models.common.deep_encoder import TiledTextStage
from modelmeter.models.common.patches_grid import PageViews
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.qianfan_ocr.executions import EXECUTIONS
from modelmeter.models.qianfan_ocr.layers.vision import MultiModalProjector, VisionModel, VisionStage
from modelmeter.operators import Parameter
from modelmeter.shape_tensor import ShapeTensor, Tape


class QianfanTextStage(TiledTextStage):
    """The stages with text; vision gives the image tokens of all pages as one tensor."""

    pages_joined = True

    def joined(self, pooled: tuple[ShapeTensor, ...]) -> ShapeTensor:
        """As they are."""
        return pooled[0]


class QianfanOcrModel(VisionLanguageModel):
    """Qianfan-OCR. vision, decoder: architectural arguments of `VisionModel` and `Decoder`.

    size: side of a view, pixels. shuffled: patches a side that become one token.
    """

    executions = EXECUTIONS
    text_stage = QianfanTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        size: int,
        shuffled: int,
        decoder: Mapping[str, Any],
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, tied_head = text.pop("vocab_size"), text.pop("tie_word_embeddings")
        of_vision = self.code.vision()
        self.view = (3, size, size)
        self.vision_tower = VisionModel(**vision, grid=size // vision["patch_size"], code=of_vision)
        self.multi_modal_projector = MultiModalProjector(
            vision["hidden_size"] * shuffled**2, text["hidden_size"], code=of_vision
        )
        self.assemble(
            vision=VisionStage(self.vision_tower, self.multi_modal_projector, shuffled, code=of_vision),
            decoder=Decoder(**text, qk_norm=True, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def images(self, tape: Tape, geometry: PageViews) -> tuple[Any, ...]:
        """Pixels of the views of all pages, and how many pages these are."""
        return tape.input((geometry.pages * geometry.views, *self.view), self.dtype), geometry.pages

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (*self.vision_parts().values(), self.embed_tokens, self.decoder, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, and the projector's."""
        return sum(part.forward_memory_weight() for part in self.vision_parts().values())

    part_titles = MappingProxyType({"vision_tower": "InternViT", "multi_modal_projector": "projector"})

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """Tower and projector."""
        return {"vision_tower": self.vision_tower, "multi_modal_projector": self.multi_modal_projector}
