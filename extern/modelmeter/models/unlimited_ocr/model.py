"""`UnlimitedOcrModel`: the vision encoder of its family, and a decoder with a reference sliding window.

Source of the walks: `UnlimitedOcrForConditionalGeneration.forward` of transformers 5.23, called as `generate` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from modelmeter.layers import Linear
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.models.common.deep_encoder import ClipEncoder, DeepEncoderModel, SamEncoder, TiledVision
from modelmeter.models.unlimited_ocr.executions import EXECUTIONS
from modelmeter.models.unlimited_ocr.workload import PageGeometry
from modelmeter.operators import Parameter
from modelmeter.shape_tensor import Tape


class LocalVision(TiledVision):
    """Pages through vision; tiles are local views here."""

    tiles_name = "local"


class UnlimitedOcrModel(DeepEncoderModel):
    """Unlimited-OCR. sam, clip, decoder: architectural arguments of `SamEncoder`, `ClipEncoder` and `Decoder`."""

    executions = EXECUTIONS

    def __init__(
        self,
        *,
        sam: Mapping[str, Any],
        clip: Mapping[str, Any],
        decoder: Mapping[str, Any],
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        text = dict(decoder)
        vocab_size, width = text.pop("vocab_size"), text["hidden_size"]
        self.sam_model = SamEncoder(**sam, code=self.code)
        self.vision_model = ClipEncoder(**clip, code=self.code)
        self.projector = Linear(sam["downsample_channels"][-1] + clip["hidden_size"], width, code=self.code)
        self.view_separator = self.parameter(width)
        self.image_newline = self.parameter(width)
        decoder_layers = Decoder(**text, code=self.code)
        self.assemble(vision=LocalVision(self, code=self.code), decoder=decoder_layers, vocab_size=vocab_size)

    def separators(self) -> tuple[Parameter, Parameter]:
        """What ends a row of tokens, and what ends the image."""
        return self.image_newline, self.view_separator

    def images(self, tape: Tape, geometry: PageGeometry) -> tuple[Any, ...]:
        """Pixels of the global views and of the tiles, and the grid (columns, rows) of these."""
        pages, size, tile, (columns, rows) = geometry
        views = tape.input((pages, 3, size, size), self.dtype)
        return views, tape.input((pages * columns * rows, 3, tile, tile), self.dtype) if tile else None, geometry.grid
