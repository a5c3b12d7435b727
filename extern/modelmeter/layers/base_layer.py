"""`BaseLayer`: a module written on shapes. Its `forward` is all it states; every figure is derived here, once.

A call of a layer keeps its arguments until it returns, as `torch.nn.Module.__call__` does, so a temporary that
`forward` rebinds stays alive. Calls of the layers in a `LayerList` and of a model's parts are walked once for each
geometry of their inputs and repeated from then on: what a call adds to the live set, and how far it peaks, does not
depend on what was alive before it, because everything that it is given outlives it. On a tape over variables a call is
remembered with the conditions that it noted, and repeated wherever they hold (see `modelmeter.sizes`).
"""

from __future__ import annotations

import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Final, NamedTuple, Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers.code import LIBRARY, MORE_BITS, Code, EngineTraits, Execution, Settings, Traits
from modelmeter.layers.quantisation import ENDS
from modelmeter.layers.remembering import (
    Remembered,
    State,
    describe,
    flat,
    geometry_of,
    kv_bytes,
    states_in,
)
from modelmeter.operators import Parameter, Result, all_reduce, fused
from modelmeter.shape_tensor import ShapeTensor, Storage, Tape
from modelmeter.sizes import Variables, frozen, rebased
from modelmeter.walk import Call, OperatorRecord, Shape, Walk, join_path

#: geometries kept by one layer, and walks of one geometry over variables under different conditions; the least recently
#: used is forgotten
WALKS_KEPT: Final = 256


class InputSpec(NamedTuple):
    """Geometry of a tensor that a layer is given. `strides` None means row-major."""

    shape: Shape
    dtype: str
    strides: Shape | None = None


class CacheSpec(NamedTuple):
    """A KV cache of one decoder layer that a layer is given: keys and values of `shape` each, or none yet."""

    shape: Shape | None = None
    dtype: str = ""


#: what a layer may be walked with; Any: a tuple of these, or a value that is no tensor
LayerInput = InputSpec | CacheSpec | Shape | Any


class BaseLayer:
    """A module on shapes.

    Subclasses give `forward`, the real module's forward pass with one operator a line, and the real submodules' names.
    code: what the layer is walked as, which it hands to the layers inside it; or by names, execution: the code that is
    modelled ("transformers" by default), attention: "flash" (fused, the default) or "eager", dtype: of weights and
    activations ("bfloat16" by default).
    """

    #: the executions that this layer knows by name: those of the model that it belongs to
    executions: ClassVar[Mapping[str, Execution]] = LIBRARY

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self.code = Code.resolve(type(self).__name__, self.executions, settings)
        self._walks: OrderedDict[object, tuple[Remembered, ...]] = OrderedDict()
        self._bound: tuple[LayerInput, ...] = ()

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if isinstance(value, BaseLayer):
            value.name = name

    name: str = ""

    #: whether every call is remembered, not those in a `LayerList` alone: worth it where a geometry comes again
    remembered: ClassVar[bool] = False

    @property
    def attention(self) -> str:
        """The kind of attention: "flash" or "eager"."""
        return self.code.attention

    @property
    def dtype(self) -> str:
        """The type of activations."""
        return self.code.precision.activations

    def traits(self, kind: type[Traits]) -> Traits:
        """What the modelled code does, of one kind of traits."""
        return self.code.execution.traits(kind)

    def parameter(self, *shape: int) -> Parameter:
        """A weight of this layer, of its type, which no scheme packs."""
        return Parameter(*shape, dtype=self.code.precision.weights)

    def matrices(self, *shape: int, tensors: Mapping[str, int], split: str | None = None) -> Parameter:
        """A weight that schemes pack, [rows, columns] or of several such [..., rows, columns].

        tensors: of a checkpoint, whose rows lie behind one another in it, by name: those of an embedding and of a head
        are one where both are named; what is not one of these is packed in a decoder's layers alone. split: of a
        matrix of which devices have parts, `OUTPUTS` or `INPUTS`; the shape is that of a part.
        """
        precision = self.code.precision
        if precision.scheme is None or not (precision.packs or ENDS & tensors.keys()):
            return self.parameter(*shape)
        *times, _, columns = shape
        packed = precision.scheme.packed(
            tensors,
            columns,
            precision.weights,
            more=precision.packs == MORE_BITS,
            matrices=prod(times),
            split=split,
            ranks=self.code.parallel.ranks,
        )
        return Parameter(*shape, dtype=precision.weights, packed=packed)

    def forward(self, *args: Any) -> Any:
        """The forward pass: shape-tensors in, shape-tensors out."""
        raise ModelMeterError(f"{type(self).__name__} states no forward pass.")

    def chain(self, name: str, function: Callable[..., Result], *inputs: Any) -> Result:
        """`function(*inputs)`: one kernel called "fused.<name>" where this code fuses its chains, or this one."""
        traits = self.traits(EngineTraits)
        one_kernel = traits.chains_fused or name in traits.own_kernels
        return fused(name, function, *inputs) if one_kernel else function(*inputs)

    def reduced(self, x: ShapeTensor) -> ShapeTensor:
        """The sum of what every device has of x, where this layer is split over several; else x itself."""
        ranks = self.code.parallel.ranks
        return x if ranks == 1 else all_reduce(x, ranks, in_place=self.traits(EngineTraits).at_its_best)

    def __call__(self, *args: Any) -> Any:
        """Run `forward` under this layer's name, the arguments held until it returns."""
        if self.remembered:
            return self.call_remembered(self.name, *args)
        return self._call_as(_tape_of(args), self.name, *args)

    def remember_with(self, other: BaseLayer) -> None:
        """Share the walks of a layer that is described alike: what one of them has seen, both repeat."""
        self._walks = other._walks

    def _call_as(self, tape: Tape, name: str, *args: Any) -> Any:
        outer = tape.path
        tape.path = join_path(outer, name)
        try:
            return self.forward(*args)
        finally:
            tape.path = outer

    # -- walking ----------------------------------------------------------------------------------------------------

    def call_remembered(self, name: str, *args: Any) -> Any:
        """Call this layer as the module `name`; a geometry of arguments seen before is repeated, not walked."""
        tape = _tape_of(args)
        if tape.alive is not None or tape.chain is not None:
            return self._call_as(tape, name, *args)
        variables = tape.variables
        key = geometry_of(args)
        if variables is not None:
            key = ("over variables", tape.keeps_records, frozen(key))
        for remembered in self._walks.get(key, ()):
            if variables is remembered.variables or (variables and variables.hold(remembered.conditions)):
                return self._repeat(tape, name, key, remembered, args)
        # weakly: what a state held may die during the call, and another storage take its address
        arguments = [(weakref.ref(tensor.storage), tensor.offset) for tensor in flat(args)]
        start_bytes = tape.live_bytes
        start_resident_bytes = tape.live_bytes + tape.given_bytes
        outer = tape.begin()
        outer_conditions = variables.collect() if variables else {}
        try:
            result = self.forward(*args)
            walk = tape.walk()
        finally:
            tape.end(outer)
            conditions = variables.collected(outer_conditions) if variables else ()
        states = list(states_in(args))
        returned = result if isinstance(result, tuple) else (result,)
        left = [*flat(returned), *flat(states)]
        remembered = Remembered(
            walk,
            describe(left, arguments),
            tuple([value is not None for value in returned]),
            isinstance(result, tuple),
            tuple(len(state.items) for state in states),
            variables,
            conditions,
        )
        del states, returned, left
        self._remember(key, remembered)
        tape.note(name, walk, start_bytes, start_resident_bytes)
        return result

    def _remember(self, key: object, remembered: Remembered, instead: Remembered | None = None) -> None:
        """Keep a walk, `instead` of one that says the same, and forget the oldest where there are too many."""
        others = self._walks.pop(key, ())
        self._walks[key] = (remembered, *[each for each in others[: WALKS_KEPT - 1] if each is not instead])
        if len(self._walks) > WALKS_KEPT:
            self._walks.popitem(last=False)

    def _at(self, variables: Variables, key: object, remembered: Remembered) -> Remembered:
        """The same polynomials at other values, kept instead."""
        moved = remembered._replace(
            walk=rebased(remembered.walk, variables),
            outputs=rebased(remembered.outputs, variables),
            variables=variables,
        )
        self._remember(key, moved, remembered)
        return moved

    def _repeat(self, tape: Tape, name: str, key: object, remembered: Remembered, args: Sequence[Any]) -> Any:
        """Take a remembered call as made: its entry, its peak, and fresh tensors for what it returned."""
        variables = tape.variables
        if variables is None:
            try:
                self._walks.move_to_end(key)
            except KeyError:  # forgotten meanwhile, by another thread
                pass
        else:
            if remembered.variables is not variables:
                remembered = self._at(variables, key, remembered)
            variables.conditions |= dict.fromkeys(remembered.conditions)
        tape.note(name, remembered.walk, tape.live_bytes, tape.live_bytes + tape.given_bytes)
        arguments: list[ShapeTensor] = []
        storages: dict[int, Storage] = {}
        results = []
        for argument, number, nbytes, kind, shape, strides, dtype, offset in remembered.outputs:
            if argument is None:
                storage = storages.get(number)
                if storage is None:
                    storage = storages[number] = Storage(tape, nbytes, kind)
            else:
                arguments = arguments or list(flat(args))
                storage = arguments[argument].storage
                offset += arguments[argument].offset
            results.append(ShapeTensor(storage, shape, strides, dtype, offset))
        if remembered.state_items:
            start = sum(remembered.returned)
            for state, count in zip(states_in(args), remembered.state_items, strict=True):
                state.items = results[start : start + count]
                start += count
        if not remembered.returns_tuple:
            return results[0]
        tensors = iter(results)
        return tuple([next(tensors) if present else None for present in remembered.returned])

    def bind(self, *inputs: LayerInput) -> BaseLayer:
        """Set the inputs that the figures are for, where the layer's own arguments do not give them."""
        self._bound = inputs
        return self

    def walk(self, *inputs: LayerInput) -> Walk:
        """One forward pass of this layer alone, its inputs outside and uncounted.

        An input is a shape, an `InputSpec`, a `CacheSpec`, a tuple of inputs, or a plain value handed on as it is.
        """
        return self._run(inputs)[0]

    def _run(self, inputs: tuple[LayerInput, ...]) -> tuple[Walk, tuple[State, ...]]:
        """A walk, and the states that it was given, as it left them."""
        given = inputs or self._bound
        if not given:
            raise ModelMeterError(
                f"{type(self).__name__}: no input shapes; give them to walk() or bind(), as in bind((1, 4, 8))."
            )
        tape = Tape()
        args = tuple(_input(tape, each, self.dtype) for each in given)
        self.call_remembered("", *args)
        call = tape.entries[-1]
        assert isinstance(call, Call)
        return call.walk, tuple(states_in(args))

    def output_shapes(self, *inputs: LayerInput) -> tuple[Shape, ...]:
        """Shapes of what `forward` returns."""
        self.walk(*inputs)
        return tuple(output.shape for output in next(reversed(self._walks.values()))[0].outputs)

    # -- the figures: each stated once, here -------------------------------------------------------------------------

    def forward_tensor_core_flops(self) -> int:
        """FLOPs of GEMMs and attention; a multiply-add is 2."""
        return self.walk().tensor_core_flops

    def forward_cuda_core_flops(self) -> int:
        """FLOPs of everything else, by the convention of `FLOPS_PER_ELEMENT`."""
        return self.walk().cuda_core_flops

    def forward_cal_io(self) -> int:
        """Traffic: bytes read and written by every operator."""
        walk = self.walk()
        return walk.bytes_read + walk.bytes_written

    def forward_memory_weight(self) -> int:
        """Bytes of all parameters, each once."""
        return self._over_parameters(lambda parameter: parameter.nbytes)

    def forward_memory_activation(self) -> int:
        """Bytes of the live set at its peak, the layer's inputs not counted."""
        return self.walk().peak_bytes

    def forward_memory_kvcache(self) -> int:
        """Bytes of the KV cache after the pass: of the storages that it handed to the states it was given."""
        return sum(kv_bytes(state) for state in self._run(())[1])

    def operators(self) -> list[OperatorRecord]:
        """Every operator of the pass in order, with its module path; their sums are the figures above."""
        return list(self.walk().records())

    # -- the module tree ---------------------------------------------------------------------------------------------

    def children(self) -> Iterator[tuple[str, BaseLayer]]:
        """Direct submodules with their names."""
        for name, value in vars(self).items():
            if isinstance(value, BaseLayer):
                yield name, value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted path; each position of a `LayerList` has parameters of its own."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield join_path(prefix, name), value
        for name, child in self.children():
            yield from child.named_parameters(join_path(prefix, name))

    def parameters_as_converted(self) -> Iterator[Parameter]:
        """Every parameter in the order in which `torch.nn.Module.to` converts them: submodules' first, then its own."""
        for _, child in self.children():
            yield from child.parameters_as_converted()
        yield from (value for value in vars(self).values() if isinstance(value, Parameter))

    def parameter_count(self) -> int:
        """Number of parameters."""
        return self._over_parameters(lambda parameter: parameter.numel)

    def _over_parameters(self, amount: Callable[[Parameter], int]) -> int:
        """The sum of `amount` over all parameters; a description that stands in many positions is asked once."""
        own = sum(amount(value) for value in vars(self).values() if isinstance(value, Parameter))
        times = Counter(child for _, child in self.children())
        return own + sum(count * child._over_parameters(amount) for child, count in times.items())


class LayerList(BaseLayer):
    """Layers one after another, as `torch.nn.ModuleList`.

    The same description may stand in several positions: each position has parameters of its own, but a geometry is
    walked once for all of them.
    """

    def __init__(self, layers: Sequence[BaseLayer], **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.layers = tuple(layers)

    def __iter__(self) -> Iterator[_Position]:
        return (_Position(f"{self.name}.{index}", layer) for index, layer in enumerate(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def children(self) -> Iterator[tuple[str, BaseLayer]]:
        """The layers, named by their positions."""
        return ((str(index), layer) for index, layer in enumerate(self.layers))


class _Position:
    """One place of a `LayerList`."""

    __slots__ = ("layer", "name")

    def __init__(self, name: str, layer: BaseLayer) -> None:
        self.name = name
        self.layer = layer

    def __call__(self, *args: Any) -> Any:
        return self.layer.call_remembered(self.name, *args)


def _tape_of(args: Sequence[Any]) -> Tape:
    if args and type(args[0]) is ShapeTensor:
        return args[0].storage.tape
    for tensor in flat(args):
        return tensor.storage.tape
    raise ModelMeterError("a layer was called without a shape-tensor: make one with Tape().input(shape, dtype).")


def _input(tape: Tape, value: LayerInput, dtype: str) -> Any:
    """What stands on a tape for an input."""
    if isinstance(value, InputSpec):
        return tape.input(*value)
    if isinstance(value, CacheSpec):
        shape, kept = value.shape, value.dtype or dtype
        return State() if shape is None else State(tape.given(shape, kept), tape.given(shape, kept))
    if isinstance(value, tuple) and value and all(isinstance(each, int) for each in value):
        return tape.input(value, dtype)
    if isinstance(value, tuple):
        return tuple(_input(tape, each, dtype) for each in value)
    return value
