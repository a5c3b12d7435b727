"""What a walk is: the records of its operators, the calls within it, and who was alive at its peak.

Nothing here knows how a walk comes about: devices, calibration and reports stand on these records alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

Shape = tuple[int, ...]


class Allocation(NamedTuple):
    """One storage that was alive: its bytes, the tensor that it was made as, and the operator that made it."""

    nbytes: int
    shape: Shape
    dtype: str
    kind: str
    operator: str  # "given": the walk was given it
    path: str


class OperatorRecord(NamedTuple):
    """What one operator did. Counts are FLOPs, elements and bytes."""

    path: str  # module path, relative to the walk that holds the record
    name: str  # the operator of this library
    aten: str  # the PyTorch operator that it stands for; "fused.…" for a kernel that PyTorch has no operator for
    kind: str  # matmul, elementwise, reduction, copy, gather, attention, fused, collective
    dtype: str  # type of its first input, in which a GEMM runs; of its output where it has no input
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    tensor_core_flops: int
    cuda_core_flops: int
    elements: int  # elements that it computes; its FLOPs are this times the table's entry, a chain's are its sums
    bytes_read: int
    bytes_written: int
    weight_bytes: int  # of the bytes read
    kv_bytes: int  # of the bytes read and written
    live_bytes: (
        int  # the live set after it, relative to the start of the walk; of a block of kernels, the largest within
    )
    packed: str = ""  # how a kernel takes weights that a scheme packs, or the type of keys and values that is another
    expert_bytes: int = 0  # of an expert's weights, where a share of several is read
    ranks: int = 1  # devices that take part in a collective


class Walk(NamedTuple):
    """One call of a layer, written down: what it did, and what it leaves behind.

    Of a walk over variables the figures are sizes, the peaks are `Highest`, labelled by path and operator, and there
    are no entries, unless its tape keeps them.
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
                for time in range(entry.times):
                    start = live_bytes + entry.live_bytes + time * entry.left_bytes
                    yield from entry.walk.records(join_path(path, entry.path), start)
            else:
                yield entry._replace(path=join_path(path, entry.path), live_bytes=live_bytes + entry.live_bytes)


class Call(NamedTuple):
    """A walk within a walk: a layer's call that may have been walked before, or several equal calls in a row."""

    path: str
    walk: Walk  # of one of the calls
    live_bytes: int  # the live set when the first began, relative to the start of the outer walk
    times: int = 1
    left_bytes: int = 0  # what each call adds to the live set for those after it; told where there are several


def one_after_another(walks: Sequence[tuple[str, Walk]]) -> Walk:
    """Walks as calls in one, by the paths that they are told apart by; each lets go of all before the next begins."""
    each = [walk for _, walk in walks]
    highest = max(each, key=lambda walk: walk.peak_bytes)
    path = next(path for path, walk in walks if walk is highest)
    return Walk(
        entries=tuple(Call(path, walk, 0) for path, walk in walks),
        tensor_core_flops=sum(walk.tensor_core_flops for walk in each),
        cuda_core_flops=sum(walk.cuda_core_flops for walk in each),
        bytes_read=sum(walk.bytes_read for walk in each),
        bytes_written=sum(walk.bytes_written for walk in each),
        weight_bytes=sum(walk.weight_bytes for walk in each),
        kv_bytes=sum(walk.kv_bytes for walk in each),
        peak_bytes=highest.peak_bytes,
        resident_peak_bytes=max(walk.resident_peak_bytes for walk in each),
        peak_path=join_path(path, highest.peak_path),
        peak_operator=highest.peak_operator,
        operator_count=sum(walk.operator_count for walk in each),
    )


def join_path(outer: str, inner: str) -> str:
    """Two module paths, one inside the other."""
    return f"{outer}.{inner}" if outer and inner else outer or inner
