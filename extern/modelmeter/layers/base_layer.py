"""`BaseLayer`: a module written on shapes. Its `forward` is all it states; every figure is derived here, once.

A call of a layer keeps its arguments until it returns, as `torch.nn.Module.__call__` does, so a temporary that
`forward` rebinds stays alive. Calls of the layers in a `LayerList` and of a model's parts are walked once for each
geometry of their inputs and repeated from then on: what a call adds to the live set, and how far it peaks, does not
depend on what was alive before it, because everything that it is given outlives it.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple, TypedDict

from modelmeter.errors import ModelMeterError
from modelmeter.layers.execution import check_attention, execution_named
from modelmeter.operators import Parameter, Result, fused
from modelmeter.shape_tensor import KV, Call, OperatorRecord, Shape, ShapeTensor, Storage, Tape, Walk, join_path
from modelmeter.units import check_model_dtype

#: walks kept by one layer; the least recently used is forgotten
WALKS_KEPT: Final = 256


class Common(TypedDict):
    """The keywords that a layer hands to the layers inside it."""

    execution: str
    attention: str
    dtype: str


class InputSpec(NamedTuple):
    """Geometry of a tensor that a layer is given. `strides` None means row-major."""

    shape: Shape
    dtype: str
    strides: Shape | None = None


class State:
    """Tensors that calls replace and that outlive them, such as the keys and values of one decoder layer."""

    __slots__ = ("items",)

    def __init__(self, *items: ShapeTensor) -> None:
        self.items = list(items)


class CacheSpec(NamedTuple):
    """A KV cache of one decoder layer that a layer is given: keys and values of `shape` each, or none yet."""

    shape: Shape | None = None
    dtype: str = ""


#: what a layer may be walked with; Any: a tuple of these, or a value that is no tensor
Given = InputSpec | CacheSpec | Shape | Any


def kv_bytes(state: State) -> int:
    """Bytes of the KV cache that a state holds."""
    return sum(item.storage.nbytes for item in state.items if item.storage.kind == KV)


class _Output(NamedTuple):
    """Geometry of a tensor that a walk returned: a view of an argument, or of a storage that the walk made."""

    argument: int | None
    storage: int
    storage_bytes: int
    kind: str
    shape: Shape
    strides: Shape
    dtype: str
    offset: int  # from the argument's, where it is a view of one


class _Remembered(NamedTuple):
    walk: Walk
    outputs: tuple[_Output, ...]  # what it returned, then what it left in each state
    returned: tuple[bool, ...]  # of each value returned, whether it is a tensor; else it is None
    returns_tuple: bool
    state_items: tuple[int, ...]


class BaseLayer:
    """A module on shapes.

    Subclasses give `forward`, the real module's forward pass with one operator a line, and the real submodules' names.
    execution: the code that is modelled. attention: "flash" (fused) or "eager". dtype: of weights and activations.
    """

    def __init__(self, *, execution: str = "transformers", attention: str = "flash", dtype: str = "bfloat16") -> None:
        who = type(self).__name__
        self.execution = execution_named(who, execution)
        check_attention(who, attention, self.execution)
        check_model_dtype(who, dtype)
        self.attention = attention
        self.dtype = dtype
        self.common: Common = {"execution": execution, "attention": attention, "dtype": dtype}
        self._walks: OrderedDict[object, _Remembered] = OrderedDict()
        self._bound: tuple[Given, ...] = ()

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if isinstance(value, BaseLayer):
            value.name = name

    name: str = ""

    #: whether every call is remembered, not those in a `LayerList` alone: worth it where a geometry comes again
    remembered: ClassVar[bool] = False

    def parameter(self, *shape: int) -> Parameter:
        """A weight of this layer, of its type."""
        return Parameter(*shape, dtype=self.dtype)

    def forward(self, *args: Any) -> Any:
        """The forward pass: shape-tensors in, shape-tensors out."""
        raise ModelMeterError(f"{type(self).__name__} states no forward pass.")

    def chain(self, name: str, function: Callable[..., Result], *inputs: Any) -> Result:
        """`function(*inputs)`: one kernel called "fused.<name>" where this code fuses its chains."""
        return fused(name, function, *inputs) if self.execution.chains_fused else function(*inputs)

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
        key = _geometry(args)
        remembered = self._walks.get(key)
        if remembered is not None:
            try:
                self._walks.move_to_end(key)
            except KeyError:  # forgotten meanwhile, by another thread
                pass
            return _repeat(tape, name, remembered, args)
        outer = (
            tape.entries,
            tape.path,
            tape.base_bytes,
            tape.peak_bytes,
            tape.resident_peak_bytes,
            tape.peak_path,
            tape.peak_operator,
            tape.resident_base_bytes,
        )
        # weakly: what a state held may die during the call, and another storage take its address
        arguments = [(weakref.ref(tensor.storage), tensor.offset) for tensor in _flat(args)]
        start_bytes = tape.live_bytes
        start_resident_bytes = tape.live_bytes + tape.given_bytes
        tape.entries = []
        tape.path = ""
        tape.base_bytes = start_bytes
        tape.resident_base_bytes = start_resident_bytes
        tape.peak_bytes = start_bytes
        tape.resident_peak_bytes = start_resident_bytes
        tape.peak_path = tape.peak_operator = ""
        try:
            result = self.forward(*args)
            walk = _walk_of(tape)
        finally:
            (
                tape.entries,
                tape.path,
                tape.base_bytes,
                tape.peak_bytes,
                tape.resident_peak_bytes,
                tape.peak_path,
                tape.peak_operator,
                tape.resident_base_bytes,
            ) = outer
        states = list(_states(args))
        returned = result if isinstance(result, tuple) else (result,)
        left = [*_flat(returned), *_flat(states)]
        self._walks[key] = _Remembered(
            walk,
            _describe(left, arguments),
            tuple([value is not None for value in returned]),
            isinstance(result, tuple),
            tuple(len(state.items) for state in states),
        )
        del states, returned, left
        if len(self._walks) > WALKS_KEPT:
            self._walks.popitem(last=False)
        _note_call(tape, name, walk, start_bytes, start_resident_bytes)
        return result

    def bind(self, *inputs: Given) -> BaseLayer:
        """Set the inputs that the figures are for, where the layer's own arguments do not give them."""
        self._bound = inputs
        return self

    def walk(self, *inputs: Given) -> Walk:
        """One forward pass of this layer alone, its inputs outside and uncounted.

        An input is a shape, an `InputSpec`, a `CacheSpec`, a tuple of inputs, or a plain value handed on as it is.
        """
        return self._run(inputs)[0]

    def _run(self, inputs: tuple[Given, ...]) -> tuple[Walk, tuple[State, ...]]:
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
        return call.walk, tuple(_states(args))

    def output_shapes(self, *inputs: Given) -> tuple[Shape, ...]:
        """Shapes of what `forward` returns."""
        self.walk(*inputs)
        return tuple(output.shape for output in next(reversed(self._walks.values())).outputs)

    # -- the figures: each stated once, here -------------------------------------------------------------------------

    def forward_tensor_core_flops(self) -> int:
        """FLOPs of products and attention; a multiply-add is 2."""
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
        return sum(parameter.nbytes for _, parameter in self.named_parameters())

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

    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel for _, parameter in self.named_parameters())


class LayerList(BaseLayer):
    """Layers one after another, as `torch.nn.ModuleList`.

    The same description may stand in several positions: each position has parameters of its own, but a geometry is
    walked once for all of them.
    """

    def __init__(self, layers: Sequence[BaseLayer], **common: Any) -> None:
        super().__init__(**common)
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


# -- helpers of a remembered call -----------------------------------------------------------------------------------


def _flat(args: Sequence[Any]) -> Iterator[ShapeTensor]:
    for arg in args:
        if isinstance(arg, ShapeTensor):
            yield arg
        elif isinstance(arg, State):
            yield from arg.items
        elif isinstance(arg, tuple):
            yield from _flat(arg)


def _states(args: Sequence[Any]) -> Iterator[State]:
    for arg in args:
        if isinstance(arg, State):
            yield arg
        elif isinstance(arg, tuple):
            yield from _states(arg)


def _tape_of(args: Sequence[Any]) -> Tape:
    if args and type(args[0]) is ShapeTensor:
        return args[0].storage.tape
    for tensor in _flat(args):
        return tensor.storage.tape
    raise ModelMeterError("a layer was called without a shape-tensor: make one with Tape().input(shape, dtype).")


def _input(tape: Tape, value: Given, dtype: str) -> Any:
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


def _geometry(args: Sequence[Any]) -> object:
    """What a walk depends on: shapes, strides, types, which arguments share memory, and plain values."""
    storages: dict[int, tuple[int, int]] = {}
    key: list[object] = []
    for arg in args:
        if isinstance(arg, ShapeTensor):
            # where in its storage the first argument of it starts is of no consequence
            number, start = storages.setdefault(id(arg.storage), (len(storages), arg.offset))
            held = arg.storage
            key.append((arg.shape, arg.strides, arg.dtype, held.kind, held.given, number, arg.offset - start))
        elif isinstance(arg, State):
            key.append(("state", _geometry(arg.items)))
        elif isinstance(arg, tuple):
            key.append(_geometry(arg))
        else:
            key.append(arg)
    return tuple(key)


def _walk_of(tape: Tape) -> Walk:
    """Sum up what the tape noted since `base_bytes`."""
    tensor = cuda = read = written = weight = kv = count = 0
    for entry in tape.entries:
        part = entry.walk if isinstance(entry, Call) else entry
        tensor += part.tensor_core_flops
        cuda += part.cuda_core_flops
        read += part.bytes_read
        written += part.bytes_written
        weight += part.weight_bytes
        kv += part.kv_bytes
        count += part.operator_count if isinstance(part, Walk) else 1
    return Walk(
        tuple(tape.entries),
        tensor,
        cuda,
        read,
        written,
        weight,
        kv,
        tape.peak_bytes - tape.base_bytes,
        tape.resident_peak_bytes - tape.resident_base_bytes,
        tape.peak_path,
        tape.peak_operator,
        count,
    )


def _describe(
    tensors: Sequence[ShapeTensor], arguments: Sequence[tuple[weakref.ref[Storage], int]]
) -> tuple[_Output, ...]:
    """The geometry of what a walk left; `arguments` are the storages of its arguments and where they start."""
    made: dict[int, int] = {}
    outputs = []
    for tensor in tensors:
        storage = tensor.storage
        number = made.setdefault(id(storage), len(made))
        argument, start = next(
            ((index, offset) for index, (each, offset) in enumerate(arguments) if each() is storage), (None, 0)
        )
        geometry = (tensor.shape, tensor.strides, tensor.dtype, tensor.offset - start)
        outputs.append(_Output(argument, number, storage.nbytes, storage.kind, *geometry))
    return tuple(outputs)


def _note_call(tape: Tape, name: str, walk: Walk, start_bytes: int, start_resident_bytes: int) -> None:
    """Write a walk on the tape as one entry; its peak stands on what was live when it began."""
    path = join_path(tape.path, name)
    tape.entries.append(Call(path, walk, start_bytes - tape.base_bytes))
    tape.reach(
        start_bytes + walk.peak_bytes,
        start_resident_bytes + walk.resident_peak_bytes,
        join_path(path, walk.peak_path),
        walk.peak_operator,
    )


def _repeat(tape: Tape, name: str, remembered: _Remembered, args: Sequence[Any]) -> Any:
    """Take a remembered call as made: its entry, its peak, and fresh tensors for what it returned."""
    _note_call(tape, name, remembered.walk, tape.live_bytes, tape.live_bytes + tape.given_bytes)
    arguments: list[ShapeTensor] = []
    storages: dict[int, Storage] = {}
    results = []
    for argument, number, nbytes, kind, shape, strides, dtype, offset in remembered.outputs:
        if argument is None:
            storage = storages.get(number)
            if storage is None:
                storage = storages[number] = Storage(tape, nbytes, kind)
        else:
            arguments = arguments or list(_flat(args))
            storage = arguments[argument].storage
            offset += arguments[argument].offset
        results.append(ShapeTensor(storage, shape, strides, dtype, offset))
    if remembered.state_items:
        start = sum(remembered.returned)
        for state, count in zip(_states(args), remembered.state_items, strict=True):
            state.items = results[start : start + count]
            start += count
    if not remembered.returns_tuple:
        return results[0]
    tensors = iter(results)
    return tuple([next(tensors) if present else None for present in remembered.returned])
