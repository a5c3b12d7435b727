"""Which modules of a real model ran, and the shapes of what they were given and gave.

One value here is one run of one module. Tensors in nested arguments and results are found in their order; what is no
tensor (a KV cache, a flag) is left out.

    with ModuleCalls(model) as seen:
        model(x)
    seen.by_path["layers.0.mlp"][0].outputs      # [(1, 4, 8)]
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch.utils.hooks import RemovableHandle

from modelmeter.reference._dispatch import tensors

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """One run of a module, and the label that it had when it began."""

    label: str
    inputs: list[Shape]
    outputs: list[Shape]


class ModuleCalls:
    """Watches every module of `model` for the length of the context.

    label: names a run by the path of its module; asked as each run begins, in that order.
    """

    def __init__(self, model: nn.Module, label: Callable[[str], str] = lambda _path: "") -> None:
        self.by_path: defaultdict[str, list[ModuleCall]] = defaultdict(list)
        self._model = model
        self._label = label
        self._running: list[str] = []
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for path, module in self._model.named_modules():
            begin, end = self._watch(path)
            self._hooks.append(module.register_forward_pre_hook(begin))
            self._hooks.append(module.register_forward_hook(end, with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _watch(self, path: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def begin(*_args: Any) -> None:
            self._running.append(self._label(path))

        def end(_module: object, args: object, kwargs: dict[str, object], output: object) -> None:
            given = tensors((args, list(kwargs.values())))
            self.by_path[path].append(
                ModuleCall(label=self._running.pop(), inputs=_shapes(given), outputs=_shapes(tensors(output)))
            )

        return begin, end


def _shapes(found: list[Any]) -> list[Shape]:
    return [tuple(tensor.shape) for tensor in found]
