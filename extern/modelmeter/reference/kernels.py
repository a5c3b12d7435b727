"""Single operators on real tensors: the GEMMs of a cost model's walks, copies, and an operator that does nothing.

What a GEMM multiplies is read from its record: the shapes of its inputs and of its result. Values are random, and
the same at every call: operands stay in a cache that is large enough for them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from modelmeter.devices.product import Product
from modelmeter.errors import ModelMeterError
from modelmeter.reference.building import DTYPES, choice
from modelmeter.walk import Shape

Call = Callable[[], object]


def product_call(product: Product, device: str) -> Call:
    """A call that computes such a GEMM on the device."""
    dtype = choice("dtype", product.dtype, DTYPES)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float32, device=device).to(dtype)

    inputs, out = product.inputs, product.output
    match product.aten.split(".")[1]:
        case "mm":
            left, right = tensor(*inputs[0]), tensor(inputs[0][1], out[1])
            return lambda: torch.mm(left, right)
        case "addmm":
            left, weight, bias = tensor(*inputs[0]), tensor(out[1], inputs[0][1]), tensor(out[1])
            return lambda: F.linear(left, weight, bias)
        case "bmm":
            left, right = tensor(*inputs[0]), tensor(*inputs[1])
            return lambda: torch.bmm(left, right)
        case "convolution":
            return _convolution(product, tensor)
        case "_grouped_mm":
            return _grouped_mm(product, tensor, device)
        case "_scaled_dot_product_flash_attention" | "_scaled_dot_product_efficient_attention":
            query, key, value, *bias_of = (tensor(*shape) for shape in inputs)
            mask = bias_of[0] if bias_of else None
            return lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        case _:
            raise ModelMeterError(f"calibrate: {product.aten} is a GEMM that nothing here runs; add it to kernels.")


def _convolution(product: Product, tensor: Callable[..., Tensor]) -> Call:
    pixels, weight, *bias_of = (tensor(*shape) for shape in product.inputs)
    stride, padding = convolution_geometry(product.inputs[0], product.inputs[1], product.output)
    bias = bias_of[0] if bias_of else None
    return lambda: F.conv2d(pixels, weight, bias, stride=stride, padding=padding)


def convolution_geometry(pixels: Shape, weight: Shape, out: Shape) -> tuple[int, int]:
    """The stride and the smallest padding with which a square kernel makes `out` of `pixels` [B, c, H, W].

    >>> convolution_geometry((1, 3, 512, 512), (768, 3, 16, 16), (1, 768, 32, 32))
    (16, 0)
    """
    kernel = weight[2]
    for padding in range(kernel):
        for stride in range(kernel, 0, -1):
            sizes = tuple((size + 2 * padding - kernel) // stride + 1 for size in pixels[2:])
            if sizes == out[2:]:
                return stride, padding
    raise ModelMeterError(f"calibrate: no convolution with a kernel {weight} makes {out} of {pixels}.")


def _grouped_mm(product: Product, tensor: Callable[..., Tensor], device: str) -> Call:
    """Rows [R, k], spread evenly over the experts that are hit, by weights [E, k, n]."""
    (rows, depth), (experts,) = product.inputs
    left, weights = tensor(rows, depth), tensor(experts, depth, product.output[1])
    hit = min(product.experts_hit, rows)
    counts = [rows // hit + (expert < rows % hit) for expert in range(hit)] + [0] * (experts - hit)
    offsets = torch.tensor(counts, device=device).cumsum(0).to(torch.int32)
    return lambda: torch._grouped_mm(left, weights, offs=offsets)


def square_product(side: int, dtype: str) -> Product:
    """A GEMM of two square matrices, which any device should compute near its peak."""
    return Product(
        aten="aten.mm.default",
        dtype=dtype,
        inputs=((side, side), (side, side)),
        output=(side, side),
        flops=2 * side**3,
        nbytes=3 * side**2 * DTYPES[dtype].itemsize,
        experts_hit=0,
    )


def copy_call(nbytes: int, device: str) -> Call:
    """A call that reads `nbytes` bytes and writes them elsewhere."""
    source = torch.zeros(nbytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)  # memory is there once it was written
    return lambda: target.copy_(source)
