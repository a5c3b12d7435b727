"""`HunYuanVLModel`: a SigLIP2 tower, a merger that writes newlines, and Hunyuan's dense decoder.

Source of the walks: `HunYuanVLForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it,
but for its check of the placeholders, which copies all image tokens' embeddings to count them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.packed import Grid
from modelmeter.models.common.deep_encoder import TiledTextStage
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.hunyuan_vl.executions import EXECUTIONS
from modelmeter.models.hunyuan_vl.layers.vision import VisionStage, VisionTransformer
from modelmeter.operators import Parameter, compare, sum_all
from modelmeter.shape_tensor import ShapeTensor, Tape


class HunYuanTextStage(TiledTextStage):
    """The stages with text; the image tokens of all pages are held together until the head has run."""

    pages_joined = True

    def forward(self, *arguments: Any) -> tuple[ShapeTensor, ...]:
        """Of the model without its head they are part of what is returned, and of the model with it no more."""
        outputs = super().forward(*arguments)
        head = arguments[-1]
        return outputs if head == "none" else outputs[:1]

    def placeholder_masks(self, input_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Which positions [B, T, 1] are image tokens; their number is worked out."""
        special_image_mask = compare("aten.eq.Scalar", input_ids)
        sum_all(special_image_mask)
        return (special_image_mask.unsqueeze(2),)


class HunYuanVLModel(VisionLanguageModel):
    """HunyuanOCR. vision, decoder: architectural arguments of `VisionTransformer` and `Decoder`."""

    executions = EXECUTIONS
    text_stage = HunYuanTextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        decoder: Mapping[str, Any],
        vocab_size: int,
        tied_head: bool,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.vit = VisionTransformer(**vision, code=self.code.vision())
        self.assemble(
            vision=VisionStage(self.vit, code=self.code),
            decoder=Decoder(**decoder, qk_norm=True, norm_after_rotary=True, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def images(self, tape: Tape, geometry: Grid) -> tuple[Any, ...]:
        """What comes with the pages, and their grid."""
        return self.vit.tensors(tape, geometry), geometry

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.embed_tokens, self.decoder, self.vit, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, its merger among them."""
        return self.vit.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """The tower."""
        return {"vit": self.vit}
