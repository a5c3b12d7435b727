"""Tensors that have a shape and no data, and the tape that notes what is done to them.

A `ShapeTensor` carries what decides the cost of an operator: shape, strides, type and storage. Several tensors
(views) may share one `Storage`; a storage lives exactly as long as Python holds a tensor of it, as a real tensor's
does, and the tape's live count follows by CPython's immediate reference counting. (On an interpreter without it the
live set would be wrong; everything else would still hold.) So nothing here may enter a reference cycle.

A tensor's storage knows its tape: there is no global state, and two walks may interleave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from operator import add, attrgetter
from typing import Any, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.sizes import Highest, Variables, at_hand, cached
from modelmeter.units import ITEMSIZE, ceil_div
from modelmeter.walk import Allocation, Call, OperatorRecord, Shape, Walk, join_path

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

    def every(self, step: int, axis: int, start: int, stop: int) -> ShapeTensor:
        """The slice start:stop:step of one dimension, stop at most its size."""
        axis = axis % len(self.shape)
        shape = (*self.shape[:axis], ceil_div(stop - start, step), *self.shape[axis + 1 :])
        strides = (*self.strides[:axis], step * self.strides[axis], *self.strides[axis + 1 :])
        return self._view(shape, strides, self.offset + start * self.strides[axis])

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


class Repeated(NamedTuple):
    """The results of equal calls in a row: `result` is one call's, and its storages hold those of all of them."""

    times: int
    result: Any  # a tensor, a tuple of such, or a Repeated

    def tensors(self) -> Iterator[tuple[int, ShapeTensor]]:
        """Each tensor of one call's result, with the number of its equals among all calls."""
        for part in self._parts():
            if isinstance(part, Repeated):
                yield from ((self.times * times, tensor) for times, tensor in part.tensors())
            else:
                yield self.times, part

    def in_order(self) -> Iterator[ShapeTensor]:
        """The tensors of all results in the order in which they were made, equals by the same tensor."""
        for _ in range(self.times):
            for part in self._parts():
                if isinstance(part, Repeated):
                    yield from part.in_order()
                else:
                    yield part

    def _parts(self) -> list[ShapeTensor | Repeated]:
        parts = self.result if type(self.result) is tuple else (self.result,)
        return [part for part in parts if part is not None]


def _is_one(times: Any) -> bool:
    """Whether a count is the number 1: of one that varies it is not asked, which would fix it."""
    return isinstance(times, int) and times == 1


def _storages(result: Any) -> list[Storage]:
    """The storages of a call's result, each once; an external one is somebody else's."""
    found: dict[int, Storage] = {}
    for _, tensor in Repeated(1, result).tensors():
        if not tensor.storage.external:
            found[id(tensor.storage)] = tensor.storage
    return list(found.values())


class ViewSet:
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
        self.read = ViewSet()
        self.written = ViewSet()
        self.weights: dict[int, Any] = {}


class Tape:
    """Notes of one walk: the records, and the live set with its peak.

    tracing: also who is alive at the resident peak (`at_peak`); every call is walked then, none is repeated.
    variables: those that the sizes of its tensors may be of. keeps_records: walks over variables keep their entries.
    """

    __slots__ = (
        "alive",
        "at_peak",
        "base_bytes",
        "block",
        "chain",
        "entries",
        "given_bytes",
        "highest",
        "highest_resident",
        "keeps_records",
        "live_bytes",
        "path",
        "peak_bytes",
        "peak_operator",
        "peak_path",
        "resident_base_bytes",
        "resident_peak_bytes",
        "variables",
    )

    def __init__(
        self, *, tracing: bool = False, variables: Variables | None = None, keeps_records: bool = False
    ) -> None:
        self.alive: dict[int, Allocation] | None = {} if tracing else None
        self.at_peak: tuple[Allocation, ...] = ()
        self.entries: list[OperatorRecord | Call] = []
        self.chain: Chain | None = None
        self.block = ""  # what `operators.fused_moe` calls the kernels that it takes together
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
        self.keeps_records = keeps_records
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
        sums: tuple[int, ...] = (0,) * 7
        for entry in self.entries:
            part, times = (entry.walk, entry.times) if isinstance(entry, Call) else (entry, 1)
            figures: tuple[int, ...] = (
                part.tensor_core_flops,
                part.cuda_core_flops,
                part.bytes_read,
                part.bytes_written,
                part.weight_bytes,
                part.kv_bytes,
                part.operator_count if isinstance(part, Walk) else 1,
            )
            if not _is_one(times):
                figures = tuple(each * times for each in figures)
            sums = tuple(map(add, sums, figures))
        peak: Any = self.peak_bytes - self.base_bytes
        resident_peak: Any = self.resident_peak_bytes - self.resident_base_bytes
        entries = tuple(self.entries)
        if self.variables is not None:
            peak, resident_peak = self.highest, self.highest_resident or self.highest
            entries = entries if self.keeps_records else ()
        tensor, cuda, read, written, weight, kv, count = sums
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

    def note(
        self,
        name: str,
        walk: Walk,
        start_bytes: int,
        start_resident_bytes: int,
        times: int = 1,
        left_bytes: int = 0,
    ) -> None:
        """Write a walk down as one entry; its peak stands on what was live when it began.

        times: so many calls in a row, each of which leaves `left_bytes` more alive: the last one peaks highest.
        """
        path = join_path(self.path, name)
        self.entries.append(Call(path, walk, start_bytes - self.base_bytes, times, left_bytes))
        if not _is_one(times):
            start_bytes += (times - 1) * left_bytes
            start_resident_bytes += (times - 1) * left_bytes
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

    def repeated(self, count: int, call: Callable[[], Any]) -> Repeated | None:
        """`[call() for _ in range(count)]`, walked once however large `count` is, which may be a size that varies.

        Every call must do the same: it takes what lives outside it, and returns tensors that it made (or tuples of
        such, or what an inner `repeated` returned), which are all that it leaves alive. The calls are told apart by
        nothing but what those before them left, so FLOPs and traffic are `count` times one call's, and the last call
        peaks highest. What comes back stands for all results together; `operators.cat` joins them. None: no call.

        Raises `ModelMeterError` for a negative count, within a fused kernel, and where a call leaves more alive than
        it returns or returns what it did not make.
        """
        if count < 0:
            raise ModelMeterError(f"repeated: count={at_hand(count)} is negative; a call is repeated 0 or more times.")
        if self.chain is not None:
            raise ModelMeterError(f"repeated: within fused {self.chain.name} there are no calls; repeat the kernel.")
        if count == 0:
            return None
        start_bytes, start_resident_bytes = self.live_bytes, self.live_bytes + self.given_bytes
        if self.alive is not None:
            return self._repeated_in_full(count, call)
        outer = self.begin()
        try:
            result = call()
            walk = self.walk()
        finally:
            self.end(outer)
        left_bytes = self._left(result, start_bytes)
        self.note("", walk, start_bytes, start_resident_bytes, count, left_bytes)
        self._multiply(result, count)
        return Repeated(count, result)

    def _repeated_in_full(self, count: int, call: Callable[[], Any]) -> Repeated:
        """As `repeated`, where who is alive at the peak is asked for: the last call runs beside what others left."""
        start_bytes = self.live_bytes
        result = call()
        self._left(result, start_bytes)
        if count > 1:
            self._multiply(result, count - 1)
            last = call()
            del last
            self._multiply(result, count, count - 1)
        return Repeated(count, result)

    def _left(self, result: Any, start_bytes: int) -> int:
        """Bytes that a repeated call left alive, which must be the storages of its results."""
        left_bytes = self.live_bytes - start_bytes
        returned = sum(storage.nbytes for storage in _storages(result))
        if left_bytes != returned:
            raise ModelMeterError(
                f"repeated: a call leaves {at_hand(left_bytes):,} bytes alive and returns tensors of "
                f"{at_hand(returned):,}; return all that it makes and keeps, and nothing made outside it."
            )
        return left_bytes

    def _multiply(self, result: Any, times: int, before: int = 1) -> None:
        """Let the storages of a result stand for those of `times` calls; they stood for those of `before`."""
        for storage in _storages(result):
            one = storage.nbytes // before
            self.live_bytes += one * (times - before)
            storage.nbytes = one * times
            if self.alive is not None and id(storage) in self.alive:
                self.alive[id(storage)] = self.alive[id(storage)]._replace(nbytes=storage.nbytes)

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
        self.alive[id(storage)] = Allocation(
            storage.nbytes, tensor.shape, tensor.dtype, storage.kind, operator, self.path
        )

    def new(self, shape: Shape, dtype: str, strides: Shape | None = None, kind: str = ACTIVATION) -> ShapeTensor:
        """A fresh dense tensor; the caller records the operator that makes it, and that looks at the peak."""
        tensor_strides = contiguous_strides(shape) if strides is None else strides
        storage = Storage(self, prod(shape) * ITEMSIZE[dtype], kind, external=kind == HOST)
        if self.chain is not None:
            self.chain.made[id(storage)] = storage
        return ShapeTensor(storage, shape, tensor_strides, dtype)

    def reach(self, live_bytes: int, resident_bytes: int, path: str, operator: str) -> None:
        """Note a live set; the first operator to reach the peak keeps its name, or that of the block it is part of."""
        operator = self.block or operator
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
