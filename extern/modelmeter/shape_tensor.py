"""Tensors that have a shape and no data, and the tape that notes what is done to them.

A `ShapeTensor` carries what decides the cost of an operator: shape, strides, type and storage. Several tensors
(views) may share one `Storage`; a storage lives exactly as long as Python holds a tensor of it, as a real tensor's
does, and the tape's live count follows by CPython's immediate reference counting. (On an interpreter without it the
live set would be wrong; everything else would still hold.) So nothing here may enter a reference cycle.

A tensor's storage knows its tape: there is no global state, and two walks may interleave.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from operator import attrgetter
from typing import Any, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.sizes import Highest, Variables, cached
from modelmeter.units import ITEMSIZE

Shape = tuple[int, ...]

#: what a tensor addresses: its storage, by identity, where it starts in it, and its geometry
View = tuple[int, int, Shape, Shape]

#: what a storage holds; traffic is told apart by it
ACTIVATION: Final = "activation"
WEIGHT: Final = "weight"
KV: Final = "kv"
HOST: Final = "host"  # index tensors that the code makes in host memory: traffic, but no memory of the device


@cached
def contiguous_strides(shape: Shape) -> Shape:
    """Strides, in elements, of a row-major tensor (a dimension of size 0 counts as 1, as in PyTorch)."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return tuple(strides)


@cached
def is_contiguous(shape: Shape, strides: Shape) -> bool:
    """Whether the elements lie in row-major order without gaps; the stride of a dimension of size 1 is free."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 1:
            continue
        if stride != expected:
            return size == 0
        expected *= size
    return True


@cached
def view_strides(shape: Shape, strides: Shape, new_shape: Shape) -> Shape | None:
    """Strides with which `new_shape` is a view of the tensor, or None where PyTorch must copy.

    Dimensions that lie behind one another in memory form a chunk; every chunk must be a product of new dimensions.
    Source of the rule: the documentation of `torch.Tensor.view`.
    """
    if 0 in shape:
        return contiguous_strides(new_shape)
    result = [0] * len(new_shape)
    axis = len(new_shape) - 1
    chunk_stride = strides[-1] if strides else 1
    chunk_elems = 1
    filled = 1
    for old in range(len(shape) - 1, -1, -1):
        chunk_elems *= shape[old]
        ends = old == 0 or (shape[old - 1] != 1 and strides[old - 1] != chunk_elems * chunk_stride)
        if not ends:
            continue
        while axis >= 0 and (filled < chunk_elems or new_shape[axis] == 1):
            result[axis] = filled * chunk_stride
            filled *= new_shape[axis]
            axis -= 1
        if filled != chunk_elems:
            return None
        if old > 0:
            chunk_stride = strides[old - 1]
            chunk_elems = 1
            filled = 1
    if not shape:
        return contiguous_strides(new_shape)
    return tuple(result) if axis < 0 else None


class Holding(NamedTuple):
    """One storage that was alive: its bytes, the tensor that it was made as, and the operator that made it."""

    nbytes: int
    shape: Shape
    dtype: str
    kind: str
    operator: str  # "given": the walk was given it
    path: str


class Storage:
    """Memory of some tensors. External storages (weights, inputs) are never counted as live."""

    __slots__ = ("__weakref__", "external", "given", "kind", "nbytes", "tape")

    def __init__(self, tape: Tape, nbytes: int, kind: str = ACTIVATION, *, external: bool = False) -> None:
        self.tape = tape
        self.nbytes = nbytes
        self.kind = kind
        self.external = external
        self.given = False
        if not external:
            tape.live_bytes += nbytes

    def __del__(self) -> None:
        if self.given:
            self.tape.given_bytes -= self.nbytes
        elif not self.external:
            self.tape.live_bytes -= self.nbytes
        if self.tape.alive is not None:
            self.tape.alive.pop(id(self), None)


class ShapeTensor:
    """A tensor without data: shape and strides in elements, type, storage, and where in the storage it starts."""

    __slots__ = ("dtype", "numel", "offset", "shape", "storage", "strides")

    def __init__(self, storage: Storage, shape: Shape, strides: Shape, dtype: str, offset: int = 0) -> None:
        self.storage = storage
        self.shape = shape
        self.strides = strides
        self.dtype = dtype
        self.offset = offset
        self.numel = prod(shape)

    def __repr__(self) -> str:
        return f"ShapeTensor({list(self.shape)}, strides={list(self.strides)}, {self.dtype})"

    @property
    def tape(self) -> Tape:
        """The tape of the walk that this tensor belongs to."""
        return self.storage.tape

    @property
    def nbytes(self) -> int:
        """Bytes of all elements; a broadcast dimension counts with its full size."""
        return self.numel * ITEMSIZE[self.dtype]

    @property
    def addressed_bytes(self) -> int:
        """Distinct bytes that the elements lie in: a dimension of stride 0 is one element."""
        if 0 in self.strides:
            return (
                prod(size for size, stride in zip(self.shape, self.strides, strict=True) if stride or not size)
                * ITEMSIZE[self.dtype]
            )
        return self.numel * ITEMSIZE[self.dtype]

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return is_contiguous(self.shape, self.strides)

    @property
    def addressed(self) -> View:
        """What is addressed: two tensors with the same are one to whoever reads them, while they live."""
        return (id(self.storage), self.offset, self.shape, self.strides)

    # -- views: the same storage, no FLOPs, no bytes --------------------------------------------------------------

    def _view(self, shape: Shape, strides: Shape, offset: int | None = None) -> ShapeTensor:
        return ShapeTensor(self.storage, shape, strides, self.dtype, self.offset if offset is None else offset)

    def resolve(self, sizes: Shape) -> Shape:
        """`sizes` with a single -1 replaced by what is left of the elements."""
        if -1 not in sizes:
            if prod(sizes) != self.numel:
                raise ModelMeterError(f"{self!r} has {self.numel} elements and cannot take the shape {list(sizes)}.")
            return sizes
        known = -prod(sizes)
        if known <= 0 or self.numel % known:
            raise ModelMeterError(f"{self!r} has {self.numel} elements and cannot take the shape {list(sizes)}.")
        return tuple(self.numel // known if size == -1 else size for size in sizes)

    def view(self, *sizes: int) -> ShapeTensor:
        """The same elements in another shape; refused where that needs a copy, as in PyTorch."""
        shape = self.resolve(sizes)
        strides = view_strides(self.shape, self.strides, shape)
        if strides is None:
            raise ModelMeterError(f"{self!r} cannot be viewed as {list(shape)}: that needs a copy (reshape).")
        return self._view(shape, strides)

    def permute(self, *axes: int) -> ShapeTensor:
        """Dimensions in another order."""
        shape, strides = self.shape, self.strides
        return self._view(tuple(shape[axis] for axis in axes), tuple(strides[axis] for axis in axes))

    def transpose(self, first: int, second: int) -> ShapeTensor:
        """Two dimensions exchanged."""
        axes = list(range(len(self.shape)))
        axes[first], axes[second] = axes[second], axes[first]
        return self.permute(*axes)

    def unsqueeze(self, axis: int) -> ShapeTensor:
        """A dimension of size 1 put in at `axis`; it takes the stride PyTorch gives it."""
        dims = len(self.shape)
        axis = axis + dims + 1 if axis < 0 else axis
        stride = 1 if axis >= dims else self.shape[axis] * self.strides[axis]
        return self._view(
            (*self.shape[:axis], 1, *self.shape[axis:]), (*self.strides[:axis], stride, *self.strides[axis:])
        )

    def expand(self, *sizes: int) -> ShapeTensor:
        """Broadcast to `sizes` (-1: as it is): a repeated dimension has stride 0."""
        lead = len(sizes) - len(self.shape)
        shape = list(sizes)
        strides = [0] * len(sizes)
        for axis in range(len(self.shape)):
            size, stride = self.shape[axis], self.strides[axis]
            if shape[lead + axis] in (-1, size):
                shape[lead + axis] = size
                strides[lead + axis] = stride
            elif size != 1:
                raise ModelMeterError(f"{self!r} cannot be expanded to {list(sizes)}.")
        return self._view(tuple(shape), tuple(strides))

    def narrow(self, axis: int, start: int, stop: int) -> ShapeTensor:
        """The slice start:stop of one dimension."""
        axis = axis % len(self.shape)
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        return self._view(shape, self.strides, self.offset + start * self.strides[axis])

    def select(self, axis: int, index: int) -> ShapeTensor:
        """One index of a dimension, which disappears."""
        shape = (*self.shape[:axis], *self.shape[axis + 1 :])
        strides = (*self.strides[:axis], *self.strides[axis + 1 :])
        return self._view(shape, strides, self.offset + index * self.strides[axis])

    def unbind(self, axis: int = 0) -> tuple[ShapeTensor, ...]:
        """One tensor for each index of a dimension."""
        return tuple(self.select(axis, index) for index in range(self.shape[axis]))

    def chunk(self, parts: int, axis: int) -> tuple[ShapeTensor, ...]:
        """A dimension in equal parts."""
        size = self.shape[axis] // parts
        return tuple(self.narrow(axis, part * size, (part + 1) * size) for part in range(parts))

    def flatten(self, start: int) -> ShapeTensor:
        """All dimensions from `start` on as one, as a view."""
        return self.view(*self.shape[:start], prod(self.shape[start:]))


class OperatorRecord(NamedTuple):
    """What one operator did. Counts are FLOPs, elements and bytes."""

    path: str  # module path, relative to the walk that holds the record
    name: str  # the operator of this library
    aten: str  # the PyTorch operator that it stands for; "fused.…" for a kernel that PyTorch has no operator for
    kind: str  # matmul, elementwise, reduction, copy, gather, attention, fused
    dtype: str  # type of its first input, in which a product runs; of its output where it has no input
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    tensor_core_flops: int
    cuda_core_flops: int
    elements: int  # elements that it computes; its FLOPs are this times the table's entry, a chain's are its sums
    bytes_read: int
    bytes_written: int
    weight_bytes: int  # of the bytes read
    kv_bytes: int  # of the bytes read and written
    live_bytes: int  # the live set after it, relative to the start of the walk


class Walk(NamedTuple):
    """One call of a layer, written down: what it did, and what it leaves behind.

    Of a walk over variables the figures are sizes, the peaks are `Highest`, labelled by path and operator, and there
    are no entries.
    """

    entries: tuple[OperatorRecord | Call, ...]
    tensor_core_flops: int
    cuda_core_flops: int
    bytes_read: int
    bytes_written: int
    weight_bytes: int
    kv_bytes: int
    peak_bytes: int  # the live set's maximum, over what was live when the call began
    resident_peak_bytes: int  # the same with the given cache counted while it is alive
    peak_path: str
    peak_operator: str
    operator_count: int

    def records(self, path: str = "", live_bytes: int = 0) -> Iterator[OperatorRecord]:
        """Every operator in order, calls opened, with full paths and live bytes from the outermost start."""
        for entry in self.entries:
            if isinstance(entry, Call):
                yield from entry.walk.records(join_path(path, entry.path), live_bytes + entry.live_bytes)
            else:
                yield entry._replace(path=join_path(path, entry.path), live_bytes=live_bytes + entry.live_bytes)


class Call(NamedTuple):
    """A walk within a walk: a layer's call that may have been walked before."""

    path: str
    walk: Walk
    live_bytes: int  # the live set when it began, relative to the start of the outer walk


def join_path(outer: str, inner: str) -> str:
    """Two module paths, one inside the other."""
    return f"{outer}.{inner}" if outer and inner else outer or inner


#: what a tape notes of the call that runs: `Tape.begin` puts it aside, `Tape.end` takes it up again
_OF_A_CALL: Final = (
    "entries",
    "path",
    "base_bytes",
    "resident_base_bytes",
    "peak_bytes",
    "resident_peak_bytes",
    "peak_path",
    "peak_operator",
    "highest",
    "highest_resident",
)
_of_a_call: Final = attrgetter(*_OF_A_CALL)


class Views:
    """Tensors, each once by what it addresses, with the bytes of it; compared, as a size that varies has no hash."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[View, ShapeTensor, int]] = []

    def put(self, tensor: ShapeTensor, nbytes: int = 0) -> None:
        """Add bytes of a tensor, of which there may be some, up to all that it addresses."""
        view = tensor.addressed
        for index, (known, first, before) in enumerate(self.entries):
            if known == view:
                self.entries[index] = (known, first, min(before + nbytes, tensor.addressed_bytes))
                return
        self.entries.append((view, tensor, min(nbytes, tensor.addressed_bytes)))

    def tensors(self) -> list[ShapeTensor]:
        """The tensors, in the order in which they came."""
        return [tensor for _, tensor, _ in self.entries]


class Chain:
    """What the operators of one kernel do while `operators.fused` runs them: nothing of it is on the tape.

    made: storages that the kernel makes, intermediates and results; held, so that no other takes their identity.
    read, written: tensors of other storages, by what they address, with the bytes that are read, and those written in
    place. weights: parameters that are read, by identity.
    """

    __slots__ = ("cuda_core_flops", "elements", "made", "name", "operators", "read", "weights", "written")

    def __init__(self, name: str) -> None:
        self.name = name
        self.operators = 0
        self.elements = 0
        self.cuda_core_flops = 0
        self.made: dict[int, Storage] = {}
        self.read = Views()
        self.written = Views()
        self.weights: dict[int, Any] = {}


class Tape:
    """Notes of one walk: the records, and the live set with its peak.

    tracing: also who is alive at the resident peak (`at_peak`); every call is walked then, none is repeated.
    variables: those that the sizes of its tensors may be of.
    """

    __slots__ = (
        "alive",
        "at_peak",
        "base_bytes",
        "chain",
        "entries",
        "given_bytes",
        "highest",
        "highest_resident",
        "live_bytes",
        "path",
        "peak_bytes",
        "peak_operator",
        "peak_path",
        "resident_base_bytes",
        "resident_peak_bytes",
        "variables",
    )

    def __init__(self, *, tracing: bool = False, variables: Variables | None = None) -> None:
        self.alive: dict[int, Holding] | None = {} if tracing else None
        self.at_peak: tuple[Holding, ...] = ()
        self.entries: list[OperatorRecord | Call] = []
        self.chain: Chain | None = None
        self.path = ""
        self.live_bytes = 0
        self.given_bytes = 0
        self.base_bytes = 0
        self.resident_base_bytes = 0
        self.peak_bytes = 0
        self.resident_peak_bytes = 0
        self.peak_path = ""
        self.peak_operator = ""
        self.variables = variables
        # over variables the peaks are these instead, over the bases
        self.highest = Highest([])
        self.highest_resident: Highest | None = None  # as `highest`, unless the walk is given a cache

    # -- a call within the walk -------------------------------------------------------------------------------------

    def begin(self) -> tuple[Any, ...]:
        """Start the notes of a call; what is returned is for `end`."""
        outer: tuple[Any, ...] = _of_a_call(self)
        self.entries = []
        self.path = self.peak_path = self.peak_operator = ""
        self.base_bytes = self.peak_bytes = self.live_bytes
        self.resident_base_bytes = self.resident_peak_bytes = self.live_bytes + self.given_bytes
        if self.variables is not None:
            self.highest = Highest([(0, ("", ""))])
            self.highest_resident = self.highest_resident and Highest([(0, ("", ""))])
        return outer

    def walk(self) -> Walk:
        """What was noted since `begin`."""
        tensor = cuda = read = written = weight = kv = count = 0
        for entry in self.entries:
            part = entry.walk if isinstance(entry, Call) else entry
            tensor += part.tensor_core_flops
            cuda += part.cuda_core_flops
            read += part.bytes_read
            written += part.bytes_written
            weight += part.weight_bytes
            kv += part.kv_bytes
            count += part.operator_count if isinstance(part, Walk) else 1
        peak: Any = self.peak_bytes - self.base_bytes
        resident_peak: Any = self.resident_peak_bytes - self.resident_base_bytes
        entries = tuple(self.entries)
        if self.variables is not None:
            peak, resident_peak, entries = self.highest, self.highest_resident or self.highest, ()
        return Walk(
            entries,
            tensor,
            cuda,
            read,
            written,
            weight,
            kv,
            peak,
            resident_peak,
            self.peak_path,
            self.peak_operator,
            count,
        )

    def end(self, outer: tuple[Any, ...]) -> None:
        """Go back to where `begin` was."""
        for name, value in zip(_OF_A_CALL, outer, strict=True):
            setattr(self, name, value)

    def note(self, name: str, walk: Walk, start_bytes: int, start_resident_bytes: int) -> None:
        """Write a walk down as one entry; its peak stands on what was live when it began."""
        path = join_path(self.path, name)
        self.entries.append(Call(path, walk, start_bytes - self.base_bytes))
        if self.variables is None:
            self.reach(
                start_bytes + walk.peak_bytes,
                start_resident_bytes + walk.resident_peak_bytes,
                join_path(path, walk.peak_path),
                walk.peak_operator,
            )
            return
        above, resident_above = start_bytes - self.base_bytes, start_resident_bytes - self.resident_base_bytes
        peak: Any = walk.peak_bytes
        for size, (inner, operator) in peak.candidates:
            self.highest.reach(above + size, (join_path(path, inner), operator))
        if self.highest_resident is not None:
            resident_peak: Any = walk.resident_peak_bytes
            for size, label in resident_peak.candidates:
                self.highest_resident.reach(resident_above + size, label)

    # -- tensors ----------------------------------------------------------------------------------------------------

    def input(self, shape: Shape, dtype: str, strides: Shape | None = None) -> ShapeTensor:
        """A tensor that the walk is given: its memory belongs to somebody else."""
        tensor_strides = contiguous_strides(shape) if strides is None else strides
        return ShapeTensor(Storage(self, 0, external=True), shape, tensor_strides, dtype)

    def given(self, shape: Shape, dtype: str) -> ShapeTensor:
        """A tensor of the KV cache that the walk is given: resident until its owner drops it."""
        self.highest_resident = self.highest_resident or Highest([])
        storage = Storage(self, prod(shape) * ITEMSIZE[dtype], KV, external=True)
        storage.given = True
        self.given_bytes += storage.nbytes
        tensor = ShapeTensor(storage, shape, contiguous_strides(shape), dtype)
        self.made(tensor, "given")
        return tensor

    def made(self, tensor: ShapeTensor, operator: str) -> None:
        """Note who made a storage, where that is asked for; the first to say so did."""
        storage = tensor.storage
        if self.alive is None or id(storage) in self.alive or (storage.external and not storage.given):
            return
        self.alive[id(storage)] = Holding(storage.nbytes, tensor.shape, tensor.dtype, storage.kind, operator, self.path)

    def new(self, shape: Shape, dtype: str, strides: Shape | None = None, kind: str = ACTIVATION) -> ShapeTensor:
        """A fresh dense tensor; the caller records the operator that makes it, and that looks at the peak."""
        tensor_strides = contiguous_strides(shape) if strides is None else strides
        storage = Storage(self, prod(shape) * ITEMSIZE[dtype], kind, external=kind == HOST)
        if self.chain is not None:
            self.chain.made[id(storage)] = storage
        return ShapeTensor(storage, shape, tensor_strides, dtype)

    def reach(self, live_bytes: int, resident_bytes: int, path: str, operator: str) -> None:
        """Note a live set; the first operator to reach the peak keeps its name."""
        if self.variables is not None:
            self.highest.reach(live_bytes - self.base_bytes, (path, operator))
            if self.highest_resident is not None:
                self.highest_resident.reach(resident_bytes - self.resident_base_bytes, ("", ""))
            return
        if live_bytes > self.peak_bytes:
            self.peak_bytes = live_bytes
            self.peak_path = path
            self.peak_operator = operator
        if resident_bytes > self.resident_peak_bytes:
            self.resident_peak_bytes = resident_bytes
            if self.alive is not None:
                self.at_peak = tuple(self.alive.values())
