"""One real module alone: its FLOPs, traffic, live set and operators, from one call on the meta device.

measured = measure_layer(partial(module, meta_tensor((1, 256, 2048), "bfloat16")))
measured.flops, measured.traffic_bytes, measured.peak_bytes, measured.peak_operator
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelmeter.reference._dispatch import tensors
from modelmeter.reference.measurement import measure


@dataclass(frozen=True, kw_only=True)
class OperatorRun:
    """An operator that is not a view: its name, such as "aten.addmm.default", what it works through, what it moves,
    what is alive after it."""

    operator: str
    elements: int
    read_bytes: int
    written_bytes: int
    live_bytes: int


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """What one call of a layer did, measured or by its walk; its inputs lie outside and are not counted."""

    flops: int
    """Tensor-core FLOPs (multiply-add = 2)."""
    traffic_bytes: int
    """Bytes read and written."""
    peak_bytes: int
    """The most bytes alive of what the call makes, its KV cache included."""
    peak_operator: str
    """The operator after which that was first reached."""
    operators: tuple[OperatorRun, ...]
    """Every operator that is not a view, in order."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the tensors that the call returns, in order."""


def measure_layer(call: Callable[[], object], experts_hit: int | None = None) -> LayerRun:
    """Measure one call, whose inputs exist already.

    experts_hit: how many experts a grouped GEMM reads, all of them when None.
    """
    returned: list[object] = []
    measured = measure(None, lambda: returned.append(call()), experts_hit=experts_hit)
    moving = {each.operator for each in measured.operator_traffic}
    live = [live_bytes for operator, live_bytes in measured.live_series if operator in moving]
    elements = [count for operator, count in measured.element_series if operator in moving]
    return LayerRun(
        flops=measured.flops,
        traffic_bytes=measured.io_bytes,
        peak_bytes=measured.activation_peak_bytes,
        peak_operator=measured.peak_operator,
        operators=tuple(
            OperatorRun(
                operator=each.operator,
                elements=count,
                read_bytes=each.traffic.read_bytes,
                written_bytes=each.traffic.written_bytes,
                live_bytes=live_bytes,
            )
            for each, live_bytes, count in zip(measured.operator_traffic, live, elements, strict=True)
        ),
        shapes=tuple(tuple(tensor.shape) for tensor in tensors(returned)),
    )


def meta_tensor(shape: tuple[int, ...], dtype: str, strides: tuple[int, ...] | None = None) -> Tensor:
    """A tensor on the meta device; `strides` in elements, row-major without them."""
    element_type: Any = getattr(torch, dtype)
    if strides is None:
        return torch.empty(shape, dtype=element_type, device="meta")
    return torch.empty_strided(shape, strides, dtype=element_type, device="meta")


def host_tensor(values: tuple[Any, ...], dtype: str) -> Tensor:
    """Numbers in host memory, or rows of them."""
    return torch.tensor(values, dtype=getattr(torch, dtype))
