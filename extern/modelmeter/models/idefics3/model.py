"""`Idefics3Model`: SigLIP over tiles of a page, pixel shuffle, a Llama decoder, a head that is tied or not.

Source of the walk: `Idefics3ForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.vision.siglip_tiles import SiglipTraits
from modelmeter.models.common.deep_encoder import TiledTextStage
from modelmeter.models.common.patches_grid import PageViews
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.idefics3.executions import EXECUTIONS
from modelmeter.models.idefics3.layers.vision import Idefics3Connector, Idefics3VisionTransformer, VisionStage
from modelmeter.operators import Parameter, compare, mul, sum_all
from modelmeter.shape_tensor import ShapeTensor, Tape


class Idefics3TextStage(TiledTextStage):
    """The stages with text; the image tokens of all pages are handed on together."""

    pages_joined = True
    masks_held = False

    def placeholder_masks(self, input_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Which positions [B, T, 1] are image tokens; their number is held against that of features."""
        special_image_mask = compare("aten.eq.Scalar", input_ids).unsqueeze(2)
        compare("aten.eq.Scalar", mul(sum_all(special_image_mask)))
        return (special_image_mask,)


class Idefics3Model(VisionLanguageModel):
    """Idefics3. vision, decoder: architectural arguments of `Idefics3VisionTransformer` and `Decoder`.

    size: side of a view, pixels. scale_factor: patches a side that become one token.
    """

    executions = EXECUTIONS
    text_stage = Idefics3TextStage

    def __init__(
        self,
        *,
        vision: Mapping[str, Any],
        size: int,
        scale_factor: int,
        decoder: Mapping[str, Any],
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, tied_head = text.pop("vocab_size"), text.pop("tie_word_embeddings")
        of_vision = self.code.vision()
        self.view = (vision["num_channels"], size)
        self.vision_model = Idefics3VisionTransformer(**vision, code=of_vision)
        self.connector = Idefics3Connector(vision["hidden_size"], text["hidden_size"], scale_factor, code=of_vision)
        self.assemble(
            vision=VisionStage(self.vision_model, self.connector, vision["patch_size"], code=of_vision),
            decoder=Decoder(**text, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def images(self, tape: Tape, geometry: PageViews) -> tuple[Any, ...]:
        """Pixels of all views, and which of them are real: those that fill up a smaller picture are not."""
        pages, views, (channels, side) = int(geometry.pages), geometry.views, self.view
        pixel_values = tape.input((pages, views, channels, side, side), self.dtype)
        known = self.traits(SiglipTraits).tiles_known
        return pixel_values, None if known else tape.input((pages, views, side, side), "int64")

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.vision_model, self.connector, self.embed_tokens, self.decoder, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, and the connector's."""
        return self.vision_model.forward_memory_weight() + self.connector.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """Tower and connector."""
        return {"vision_model": self.vision_model, "connector": self.connector}
