"""The layers that every network is made of, on shapes: Linear, Conv2d, the norms, the embedding, the head."""

from collections.abc import Mapping
from typing import Any, Unpack

from modelmeter.layers.base_layer import BaseLayer, LayerList
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.quantisation import EMBEDDING, HEAD
from modelmeter.operators import (
    add,
    conv2d,
    gather,
    in_place_output,
    layer_norm,
    linear,
    mean,
    mul,
    rsqrt,
    square,
    to,
)
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor


class Linear(BaseLayer):
    """x [..., k] -> [..., n]: a GEMM with the weight [n, k], and a bias [n] unless told otherwise.

    tensors: of a checkpoint, whose rows the weight holds, by name, where a scheme of quantisation tells them apart.
    Source: torch.nn.Linear.    Counted: the GEMM.    Left out: the bias's sums (the GEMM starts from it).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        tensors: Mapping[str, int] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.weight = self.matrices(out_features, in_features, tensors=tensors or {"": out_features})
        self.bias = self.parameter(out_features) if bias else None

    def forward(self, x: ShapeTensor, kind: str = ACTIVATION, weight_bytes: int | None = None) -> ShapeTensor:
        """`kind` of memory that the GEMM is kept as, and the bytes read of the weight where that is not all."""
        return linear(x, self.weight, self.bias, kind=kind, weight_bytes=weight_bytes)  # [..., k] -> [..., n]


class Conv2d(BaseLayer):
    """x [B, c, H, W] -> [B, n, H', W'] with a square kernel.

    Source: torch.nn.Conv2d.    Counted: the GEMM.    Left out: the bias's sums.
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
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.stride = stride
        self.padding = padding
        self.weight = self.parameter(out_channels, in_channels, kernel_size, kernel_size)
        self.bias = self.parameter(out_channels) if bias else None

    def forward(self, x: ShapeTensor) -> ShapeTensor:
        return conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


class LayerNorm(BaseLayer):
    """x [..., d] -> [..., d].    Source: torch.nn.LayerNorm, with weight and bias [d]."""

    def __init__(self, width: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.weight = self.parameter(width)
        self.bias = self.parameter(width)

    def forward(self, x: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """With a residual: its sum with x, and the norm of that."""
        if residual is None:
            return self.chain("layer_norm", self.normalize, x)
        return self.chain("add_layer_norm", self.add_and_normalize, x, residual)

    def normalize(self, x: ShapeTensor) -> ShapeTensor:
        """The norm itself."""
        return layer_norm(x, self.weight, self.bias)

    def add_and_normalize(self, x: ShapeTensor, residual: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """x and a residual to their sum and its norm; as one kernel, in the places of the residual and of x."""
        total = add(residual, x)
        return in_place_output(residual, total), in_place_output(x, self.normalize(total))


class RMSNorm(BaseLayer):
    """x [..., d] -> [..., d], normalised in float32."""

    remembered = True

    def __init__(self, hidden_size: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.weight = self.parameter(hidden_size)

    def forward(
        self, hidden_states: ShapeTensor, residual: ShapeTensor | None = None, *features: ShapeTensor | None
    ) -> Any:
        """With a residual: its sum with the hidden states, and the norm of that. features: of `add_and_normalize`."""
        if residual is None:
            return self.chain("rms_norm", self.normalize, hidden_states)
        return self.chain("add_rms_norm", self.add_and_normalize, hidden_states, residual, *features)

    def normalize(self, hidden_states: ShapeTensor, residual: ShapeTensor | None = None) -> Any:
        """The norm itself; with a residual, which an engine's code alone has, the sum in float32 and its norm."""
        input_dtype = hidden_states.dtype
        hidden_states = to(hidden_states, "float32")
        if residual is not None:
            hidden_states = add(hidden_states, to(residual, "float32"))
            residual = to(hidden_states, input_dtype)
        variance = mean(square(hidden_states))
        hidden_states = mul(hidden_states, rsqrt(add(variance)))
        hidden_states = mul(self.weight.on(hidden_states.tape), to(hidden_states, input_dtype))
        return hidden_states if residual is None else (residual, hidden_states)

    def add_and_normalize(
        self,
        x: ShapeTensor,
        residual: ShapeTensor,
        features: ShapeTensor | None = None,
        places: ShapeTensor | None = None,
    ) -> tuple[ShapeTensor, ShapeTensor]:
        """x and a residual to their sum and its norm; as one kernel, in the places of the residual and of x.

        features [n, d]: added to x before, to the n rows that `places` numbers; without places they have all its rows.
        """
        summed = x
        if features is not None and places is None:
            summed = add(x, features.view(*x.shape))
        elif features is not None:
            rows = gather(x.view(-1, x.shape[-1]), features.shape[0], aten="aten.index.Tensor", index=places or ())
            add(rows, features)  # to where they came from, in no memory of its own
        total, normed = self.normalize(summed, residual)
        return in_place_output(residual, total), in_place_output(x, normed)


class Embedding(BaseLayer):
    """Token ids [B, T] -> [B, T, D]: one row of the table a token. tied: the table is the weight of the head too."""

    def __init__(self, vocab_size: int, hidden_size: int, *, tied: bool = False, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        tensors = {EMBEDDING: vocab_size, HEAD: vocab_size} if tied else {EMBEDDING: vocab_size}
        self.weight = self.matrices(vocab_size, hidden_size, tensors=tensors)

    def forward(self, input_ids: ShapeTensor) -> ShapeTensor:
        table = self.weight.on(input_ids.tape)
        row_bytes = self.weight.nbytes // self.weight.shape[0]
        return gather(table, *input_ids.shape, aten="aten.embedding.default", index=input_ids, row_bytes=row_bytes)


class LMHead(BaseLayer):
    """x [B, T, D] -> logits [B, T, V]. tied_to: the embedding whose table is the weight; None: it has its own."""

    def __init__(
        self, hidden_size: int, vocab_size: int, tied_to: Embedding | None = None, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.weight = None
        if tied_to is None:
            self.weight = self.matrices(vocab_size, hidden_size, tensors={HEAD: vocab_size})
        self.tied_to = None if tied_to is None else [tied_to]  # in a list: no layer within this one

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        weight = self.weight if self.tied_to is None else self.tied_to[0].weight
        assert weight is not None  # its own, where it is tied to none
        return linear(hidden_states, weight)


def run_blocks(blocks: LayerList, x: ShapeTensor) -> ShapeTensor:
    """Blocks one after another; where each hands its last output and the residual on, they are summed at the end."""
    if not blocks.traits(EngineTraits).add_norm_fused:
        for block in blocks:
            x = block(x)
        return x
    residual = None
    for block in blocks:
        x, residual = block(x, residual)
    assert residual is not None
    return add(residual, x)
