"""A SAM encoder and a CLIP tower over its map, on shapes: what both make, side by side.

Source of the walk: `UnlimitedOcrVisionModel` of transformers 5.23.
"""

from __future__ import annotations

from typing import Unpack

from modelmeter.layers import BaseLayer, Settings
from modelmeter.operators import cat
from modelmeter.shape_tensor import ShapeTensor


class VisionTower(BaseLayer):
    """SAM, then CLIP over its map, then both side by side: pixels [B, 3, s, s] -> [B, q*q, 2048]."""

    def __init__(self, sam_model: BaseLayer, vision_model: BaseLayer, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.sam_model = sam_model
        self.vision_model = vision_model

    def forward(self, pixel_values: ShapeTensor) -> ShapeTensor:
        residual = self.sam_model.call_remembered("sam_model", pixel_values)
        hidden_states = self.vision_model.call_remembered("vision_model", residual)
        return side_by_side(hidden_states, residual)


def side_by_side(tokens: ShapeTensor, feature_map: ShapeTensor) -> ShapeTensor:
    """CLIP's tokens [B, g*g + 1, D] without the class token beside SAM's map [B, D, g, g] -> [B, g*g, 2 D]."""
    return cat((tokens.narrow(1, 1, tokens.shape[1]), feature_map.flatten(2).transpose(1, 2)), -1)
