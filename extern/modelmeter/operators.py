"""What one operator does: the shapes that come out, its FLOPs, and the bytes that it moves.

Counting rules:

- A multiply-add is 2 FLOPs. GEMMs (linear, matmul), convolutions and attention are tensor-core FLOPs; a bias starts
  the accumulation and costs nothing extra. Attention is counted in full, no causal halving, as PyTorch's counter does.
- Everything else is vector work: elements x `FLOPS_PER_ELEMENT`. The table is a convention, not a measurement.
- Bytes: the distinct bytes that the inputs address (a broadcast dimension once, the same view once) and the bytes of
  the outputs. A gather reads what it delivers. Views are no operators: they move nothing.
- Each operator names the aten operator that it stands for; verification compares the two call by call.

Sources: the semantics of torch 2.13 on the meta device; FLOP formulas of GEMMs from first principles.

To add a pointwise operator: one line in `FLOPS_PER_ELEMENT` and one function that calls `_pointwise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final, TypeVar

from modelmeter.errors import ModelMeterError
from modelmeter.packing import Packed
from modelmeter.shape_tensor import (
    ACTIVATION,
    HOST,
    KV,
    WEIGHT,
    Chain,
    Repeated,
    ShapeTensor,
    Storage,
    Tape,
    View,
    ViewSet,
    contiguous_strides,
    view_strides,
)
from modelmeter.sizes import cached
from modelmeter.units import ITEMSIZE, ceil_div
from modelmeter.walk import OperatorRecord, Shape

Result = TypeVar("Result")

#: Vector FLOPs of one element. Conventions, each with its reason; 0 means that data is only moved or converted.
FLOPS_PER_ELEMENT: Final[Mapping[str, int]] = MappingProxyType(
    {
        "arange": 1,  # one sum
        "add": 1,  # one sum
        "sub": 1,  # one difference
        "mul": 1,  # one multiplication
        "gelu": 8,  # x/2 * (1 + erf(x/sqrt 2)): three multiplications, a sum, erf taken as four
        "sigmoid": 3,  # exponential, sum, reciprocal
        "silu": 4,  # sigmoid and a multiplication
        "neg": 1,  # a change of sign
        "pow": 1,  # a square: one multiplication
        "rsqrt": 2,  # root and reciprocal
        "sqrt": 1,  # one root
        "div": 1,  # one division
        "bucketize": 1,  # one comparison, at least
        "cos": 4,  # taken as four, like any elementary function here
        "sin": 4,  # likewise
        "mean": 1,  # one sum an element read; the division is one a row
        "sum": 1,  # one sum an element read
        "prod": 1,  # one multiplication an element read
        "compare": 1,  # one comparison, or one logical operation
        "where": 1,  # one choice
        "fill": 0,
        "topk": 1,  # one comparison an element read, at least
        "max": 1,  # one comparison an element read
        "sort": 1,  # likewise
        "histc": 1,  # one count an element read
        "cumsum": 1,  # one sum
        "floor_divide": 1,  # one division
        "scatter": 0,
        "softmax": 5,  # maximum, difference, exponential, sum, division
        "layer_norm": 8,  # mean 1, variance 3, normalise 2, scale and shift 2
        "upsample_linear": 3,  # two multiplications and a sum an output element
        "upsample_bilinear": 7,  # 2 x 2 neighbours: four multiplications, three sums an output element
        "upsample_bicubic": 31,  # 4 x 4 neighbours: 16 multiplications, 15 sums an output element
        "copy": 0,
        "cast": 0,
        "pad": 0,
        "cat": 0,
        "gather": 0,
        "all_reduce": 1,  # one sum, at least
        "all_gather": 0,
        "quantise": 2,  # one comparison for the largest of a group, one multiplication
        "dequantise": 1,  # one multiplication
    }
)


class Parameter:
    """A weight of a layer: shape and type. Its memory is resident, never part of the live set.

    packed: how it lies where a scheme packs it; the type is then that which it stands for.
    """

    __slots__ = ("dtype", "packed", "shape")

    def __init__(self, *shape: int, dtype: str, packed: Packed | None = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self.packed = packed

    @property
    def numel(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return prod(self.shape) * ITEMSIZE[self.dtype] if self.packed is None else self.packed.nbytes

    @property
    def kernel(self) -> str:
        """What kernels are called by that take it as a scheme packs it; "": none does."""
        return "" if self.packed is None else self.packed.kernel

    def on(self, tape: Tape) -> ShapeTensor:
        """The weight as a tensor of a walk, for operators that take it as they take activations."""
        storage = Storage(tape, 0, WEIGHT, external=True)
        return ShapeTensor(storage, self.shape, contiguous_strides(self.shape), self.dtype)


# -- recording ------------------------------------------------------------------------------------------------------


def _read(
    inputs: Sequence[ShapeTensor], delivered: int | None = None, times: Sequence[int] | None = None
) -> tuple[int, int, int]:
    """Distinct bytes that the inputs address: in all, of weights, of the KV cache.

    delivered: bytes read of the first input, where that is not what it addresses. times: how many equals each input
    stands for.
    """
    total = weight = kv = 0
    seen: list[View] = []
    for index, tensor in enumerate(inputs):
        storage, view = tensor.storage, tensor.addressed
        if view in seen:
            continue
        nbytes = tensor.addressed_bytes if seen or delivered is None else delivered
        if times is not None:
            nbytes *= times[index]
        seen.append(view)
        total += nbytes
        if storage.kind == WEIGHT:
            weight += nbytes
        elif storage.kind == KV:
            kv += nbytes
    return total, weight, kv


def _record(
    name: str,
    aten: str,
    kind: str,
    inputs: Sequence[ShapeTensor],
    outputs: Sequence[ShapeTensor],
    *,
    tensor_core_flops: int = 0,
    elements: int = 0,
    cuda_core_flops: int | None = None,
    delivered: int | None = None,
    read: tuple[int, int, int] | None = None,
    weights: Sequence[Parameter] = (),
    shapes: tuple[Shape, ...] | None = None,
    packed: str = "",
    expert_bytes: int = 0,
    ranks: int = 1,
) -> None:
    """Write one operator on the tape of its tensors and look at the peak; or note it in the kernel that it is part of.

    cuda_core_flops: where they are not elements x the table's entry. delivered: of the first input, bytes read.
    shapes: of the inputs, where the kernel takes them as others.
    """
    tape = (outputs or inputs)[0].storage.tape
    if cuda_core_flops is None:
        cuda_core_flops = elements * FLOPS_PER_ELEMENT[name] if elements else 0
    if tape.chain is not None:
        if kind in ("matmul", "attention", "collective"):
            what = "a collective" if kind == "collective" else "a GEMM"
            raise ModelMeterError(f"fused {tape.chain.name}: {aten} is {what}; such are kernels of their own.")
        _note(tape.chain, inputs, outputs, weights, delivered)
        tape.chain.elements += elements
        tape.chain.cuda_core_flops += cuda_core_flops
        return
    read_bytes, weight_bytes, kv_bytes = _read(inputs, delivered) if read is None else read
    for weight in weights:
        read_bytes += weight.nbytes
        weight_bytes += weight.nbytes
    written = 0
    for output in outputs:
        written += output.nbytes
        if output.storage.kind == KV:
            kv_bytes += output.nbytes
    live = tape.live_bytes
    if tape.alive is not None:
        for output in outputs:
            tape.made(output, aten)
    tape.entries.append(
        OperatorRecord(
            tape.path,
            name,
            aten,
            kind,
            (inputs or outputs)[0].dtype,
            shapes or tuple([tensor.shape for tensor in inputs] + [weight.shape for weight in weights]),
            tuple([tensor.shape for tensor in outputs]),
            tensor_core_flops,
            cuda_core_flops,
            elements,
            read_bytes,
            written,
            weight_bytes,
            kv_bytes,
            live - tape.base_bytes,
            packed,
            expert_bytes,
            ranks,
        )
    )
    tape.reach(live, live + tape.given_bytes, tape.path, aten)


# -- chains of operators in one kernel --------------------------------------------------------------------------------


def fused(name: str, function: Callable[..., Result], *inputs: Any) -> Result:
    """`function(*inputs)`, whatever operators it runs, as the one kernel "fused.<name>".

    What the kernel makes and does not return is never in memory. It reads what its operators address of other
    tensors: the same view once, of overlapping views of an input no more than that input, and of a table that rows
    are gathered from no more than the table; and the weights, each once. It writes its results and what its operators
    write in place; a result that is a view of an input is not written. FLOPs and elements are its operators' sums.
    A GEMM is a kernel of its own and refused. A chain within a chain is part of it; one that runs no operator
    is no kernel.
    """
    first = next((each for each in inputs if isinstance(each, ShapeTensor)), None)
    if first is None:
        raise ModelMeterError(f"fused {name}: there is no shape-tensor among its inputs; give it what it reads.")
    tape = first.storage.tape
    if tape.chain is not None:
        return function(*inputs)
    chain = tape.chain = Chain(name)
    try:
        result = function(*inputs)
    finally:
        tape.chain = None
    if not chain.operators:
        return result
    results = [each for each in (result if isinstance(result, tuple) else (result,)) if isinstance(each, ShapeTensor)]
    outputs = ViewSet()
    for each in (*(each for each in results if id(each.storage) in chain.made), *chain.written.tensors()):
        outputs.put(each)
    read = _read_by_chain(chain, inputs)
    sources = chain.read.tensors()
    weights = list(chain.weights.values())
    elements, cuda_core_flops = chain.elements, chain.cuda_core_flops
    del chain  # and the intermediates with it
    _record(
        name,
        f"fused.{name}",
        "fused",
        sources,
        outputs.tensors(),
        elements=elements,
        cuda_core_flops=cuda_core_flops,
        read=read,
        weights=weights,
    )
    return result


def in_place_output(target: ShapeTensor, value: ShapeTensor) -> ShapeTensor:
    """A result of a chain kept in the memory of one of its inputs, which nobody reads afterwards.

    Outside a chain there is nothing to keep: the value has memory of its own already.
    """
    chain = target.tape.chain
    if chain is None:
        return value
    if (target.shape, target.dtype) != (value.shape, value.dtype):
        raise ModelMeterError(f"fused {chain.name}: {value!r} cannot be written over {target!r}.")
    chain.written.put(target)
    return target


def _note(
    chain: Chain,
    inputs: Sequence[ShapeTensor],
    outputs: Sequence[ShapeTensor],
    weights: Sequence[Parameter],
    delivered: int | None,
) -> None:
    """Note what one operator of a kernel reads and writes outside it."""
    chain.operators += 1
    for position, tensor in enumerate(inputs):
        if id(tensor.storage) not in chain.made:
            chain.read.put(tensor, tensor.addressed_bytes if delivered is None or position else delivered)
    for tensor in outputs:
        if id(tensor.storage) not in chain.made:
            chain.written.put(tensor)
    chain.weights |= {id(weight): weight for weight in weights}


def _read_by_chain(chain: Chain, inputs: Sequence[object]) -> tuple[int, int, int]:
    """Bytes that a kernel reads: in all, of weights, of the KV cache; the parameters in `chain.weights` come on top."""
    given = ViewSet()
    for each in inputs:
        if isinstance(each, ShapeTensor):
            given.put(each)
    limits: dict[int, int] = {}
    for each in given.tensors():
        limits[id(each.storage)] = limits.get(id(each.storage), 0) + each.addressed_bytes
    by_storage: dict[int, tuple[str, int]] = {}
    for _, tensor, nbytes in chain.read.entries:
        before = by_storage.get(id(tensor.storage), ("", 0))[1]
        by_storage[id(tensor.storage)] = (tensor.storage.kind, before + nbytes)
    sums = dict.fromkeys((ACTIVATION, WEIGHT, KV, HOST), 0)
    for storage, (kind, nbytes) in by_storage.items():
        sums[kind] += min(nbytes, limits.get(storage, nbytes))
    return sum(sums.values()), sums[WEIGHT], sums[KV]


# -- strides of a pointwise result ----------------------------------------------------------------------------------


@cached
def broadcast_shape(shapes: tuple[Shape, ...]) -> Shape:
    """The common shape of several operands."""
    result: list[int] = [1] * max(len(shape) for shape in shapes)
    for shape in shapes:
        lead = len(result) - len(shape)
        for axis, size in enumerate(shape):
            if size == result[lead + axis] or size == 1:
                continue
            if result[lead + axis] != 1:
                raise ModelMeterError(f"shapes {[list(each) for each in shapes]} do not broadcast.")
            result[lead + axis] = size
    return tuple(result)


def _dense(shape: Shape, strides: Shape) -> bool:
    """Whether the elements fill a block of memory exactly once, in some order of the dimensions."""
    expected = 1
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


@cached
def pointwise_strides(operands: tuple[tuple[Shape, Shape], ...]) -> Shape:
    """Strides that PyTorch gives the result of a pointwise operator over operands of these (shape, strides).

    Operands that agree and are dense hand their strides on; otherwise dimensions are ordered by the operands' strides,
    the first operand that tells two dimensions apart deciding, and the result is dense in that order.
    Source: the behaviour of TensorIterator, torch 2.13.
    """
    first_shape, first_strides = operands[0]
    rank = len(first_shape)  # compared first: tuples of another length would be compared element by element
    alike = all(len(shape) == rank and (shape, strides) == operands[0] for shape, strides in operands)
    if alike and _dense(first_shape, first_strides):
        return first_strides
    shape = broadcast_shape(tuple(operand_shape for operand_shape, _ in operands))
    rank = len(shape)
    broadcast: list[list[int]] = []
    for operand_shape, operand_strides in operands:
        lead = rank - len(operand_shape)
        strides = [0] * rank
        for axis, size in enumerate(operand_shape):
            strides[lead + axis] = operand_strides[axis] if size == shape[lead + axis] else 0
        broadcast.append(strides)
    order = list(range(rank - 1, -1, -1))  # innermost first

    def compare(left: int, right: int) -> int:
        for strides in broadcast:
            if not strides[left] or not strides[right]:
                continue
            if strides[left] != strides[right]:
                return 1 if strides[left] > strides[right] else -1
            if shape[left] > shape[right]:
                return 1
        return 0

    for start in range(1, rank):
        moving = start
        for position in range(start - 1, -1, -1):
            verdict = compare(order[position], order[moving])
            if verdict > 0:
                order[position], order[moving] = order[moving], order[position]
                moving = position
            elif verdict < 0:
                break
    result = [0] * rank
    stride = 1
    for axis in order:
        result[axis] = stride
        stride *= shape[axis]
    return tuple(result)


def _pointwise(
    name: str,
    aten: str,
    operands: Sequence[ShapeTensor],
    dtype: str,
    kind: str = "elementwise",
    *,
    holds: str = ACTIVATION,
) -> ShapeTensor:
    """One operator over broadcast operands; a missing operand is a number and costs nothing to read."""
    geometry = tuple([(tensor.shape, tensor.strides) for tensor in operands])
    shape = broadcast_shape(tuple([tensor.shape for tensor in operands]))
    storage = operands[0].storage
    out = storage.tape.new(shape, dtype, pointwise_strides(geometry), HOST if storage.kind == HOST else holds)
    _record(name, aten, kind, operands, (out,), elements=out.numel)
    return out


# -- pointwise and normalisation ------------------------------------------------------------------------------------


def add(left: ShapeTensor, right: ShapeTensor | None = None, kind: str = ACTIVATION) -> ShapeTensor:
    """left + right, broadcast; without `right`, plus a number. kind: what the sum is kept as."""
    return _pointwise("add", "aten.add.Tensor", (left,) if right is None else (left, right), left.dtype, holds=kind)


def sub(left: ShapeTensor, right: ShapeTensor | None = None) -> ShapeTensor:
    """left - right, broadcast; without `right`, minus a number."""
    return _pointwise("sub", "aten.sub.Tensor", (left,) if right is None else (left, right), left.dtype)


def mul(left: ShapeTensor, right: ShapeTensor | None = None, dtype: str | None = None) -> ShapeTensor:
    """left * right, broadcast; without `right`, times a number, which may make another type of it."""
    operands = (left,) if right is None else (left, right)
    return _pointwise("mul", "aten.mul.Tensor", operands, dtype or left.dtype)


def mul_in_place(x: ShapeTensor, factor: ShapeTensor) -> ShapeTensor:
    """x * factor, broadcast, written over x."""
    _record("mul", "aten.mul_.Tensor", "elementwise", (x, factor), (x,), elements=x.numel)
    return x


def div(left: ShapeTensor, right: ShapeTensor | None = None) -> ShapeTensor:
    """left / right, broadcast; without `right`, by a number."""
    return _pointwise("div", "aten.div.Tensor", (left,) if right is None else (left, right), left.dtype)


def reciprocal(x: ShapeTensor) -> ShapeTensor:
    """1 / x; of whole numbers in float32."""
    dtype = "float32" if x.dtype == "int64" else x.dtype
    return _pointwise("div", "aten.reciprocal.default", (x,), dtype)


def sqrt(x: ShapeTensor) -> ShapeTensor:
    """Square root."""
    return _pointwise("sqrt", "aten.sqrt.default", (x,), x.dtype)


def arange(
    tape: Tape, size: int, kind: str = ACTIVATION, aten: str = "aten.arange.default", dtype: str = "int64"
) -> ShapeTensor:
    """`size` integers at equal distances."""
    out = tape.new((size,), dtype, kind=kind)
    _record("arange", aten, "elementwise", (), (out,), elements=size)
    return out


def gelu(x: ShapeTensor) -> ShapeTensor:
    """GELU by the error function."""
    return _pointwise("gelu", "aten.gelu.default", (x,), x.dtype)


def sigmoid(x: ShapeTensor) -> ShapeTensor:
    """1 / (1 + exp(-x))."""
    return _pointwise("sigmoid", "aten.sigmoid.default", (x,), x.dtype)


def to(x: ShapeTensor, dtype: str, kind: str = ACTIVATION) -> ShapeTensor:
    """x in another type: a copy in the same order of memory, or x itself. kind: what the copy is kept as."""
    if x.dtype == dtype:
        return x
    return _pointwise("cast", "aten._to_copy.default", (x,), dtype, "copy", holds=kind)


def to_device(x: ShapeTensor) -> ShapeTensor:
    """A copy of what lies in host memory, an input."""
    return _pointwise("cast", "aten._to_copy.default", (x,), x.dtype, "copy")


def softmax(x: ShapeTensor, dtype: str) -> ShapeTensor:
    """Softmax over the last dimension in `dtype`, which x is converted to first."""
    converted = to(x, dtype)
    out = x.tape.new(converted.shape, dtype)
    _record("softmax", "aten._softmax.default", "reduction", (converted,), (out,), elements=out.numel)
    return out


def layer_norm(x: ShapeTensor, weight: Parameter, bias: Parameter) -> ShapeTensor:
    """LayerNorm over the last dimension; mean and reciprocal deviation are written too, in float32."""
    tape = x.tape
    out = tape.new(x.shape, x.dtype)
    statistics = (*x.shape[:-1], 1)
    mean = tape.new(statistics, "float32")
    rstd = tape.new(statistics, "float32")
    _record(
        "layer_norm",
        "aten.native_layer_norm.default",
        "reduction",
        (x,),
        (out, mean, rstd),
        elements=out.numel,
        weights=(weight, bias),
    )
    return out


def silu(x: ShapeTensor) -> ShapeTensor:
    """x * sigmoid(x)."""
    return _pointwise("silu", "aten.silu.default", (x,), x.dtype)


def neg(x: ShapeTensor) -> ShapeTensor:
    """-x."""
    return _pointwise("neg", "aten.neg.default", (x,), x.dtype)


def square(x: ShapeTensor) -> ShapeTensor:
    """x to the power of 2."""
    return _pointwise("pow", "aten.pow.Tensor_Scalar", (x,), x.dtype)


def rsqrt(x: ShapeTensor) -> ShapeTensor:
    """1 / sqrt(x)."""
    return _pointwise("rsqrt", "aten.rsqrt.default", (x,), x.dtype)


def cos(x: ShapeTensor) -> ShapeTensor:
    """cos(x)."""
    return _pointwise("cos", "aten.cos.default", (x,), x.dtype)


def sin(x: ShapeTensor) -> ShapeTensor:
    """sin(x)."""
    return _pointwise("sin", "aten.sin.default", (x,), x.dtype)


def compare(aten: str, *operands: ShapeTensor) -> ShapeTensor:
    """A comparison or a logical operation: truth values."""
    return _pointwise("compare", aten, operands, "bool")


def clamp(x: ShapeTensor) -> ShapeTensor:
    """x, but no element beyond a number."""
    return _pointwise("compare", "aten.clamp.default", (x,), x.dtype)


def bucketize(x: ShapeTensor, boundaries: ShapeTensor) -> ShapeTensor:
    """Between which of the boundaries, in order, each element of x lies: 64-bit integers."""
    out = x.tape.new(x.shape, "int64")
    _record("bucketize", "aten.bucketize.Tensor", "elementwise", (x, boundaries), (out,), elements=out.numel)
    return out


def fill(like: ShapeTensor, shape: Shape, dtype: str, aten: str) -> ShapeTensor:
    """A tensor of one number. `new_zeros` and `new_ones` take `like` as their input, and are counted as reading it."""
    out = like.tape.new(shape, dtype)
    _record("fill", aten, "copy", (like,) if aten.startswith("aten.new_") else (), (out,), elements=out.numel)
    return out


def where(condition: ShapeTensor, this: ShapeTensor, other: ShapeTensor) -> ShapeTensor:
    """`this` where the condition holds, else `other`."""
    return _pointwise("where", "aten.where.self", (condition, this, other), this.dtype)


def mean(x: ShapeTensor, axis: int = -1) -> ShapeTensor:
    """Mean over one dimension, which stays with size 1."""
    axis = axis % len(x.shape)
    out = x.tape.new((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    _record("mean", "aten.mean.dim", "reduction", (x,), (out,), elements=x.numel)
    return out


def total(x: ShapeTensor, *axes: int) -> ShapeTensor:
    """Sum over dimensions, which disappear; of truth values, how many are true, as 64-bit integers."""
    kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    out = x.tape.new(tuple(kept), "int64" if x.dtype == "bool" else x.dtype)
    _record("sum", "aten.sum.dim_IntList", "reduction", (x,), (out,), elements=x.numel)
    return out


def product(x: ShapeTensor) -> ShapeTensor:
    """Product over the last dimension, which disappears; of what lies on the host, on the host."""
    out = x.tape.new(x.shape[:-1], x.dtype, kind=HOST if x.storage.kind == HOST else ACTIVATION)
    _record("prod", "aten.prod.dim_int", "reduction", (x,), (out,), elements=x.numel)
    return out


def sum_all(x: ShapeTensor) -> ShapeTensor:
    """The sum of all elements, in their type; of truth values, how many are true, as a 64-bit integer."""
    out = x.tape.new((), "int64" if x.dtype == "bool" else x.dtype)
    _record("sum", "aten.sum.default", "reduction", (x,), (out,), elements=x.numel)
    return out


def all_true(x: ShapeTensor) -> ShapeTensor:
    """Whether all truth values are true."""
    out = x.tape.new((), "bool")
    _record("compare", "aten.all.default", "reduction", (x,), (out,), elements=x.numel)
    return out


def topk(x: ShapeTensor, k: int, index_dtype: str = "int64") -> tuple[ShapeTensor, ShapeTensor]:
    """The k largest of the last dimension, and where they stand."""
    shape = (*x.shape[:-1], k)
    values, indices = x.tape.new(shape, x.dtype), x.tape.new(shape, index_dtype)
    _record("topk", "aten.topk.default", "reduction", (x,), (values, indices), elements=x.numel)
    return values, indices


def argmax(x: ShapeTensor) -> ShapeTensor:
    """Where the largest of the last dimension stands, as a 64-bit integer."""
    out = x.tape.new(x.shape[:-1], "int64")
    _record("max", "aten.argmax.default", "reduction", (x,), (out,), elements=x.numel)
    return out


def amax(x: ShapeTensor) -> ShapeTensor:
    """The largest of the last dimension, which disappears."""
    out = x.tape.new(x.shape[:-1], x.dtype)
    _record("max", "aten.amax.default", "reduction", (x,), (out,), elements=x.numel)
    return out


def sort(x: ShapeTensor, index_dtype: str = "int64") -> tuple[ShapeTensor, ShapeTensor]:
    """The elements in order, and where they stood."""
    values, indices = x.tape.new(x.shape, x.dtype), x.tape.new(x.shape, index_dtype)
    _record("sort", "aten.sort.default", "reduction", (x,), (values, indices), elements=x.numel)
    return values, indices


def floor_divide(x: ShapeTensor) -> ShapeTensor:
    """x // a number."""
    return _pointwise("floor_divide", "aten.floor_divide.default", (x,), x.dtype)


def remainder(x: ShapeTensor) -> ShapeTensor:
    """x % a number: what a division leaves."""
    return _pointwise("floor_divide", "aten.remainder.Scalar", (x,), x.dtype)


def histc(x: ShapeTensor, bins: int) -> ShapeTensor:
    """How many elements fall into each bin."""
    out = x.tape.new((bins,), x.dtype)
    _record("histc", "aten.histc.default", "reduction", (x,), (out,), elements=x.numel)
    return out


def cumsum(x: ShapeTensor, dtype: str) -> ShapeTensor:
    """Running sums of a vector."""
    return _pointwise("cumsum", "aten.cumsum.default", (x,), dtype, "reduction")


# -- copies ---------------------------------------------------------------------------------------------------------


def clone(x: ShapeTensor, aten: str = "aten.clone.default") -> ShapeTensor:
    """A row-major copy."""
    out = x.tape.new(x.shape, x.dtype)
    _record("copy", aten, "copy", (x,), (out,), elements=out.numel)
    return out


def contiguous(x: ShapeTensor) -> ShapeTensor:
    """x itself where it is row-major, else a copy."""
    return x if x.is_contiguous else clone(x)


def reshape(x: ShapeTensor, *sizes: int) -> ShapeTensor:
    """A view where the strides allow it, else a row-major copy, viewed."""
    shape = x.resolve(sizes)
    strides = view_strides(x.shape, x.strides, shape)
    if strides is not None:
        return ShapeTensor(x.storage, shape, strides, x.dtype, x.offset)
    return clone(x).view(*shape)


def pad(x: ShapeTensor, *after: int) -> ShapeTensor:
    """Zeros put behind each dimension; a copy even where nothing is added (`constant_pad_nd`)."""
    shape = tuple([size + extra for size, extra in zip(x.shape, after, strict=True)])
    out = x.tape.new(shape, x.dtype)
    _record("pad", "aten.constant_pad_nd.default", "copy", (x,), (out,), elements=out.numel)
    return out


def cat(tensors: Sequence[ShapeTensor | Repeated], axis: int, kind: str = ACTIVATION) -> ShapeTensor:
    """Tensors behind one another along `axis`, row-major; of what was repeated, every call's results."""
    whole = Repeated(1, tuple(tensors))
    parts = list(whole.tensors())
    first = parts[0][1]
    axis = axis % len(first.shape)
    size = sum([count * tensor.shape[axis] for count, tensor in parts])
    out = first.tape.new((*first.shape[:axis], size, *first.shape[axis + 1 :]), first.dtype, kind=kind)
    read = _read([tensor for _, tensor in parts], times=[count for count, _ in parts])
    inputs = [tensor for _, tensor in parts] if first.tape.variables is not None else list(whole.in_order())
    _record("cat", "aten.cat.default", "copy", inputs, (out,), elements=out.numel, read=read)
    return out


def stack(tensors: Sequence[ShapeTensor]) -> ShapeTensor:
    """Tensors of one shape side by side: [...] each -> [..., tensors]."""
    first = tensors[0]
    out = first.tape.new((*first.shape, len(tensors)), first.dtype)
    _record("cat", "aten.stack.default", "copy", tensors, (out,), elements=out.numel)
    return out


def copy_number(target: ShapeTensor) -> None:
    """A number written over the target, which is not read: made in memory first, as an assignment to a slice does."""
    number = fill(target, (), target.dtype, "aten.scalar_tensor.default")
    _record("copy", "aten.copy_.default", "copy", (number,), (target,), elements=target.numel)


def zero(target: ShapeTensor) -> None:
    """Zeros written over the target, which is not read."""
    _record("fill", "aten.zero_.default", "copy", (), (target,), elements=target.numel)


def copy_over(target: ShapeTensor, source: ShapeTensor) -> None:
    """What is in `source` written over the target, which is not read."""
    _record("copy", "aten.copy_.default", "copy", (source,), (target,), elements=target.numel)


# -- collectives ----------------------------------------------------------------------------------------------------


def all_reduce(x: ShapeTensor, ranks: int, *, in_place: bool = False) -> ShapeTensor:
    """The sum of every device's x, on each of `ranks` devices.

    Counted on one of them: its memory alone, x read and the sum written, in memory of its own unless `in_place`; what
    passes over its link follows from `ranks` and the bytes written.
    """
    out = x if in_place else x.tape.new(x.shape, x.dtype)
    aten = "_c10d_functional.all_reduce.default"
    _record("all_reduce", aten, "collective", (x,), (out,), elements=out.numel, ranks=ranks)
    return out


def all_gather(x: ShapeTensor, ranks: int, width: int | None = None) -> ShapeTensor:
    """Every device's x side by side in the last dimension, on each of `ranks` devices: [..., d] -> [..., ranks d].

    width: of the result, where the last device's x ends before d. Counted as `all_reduce` is.
    """
    out = x.tape.new((*x.shape[:-1], width or ranks * x.shape[-1]), x.dtype)
    aten = "_c10d_functional.all_gather_into_tensor.default"
    _record("all_gather", aten, "collective", (x,), (out,), elements=out.numel, ranks=ranks)
    return out


# -- gathers and resampling -----------------------------------------------------------------------------------------


def gather(
    table: ShapeTensor,
    *shape: int,
    aten: str,
    index: ShapeTensor | tuple[ShapeTensor, ...] = (),
    row_bytes: int | None = None,
) -> ShapeTensor:
    """Rows of `table` [rows, ...] as `[*shape, ...]`: reads what it delivers, and what indices are in memory.

    row_bytes: of a row of the table, where that is not what the row is delivered as.
    """
    out = table.tape.new((*shape, *table.shape[1:]), table.dtype)
    inputs = (table, *index) if isinstance(index, tuple) else (table, index)
    read = out.nbytes if row_bytes is None else prod(shape) * row_bytes
    _record("gather", aten, "gather", inputs, (out,), elements=out.numel, delivered=read)
    return out


def take_number(x: ShapeTensor) -> None:
    """A number that code takes out of a tensor on the host, as an `int` of its own."""
    _record("gather", "aten._local_scalar_dense.default", "gather", (x,), ())


def nonzero(x: ShapeTensor, count: int) -> ShapeTensor:
    """Where x is not zero, `count` 64-bit integers; the data decide how many, so it is declared."""
    out = x.tape.new((count,), "int64")
    _record("gather", "aten.nonzero.default", "gather", (x,), (out,), elements=x.numel)
    return out


def index_put(target: ShapeTensor, index: ShapeTensor | tuple[ShapeTensor, ...], values: ShapeTensor) -> None:
    """target[index] = values, in place: what is brought is read, and what it lands on written."""
    inputs = (*index, values) if isinstance(index, tuple) else (index, values)
    _record("scatter", "aten.index_put_.default", "copy", inputs, (target,), elements=values.numel)


def scatter_ones(target: ShapeTensor, index: ShapeTensor) -> None:
    """A number put at `index` of the last dimension, in place: the target counts as written, not as read."""
    _record("scatter", "aten.scatter_.value", "copy", (index,), (target,), elements=index.numel)


def masked_fill(target: ShapeTensor, mask: ShapeTensor) -> None:
    """A number put under the mask, in place."""
    _record("where", "aten.masked_fill_.Scalar", "elementwise", (target, mask), (target,), elements=target.numel)


def empty_like(x: ShapeTensor, kind: str = ACTIVATION, dtype: str | None = None) -> ShapeTensor:
    """Row-major memory of the same shape; nothing moves. kind: what it is to hold. dtype: of another type than x."""
    out = x.tape.new(x.shape, dtype or x.dtype, kind=kind)
    x.tape.made(out, "aten.empty_like.default")
    return out


def masked_scatter(x: ShapeTensor, mask: ShapeTensor, source: ShapeTensor) -> ShapeTensor:
    """x with the elements under the mask replaced by those of `source`, in order."""
    out = x.tape.new(x.shape, x.dtype)
    _record("scatter", "aten.masked_scatter.default", "copy", (x, mask, source), (out,), elements=out.numel)
    return out


def masked_scatter_in_place(target: ShapeTensor, mask: ShapeTensor, source: ShapeTensor) -> None:
    """The elements of `source`, in order, put under the mask: the target counts as written, not as read."""
    _record("scatter", "aten.masked_scatter_.default", "copy", (mask, source), (target,), elements=target.numel)


def upsample_linear(x: ShapeTensor, size: int) -> ShapeTensor:
    """[B, C, L] -> [B, C, size], linear."""
    out = x.tape.new((*x.shape[:-1], size), x.dtype)
    _record("upsample_linear", "aten.upsample_linear1d.default", "elementwise", (x,), (out,), elements=out.numel)
    return out


def upsample_bicubic(x: ShapeTensor, height: int, width: int, *, antialias: bool = True) -> ShapeTensor:
    """[B, C, h, w] -> [B, C, height, width], bicubic, with antialiasing or without."""
    aten = f"aten.{'_upsample_bicubic2d_aa' if antialias else 'upsample_bicubic2d'}.default"
    return _upsampled("upsample_bicubic", aten, x, height, width)


def upsample_bilinear(x: ShapeTensor, height: int, width: int) -> ShapeTensor:
    """[B, C, h, w] -> [B, C, height, width], bilinear."""
    return _upsampled("upsample_bilinear", "aten.upsample_bilinear2d.default", x, height, width)


def _upsampled(name: str, aten: str, x: ShapeTensor, height: int, width: int) -> ShapeTensor:
    """[B, C, h, w] -> [B, C, height, width]; the order of memory (channels last) is kept."""
    batch, channels = x.shape[:2]
    channels_last = x.strides[1] == 1
    strides = (channels * height * width, 1, width * channels, channels) if channels_last else None
    out = x.tape.new((batch, channels, height, width), x.dtype, strides)
    _record(name, aten, "elementwise", (x,), (out,), elements=out.numel)
    return out


def unfold(x: ShapeTensor, side: int) -> ShapeTensor:
    """[B, C, H, W] -> [B, C * side**2, blocks]: each block of side x side neighbours becomes a column (im2col)."""
    batch, channels, height, width = x.shape
    out = x.tape.new((batch, channels * side**2, (height // side) * (width // side)), x.dtype)
    _record("copy", "aten.im2col.default", "copy", (x,), (out,), elements=out.numel)
    return out


# -- GEMMs -------------------------------------------------------------------------------------------------------


def quantised(x: ShapeTensor, packed: Packed | None) -> tuple[ShapeTensor, ...]:
    """x [R, k] in the type that a packed weight is multiplied in, and its scales: one kernel; or x itself."""
    operands = packed.operands if packed is not None and packed.kernel else None
    if operands is None or operands.inputs is None:
        return (x,)
    rows, depth = x.shape
    out = [x.tape.new((rows, ceil_div(depth, operands.a_byte)), operands.inputs)]
    if operands.scale_columns != 0:
        scales = ceil_div(depth, operands.scale_columns or depth)
        out.append(x.tape.new((rows, scales), operands.scale))
    _record("quantise", "fused.quantise", "fused", (x,), out, elements=x.numel)
    return tuple(out)


def dequantised(x: ShapeTensor, weight: Parameter, weight_bytes: int | None = None) -> ShapeTensor | None:
    """A packed weight written in the type of x [R, k], where a kernel does so before R rows are multiplied.

    weight_bytes: read of it, where that is not all (declared).
    """
    packed = weight.packed
    if packed is None or packed.operands.written_from is None or not packed.kernel:
        return None
    if x.shape[0] < packed.operands.written_from:
        return None
    out = x.tape.new(weight.shape, x.dtype)
    read = weight.nbytes if weight_bytes is None else weight_bytes
    _record("dequantise", "fused.dequantise", "fused", (), (out,), elements=out.numel, read=(read, read, 0))
    return out


def linear(
    x: ShapeTensor,
    weight: Parameter,
    bias: Parameter | None = None,
    *,
    kind: str = ACTIVATION,
    weight_bytes: int | None = None,
) -> ShapeTensor:
    """x [..., k] @ weight [n, k] transposed (+ bias [n]) -> [..., n]; one multiply-add is 2 FLOPs.

    A bias starts the accumulation, but of an input that is neither a matrix nor row-major PyTorch adds it afterwards.
    kind: what the GEMM is kept as. weight_bytes: of the weight, the bytes read where that is not all (declared). Of a
    packed weight the kernels before the GEMM are recorded too (`quantised`, `dequantised`).
    """
    features, depth = weight.shape
    if x.shape[-1] != depth:
        raise ModelMeterError(f"linear: {x!r} does not end in the weight's {depth} input features.")
    fused = bias is not None and (x.is_contiguous or len(x.shape) == 2)
    rows = reshape(x, -1, depth)
    written = dequantised(rows, weight, weight_bytes)
    factors = quantised(rows, weight.packed) if written is None else (rows, written)
    out = x.tape.new((rows.shape[0], features), x.dtype, kind=kind)
    declared = None
    if weight_bytes is not None and written is None:
        declared = (sum([each.addressed_bytes for each in factors]) + weight_bytes, weight_bytes, 0)
    weights = () if written is not None else (weight,)
    if fused and bias is not None:
        weights = (*weights, bias)
    _record(
        "linear",
        "aten.addmm.default" if fused else "aten.mm.default",
        "matmul",
        factors,
        (out,),
        tensor_core_flops=2 * rows.shape[0] * depth * features,
        read=declared,
        weights=weights if declared is None else (),
        packed=weight.kernel if written is None else "",
    )
    if bias is not None and not fused:
        del rows, written, factors  # a copy of the input is the GEMM's own
        _record("add", "aten.add_.Tensor", "elementwise", (out,), (out,), elements=out.numel, weights=(bias,))
    return out.view(*x.shape[:-1], features)


def conv2d(
    x: ShapeTensor, weight: Parameter, bias: Parameter | None = None, *, stride: int = 1, padding: int = 0
) -> ShapeTensor:
    """x [B, c, H, W] * weight [n, c, kh, kw] -> [B, n, H', W'], row-major as on the meta device."""
    features, channels, kernel_h, kernel_w = weight.shape
    height = (x.shape[2] + 2 * padding - kernel_h) // stride + 1
    width = (x.shape[3] + 2 * padding - kernel_w) // stride + 1
    out = x.tape.new((x.shape[0], features, height, width), x.dtype)
    _record(
        "conv2d",
        "aten.convolution.default",
        "matmul",
        (x,),
        (out,),
        tensor_core_flops=2 * out.numel * channels * kernel_h * kernel_w,
        weights=(weight,) if bias is None else (weight, bias),
    )
    return out


def conv3d(x: ShapeTensor, weight: Parameter, bias: Parameter | None = None) -> ShapeTensor:
    """Patches x [N, c, t, h, w] * weight [n, c, t, h, w], a kernel as large as a patch -> [N, n, 1, 1, 1]."""
    patches, *patch = x.shape
    features, *kernel = weight.shape
    if patch != kernel:
        raise ModelMeterError(f"conv3d: {x!r} is not of patches as large as the kernel, {kernel}.")
    out = x.tape.new((patches, features, 1, 1, 1), x.dtype)
    flops = 2 * patches * features * prod(kernel)
    weights = (weight,) if bias is None else (weight, bias)
    _record("conv3d", "aten.convolution.default", "matmul", (x,), (out,), tensor_core_flops=flops, weights=weights)
    return out


def mm(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """[m, k] @ [k, n] -> [m, n]."""
    rows, depth = left.shape
    out = left.tape.new((rows, right.shape[1]), left.dtype)
    flops = 2 * rows * depth * right.shape[1]
    _record("linear", "aten.mm.default", "matmul", (left, right), (out,), tensor_core_flops=flops)
    return out


def grouped_mm(
    x: ShapeTensor,
    weight: Parameter,
    offsets: ShapeTensor,
    experts_hit_bytes: int,
    order: ShapeTensor | None = None,
    row_weights: ShapeTensor | None = None,
) -> ShapeTensor:
    """Rows x [R, k], sorted by expert, each @ its expert's weight [E, n, k] transposed -> [R, n].

    experts_hit_bytes: bytes of the experts that have rows; only those are read. order [R]: where each sorted row comes
    from; the kernel then gathers the rows of x [tokens, k] itself, or puts those that it makes where they belong.
    row_weights: R numbers, which the rows are multiplied by before they are written: a vector FLOP an element.
    """
    depth = x.shape[1]
    rows = x.shape[0] if order is None else order.numel
    features = weight.shape[1]
    factors = quantised(x, weight.packed)
    out = x.tape.new((rows, features), x.dtype)
    beside = tuple([each for each in (offsets, order, row_weights) if each is not None])
    read = sum([each.addressed_bytes for each in beside]) + experts_hit_bytes
    read += rows * sum([each.shape[1] * ITEMSIZE[each.dtype] for each in factors])
    _record(
        "grouped_mm",
        "aten._grouped_mm.default" if order is None else "fused.grouped_mm",
        "matmul",
        (*factors, *beside),
        (out,),
        tensor_core_flops=2 * rows * depth * features,
        cuda_core_flops=0 if row_weights is None else out.numel,
        elements=0 if row_weights is None else out.numel,
        read=(read, experts_hit_bytes, 0),
        packed=weight.kernel,
        expert_bytes=weight.nbytes // weight.shape[0],
    )
    return out


#: figures of a block of kernels that are the sums of theirs
_SUMS_OF_A_BLOCK: Final = (
    "tensor_core_flops",
    "cuda_core_flops",
    "elements",
    "bytes_read",
    "bytes_written",
    "weight_bytes",
    "kv_bytes",
)


def fused_moe(
    run: Callable[..., ShapeTensor],
    x: ShapeTensor,
    top_k_index: ShapeTensor,
    top_k_weights: ShapeTensor,
    gate_up: Parameter,
    down: Parameter,
) -> ShapeTensor:
    """`run(x, top_k_index, top_k_weights)`, an engine's block of routed experts, as the one record "fused_moe".

    The block is several kernels, which engines call as one function and benchmarks time as one: the order of the rows,
    both grouped GEMMs, the activation, the sum. What goes from one to the next passes through memory and counts, and
    the figures are their sums. What a time is made of, and where it stands:

    - rows: tokens x k, the sizes of `inputs[1]`
    - weights of all experts: `inputs[3]` [E, 2 F, D] and `inputs[4]` [E, D, F]
    - experts hit: `weight_bytes` / `expert_bytes`, a fraction where routing is taken to be uniform
    - FLOPs of both GEMMs: `tensor_core_flops`
    - bytes of activations, routing included: `bytes_read` + `bytes_written` - `weight_bytes`
    """
    tape = x.tape
    outer, tape.entries, tape.block = tape.entries, [], "fused.moe"
    try:
        out = run(x, top_k_index, top_k_weights)
        kernels = [each for each in tape.entries if isinstance(each, OperatorRecord)]
    finally:
        tape.entries, tape.block = outer, ""
    largest = kernels[-1].live_bytes if tape.variables else max([each.live_bytes for each in kernels])
    sums = {figure: sum([getattr(each, figure) for each in kernels]) for figure in _SUMS_OF_A_BLOCK}
    tape.entries.append(
        OperatorRecord(
            path=tape.path,
            name="fused_moe",
            aten="fused.moe",
            kind="matmul",
            dtype=next(each.dtype for each in kernels if each.name == "grouped_mm"),
            inputs=(x.shape, top_k_index.shape, top_k_weights.shape, gate_up.shape, down.shape),
            outputs=(out.shape,),
            **sums,
            live_bytes=largest,
            packed=gate_up.kernel,
            expert_bytes=(gate_up.nbytes + down.nbytes) // gate_up.shape[0],
        )
    )
    return out


def bmm(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """[B, m, k] @ [B, k, n] -> [B, m, n]."""
    batch, _, depth = left.shape
    if right.shape != (batch, depth, right.shape[2]):
        raise ModelMeterError(f"bmm: {left!r} and {right!r} do not multiply.")
    return _batched("aten.bmm.default", left, right)


def strided_bmm(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """[..., m, k] @ [..., k, n] over any leading dimensions, which broadcast and are read as they lie."""
    lead = broadcast_shape((left.shape[:-2], right.shape[:-2]))
    if left.shape[-1] != right.shape[-2]:
        raise ModelMeterError(f"strided_bmm: {left!r} and {right!r} do not multiply.")
    return _batched("fused.bmm", left.expand(*lead, *left.shape[-2:]), right.expand(*lead, *right.shape[-2:]))


def _batched(aten: str, left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """One GEMM for each index of the leading dimensions, the same on both sides."""
    out = left.tape.new((*left.shape[:-1], right.shape[-1]), left.dtype)
    _record("bmm", aten, "matmul", (left, right), (out,), tensor_core_flops=2 * out.numel * left.shape[-1])
    return out


def matmul(left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """[..., m, k] @ [..., k, n]: the leading dimensions folded into one, with a copy where the strides ask for it."""
    lead = left.shape[:-2]
    left_rows = reshape(left, -1, *left.shape[-2:])
    right_rows = reshape(right, -1, *right.shape[-2:])
    return bmm(left_rows, right_rows).view(*lead, left.shape[-2], right.shape[-1])


# -- attention ------------------------------------------------------------------------------------------------------

#: a GPU's memory-efficient kernel wants the rows of its bias at a multiple of this many elements
BIAS_ALIGNMENT: Final = 8


def scaled_dot_product_attention(
    query: ShapeTensor, key: ShapeTensor, value: ShapeTensor, bias: ShapeTensor | None = None
) -> ShapeTensor:
    """Fused attention: query [B, H, Q, d], key and value [B, H, K, d], bias [B, H, Q, K] -> [B, H, Q, d].

    Half precision without a bias runs as FlashAttention, anything else as the memory-efficient kernel, which takes
    a copy of a bias whose rows are not aligned, and numbers for a mask of truth values. The result lies in memory as
    the query does, that of the memory-efficient kernel as [B, Q, H, d]. Fewer KV heads than heads in float32 without
    a bias, which no fused kernel takes, run in separate steps, and the result is row-major; several queries are causal
    then, as a decoder's are.
    """
    tape = query.tape
    batch, heads, queries, _ = query.shape
    flash = bias is None and query.dtype != "float32"
    if bias is None and not flash and key.shape[1] != heads:
        return _attention_in_steps(query, key, value)
    if bias is not None:
        bias = _aligned_bias(bias, query.dtype)
    if flash:  # log-sum-exp, random state: written beside the result
        out = tape.new(query.shape, query.dtype, pointwise_strides(((query.shape, query.strides),)))
        extra = (tape.new((batch, heads, queries), "float32"), tape.new((2,), "uint64"), tape.new((), "uint64"))
    else:  # no log-sum-exp without a backward pass
        out = _attended(query)
        extra = (tape.new((batch, heads, 0), "float32"), tape.new((), "int64"), tape.new((), "int64"))
    aten = f"aten._scaled_dot_product_{'flash' if flash else 'efficient'}_attention.default"
    _record_attention(aten, query, (key,), (value,), bias, (out, *extra))
    return out


def _attention_in_steps(query: ShapeTensor, key: ShapeTensor, value: ShapeTensor) -> ShapeTensor:
    """Attention of grouped heads by PyTorch's own steps. Source: the operators that torch 2.13 calls for it."""
    query = _scaled(query)
    mask = _causal_bias(query, key.shape[2]) if query.shape[2] > 1 else None
    key, value = _repeated_heads(key, query.shape[1]), _repeated_heads(value, query.shape[1])
    scores = matmul(query, _scaled(key.transpose(-2, -1)))
    if mask is not None:
        scores = add(scores, mask)
    weights = scores.tape.new(scores.shape, scores.dtype)
    _record("softmax", "aten._safe_softmax.default", "reduction", (scores,), (weights,), elements=weights.numel)
    del scores
    return matmul(weights, value)


def _scaled(x: ShapeTensor) -> ShapeTensor:
    """x times a number."""
    return _pointwise("mul", "aten.mul.Scalar", (x,), x.dtype)


def _causal_bias(query: ShapeTensor, keys: int) -> ShapeTensor:
    """Numbers to add to the scores [Q, K]: 0 for keys that are not after a query, minus infinity for others."""
    ones = fill(query, (query.shape[2], keys), "bool", "aten.ones.default")
    seen = ones.tape.new(ones.shape, ones.dtype)
    _record("copy", "aten.tril.default", "copy", (ones,), (seen,), elements=seen.numel)
    del ones
    numbers = [fill(query, (), query.dtype, "aten.scalar_tensor.default") for _ in range(2)]
    return where(seen, numbers[0], numbers[1])


def _repeated_heads(x: ShapeTensor, heads: int) -> ShapeTensor:
    """[B, KV heads, K, d] -> [B, heads, K, d]: each KV head as often as there are heads of its group."""
    batch, kv_heads, keys, width = x.shape
    groups = heads // kv_heads
    return reshape(x.unsqueeze(2).expand(-1, -1, groups, -1, -1), batch, heads, keys, width)


def _aligned_bias(mask: ShapeTensor, dtype: str) -> ShapeTensor:
    """A bias or mask [B, H, Q, K] as the efficient kernel gets it: numbers to add, in rows that are aligned."""
    if mask.dtype == "bool":
        minus_infinity = fill(mask, (), dtype, "aten.full.default")
        mask = where(mask, fill(mask, (), dtype, "aten.zeros.default"), minus_infinity)
    keys = mask.shape[3]
    if keys % BIAS_ALIGNMENT:
        mask = pad(mask, 0, 0, 0, ceil_div(keys, BIAS_ALIGNMENT) * BIAS_ALIGNMENT - keys).narrow(3, 0, keys)
    return mask


def attention(
    query: ShapeTensor,
    keys: Sequence[ShapeTensor],
    values: Sequence[ShapeTensor],
    bias: ShapeTensor | None = None,
    *,
    log_sum_exp: bool = False,
) -> ShapeTensor:
    """An engine's fused attention: query [B, H, Q, d] over keys and values in pieces [B, H, K, d] -> [B, H, Q, d].

    Pieces, and a bias [B, H, Q, K] whose rows are aligned, are read where they lie. The result, which lies in memory
    as [B, Q, H, d], is all that is written, and where it is asked for, as the FlashAttention package always does, the
    log-sum-exp [B, H, Q] in float32; no partial results.
    """
    if bias is not None and bias.strides[2] % BIAS_ALIGNMENT:
        raise ModelMeterError(f"attention: the rows of the bias {bias!r} are not at a multiple of {BIAS_ALIGNMENT}.")
    out = _attended(query)
    beside = (query.tape.new(query.shape[:-1], "float32"),) if log_sum_exp else ()
    _record_attention("fused.attention", query, keys, values, bias, (out, *beside))
    return out


def packed_attention(
    projected: Sequence[ShapeTensor],
    ends: ShapeTensor,
    lengths: Sequence[tuple[int, int]],
    *,
    log_sum_exp: bool = False,
) -> ShapeTensor:
    """An engine's fused attention within each of several sequences that lie behind one another: one kernel.

    projected: query, key and value, [N, H, d] each, read where they lie -> [N, H, d]. ends: where sequences end, which
    the kernel reads. lengths: (how many, rows of each), the longest first. log_sum_exp: as of `attention`, [H, N].
    The record's inputs are [sequences, H, rows of the longest, d] each: what a kernel lays its tiles over.
    """
    query = projected[0]
    _, heads, width = query.shape
    out = query.tape.new(query.shape, query.dtype)
    beside = (query.tape.new((heads, query.shape[0]), "float32"),) if log_sum_exp else ()
    sequences = (sum([count for count, _ in lengths]), heads, lengths[0][1], width)
    _record(
        "attention",
        "fused.attention",
        "attention",
        projected,
        (out, *beside),
        tensor_core_flops=4 * heads * width * sum([count * rows * rows for count, rows in lengths]),
        read=_read((*projected, ends)),
        shapes=(sequences,) * 3,
    )
    return out


def _attended(query: ShapeTensor) -> ShapeTensor:
    """Memory for what attention gives, [B, H, Q, d], lying as [B, Q, H, d]."""
    _, heads, queries, width = query.shape
    return query.tape.new(query.shape, query.dtype, (queries * heads * width, width, heads * width, 1))


def _record_attention(
    aten: str,
    query: ShapeTensor,
    keys: Sequence[ShapeTensor],
    values: Sequence[ShapeTensor],
    bias: ShapeTensor | None,
    outputs: Sequence[ShapeTensor],
) -> None:
    """Scores and weighted sum, 2 FLOPs each for every query, key and element of a head."""
    _record(
        "attention",
        aten,
        "attention",
        (query, *keys, *values) if bias is None else (query, *keys, *values, bias),
        outputs,
        packed="" if keys[0].dtype == query.dtype else keys[0].dtype,
        tensor_core_flops=4 * query.numel * sum([key.shape[2] for key in keys]),
    )
