"""`GraniteDoclingModel`: SigLIP over tiles, a connector with two routes, a Granite decoder that takes the tower's taps.

Source of the walk: `GraniteDoclingForConditionalGeneration.forward` of transformers 5.23, as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.decoder.deepstack import Deepstack
from modelmeter.layers.vision.siglip_tiles import SiglipTraits, of_pages
from modelmeter.models.common.deep_encoder import TiledTextStage
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.granite_docling.executions import EXECUTIONS
from modelmeter.models.granite_docling.layers.vision import VisionModel, VisionStage
from modelmeter.models.granite_docling.workload import PageRoute
from modelmeter.operators import Parameter, cat, compare, sum_all
from modelmeter.shape_tensor import ShapeTensor, Tape


class GraniteDoclingTextStage(TiledTextStage):
    """The stages with text; the image tokens of all pages are handed on together, the logits are divided."""

    pages_joined = True
    logits_divided = True

    def placeholder_masks(self, input_ids: ShapeTensor) -> tuple[ShapeTensor, ...]:
        """Which positions [B, T, 1] are image tokens; their number is held against that of the features."""
        special_image_mask = compare("aten.eq.Scalar", input_ids)
        n_image_tokens = sum_all(special_image_mask)
        compare("aten.eq.Scalar", n_image_tokens)
        return (special_image_mask.unsqueeze(2),)

    def beside(self, outputs: tuple[ShapeTensor, ...], pages: int) -> tuple[ShapeTensor, ...]:
        """The features of each tap, put together out of those of each page."""
        *taps, _last_hidden_state = outputs
        return tuple(cat(of_pages(features, pages), 0) for features in taps)

    def deepstack(self, outputs: tuple[ShapeTensor, ...], mask: ShapeTensor, pages: int) -> Deepstack | None:
        """These, at the places of the image tokens."""
        return Deepstack(mask.select(2, 0), outputs)


class GraniteDoclingModel(VisionLanguageModel):
    """Granite-Docling. vision, decoder: architectural arguments of `VisionModel` and `Decoder`.

    size: side of a view, pixels.
    """

    executions = EXECUTIONS
    text_stage = GraniteDoclingTextStage

    def __init__(
        self, *, vision: Mapping[str, Any], size: int, decoder: Mapping[str, Any], **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, tied_head = text.pop("vocab_size"), text.pop("tie_word_embeddings")
        self.view = (vision["num_channels"], size, size)
        self.vision_model = VisionModel(**vision, out_hidden_size=text["hidden_size"], code=self.code.vision())
        self.assemble(
            vision=VisionStage(self.vision_model, code=self.code.vision()),
            decoder=Decoder(**text, multiplied=True, window_mask=False, code=self.code),
            vocab_size=vocab_size,
            tied_head=tied_head,
        )

    def images(self, tape: Tape, geometry: PageRoute) -> tuple[Any, ...]:
        """Pixels of all views, which of them are real, as those that fill up a smaller page are not, and the route."""
        pages, views, route = int(geometry.pages), geometry.views, geometry.route
        pixel_values = tape.input((pages, views, *self.view), self.dtype)
        known = self.traits(SiglipTraits).tiles_known
        return pixel_values, None if known else tape.input((pages, views), "bool"), route

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which a conversion of the real model comes to them."""
        for part in (self.vision_model, self.embed_tokens, self.decoder, self.lm_head):
            yield from part.parameters_as_converted()

    def vision_weight_bytes(self) -> int:
        """The tower's, its connector among them."""
        return self.vision_model.forward_memory_weight()

    def vision_parts(self) -> Mapping[str, BaseLayer]:
        """The tower."""
        return {"vision_model": self.vision_model}
