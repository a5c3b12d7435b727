"""Copies to the host, where a CPU stands for the device that is measured.

`tensor.cpu()` on a GPU makes a copy in host memory, and the tensor may die while the copy lives. On a CPU it gives the
tensor itself: whoever keeps the result, also as `.numpy()`, keeps device memory that a GPU would have freed. The
published code takes its numbers of rows by expert so: 64 integers of 8 bytes, alive while the experts run.

Under `HostCopies`, `.cpu()` of a CPU tensor copies, and what it gives is no memory of the device. No instrument sees
the copy: that it reads a few bytes is not in the traffic, as no transfer to the host is.

    with torch.no_grad(), HostCopies("cpu"), LiveSet(module, device="cpu") as live:
        module(x)
"""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes


class HostCopies(TorchFunctionMode):  # type: ignore[misc]
    """A mode under which `.cpu()` copies, where `device`, the one that is measured, is the CPU."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._stands_for_a_device = device == "cpu"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.cpu and self._stands_for_a_device and args[0].device.type == "cpu":
            with _disable_current_modes():
                return args[0].clone()
        return func(*args, **(kwargs or {}))
