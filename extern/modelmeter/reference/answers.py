"""Values of meta tensors that a model asks for: it is told what they are of pages of one size.

with Answers([17, 17]):
    model.get_image_features(...)
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class Answers(TorchFunctionMode):  # type: ignore[misc]
    """A mode that gives `numbers` for the list that a meta tensor is made into, and holds every meta tensor true."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.tolist and args[0].is_meta:
            return self.numbers
        if func is Tensor.__bool__ and args[0].is_meta:
            return True
        return func(*args, **(kwargs or {}))
