"""What the instruments share: seeing every operator, knowing its module, telling storages apart.

Nothing here counts anything. An instrument derives from `Instrument`, which keeps the path of the module that
is running; `Storages` numbers storages and tells when one dies (by weak reference, so that measuring keeps
nothing alive).
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

Roots: TypeAlias = nn.Module | Mapping[str, nn.Module] | None
"""The module measured (paths are its own, "" is itself), or several by the path that each is to have."""


def operator_name(func: Any) -> str:
    """The operator with its overload, such as "aten.add.Tensor"."""
    return str(func)


def tensors(tree: object) -> list[Tensor]:
    """The tensors in an operator's arguments or results, in their order."""
    if isinstance(tree, Tensor):
        return [tree]
    # no pytree: an operator's schema has sequences alone, and an instrument looks at each operator several times
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for member in members for tensor in tensors(member)]


def written_arguments(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that the operator's schema says it writes to: in-place targets and `out=`."""
    written: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            written.extend(tensors(value))
    return written


def by_path(roots: Roots) -> dict[str, nn.Module]:
    """Every module under `roots`, by its dotted path."""
    if roots is None:
        return {}
    if isinstance(roots, nn.Module):
        return dict(roots.named_modules())
    found: dict[str, nn.Module] = {}
    for prefix, root in roots.items():
        found.update(root.named_modules(prefix=prefix))
    return found


def enclosing_paths(path: str) -> Iterator[str]:
    """The path itself and every one around it, "" last: "a.b" gives "a.b", "a", ""."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


class Storages:
    """Numbers storages in the order in which they are met, and reports a death.

    A storage's address is used again after its death; its number never is.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}
        self._next = 0

    def meet(self, tensor: Tensor, on_death: Callable[[int], None] | None = None) -> tuple[int, bool]:
        """(number, whether this is the first meeting); `on_death(number)` is called when the storage goes."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        known = self._known.get(address)
        if known is not None:
            return known[0], False
        number = self._next
        self._next += 1

        def died(_: object) -> None:
            del self._known[address]
            if on_death is not None:
                on_death(number)

        self._known[address] = number, weakref.ref(storage, died)
        return number, True


class Instrument(TorchDispatchMode):  # type: ignore[misc]
    """A dispatch mode that knows which module is running: `self.path`, dotted, relative to `roots`, and `self.run`.

    Modules outside `roots` (or all of them, without roots) count to the nearest enclosing module inside.
    `device` filters tensors: what lies on another device is no part of the measurement (a meta run of SAM
    makes its index tables on the CPU); None takes every device.
    """

    def __init__(self, roots: Roots = None, device: str | None = None) -> None:
        super().__init__()
        self.device = device
        self._modules = by_path(roots)
        self._path_of: dict[int, str] = {}
        for path, module in self._modules.items():
            self._path_of.setdefault(id(module), path)
        self._running: list[tuple[str, int]] = []
        self._runs: Counter[str] = Counter()
        self._hooks: list[Any] = []
        self._depth = 0

    @property
    def known_paths(self) -> list[str]:
        """The dotted path of every module under the roots, whether it runs or not."""
        return list(self._modules)

    @property
    def path(self) -> str:
        """Dotted path of the module that is running now, "" outside all submodules."""
        return self._running[-1][0] if self._running else ""

    @property
    def run(self) -> int:
        """How often the outermost submodule that is running ran before: 0 in its first run, and outside of all.

        A part that runs once for each branch of a page has one path for all of them; this tells them apart.
        """
        return self._running[-1][1] if self._running else 0

    def on_device(self, tree: object) -> list[Tensor]:
        """The tensors of `tree` that lie on the measured device, all of them when that is every one."""
        return [tensor for tensor in tensors(tree) if self.device in (None, tensor.device.type)]

    def _entered(self, module: nn.Module, _args: object) -> None:
        path = self._path_of.get(id(module), self.path)
        run = self.run
        if path and not self.path:
            run = self._runs[path]
            self._runs[path] += 1
        self._running.append((path, run))

    def _left(self, _module: nn.Module, _args: object, _result: object) -> None:
        self._running.pop()

    def __enter__(self) -> Self:
        if self._depth == 0:  # entered again inside itself, to see the parts of an operator: the hooks are there
            self._running.clear()
            self._runs.clear()
            self._hooks = [
                register_module_forward_pre_hook(self._entered),
                register_module_forward_hook(self._left, always_call=True),
            ]
        self._depth += 1
        super().__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, traceback)
        self._depth -= 1
        if self._depth == 0:
            for hook in self._hooks:
                hook.remove()
