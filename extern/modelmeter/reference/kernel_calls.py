"""A call that runs one kernel shape through torch, on operands that lie in a pool; needs torch alone.

An operand's layout follows the model where the innermost axis of a transposed copy or the heads of an attention ask
for it; else it is row-major. A kernel that no single function of torch computes is refused by name (`NoCall`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

Call = Callable[[], Any]
Shape = Sequence[int]
KernelCase = Mapping[str, Any]

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
#: bytes that a tensor in the pool begins at a multiple of, as those of PyTorch's allocator do
ALIGNMENT: Final = 512


class NoCall(ValueError):
    """No single function of torch computes this kernel."""


class OperandPool:
    """Random memory that operands are cut from, one after another: rotating through it is rotating through memory."""

    def __init__(self, device: str, nbytes: int) -> None:
        self.device = device
        self.nbytes = nbytes
        self._memory = torch.empty(nbytes // 2, dtype=torch.bfloat16, device=device)
        for part in self._memory.split(2**27):  # `normal_` of one piece this large would need float32 copies on a CPU
            part.normal_(std=0.5)
        self._offset = 0

    def reset(self) -> None:
        """Begin again at the start."""
        self._offset = 0

    def take(self, shape: Shape, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """A row-major tensor of values near 0, never NaN: the halves of a float32 are bfloat16s themselves."""
        nbytes = prod(shape) * dtype.itemsize
        if self._offset + nbytes > self.nbytes:
            raise NoCall(f"operands of {list(shape)} do not fit into a pool of {self.nbytes:,} bytes")
        if not dtype.is_floating_point:
            return self.indices(shape, 2, dtype)
        start = self._offset // 2
        self._offset += ceil(nbytes / ALIGNMENT) * ALIGNMENT
        flat = self._memory[start : start + max(nbytes // 2, 1)]
        return flat.view(dtype)[: prod(shape)].view(tuple(shape))

    def indices(self, shape: Shape, below: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Random whole numbers from 0 on, in memory of their own."""
        return torch.randint(0, max(below, 1), tuple(shape), device=self.device).to(dtype)


def call_of(kernel: KernelCase, pool: OperandPool) -> Call:
    """A call that computes the kernel on operands of its own; `NoCall` where torch has no function for it."""
    build = _CALLS.get(kernel["name"])
    if build is None:
        raise NoCall(f"no single function of torch computes {kernel['name']}")
    return build(kernel, pool)


def operand_bytes(kernel: KernelCase) -> int:
    """Bytes that the operands of one call take in the pool, at most."""
    wide = 4 if kernel["dtype"] in ("float32", "int32") else 8 if kernel["dtype"] == "int64" else 2
    sizes = [prod(shape) * wide for shape in kernel["inputs"]]
    if kernel["class"] == "moe":
        depth, features = kernel["inputs"][0][-1], kernel["outputs"][0][1]
        sizes.append(kernel["inputs"][1][0] * depth * features * 2)
    return sum(ceil(size / ALIGNMENT) * ALIGNMENT for size in sizes)


# -- types that a record does not name -------------------------------------------------------------------------------


def _of_width(nbytes: int, numel: int, default: torch.dtype) -> torch.dtype:
    """The type that `numel` elements in so many bytes have: a record names that of its first input only."""
    width = nbytes / max(numel, 1)
    if width == default.itemsize:
        return default
    whole = not default.is_floating_point
    widths = {
        1: torch.bool,
        2: torch.bfloat16,
        4: torch.int32 if whole else torch.float32,
        8: torch.int64,
    }
    return widths.get(int(width), default) if width == int(width) else default


def _operands(kernel: KernelCase, pool: OperandPool) -> list[Tensor]:
    """The inputs in their shapes; the last one's type by the bytes that are left for it."""
    dtype = DTYPES[kernel["dtype"]]
    inputs = kernel["inputs"]
    if len(inputs) < 2:
        return [pool.take(shape, dtype) for shape in inputs]
    *firsts, last = inputs
    left = kernel["bytes_read"] - sum(prod(shape) for shape in firsts) * dtype.itemsize
    return [*(pool.take(shape, dtype) for shape in firsts), pool.take(last, _of_width(left, prod(last), dtype))]


def _out_dtype(kernel: KernelCase) -> torch.dtype:
    return _of_width(kernel["bytes_written"], prod(kernel["outputs"][0]), DTYPES[kernel["dtype"]])


# -- pointwise, reductions -------------------------------------------------------------------------------------------


def _unary(function: Callable[[Tensor], Any]) -> Callable[[KernelCase, OperandPool], Call]:
    def build(kernel: KernelCase, pool: OperandPool) -> Call:
        x = _operands(kernel, pool)[0]
        return lambda: function(x)

    return build


def _binary(function: Callable[[Any, Any], Any], number: float = 2) -> Callable[[KernelCase, OperandPool], Call]:
    """Of two tensors, or of one and a number."""

    def build(kernel: KernelCase, pool: OperandPool) -> Call:
        operands = _operands(kernel, pool)
        x = operands[0]
        if len(operands) == 1:
            return lambda: function(x, number)
        y = operands[1]
        return lambda: function(x, y)

    return build


def _layer_norm(kernel: KernelCase, pool: OperandPool) -> Call:
    x, weight, bias = (pool.take(shape) for shape in kernel["inputs"])
    return lambda: F.layer_norm(x, weight.shape, weight, bias)


def _add_layer_norm(kernel: KernelCase, pool: OperandPool) -> Call:
    x, residual, weight, bias = (pool.take(shape) for shape in kernel["inputs"])

    def call() -> Any:
        total = x + residual
        return total, F.layer_norm(total, weight.shape, weight, bias)

    return call


def _rms_norm(kernel: KernelCase, pool: OperandPool) -> Call:
    x, weight = (pool.take(shape) for shape in kernel["inputs"])
    return lambda: F.rms_norm(x, weight.shape, weight, 1e-6)


def _add_rms_norm(kernel: KernelCase, pool: OperandPool) -> Call:
    x, residual, weight = (pool.take(shape) for shape in kernel["inputs"])

    def call() -> Any:
        total = x + residual
        return total, F.rms_norm(total, weight.shape, weight, 1e-6)

    return call


def _silu_and_mul(kernel: KernelCase, pool: OperandPool) -> Call:
    gate, up = (pool.take(shape) for shape in kernel["inputs"])
    return lambda: F.silu(gate) * up


def _topk_softmax(kernel: KernelCase, pool: OperandPool) -> Call:
    x = pool.take(kernel["inputs"][0])
    chosen = kernel["outputs"][0][-1]
    return lambda: torch.topk(x.softmax(-1, dtype=torch.float32), chosen)


def _topk(kernel: KernelCase, pool: OperandPool) -> Call:
    x, chosen = _operands(kernel, pool)[0], kernel["outputs"][0][-1]
    return lambda: torch.topk(x, chosen)


def _weighted_sum(kernel: KernelCase, pool: OperandPool) -> Call:
    rows, weights, shared = (pool.take(shape) for shape in kernel["inputs"])
    return lambda: (rows * weights).sum(1).view(shared.shape) + shared


def _rel_pos_bias(kernel: KernelCase, pool: OperandPool) -> Call:
    rel_h, rel_w = (pool.take(shape) for shape in kernel["inputs"])
    return lambda: rel_h + rel_w


def _sum(kernel: KernelCase, pool: OperandPool) -> Call:
    x = _operands(kernel, pool)[0]
    axis = next(axis for axis in range(x.dim()) if [*x.shape[:axis], *x.shape[axis + 1 :]] == [*kernel["outputs"][0]])
    return lambda: x.sum(axis)


def _histc(kernel: KernelCase, pool: OperandPool) -> Call:
    bins = kernel["outputs"][0][0]
    x = pool.indices(kernel["inputs"][0], bins, torch.int32)
    if pool.device == "cpu":  # which has whole numbers' histograms in no release
        x = x.float()
    return lambda: torch.histc(x, bins, 0, bins - 1)


def _made(function: Callable[..., Tensor]) -> Callable[[KernelCase, OperandPool], Call]:
    def build(kernel: KernelCase, pool: OperandPool) -> Call:
        shape, dtype = kernel["outputs"][0], _out_dtype(kernel)
        return lambda: function(tuple(shape), dtype=dtype, device=pool.device)

    return build


def _arange(kernel: KernelCase, pool: OperandPool) -> Call:
    count, dtype = prod(kernel["outputs"][0]), DTYPES[kernel["dtype"]]
    return lambda: torch.arange(count, dtype=dtype, device=pool.device)


# -- copies, gathers, resampling -------------------------------------------------------------------------------------


def _clone(kernel: KernelCase, pool: OperandPool) -> Call:
    """A copy into row-major order of a tensor whose axes, but for the last, lie in memory the other way round."""
    shape = kernel["inputs"][0]
    *leading, last = shape
    x = pool.take([*reversed(leading), last]).permute(*reversed(range(len(leading))), len(leading))
    return lambda: x.clone(memory_format=torch.contiguous_format)


def _cast(kernel: KernelCase, pool: OperandPool) -> Call:
    x, dtype = _operands(kernel, pool)[0], _out_dtype(kernel)
    return lambda: x.to(dtype, copy=True)


def _cat(kernel: KernelCase, pool: OperandPool) -> Call:
    tensors = [pool.take(shape, DTYPES[kernel["dtype"]]) for shape in kernel["inputs"]]
    out = kernel["outputs"][0]
    axis = next(
        (axis for axis in range(len(out)) if sum(tensor.shape[axis] for tensor in tensors) == out[axis]), len(out) - 1
    )
    return lambda: torch.cat(tensors, axis)


def _pad(kernel: KernelCase, pool: OperandPool) -> Call:
    x = pool.take(kernel["inputs"][0], DTYPES[kernel["dtype"]])
    after = [size - old for size, old in zip(kernel["outputs"][0], x.shape, strict=True)]
    widths = [width for extra in reversed(after) for width in (0, extra)]
    return lambda: F.pad(x, widths)


def _gather(kernel: KernelCase, pool: OperandPool) -> Call:
    table = pool.take(kernel["inputs"][0], DTYPES[kernel["dtype"]])
    index = pool.indices(kernel["inputs"][1], table.shape[0])
    return lambda: table[index]


def _embedding(kernel: KernelCase, pool: OperandPool) -> Call:
    table = pool.take(kernel["inputs"][0])
    index = pool.indices(kernel["inputs"][1], table.shape[0])
    return lambda: F.embedding(index, table)


def _index_put(kernel: KernelCase, pool: OperandPool) -> Call:
    (rows, *_), dtype = kernel["outputs"][0], DTYPES[kernel["dtype"]]
    target, index = pool.take(kernel["outputs"][0], dtype), torch.randperm(rows, device=pool.device)
    values = pool.take(kernel["inputs"][1], dtype)
    return lambda: target.index_put_((index,), values)


def _masked_scatter(kernel: KernelCase, pool: OperandPool) -> Call:
    shape, mask_shape, source_shape = kernel["inputs"]
    target, source = pool.take(shape), pool.take(source_shape)
    rows = torch.arange(prod(mask_shape), device=pool.device)
    mask = (rows < source_shape[0]).view(tuple(mask_shape))
    return lambda: target.masked_scatter(mask, source)


def _upsample_linear(kernel: KernelCase, pool: OperandPool) -> Call:
    x, size = _operands(kernel, pool)[0], kernel["outputs"][0][-1]
    return lambda: F.interpolate(x, size=size, mode="linear")


def _upsample_bilinear(kernel: KernelCase, pool: OperandPool) -> Call:
    x, size = _operands(kernel, pool)[0], tuple(kernel["outputs"][0][2:])
    return lambda: F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _upsample_bicubic(kernel: KernelCase, pool: OperandPool) -> Call:
    x, size = _operands(kernel, pool)[0], tuple(kernel["outputs"][0][2:])
    return lambda: F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


# -- GEMMs --------------------------------------------------------------------------------------------------------


def _linear(kernel: KernelCase, pool: OperandPool) -> Call:
    dtype = DTYPES[kernel["dtype"]]
    x, weight, *bias_of = (pool.take(shape, dtype) for shape in kernel["inputs"])
    if weight.shape[0] != kernel["outputs"][0][-1]:  # a GEMM of two activations
        return lambda: torch.mm(x, weight)
    bias = bias_of[0] if bias_of else None
    return lambda: F.linear(x, weight, bias)


def _matmul(kernel: KernelCase, pool: OperandPool) -> Call:
    dtype = DTYPES[kernel["dtype"]]
    left, right = (pool.take(shape, dtype) for shape in kernel["inputs"])
    return lambda: torch.matmul(left, right)


def _convolution(kernel: KernelCase, pool: OperandPool) -> Call:
    pixels, weight, *bias_of = (pool.take(shape) for shape in kernel["inputs"])
    bias = bias_of[0] if bias_of else None
    stride, padding = kernel["stride"], kernel["padding"]
    return lambda: F.conv2d(pixels, weight, bias, stride=stride, padding=padding)


def spread_evenly(rows: int, experts: int, hit: int, device: str) -> Tensor:
    """Where each expert's rows end, [experts], when `rows` are spread evenly over the first `hit` of them."""
    hit = max(1, min(hit, rows, experts))
    counts = [rows // hit + (expert < rows % hit) for expert in range(hit)] + [0] * (experts - hit)
    return torch.tensor(counts, device=device).cumsum(0).to(torch.int32)


def grouped(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Rows [R, k], sorted by expert, by weights [E, n, k] transposed, by whichever name this torch has for it."""
    function: Any = getattr(F, "grouped_mm", None) or torch._grouped_mm
    result: Tensor = function(rows, weights.transpose(-2, -1), offs=ends)
    return result


def _grouped_mm(kernel: KernelCase, pool: OperandPool) -> Call:
    """Where the kernel finds its rows by index, they are gathered before it: torch has no such kernel."""
    (given, depth), (experts,) = kernel["inputs"][:2]
    rows, features = kernel["outputs"][0]
    x, weights = pool.take((given, depth)), pool.take((experts, features, depth))
    ends = spread_evenly(rows, experts, kernel["experts_hit"], pool.device)
    if given == rows:
        return lambda: grouped(x, weights, ends)
    order = pool.indices((rows,), given)
    return lambda: grouped(x[order], weights, ends)


def _block(uniform: bool) -> Callable[[KernelCase, OperandPool], Call]:
    """A mixture of experts as transformers computes it, but for its shared experts: what each token chooses of
    all experts is spread evenly, or drawn at random.
    """

    def build(kernel: KernelCase, pool: OperandPool) -> Call:
        (tokens, depth), (experts,) = kernel["inputs"]
        width, count = kernel["width"], kernel["chosen"]
        x, router = pool.take((tokens, depth)), pool.take((experts, depth), torch.float32)
        first, second = pool.take((experts, 2 * width, depth)), pool.take((experts, depth, width))
        even = (torch.arange(tokens * count, device=pool.device) % experts).view(tokens, count)
        drawn = torch.rand(tokens, experts, device=pool.device).topk(count).indices
        chosen = drawn if uniform else even

        def call() -> Tensor:
            scores = F.linear(x.float(), router).softmax(-1)
            shares = torch.topk(scores, count).values.view(-1, 1)
            ids, order = chosen.view(-1).sort()
            ids = ids.float() if x.device.type == "cpu" else ids.int()
            ends = torch.histc(ids, experts, 0, experts - 1).cumsum(0, dtype=torch.int32)
            gate, up = grouped(x[order // count], first, ends).chunk(2, -1)
            rows = grouped(F.silu(gate) * up, second, ends) * shares[order]
            back = torch.empty_like(order)
            back[order] = torch.arange(order.shape[0], device=x.device)
            return rows[back].view(tokens, count, depth).sum(1).to(x.dtype)

        return call

    return build


# -- attention -------------------------------------------------------------------------------------------------------


def _heads_apart(pool: OperandPool, shape: Shape) -> Tensor:
    """[B, H, T, d] lying as [B, T, H, d], as a GEMM leaves it."""
    batch, heads, length, width = shape
    return pool.take((batch, length, heads, width)).transpose(1, 2)


def _attention(kernel: KernelCase, pool: OperandPool) -> Call:
    """Keys and values of the decoder lie as the cache keeps them, everything of CLIP as its GEMMs leave it."""
    shapes = [shape for shape in kernel["inputs"] if len(shape) == 4]
    name = kernel["class"]
    if name == "bias_attention":
        query, key, value = (pool.take(shape) for shape in shapes[:3])
        *outer, keys = shapes[3]
        bias = pool.take((*outer, ceil(keys / 8) * 8))[..., :keys]  # rows aligned, as the kernel wants them
        if kernel["name"].startswith("aten") and pool.device == "cuda":
            efficient = torch.ops.aten._scaled_dot_product_efficient_attention
            return lambda: efficient(query, key, value, bias, False)
        return lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    if name == "encoder_attention":
        query, key, value = (_heads_apart(pool, shape) for shape in shapes[:3])
        return lambda: F.scaled_dot_product_attention(query, key, value)
    query = _heads_apart(pool, shapes[0])
    length = sum(shape[2] for shape in shapes[1:]) // 2  # a serving form reads the cache and the new keys apart
    held = [*shapes[1][:2], length, shapes[1][3]]
    key, value = pool.take(held), pool.take(held)
    causal, grouped_heads = name == "context_attention", query.shape[1] != key.shape[1]
    return lambda: F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=grouped_heads)


_CALLS: Final[Mapping[str, Callable[[KernelCase, OperandPool], Call]]] = {
    "aten.mm.default": _linear,
    "aten.addmm.default": _linear,
    "aten.bmm.default": _matmul,
    "fused.bmm": _matmul,
    "aten.convolution.default": _convolution,
    "aten._grouped_mm.default": _grouped_mm,
    "fused.grouped_mm": _grouped_mm,
    "block.balanced": _block(uniform=False),
    "block.uniform": _block(uniform=True),
    "aten._scaled_dot_product_flash_attention.default": _attention,
    "aten._scaled_dot_product_efficient_attention.default": _attention,
    "fused.attention": _attention,
    "aten.add.Tensor": _binary(torch.add),
    "aten.add_.Tensor": _binary(lambda x, y: x.add_(y)),
    "aten.sub.Tensor": _binary(torch.sub),
    "aten.mul.Tensor": _binary(torch.mul),
    "aten.div.Tensor": _binary(torch.div),
    "aten.floor_divide.default": _binary(torch.floor_divide, 6),
    "aten.bitwise_and.Tensor": _binary(torch.logical_and),
    "aten.bitwise_or.Tensor": _binary(torch.logical_or),
    "aten.gt.Tensor": _binary(torch.gt),
    "aten.le.Tensor": _binary(torch.le),
    "aten.lt.Scalar": _binary(torch.lt),
    "aten.eq.Scalar": _binary(torch.eq),
    "aten.gelu.default": _unary(F.gelu),
    "aten.silu.default": _unary(F.silu),
    "aten.sigmoid.default": _unary(torch.sigmoid),
    "aten.neg.default": _unary(torch.neg),
    "aten.cos.default": _unary(torch.cos),
    "aten.sin.default": _unary(torch.sin),
    "aten.rsqrt.default": _unary(torch.rsqrt),
    "aten.pow.Tensor_Scalar": _unary(torch.square),
    "aten.mean.dim": _unary(lambda x: x.mean(-1, keepdim=True)),
    "aten._softmax.default": _unary(lambda x: x.softmax(-1)),
    "aten.topk.default": _topk,
    "aten.sort.default": _unary(torch.sort),
    "aten.cumsum.default": _unary(lambda x: x.cumsum(0, dtype=torch.int32)),
    "aten.sum.default": _unary(torch.sum),
    "aten.sum.dim_IntList": _sum,
    "aten.histc.default": _histc,
    "aten.native_layer_norm.default": _layer_norm,
    "fused.layer_norm": _layer_norm,
    "fused.add_layer_norm": _add_layer_norm,
    "fused.rms_norm": _rms_norm,
    "fused.add_rms_norm": _add_rms_norm,
    "fused.silu_and_mul": _silu_and_mul,
    "fused.quick_gelu": _unary(lambda x: x * torch.sigmoid(1.702 * x)),
    "fused.topk_softmax": _topk_softmax,
    "fused.weighted_sum": _weighted_sum,
    "fused.rel_pos_bias": _rel_pos_bias,
    "aten.new_zeros.default": _made(torch.zeros),
    "aten.new_ones.default": _made(torch.ones),
    "aten.arange.default": _arange,
    "aten.clone.default": _clone,
    "aten._to_copy.default": _cast,
    "aten.cat.default": _cat,
    "aten.constant_pad_nd.default": _pad,
    "aten.index.Tensor": _gather,
    "aten.embedding.default": _embedding,
    "aten.index_put_.default": _index_put,
    "aten.masked_scatter.default": _masked_scatter,
    "aten.upsample_linear1d.default": _upsample_linear,
    "aten.upsample_bilinear2d.default": _upsample_bilinear,
    "aten._upsample_bicubic2d_aa.default": _upsample_bicubic,
}
