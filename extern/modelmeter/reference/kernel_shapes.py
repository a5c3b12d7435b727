"""Shapes of kernels that constants are fitted on, beside those of a page: free of torch.

Those of models for OCR and of their like: GEMMs, attentions of decoders and encoders, experts, convolutions of
patches, pointwise operators, copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as product_of
from math import prod
from typing import Any, Final

ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
#: (n, k) of the models' layers, and of some others
PRODUCTS: Final = (
    (1280, 1280),
    (6848, 1280),
    (1280, 6848),
    (1792, 1280),
    (1280, 1792),
    (3840, 1280),
    (13696, 1280),
    (3584, 1280),
    (129280, 1280),
    (768, 768),
    (2304, 768),
    (3072, 768),
    (768, 3072),
    (1024, 1024),
    (3072, 1024),
    (4096, 1024),
    (1024, 4096),
    (1280, 2048),
    (2048, 2048),
    (4096, 4096),
    (8192, 8192),
    (11008, 4096),
    (4096, 11008),
    (5120, 5120),
    (2560, 2048),
    (22016, 2048),
    (2048, 11008),
    (151936, 2048),
    (4608, 3584),
    (37888, 3584),
    (3584, 18944),
    (3584, 3584),
    (6840, 1280),
    (1280, 3420),
    (6144, 1024),
    (1024, 3072),
)
#: experts, chosen of them for a token, hidden size and width of expert layers
EXPERT_LAYERS: Final = ((64, 6, 1280, 896), (128, 8, 2048, 768), (64, 8, 2048, 1024))
#: elements of the keys of one decode step, at most: as many as two calls' operands leave room for
MOST_KEYS: Final = 2**30
#: heads, KV heads and their width of decoders, and heads and width of encoders
DECODER_HEADS: Final = (
    (10, 10, 128),
    (16, 2, 128),
    (28, 4, 128),
    (16, 8, 128),
    (32, 8, 128),
    (14, 2, 64),
    (16, 16, 64),
)
ENCODER_HEADS: Final = ((16, 64), (16, 80), (16, 72), (12, 64))


def kernel(name: str, operator: str, inputs: Sequence[Sequence[int]], out: Sequence[int], **fields: Any) -> Any:
    """A shape that no page runs, as `shapes` writes those of a page: bytes are those of whole operands."""
    dtype = fields.pop("dtype", "bfloat16")
    width = 4 if dtype == "float32" else 2
    content = {
        "class": name,
        "name": operator,
        "path": "",
        "dtype": dtype,
        "inputs": [list(shape) for shape in inputs],
        "outputs": [list(out)],
        "flops": 0,
        "vector_flops": 0,
        "bytes_read": sum(prod(shape) for shape in inputs) * width,
        "bytes_written": prod(out) * width,
        "uses": [],
    }
    return content | fields


def product(m: int, n: int, k: int, dtype: str = "bfloat16") -> Any:
    """x [m, k] by a weight [n, k]."""
    return kernel("gemm", "aten.mm.default", ((m, k), (n, k)), (m, n), flops=2 * m * n * k, dtype=dtype)


def copy(nbytes: int) -> Any:
    """`nbytes` read and as many written."""
    return kernel("copy", "aten.clone.default", ((nbytes // 2,),), (nbytes // 2,))


def attention(name: str, batch: int, heads: int, queries: int, keys: int, width: int, kv_heads: int = 0) -> Any:
    """A fused attention, of SAM's with its bias; the operator of the biased one is the memory-efficient kernel.

    kv_heads: 0: as many as heads.
    """
    query, held = (batch, heads, queries, width), (batch, kv_heads or heads, keys, width)
    inputs = [query, held, held]
    operator = "fused.attention"
    if name == "bias_attention":
        inputs.append((batch, heads, queries, keys))
        operator = "aten._scaled_dot_product_efficient_attention.default"
    return kernel(name, operator, inputs, query, flops=4 * batch * heads * queries * keys * width)


def grouped_product(rows: int, hit: int, features: int, depth: int, experts: int) -> Any:
    """Rows spread evenly over the experts that are hit."""
    weights = hit * features * depth * 2
    return kernel(
        "moe",
        "aten._grouped_mm.default",
        ((rows, depth), (experts,)),
        (rows, features),
        flops=2 * rows * features * depth,
        bytes_read=rows * depth * 2 + weights + 4 * experts,
        experts_hit=hit,
    )


def peaks() -> list[Any]:
    """What shows the device's own rates: large copies and square GEMMs, and copies of nearly nothing."""
    large = [copy(2**power) for power in (12, 14, 16, 18, 20, 22, 24, 26, 28, 29)]
    return [*large, product(8192, 8192, 8192), product(4096, 4096, 4096, "float32")]


def sweep() -> Iterator[Any]:
    """Shapes beyond the page's own, the most useful classes first, each class's shapes far apart first."""
    yield from (product(m, n, k) for m in (1, 16, 256, 4096) for n, k in PRODUCTS)
    yield from _attentions()
    yield from _convolutions()
    yield from _experts()
    for width in (768, 1280, 6848):
        for rows in (1, 16, 64, 256, 1024, 4096, 16384):
            yield from _pointwise(rows, width)
    yield from (product(m, n, k) for m in ROWS if m not in (1, 16, 256, 4096) for n, k in PRODUCTS)


def _attentions() -> Iterator[Any]:
    for heads, kv_heads, width in DECODER_HEADS:
        for batch, keys in product_of((1, 4, 16, 64, 256), (256, 914, 2048, 4096, 8192)):
            if batch * kv_heads * keys * width <= MOST_KEYS:
                yield attention("generation_attention", batch, heads, 1, keys, width, kv_heads)
    for heads, kv_heads, width in DECODER_HEADS:
        lengths = [(1, length) for length in (128, 256, 512, 1024, 2048, 4096, 8192)]
        for batch, length in (*lengths, (4, 913), (16, 913), (8, 256)):
            yield attention("context_attention", batch, heads, length, length, width, kv_heads)
    for heads, width in ENCODER_HEADS:
        for views, length in product_of((1, 3, 6, 9), (101, 257, 577, 1025, 2304, 4096)):
            yield attention("encoder_attention", views, heads, length, length, width)
    for windows, heads in product_of((4, 9, 16, 25, 36, 54, 81, 108, 162), (12, 16)):
        yield attention("bias_attention", windows, heads, 196, 196, 64)
    for views, length in product_of((1, 2, 3, 6, 9), (576, 1024, 1600, 2304, 4096)):
        yield attention("bias_attention", views, 12, length, length, 64)


def convolution(views: int, side: int, channels: int, features: int, window: int, stride: int) -> Any:
    """Square images by a square window; padded where windows overlap."""
    padding = (window - 1) // 2 if stride < window else 0
    out = (side + 2 * padding - window) // stride + 1
    flops = 2 * views * features * out * out * channels * window * window
    inputs = ((views, channels, side, side), (features, channels, window, window))
    numbers = {"stride": [stride, stride], "padding": [padding, padding]}
    return kernel(
        "convolution", "aten.convolution.default", inputs, (views, features, out, out), flops=flops, **numbers
    )


def _convolutions() -> Iterator[Any]:
    """Patches of SAM, CLIP and SigLIP; SAM's neck, and the halvings behind it."""
    for views in (1, 2, 3, 6, 9):
        for side in (512, 640, 1024):
            yield convolution(views, side, 3, 768, 16, 16)
        for side, features in ((224, 1024), (448, 1152), (896, 1152), (1540, 1024)):
            yield convolution(views, side, 3, features, 14, 14)
        for side in (32, 40, 64):
            yield convolution(views, side, 768, 256, 1, 1)
            yield convolution(views, side, 256, 256, 3, 1)
            yield convolution(views, side, 256, 512, 3, 2)
            yield convolution(views, side // 2, 512, 1024, 3, 2)


def _experts() -> Iterator[Any]:
    for experts, chosen, hidden, width in EXPERT_LAYERS:
        for tokens in (1, 2, 4, 8, 16, 64, 256, 1024, 4096):
            rows = chosen * tokens
            for hit in sorted({min(rows, each) for each in (6, 12, 24, 48, experts)}):
                yield grouped_product(rows, hit, 2 * width, hidden, experts)
                yield grouped_product(rows, hit, hidden, width, experts)
    for tokens in (1, 2, 4, 8, 16, 64, 256, 1024, 4096):
        yield _moe_block(tokens, "balanced")
        yield _moe_block(tokens, "uniform")


def _moe_block(tokens: int, routing: str) -> Any:
    """Router, choice, sorting, both grouped GEMMs, activation and sum, as one call of several kernels."""
    experts, chosen, hidden, width = EXPERT_LAYERS[0]
    return kernel(
        "moe",
        f"block.{routing}",
        ((tokens, hidden), (experts,)),
        (tokens, hidden),
        flops=6 * hidden * width * chosen * tokens,
        bytes_read=2 * experts * 3 * hidden * width + 2 * tokens * hidden,
        chosen=chosen,
        width=width,
    )


def _pointwise(rows: int, width: int) -> Iterator[Any]:
    shape = (rows, width)
    elements = rows * width
    yield kernel("elementwise", "aten.add.Tensor", (shape, shape), shape, vector_flops=elements)
    yield kernel("elementwise", "aten.gelu.default", (shape,), shape, vector_flops=8 * elements)
    yield kernel("elementwise", "fused.silu_and_mul", (shape, shape), shape, vector_flops=5 * elements)
    yield kernel("elementwise", "fused.layer_norm", (shape, (width,), (width,)), shape, vector_flops=8 * elements)
    yield kernel("elementwise", "fused.rms_norm", (shape, (width,)), shape, vector_flops=4 * elements)
    yield kernel("copy", "aten.cat.default", (shape, shape), (2 * rows, width))
    yield kernel("strided", "aten.mul.Tensor", (shape, (rows, 1)), shape, vector_flops=elements)
    yield kernel("strided", "aten.clone.default", ((rows, width // 64, 64),), (rows, width // 64, 64))


def sizes(record: Any) -> dict[str, int]:
    """The sizes by name that a class is known by."""
    inputs, out = record["inputs"], record["outputs"][0]
    named = {"elements": prod(out)}
    if record["class"] == "gemm":
        return named | {"batch_size": prod(out[:-2]), "m": out[-2], "n": out[-1], "k": inputs[0][-1]}
    if record["class"] == "moe":
        hit = record.get("experts_hit", 0)
        return named | {"m": out[0], "n": out[1], "k": inputs[0][-1], "experts": inputs[1][0], "experts_hit": hit}
    if record["class"].endswith("attention"):
        batch, heads, queries, width = inputs[0]
        held = [shape for shape in inputs[1:] if len(shape) == 4 and shape[-1] == width]
        keys = inputs[1][2] if record["class"] == "bias_attention" else sum(shape[2] for shape in held) // 2
        return named | {"batch_size": batch, "heads": heads, "queries": queries, "keys": keys, "head_dim": width}
    return named
