"""`MlpProjector` of DeepSeek-OCR on shapes: vision features to the decoder's width.

The model uses `linear`. The other types stand in the same published class; no module of transformers has them, so
they are verified against plain PyTorch modules.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Unpack

from modelmeter.checks import check_batch_size
from modelmeter.errors import ModelMeterError, near
from modelmeter.layers import BaseLayer, LayerList, Linear
from modelmeter.layers.code import Settings
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS
from modelmeter.operators import gelu, pad, reshape, unfold
from modelmeter.shape_tensor import ShapeTensor
from modelmeter.units import ceil_div

PROJECTOR_TYPES: Final = ("linear", "identity", "mlp_gelu", "downsample_mlp_gelu")


class Gelu(BaseLayer):
    """GELU as a module of a sequence."""

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return gelu(x)


class MlpProjector(BaseLayer):
    """Vision features [B, tokens, input_dim] -> [B, tokens, n_embed].

    batch_size: views. num_tokens: tokens a view.
    projector_type: linear; identity; mlp_gelu: Linear, then (depth - 1) times GELU and Linear; downsample_mlp_gelu:
    `downsample_ratio` squared neighbours of the token grid become one token, then a Linear to n_embed * mlp_ratio,
    (depth - 2) times GELU and Linear, GELU, and a Linear to n_embed.
    """

    executions = EXECUTIONS

    def __init__(
        self,
        *,
        batch_size: int = 1,
        num_tokens: int = 256,
        projector_type: str = "linear",
        input_dim: int = 2048,
        n_embed: int = 1280,
        depth: int = 1,
        mlp_ratio: int = 1,
        downsample_ratio: int = 2,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.code = self.code.vision()
        check_batch_size("MlpProjector", batch_size)
        if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 1:
            raise ModelMeterError(f"MlpProjector: num_tokens={num_tokens!r}; give a positive whole number.")
        if projector_type not in PROJECTOR_TYPES:
            raise ModelMeterError(
                f"MlpProjector: projector_type={projector_type} is unknown; {near(projector_type, PROJECTOR_TYPES)}"
            )
        least = 2 if projector_type == "downsample_mlp_gelu" else 1
        if depth < least and projector_type in ("mlp_gelu", "downsample_mlp_gelu"):
            raise ModelMeterError(f"MlpProjector: depth={depth} is too small; {projector_type} has at least {least}.")
        self.projector_type = projector_type
        self.downsample_ratio = downsample_ratio
        if projector_type == "linear":
            self.layers: BaseLayer = Linear(input_dim, n_embed, code=self.code)
        elif projector_type != "identity":
            self.layers = LayerList(self._sequence(input_dim, n_embed, depth, mlp_ratio), code=self.code)
        self.bind((batch_size, num_tokens, input_dim))

    def _sequence(self, input_dim: int, n_embed: int, depth: int, mlp_ratio: int) -> list[BaseLayer]:
        if self.projector_type == "mlp_gelu":
            widths = [input_dim, *[n_embed] * depth]
        else:
            widths = [input_dim * self.downsample_ratio**2, *[n_embed * mlp_ratio] * (depth - 1), n_embed]
        layers: list[BaseLayer] = []
        for width, next_width in pairwise(widths):
            if layers:
                layers.append(Gelu(code=self.code))
            layers.append(Linear(width, next_width, code=self.code))
        return layers

    def downsample(self, x: ShapeTensor) -> ShapeTensor:
        """[B, h*w, d] -> [B, h*w / r**2, d * r**2], the square grid padded to a multiple of r."""
        batch, positions, _ = x.shape
        side = round(positions**0.5)
        if side * side != positions:
            raise ModelMeterError(f"MlpProjector: num_tokens={positions} is no square grid, which a downsample needs.")
        ratio = self.downsample_ratio
        missing = ceil_div(side, ratio) * ratio - side
        x = reshape(x, batch, side, side, -1)
        if missing:
            x = pad(x, 0, missing, missing, 0)
        return unfold(x.permute(0, 3, 1, 2), ratio).permute(0, 2, 1)

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        if self.projector_type == "identity":
            return x
        if self.projector_type == "linear":
            return self.layers(x)  # type: ignore[no-any-return]
        if self.projector_type == "downsample_mlp_gelu":
            x = self.downsample(x)
        assert isinstance(self.layers, LayerList)
        hidden_states = x  # x is held by name through all layers
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states
