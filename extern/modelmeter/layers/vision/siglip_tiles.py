"""SigLIP's encoder over square tiles, on shapes: its blocks, and the shuffle that makes fewer, wider tokens of its own.

Source of the walk: `Idefics3Encoder` and `GraniteDoclingEncoder` of transformers 5.23, whose blocks are CLIP's with
another activation, and the `pixel_shuffle` that both have.
"""

from __future__ import annotations

from math import isqrt

from modelmeter.layers.vision.clip import NoTPFeedForward, NoTPTransformerBlock
from modelmeter.operators import gelu, reshape
from modelmeter.shape_tensor import ShapeTensor


class SiglipMLP(NoTPFeedForward):
    """fc2(gelu(fc1(x))), x [B, T, D] -> [B, T, D]; GELU by tanh, one kernel."""

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        hidden_states = self.fc1(hidden_states)
        hidden_states = self.chain("gelu", gelu, hidden_states)
        return self.fc2(hidden_states)  # type: ignore[no-any-return]


class SiglipEncoderLayer(NoTPTransformerBlock):
    """Pre-norm block, x [B, T, D] -> [B, T, D]."""

    feed_forward = SiglipMLP


def pixel_shuffle(x: ShapeTensor, scale_factor: int) -> ShapeTensor:
    """Squares of `scale_factor` x `scale_factor` patches of square tiles to one token each.

    x [B, T, D] -> [B, T / scale_factor^2, D scale_factor^2].
    """
    batch, patches, width = x.shape
    side = isqrt(patches)
    merged = side // scale_factor
    x = x.view(batch, side, side, width)
    x = x.view(batch, side, merged, width * scale_factor).permute(0, 2, 1, 3)
    x = reshape(x, batch, merged, merged, width * scale_factor**2).permute(0, 2, 1, 3)
    return reshape(x, batch, merged * merged, width * scale_factor**2)
