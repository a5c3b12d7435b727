"""A layer class beside the real module that it describes: what one line of the comparison is made of.

A `LayerCase` is one line: a layer, its inputs, and the same call of the real module, which `RealModules` finds and
calls. `LayerVerification` is all that a model has of them. A class is verified when it has a case; one that can have
none is excused, with the reason.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Final

from modelmeter.layers import BaseLayer, State
from modelmeter.layers.decoder.cache import GrowingCache
from modelmeter.layers.vision.packed import on_host
from modelmeter.reference.layer import host_tensor, meta_tensor
from modelmeter.shape_tensor import Tape
from modelmeter.units import MODEL_DTYPES

#: type and attention of the lines in which attention matters; not float16 with eager attention: its softmax copies its
#: input on the meta device, which it does not on a GPU
TYPES: Final = (
    ("bfloat16", "flash"),
    ("bfloat16", "eager"),
    ("float32", "flash"),
    ("float32", "eager"),
    ("float16", "flash"),
)


@dataclass(frozen=True)
class Given:
    """A tensor that a layer is given. dtype: "" is the model's. strides: in elements; None is row-major."""

    shape: tuple[int, ...]
    dtype: str = ""
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HostNumbers:
    """Numbers in host memory that a layer is given, by which the module's code goes. values: rows of them, or one."""

    values: tuple[Any, ...]
    dtype: str = "int64"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor that they are."""
        first = self.values[0]
        return (len(self.values), len(first)) if isinstance(first, tuple) else (len(self.values),)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The KV cache that a layer is given, of `context` positions, of which the last `generated` came in steps.

    kind: how it keeps them. layers: None for one decoder layer's own part.
    """

    batch: int
    context: int
    kv_heads: int
    head_dim: int
    generated: int = 0
    kind: GrowingCache = GrowingCache()  # noqa: RUF009 (frozen)
    layers: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayerCase:
    """One line of the comparison.

    layer: what is verified. inputs: the arguments of its `forward`, with `Given`, `HostNumbers` and `Cache` for what is
    in memory. module: the real module, by its published path or in words. prepare: makes the real module's inputs and
    gives its call with them. outputs: which of the layer's outputs the module gives too. attention: "" where it does
    not matter. experts_hit: experts whose weights are read. note: what the shape of the first input leaves open.
    """

    layer: BaseLayer
    inputs: tuple[Any, ...]
    module: str
    prepare: Callable[[], Callable[[], object]]
    outputs: slice
    dtype: str
    attention: str
    experts_hit: int | None
    note: str

    @property
    def name(self) -> str:
        """The layer's class."""
        return type(self.layer).__name__

    @property
    def size(self) -> str:
        """The first input's shape, the positions in the cache, and the note."""
        first = self.inputs[0]
        while isinstance(first, tuple):
            first = first[0]
        shape = "x".join(map(str, first.shape))
        caches = [each for each in self.inputs if isinstance(each, Cache)]
        after = ""
        if caches and caches[0].context:
            steps = f", {caches[0].generated} from steps" if caches[0].generated else ""
            after = f" after {caches[0].context}{steps}"
        return f"{shape}{after}, {self.note}" if self.note else f"{shape}{after}"

    @property
    def type(self) -> str:
        """Its element type, and the attention."""
        return f"{self.dtype} {self.attention}".rstrip()

    def __str__(self) -> str:
        return f"{self.name} ({self.module}), {self.size}, {self.type}"

    def on_shapes(self, tape: Tape) -> tuple[Any, ...]:
        """The inputs as the layer takes them."""
        return tuple(self._on_shapes(tape, each) for each in self.inputs)

    def _on_shapes(self, tape: Tape, value: Any) -> Any:
        if isinstance(value, tuple):
            return like(value, (self._on_shapes(tape, each) for each in value))
        if isinstance(value, Given):
            return tape.input(value.shape, value.dtype or self.dtype, value.strides)
        if isinstance(value, HostNumbers):
            return on_host(tape, value.shape, value.dtype)
        if isinstance(value, Cache):
            shape = (value.batch, value.kv_heads, value.head_dim)
            states = tuple(
                value.kind.given(tape, shape, value.context, value.generated, self.dtype) if value.context else State()
                for _ in range(value.layers or 1)
            )
            return states if value.layers else states[0]
        return value


class RealModules(ABC):
    """The modules of one execution, of one type and attention, on the meta device."""

    execution: ClassVar[str]
    #: layer classes that this execution does not run, and what it runs instead
    not_run: ClassVar[Mapping[str, str]] = MappingProxyType({})
    #: by layer class: the call of its module with the inputs of the layer; a plain call where it is not named
    calls: ClassVar[Mapping[str, Callable[..., object]]]
    #: by layer class: the outputs of the layer that its module gives too; all where it is not named
    outputs: ClassVar[Mapping[str, slice]] = MappingProxyType({})

    def __init__(self, dtype: str, attention: str) -> None:
        self.dtype = dtype
        self.attention = attention

    @abstractmethod
    def part(self, path: str) -> Any:
        """The module at a layer's path, or that is described in its words."""

    @abstractmethod
    def empty_or_filled(self, cache: Cache) -> Any:
        """A KV cache."""

    def real(self, value: Any) -> Any:
        """An input of a layer as a module takes it."""
        if isinstance(value, tuple):
            return like(value, map(self.real, value))
        if isinstance(value, Given):
            return meta_tensor(value.shape, value.dtype or self.dtype, value.strides)
        if isinstance(value, HostNumbers):
            return host_tensor(value.values, value.dtype)
        return self.empty_or_filled(value) if isinstance(value, Cache) else value

    def prepare(self, layer: str, module: Any, inputs: tuple[Any, ...]) -> Callable[[], object]:
        """The call of a module with the inputs of a layer of class `layer`."""
        return partial(self.calls.get(layer, plain_call), module, *self.real(inputs))


def like(value: tuple[Any, ...], items: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of these items, with the names of `value`'s where it has some."""
    named: Callable[[Iterable[Any]], tuple[Any, ...]] = getattr(value, "_make", tuple)
    return named(items)


def plain_call(module: Any, *inputs: Any) -> object:
    """Call a module that takes what the layer takes."""
    result: object = module(*inputs)
    return result


class ModelCases(ABC):
    """The lines of one type, and of one attention where it matters. model: the layers; modules: the real ones."""

    def __init__(self, model: Any, modules: RealModules, attention: str) -> None:
        self.model = model
        self.modules = modules
        self.dtype = modules.dtype
        self.attention = attention

    @abstractmethod
    def parts(self) -> Iterator[LayerCase]:
        """What has no attention."""

    @abstractmethod
    def attending(self) -> Iterator[LayerCase]:
        """What attends, by part and whole."""

    @abstractmethod
    def stages(self) -> Iterator[LayerCase]:
        """Vision with its fusion, and the whole model."""

    def case(
        self,
        path: str,
        *inputs: Any,
        layer: BaseLayer | None = None,
        modules: RealModules | None = None,
        plain: Callable[[], Any] | None = None,
        experts_hit: int | None = None,
        note: str = "",
    ) -> LayerCase:
        """The layer at a path (or `layer`) and the module there (or a plain one)."""
        verified = layer or layer_at(self.model, path)
        name = type(verified).__name__
        real = modules or self.modules

        def prepare() -> Callable[[], object]:
            return real.prepare(name, plain() if plain else real.part(path), inputs)

        return LayerCase(
            layer=verified,
            inputs=inputs,
            module=path,
            prepare=prepare,
            outputs=real.outputs.get(name, slice(None)),
            dtype=self.dtype,
            attention=self.attention,
            experts_hit=experts_hit,
            note=note,
        )


def every_line(
    cases: Callable[[str, str], ModelCases], types: Sequence[tuple[str, str]] = TYPES
) -> Iterator[LayerCase]:
    """A model's lines of every type and attention. cases: those of one type and attention, "" where it is no matter."""
    for dtype in MODEL_DTYPES:
        yield from cases(dtype, "").parts()
    for dtype, attention in types:
        of_kernel = cases(dtype, attention)
        yield from of_kernel.attending()
        if dtype == "bfloat16":  # stages run long; what they consist of is compared in every type
            yield from of_kernel.stages()


@dataclass(frozen=True, kw_only=True)
class LayerVerification:
    """The layers of a model that are held against real modules.

    model: the layers as the configuration makes them; what its tree holds must be verified or excused, and so must what
    the modules named in `packages` define. executions: those whose code can be measured. cases: every line of one of
    them. stateless: classes that state no forward pass, and where what they hold is verified; not_run: by execution,
    classes that it does not run, and what it runs instead; each reason follows "it".
    """

    model: BaseLayer
    packages: Sequence[str]
    executions: Sequence[str]
    cases: Callable[[str], Iterator[LayerCase]]
    stateless: Mapping[str, str]
    not_run: Mapping[str, Mapping[str, str]]

    def classes(self) -> list[type[BaseLayer]]:
        """The classes that must be verified or excused."""
        found = dict.fromkeys(type(layer) for layer in tree(self.model))
        for name in self.packages:
            found |= dict.fromkeys(defined_below(name))
        return list(found)


def tree(layer: BaseLayer) -> Iterator[BaseLayer]:
    """A layer and all that it holds, each once, those that stages only call too."""
    seen: dict[int, BaseLayer] = {}
    left = [layer]
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen[id(each)] = each
        values = [*vars(each).values(), *(child for _, child in each.children())]
        left += [value for value in values if isinstance(value, BaseLayer)]
    yield from seen.values()


def defined_below(name: str) -> Iterator[type[BaseLayer]]:
    """The subclasses of `BaseLayer` that a module, or a module of a package, defines; all of them are imported."""
    outer = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(outer, "__path__", ()), f"{name}."):
        importlib.import_module(module.name)
    parents: list[type[BaseLayer]] = [BaseLayer]
    found: dict[type[BaseLayer], None] = {}
    while parents:
        below = parents.pop(0).__subclasses__()
        found |= dict.fromkeys(below)
        parents += below
    yield from (each for each in found if f"{each.__module__}.".startswith(f"{name}."))


def layer_at(model: BaseLayer, path: str) -> BaseLayer:
    """The layer at a dotted path."""
    for name in path.split("."):
        model = dict(model.children())[name]
    return model
