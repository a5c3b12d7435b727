"""The gated MLP of Llama's descendants on shapes."""

from __future__ import annotations

from fractions import Fraction
from typing import Unpack

from modelmeter.layers import BaseLayer, Linear
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.traits import DecoderTraits
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.quantisation import DOWN
from modelmeter.operators import mul, silu
from modelmeter.shape_tensor import ACTIVATION, ShapeTensor


class GatedMLP(BaseLayer):
    """down_proj(silu(gate_proj(x)) * up_proj(x)), x [..., D] -> [..., D].

    joined: gate and up are one GEMM in every code; transformers' holds its result to the end. summed: where it is split
    over devices, what these make is summed; otherwise whoever comes next does that.
    """

    remembered = True

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        *,
        bias: bool = False,
        joined: bool = False,
        summed: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.joined = joined
        intermediate_size = self.code.parallel.share("intermediate_size", intermediate_size)
        if joined or self.traits(DecoderTraits).qkv_and_gate_up_fused:
            self.gate_up_proj = Linear(
                hidden_size,
                2 * intermediate_size,
                bias=bias,
                tensors={"gate_proj": intermediate_size, "up_proj": intermediate_size},
                split=OUTPUTS,
                code=self.code,
            )
        else:
            self.gate_proj = Linear(hidden_size, intermediate_size, bias=bias, code=self.code)
            self.up_proj = Linear(hidden_size, intermediate_size, bias=bias, code=self.code)
        self.down_proj = Linear(
            intermediate_size,
            hidden_size,
            bias=bias,
            tensors={DOWN: hidden_size},
            split=INPUTS,
            summed=summed,
            code=self.code,
        )

    def forward(self, x: ShapeTensor, share: Fraction | None = None) -> ShapeTensor:
        """`share`: the part of the weights that counts as read, where an expert is hit on average only."""
        if self.traits(DecoderTraits).qkv_and_gate_up_fused:
            return self.down_proj(  # type: ignore[no-any-return]
                self.chain("silu_and_mul", silu_and_mul, self.gate_up_proj(x))
            )
        if self.joined:
            gate, up = self.gate_up_proj(x).chunk(2, -1)  # names of the GEMM's memory
            return self.down_proj(mul(up, silu(gate)))  # type: ignore[no-any-return]
        gate_bytes = up_bytes = down_bytes = None
        if share is not None:
            gate_bytes = up_bytes = round(share * self.gate_proj.weight.nbytes)
            down_bytes = round(share * self.forward_memory_weight()) - gate_bytes - up_bytes
        return self.down_proj(  # type: ignore[no-any-return]
            mul(silu(self.gate_proj(x, ACTIVATION, gate_bytes)), self.up_proj(x, ACTIVATION, up_bytes)),
            ACTIVATION,
            down_bytes,
        )


def silu_and_mul(projected: ShapeTensor) -> ShapeTensor:
    """silu(gate) * up, side by side [R, 2 F] -> [R, F]."""
    gate, up = projected.chunk(2, -1)
    return mul(silu(gate), up)
