"""The layers that every network is made of: Linear, Conv2d, LayerNorm. They are torch.nn's, on shapes."""

from collections.abc import Callable
from typing import Any

from modelmeter.layers.base_layer import BaseLayer, LayerList
from modelmeter.operators import add, conv2d, layer_norm, linear, written_over
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor


class Linear(BaseLayer):
    """x [..., k] -> [..., n]: a product with the weight [n, k], and a bias [n] unless told otherwise.

    Source: torch.nn.Linear.    Counted: the product.    Left out: the bias's sums (the product starts from it).
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, **common: Any) -> None:
        super().__init__(**common)
        self.weight = self.parameter(out_features, in_features)
        self.bias = self.parameter(out_features) if bias else None

    def forward(self, x: ShapeTensor, kind: str = ACTIVATION, weight_bytes: int | None = None) -> ShapeTensor:
        """`kind` of memory that the product is kept as, and the bytes read of the weight where that is not all."""
        return linear(x, self.weight, self.bias, kind=kind, weight_bytes=weight_bytes)  # [..., k] -> [..., n]


class Conv2d(BaseLayer):
    """x [B, c, H, W] -> [B, n, H', W'] with a square kernel.

    Source: torch.nn.Conv2d.    Counted: the product.    Left out: the bias's sums.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.stride = stride
        self.padding = padding
        self.weight = self.parameter(out_channels, in_channels, kernel_size, kernel_size)
        self.bias = self.parameter(out_channels) if bias else None

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


class LayerNorm(BaseLayer):
    """x [..., d] -> [..., d].    Source: torch.nn.LayerNorm, with weight and bias [d]."""

    def __init__(self, width: int, **common: Any) -> None:
        super().__init__(**common)
        self.weight = self.parameter(width)
        self.bias = self.parameter(width)

    def forward(self, x: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """With a residual: its sum with x, and the norm of that."""
        if residual is None:
            return self.chain("layer_norm", self.normalize, x)
        return self.chain("add_layer_norm", after_sum(self.normalize), x, residual)

    def normalize(self, x: ShapeTensor) -> ShapeTensor:
        """The norm itself."""
        return layer_norm(x, self.weight, self.bias)


def after_sum(
    norm: Callable[[ShapeTensor], ShapeTensor],
) -> Callable[[ShapeTensor, ShapeTensor], tuple[ShapeTensor, ShapeTensor]]:
    """x and a residual to their sum and its norm; as one kernel, in the places of the residual and of x."""

    def add_and_normalize(x: ShapeTensor, residual: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        total = add(residual, x)
        normed = norm(total)
        return written_over(residual, total), written_over(x, normed)

    return add_and_normalize


def run_blocks(blocks: LayerList, x: ShapeTensor) -> ShapeTensor:
    """Blocks one after another; where each hands its last output and the residual on, they are summed at the end."""
    if not blocks.execution.residual_handed_on:
        for block in blocks:
            x = block(x)
        return x
    residual = None
    for block in blocks:
        x, residual = block(x, residual)
    assert residual is not None
    return add(residual, x)
