"""Which class of kernel runs an operator: what its time depends on beside FLOPs and bytes.

A class has constants of its own in a device's file (`modelmeter.devices.kernel_time`). The table stands beside the
operators: an operator whose kind is not here is refused, never counted among others by default.

To add a class: a name in `CLASSES`, the operators that it holds in the table, and its time in `kernel_time`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.walk import OperatorRecord

GEMM: Final = "gemm"
MOE: Final = "moe"  # grouped GEMMs, and an engine's block of both, with order, activation and sum
CONTEXT_ATTENTION: Final = "context_attention"  # causal, of a prefill
ENCODER_ATTENTION: Final = "encoder_attention"  # every position sees every other
BIAS_ATTENTION: Final = "bias_attention"  # with a matrix that is added to the scores, as SAM's
GENERATION_ATTENTION: Final = "generation_attention"  # one query a sequence or a few, over the KV cache
ELEMENTWISE: Final = "elementwise"  # pointwise operators, reductions, and chains of them
COPY: Final = "copy"
STRIDED: Final = "strided"  # element by element: a copy into another order, padding, an operand that is broadcast
CONVOLUTION: Final = "convolution"
ALL_REDUCE: Final = "all_reduce"  # over a link, of several devices
ALL_GATHER: Final = "all_gather"
#: classes whose kernels several devices run together
COLLECTIVES: Final = (ALL_REDUCE, ALL_GATHER)

CLASSES: Final = (
    GEMM,
    MOE,
    CONTEXT_ATTENTION,
    ENCODER_ATTENTION,
    BIAS_ATTENTION,
    GENERATION_ATTENTION,
    ELEMENTWISE,
    COPY,
    STRIDED,
    CONVOLUTION,
    *COLLECTIVES,
)

#: class of an operator by its name, where that says more than its kind
_OF_NAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "grouped_mm": MOE,
        "fused_moe": MOE,
        "conv2d": CONVOLUTION,
        "conv3d": CONVOLUTION,
        "copy": STRIDED,
        "pad": STRIDED,
        "all_reduce": ALL_REDUCE,
        "all_gather": ALL_GATHER,
    }
)
#: class of an operator by its kind; attention's depends on its shapes too
_OF_KIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        "matmul": GEMM,
        "elementwise": ELEMENTWISE,
        "reduction": ELEMENTWISE,
        "fused": ELEMENTWISE,
        "copy": COPY,
        "gather": COPY,
    }
)
#: queries of a sequence in a decode step: a drafter proposes 32 tokens at most
_MOST_OF_A_STEP: Final = 33
#: what the paths of the decoder's operators begin with
_DECODER: Final = "layers."


def kernel_class(record: OperatorRecord) -> str:
    """The class whose constants tell an operator's time; raises `ModelMeterError` for an operator that has none."""
    if record.name in _OF_NAME:
        return _OF_NAME[record.name]
    if record.kind == "attention":
        return _attention_class(record)
    if record.kind not in _OF_KIND:
        raise ModelMeterError(
            f"operator {record.aten} at {record.path} is of kind {record.kind}, which has no kernel class (known: "
            f"{', '.join(_OF_KIND)}, attention); add it to modelmeter/kernel_classes.py."
        )
    if record.kind == "elementwise" and _broadcasts(record):
        return STRIDED
    return _OF_KIND[record.kind]


def _broadcasts(record: OperatorRecord) -> bool:
    """Whether an operand of several elements has fewer than the result: the kernel then looks up where each lies."""
    elements = prod(record.outputs[0])
    return any(1 < prod(shape) < elements for shape in record.inputs)


def in_decoder(path: str) -> bool:
    """Whether an operator of this path is one of the decoder."""
    return path.startswith(_DECODER)


def _attention_class(record: OperatorRecord) -> str:
    """Of a decoder, by the number of queries; of an encoder, by whether a bias comes with query, keys and values.

    A few queries whose number is fixed, over keys of more pieces than they made or than they are, are a step's too;
    more are a prompt that goes on with a cache.
    """
    if in_decoder(record.path):
        queries, keys = record.inputs[0][2], record.inputs[1][2]
        few = isinstance(queries, int) and queries <= _MOST_OF_A_STEP
        step = queries == 1 or (few and ((len(record.inputs) - 1) // 2 > 1 or queries != keys))
        return GENERATION_ATTENTION if step else CONTEXT_ATTENTION
    return BIAS_ATTENTION if len(record.inputs) % 2 == 0 else ENCODER_ATTENTION
