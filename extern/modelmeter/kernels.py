"""What the time of a kernel is computed from: its class, its type, and sizes, read from an operator's record.

A walk's operators are tabulated as kernels, equal ones together with their number. The sizes are those of
`OF_ALL` and, by class, those of `OF_CLASS`; of a walk over variables they are polynomials (`modelmeter.sizes`), so one
walk tells the kernels of all pages that its law holds for. What they take is said by `modelmeter.devices`.

To add a class: its sizes in `OF_CLASS`, where they are read in `_READ`, and its time in `devices/kernel_time.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd, prod
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from modelmeter import kernel_classes as classes
from modelmeter.kernel_classes import in_decoder, kernel_class
from modelmeter.sizes import frozen
from modelmeter.units import ITEMSIZE
from modelmeter.walk import Call, OperatorRecord, Walk, join_path

#: sizes of every kernel: FLOPs of GEMMs, other FLOPs, bytes read and written
OF_ALL: Final = ("flops", "vector_flops", "nbytes")
#: and of those of a class. moe: bytes of weights read, and of activations that pass through memory; rows of all
#: experts, bytes of one expert's weights, its width or a divisor of it, and how many such kernels are a block.
#: context_attention: keys before those of the queries, where a prompt goes on with a cache. convolution: input
#: channels, and terms that one output sums. collectives: bytes of the result, and devices
OF_CLASS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        classes.GEMM: ("rows", "columns", "batch"),
        classes.MOE: ("weight_bytes", "activation_bytes", "rows", "expert_bytes", "width", "of_a_block"),
        classes.CONTEXT_ATTENTION: ("batch", "heads", "kv_heads", "length", "head_dim", "before"),
        classes.ENCODER_ATTENTION: ("batch", "heads", "kv_heads", "length", "head_dim"),
        classes.GENERATION_ATTENTION: ("batch", "heads", "kv_heads", "keys", "head_dim"),
        classes.BIAS_ATTENTION: (),
        classes.ELEMENTWISE: (),
        classes.COPY: (),
        classes.STRIDED: ("elements",),
        classes.CONVOLUTION: ("channels", "depth"),
        classes.ALL_REDUCE: ("message_bytes", "ranks"),
        classes.ALL_GATHER: ("message_bytes", "ranks"),
    }
)
#: the grouped GEMMs that a block of experts has: up with its gate, and down
GROUPED_PRODUCTS: Final = 2


class Kernel(NamedTuple):
    """One kernel: class, type that a GEMM runs in (and behind it how packed weights are taken), and sizes by name."""

    kernel_class: str
    dtype: str
    sizes: Mapping[str, Any]


def kernel_of(record: OperatorRecord) -> Kernel:
    """The kernel that runs an operator; raises `ModelMeterError` for an operator without a class."""
    name = kernel_class(record)
    sizes = {
        "flops": record.tensor_core_flops,
        "vector_flops": record.cuda_core_flops,
        "nbytes": record.bytes_read + record.bytes_written,
    }
    read = _READ.get(name)
    dtype = f"{record.dtype} {record.packed}" if record.packed else record.dtype
    return Kernel(name, dtype, sizes if read is None else sizes | read(record))


def _gemm(record: OperatorRecord) -> dict[str, Any]:
    """A GEMM, or a batch of them: the rows and columns of the result of one."""
    *batch, rows, columns = record.outputs[0]
    return {"rows": rows, "columns": columns, "batch": prod(batch)}


def _moe(record: OperatorRecord) -> dict[str, Any]:
    """A block of experts as one, or one of its grouped GEMMs: rows sorted by expert, each by its expert's weight."""
    if record.name == "fused_moe":
        _, (tokens, top_k), _, _, (_, hidden, width) = record.inputs
        rows, of_a_block = tokens * top_k, 1
        # of packed weights the benchmarks' rows are counted in 16 bits, quantised on the way or not
        itemsize = 2 if record.packed else ITEMSIZE[record.dtype]
        moved = moved_by_a_block(tokens, rows, hidden, width) * itemsize
    else:
        (rows, features), depth = record.outputs[0], record.inputs[0][-1]
        width, of_a_block = gcd(features, depth), GROUPED_PRODUCTS
        moved = record.bytes_read + record.bytes_written - record.weight_bytes
    return {
        "weight_bytes": record.weight_bytes,
        "activation_bytes": moved,
        "rows": rows,
        "expert_bytes": record.expert_bytes,
        "width": width,
        "of_a_block": of_a_block,
    }


def moved_by_a_block(tokens: Any, rows: Any, hidden: Any, width: Any, matrices: Any = 3) -> Any:
    """Elements that pass through memory in a block of experts; matrices: 3 of an expert with a gate.

    Tokens in and out; rows sorted; out of each matrix; the activation in and out; rows weighted and summed.
    """
    return 2 * tokens * hidden + rows * (3 * hidden + (matrices + 1) * width)


def _strided(record: OperatorRecord) -> dict[str, Any]:
    """The elements that are put one by one."""
    return {"elements": record.elements}


def _convolution(record: OperatorRecord) -> dict[str, Any]:
    """Of a weight [out, in, window...]."""
    _, channels, *window = record.inputs[1]
    return {"channels": channels, "depth": channels * prod(window)}


def _collective(record: OperatorRecord) -> dict[str, Any]:
    """What every device has in the end, and how many these are."""
    return {"message_bytes": record.bytes_written, "ranks": record.ranks}


def _attention(record: OperatorRecord) -> dict[str, Any]:
    """Of query [B, H, Q, d] and keys [B, H', K, d]."""
    batch, heads, length, head_dim = record.inputs[0]
    kv_heads = record.inputs[1][1]
    return {"batch": batch, "heads": heads, "kv_heads": kv_heads, "length": length, "head_dim": head_dim}


def _context(record: OperatorRecord) -> dict[str, Any]:
    """The same, and the keys that were there before, if any were."""
    sizes = _attention(record)
    before = _keys(record) - sizes["length"]
    return sizes if isinstance(before, int) and not before else sizes | {"before": before}


def _keys(record: OperatorRecord) -> Any:
    """Keys of a sequence, in one piece or several, whose values come after all of them."""
    pieces = (len(record.inputs) - 1) // 2
    return sum(keys[2] for keys in record.inputs[1 : 1 + pieces])


def _generation(record: OperatorRecord) -> dict[str, Any]:
    """The same over all keys.

    Several queries of a head read the same keys, as several heads of a group do.
    """
    sizes = _attention(record)
    sizes["heads"] *= sizes.pop("length")
    return sizes | {"keys": _keys(record)}


_READ: Final[Mapping[str, Callable[[OperatorRecord], dict[str, Any]]]] = MappingProxyType(
    {
        classes.GEMM: _gemm,
        classes.MOE: _moe,
        classes.STRIDED: _strided,
        classes.CONVOLUTION: _convolution,
        classes.ALL_REDUCE: _collective,
        classes.ALL_GATHER: _collective,
        classes.CONTEXT_ATTENTION: _context,
        classes.ENCODER_ATTENTION: _attention,
        classes.GENERATION_ATTENTION: _generation,
    }
)


class Counted(NamedTuple):
    """Equal kernels, and how many there are."""

    kernel: Kernel
    count: Any


def tabulated(walk: Walk) -> list[Counted]:
    """The kernels of a walk, equal ones once; of a walk over variables its tape must have kept the records."""
    return list(_tabulated(walk, "", {}).values())


_Table = dict[object, Counted]


def _tabulated(walk: Walk, path: str, known: dict[tuple[int, bool], _Table]) -> _Table:
    """The kernels of a walk by what tells them apart; `known`: those of walks seen before, in the decoder and not."""
    place = id(walk), in_decoder(path)
    if place in known:
        return known[place]
    table: _Table = {}
    for entry in walk.entries:
        full = join_path(path, entry.path)
        if isinstance(entry, Call):
            for key, (kernel, count) in _tabulated(entry.walk, full, known).items():
                _put(table, key, kernel, count * entry.times)
        else:
            kernel = kernel_of(entry._replace(path=full))
            _put(table, (kernel.kernel_class, kernel.dtype, frozen(tuple(kernel.sizes.values()))), kernel, 1)
    known[place] = table
    return table


def _put(table: _Table, key: object, kernel: Kernel, count: Any) -> None:
    before = table.get(key)
    table[key] = Counted(kernel, count if before is None else before.count + count)
