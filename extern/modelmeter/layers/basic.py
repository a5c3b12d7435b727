"""The layers that every network is made of, on shapes: Linear, Conv2d, the norms, the embedding, the head."""

from collections.abc import Mapping
from typing import Any, Unpack

from modelmeter.layers.base_layer import BaseLayer, LayerList
from modelmeter.layers.code import EngineTraits, Settings
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.quantisation import EMBEDDING, HEAD
from modelmeter.operators import (
    add,
    all_gather,
    compare,
    conv2d,
    gather,
    in_place_output,
    layer_norm,
    linear,
    masked_fill,
    mean,
    mul,
    rsqrt,
    square,
    sub,
    to,
)
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor


class Linear(BaseLayer):
    """x [..., k] -> [..., n]: a GEMM with the weight [n, k], and a bias [n] unless told otherwise.

    tensors: of a checkpoint, whose rows the weight holds, by name, where a scheme of quantisation tells them apart.
    split: the inputs or the outputs of a GEMM that is split over devices, of which this one's part is given; of inputs
    what the devices make is summed, or not `summed`, where whoever comes next does that.
    Source: torch.nn.Linear.    Counted: the GEMM.    Left out: the bias's sums (the GEMM starts from it).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        tensors: Mapping[str, int] | None = None,
        split: str | None = None,
        summed: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.weight = self.matrices(out_features, in_features, tensors=tensors or {"": out_features}, split=split)
        self.bias = self.parameter(out_features) if bias else None
        self.summed = summed and split == INPUTS

    def forward(self, x: ShapeTensor, kind: str = ACTIVATION, weight_bytes: int | None = None) -> ShapeTensor:
        """`kind` of memory that the GEMM is kept as, and the bytes read of the weight where that is not all."""
        out = linear(x, self.weight, self.bias, kind=kind, weight_bytes=weight_bytes)  # [..., k] -> [..., n]
        return self.reduced(out) if self.summed else out


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
    """Token ids [B, T] -> [B, T, D]: one row of the table a token. tied: the table is the weight of the head too.

    split: over devices, where the model is; otherwise each of them has all of it.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        tied: bool = False,
        split: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.split = split and self.code.parallel.ranks > 1
        rows = self.code.parallel.vocabulary(vocab_size) if self.split else vocab_size
        tensors = {EMBEDDING: rows, HEAD: rows} if tied else {EMBEDDING: rows}
        self.weight = self.matrices(rows, hidden_size, tensors=tensors, split=OUTPUTS)

    def forward(self, input_ids: ShapeTensor) -> ShapeTensor:
        if not self.split:
            return self.look_up(input_ids)
        own_ids, others = self.chain("own_rows", own_rows, input_ids)
        embedded = self.look_up(own_ids)
        masked_fill(embedded, others.unsqueeze(-1))
        return self.reduced(embedded)

    def look_up(self, input_ids: ShapeTensor) -> ShapeTensor:
        """Rows of the table that there is."""
        table = self.weight.on(input_ids.tape)
        row_bytes = self.weight.nbytes // self.weight.shape[0]
        return gather(table, *input_ids.shape, aten="aten.embedding.default", index=input_ids, row_bytes=row_bytes)


def own_rows(input_ids: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
    """Token ids as rows of a device's part of the table, the first in place of others' rows, and which are others'."""
    below = compare("aten.lt.Scalar", input_ids)
    others = compare("aten.bitwise_or.Tensor", below, compare("aten.ge.Scalar", input_ids))
    return mul(sub(input_ids), others, input_ids.dtype), others


class LMHead(BaseLayer):
    """x [B, T, D] -> logits [B, T, V]. tied_to: the embedding whose table is the weight; None: it has its own."""

    def __init__(
        self, hidden_size: int, vocab_size: int, tied_to: Embedding | None = None, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.vocab_size = vocab_size
        self.weight = None
        if tied_to is None:
            rows = self.code.parallel.vocabulary(vocab_size)
            self.weight = self.matrices(rows, hidden_size, tensors={HEAD: rows}, split=OUTPUTS)
        self.tied_to = None if tied_to is None else [tied_to]  # in a list: no layer within this one

    def forward(self, hidden_states: ShapeTensor) -> ShapeTensor:
        weight = self.weight if self.tied_to is None else self.tied_to[0].weight
        assert weight is not None  # its own, where it is tied to none
        logits, ranks = linear(hidden_states, weight), self.code.parallel.ranks
        return logits if ranks == 1 else all_gather(logits, ranks).narrow(-1, 0, self.vocab_size)


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
