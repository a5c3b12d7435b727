"""`F.linear` on meta tensors as it runs on a device: a bias that is added afterwards is added in place.

PyTorch fuses the bias into the GEMM where the input is a matrix or row-major. Otherwise it adds the bias to the
GEMM in place; on meta tensors it does so out of place, into memory that no device would allocate.

    with torch.no_grad(), InPlaceBias(), LiveSet(module) as live:
        module(x)
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class InPlaceBias(TorchFunctionMode):  # type: ignore[misc]
    """A mode under which `F.linear` adds in place the bias that it cannot fuse."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return _linear(*args, **kwargs) if func is functional.linear else func(*args, **kwargs)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., k], weight [n, k], bias [n] -> [..., n]."""
    if bias is None or x.dim() == 2 or x.is_contiguous():
        return functional.linear(x, weight, bias)
    return torch.matmul(x, weight.t()).add_(bias)
