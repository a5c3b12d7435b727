"""Tables that `make gpu` measures (reports/calibration/DEVICE/kernels.parquet): a row a shape, of one card.

Operands there come from memory, in CUDA graphs. A row is taken where it is one kernel in bfloat16, of pointwise
kernels and copies in float32 too; blocks of experts and fused chains are PyTorch's operators one after another there.
A grouped GEMM is one of the two of a block of experts.

The split is that of `kernel_rows`. GEMMs and attentions have its sites; of other classes, of which a page has few
layers, each shape is a site: bytes and elements of pointwise kernels, copies and strided ones; FLOPs and bytes of a
convolution; batch, heads, queries, keys and width of an attention with a bias; rows, n, k, experts and experts hit of a
grouped product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_rows import NOWHERE, KernelRows, KernelTable, attention_rows, gemm_rows, shape_rows
from modelmeter.devices.kernel_time import ALIGNED_WIDTH
from modelmeter.errors import ModelMeterError, shown
from modelmeter.kernels import GROUPED_PRODUCTS

#: columns of words, and of whole numbers
WORDS: Final = ("class", "name", "dtype", "inputs", "output")
NUMBERS: Final = (
    *("m", "n", "k", "batch_size", "heads", "queries", "keys", "head_dim", "experts", "experts_hit", "elements"),
    *("flops", "bytes"),
)
TIME: Final = "graph_ms"
_BFLOAT16: Final = ("bfloat16",)
_FLOATS: Final = ("bfloat16", "float32")
_PRODUCTS: Final = (
    classes.GEMM,
    classes.MOE,
    classes.CONTEXT_ATTENTION,
    classes.ENCODER_ATTENTION,
    classes.GENERATION_ATTENTION,
)
#: copies of a pass into another order, and with padding; of a row of numbers alone a clone copies memory
_REORDERS: Final = ("aten.clone.default", "aten.constant_pad_nd.default")
#: reductions whose weights are smaller than their result
_REDUCES: Final = ("aten.native_layer_norm.default",)
#: PyTorch's names of operators; others are those of engines, and of blocks of experts
_ATEN: Final = "aten."
_NODE: Final = "a copy of memory, which a graph runs as no kernel"

Array = Any


def is_measured(names: Sequence[str]) -> bool:
    """Whether a table of these columns is one of `make gpu`."""
    return TIME in names and "class" in names


def measured_table(who: str, file: str, columns: Mapping[str, Array], timed: Array) -> KernelTable:
    """The rows of a table; `timed`: which of them have a time. Raises `ModelMeterError` for a time that is none."""
    seconds = columns[TIME] * 1e-3
    bad = np.flatnonzero(timed & ~(np.isfinite(seconds) & (seconds > 0)))
    if len(bad):
        came = shown(float(columns[TIME][bad[0]]))
        raise ModelMeterError(f"{who}: {TIME}={came} in row {bad[0]:,} is no time; milliseconds above 0 are, or null.")
    kinds = classes_of(columns)
    left_out: Counter[str] = Counter()
    used = np.ones(len(seconds), dtype=bool)
    for reason, meant in _reasons(columns, kinds, timed):
        chosen = used & meant
        for kind, count in Counter(columns["class"][chosen].tolist()).items():
            left_out[f"{kind}: {reason}"] += count
        used &= ~meant
    rows = []
    for name in classes.CLASSES:
        chosen = used & (kinds == name)
        if chosen.any():
            own = {key: np.asarray(each)[chosen] for key, each in columns.items()}
            rows.append(_READ[name](name, own, seconds[chosen]))
    return KernelTable(file=file, rows=tuple(rows), left_out=MappingProxyType(dict(left_out)))


def rows_table(rows: Sequence[Mapping[str, Any]]) -> KernelTable:
    """The same of rows that were just measured; `graph_ms` is None where there is no time."""
    columns: dict[str, Array] = {name: np.array([str(row[name]) for row in rows]) for name in WORDS}
    columns |= {name: np.array([row[name] for row in rows], dtype=float) for name in (*NUMBERS, TIME)}
    timed = np.array([row[TIME] is not None for row in rows], dtype=bool)
    return measured_table("the table of kernels", "kernels", columns, timed)


def classes_of(columns: Mapping[str, Array]) -> Array:
    """The class of each row as it is told today: the first tables were written before there was one of strided kernels.

    Nothing where a row is none's.
    """
    found = []
    rows = zip(columns["class"], columns["name"], columns["inputs"], columns["output"], strict=True)
    for name, operator, inputs, output in rows:
        if operator in _REORDERS:
            found.append(classes.STRIDED if "x" in output else "")
        elif name == classes.ELEMENTWISE and operator not in _REDUCES and _broadcast(inputs, output):
            found.append(classes.STRIDED)
        else:
            found.append(name)
    return np.array(found)


def _broadcast(inputs: str, output: str) -> bool:
    return any(1 < prod(shape) < prod(_shape(output)) for shape in _shapes(inputs))


def _shape(text: str) -> list[int]:
    return [int(size) for size in text.split("x")] if text else []


def _shapes(text: str) -> list[list[int]]:
    return [_shape(each) for each in text.split()]


def _reasons(columns: Mapping[str, Array], kinds: Array, timed: Array) -> list[tuple[str, Array]]:
    """Why rows are left out, the first reason that meets a row being the one that counts."""
    operators = columns["name"].astype(str)
    product = np.isin(kinds, _PRODUCTS)
    attention = product & ~np.isin(kinds, (classes.GEMM, classes.MOE))
    several = ~np.char.startswith(operators, _ATEN) & ~attention & (kinds != classes.GEMM)
    work: Array = np.where(product, columns["flops"], columns["bytes"])
    return [
        ("without a time in a CUDA graph", ~timed),
        (_NODE, kinds == ""),
        ("no single kernel of PyTorch's", several),
        ("type other than bfloat16", product & ~np.isin(columns["dtype"], _BFLOAT16)),
        ("type other than bfloat16 and float32", ~product & ~np.isin(columns["dtype"], _FLOATS)),
        ("a batch of GEMMs", (kinds == classes.GEMM) & (columns["batch_size"] != 1)),
        ("nothing to move or compute", work <= 0),
    ]


# -- rows of each class ---------------------------------------------------------------------------------------------


def _gemm(_name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    return gemm_rows(own["m"], own["n"], own["k"], np.full(len(seconds), NOWHERE), seconds)


def _grouped(name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    """One GEMM of a block: rows sorted by expert, each by its expert's weight [n, k]."""
    weights = 2 * own["experts_hit"] * own["n"] * own["k"]
    sizes = {
        "flops": own["flops"],
        "weight_bytes": weights,
        "activation_bytes": own["bytes"] - weights,
        "rows_an_expert": np.maximum(own["m"] / own["experts_hit"], 1),
        "of_a_block": np.full(len(seconds), GROUPED_PRODUCTS),
        "misaligned": ((own["n"] % ALIGNED_WIDTH != 0) | (own["k"] % ALIGNED_WIDTH != 0)) * 1.0,
    }
    site = [own[key] for key in ("m", "n", "k", "experts", "experts_hit")]
    return shape_rows(name, sizes=sizes, site=site, seconds=seconds)


def _attention(name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    length = own["keys" if name == classes.GENERATION_ATTENTION else "queries"]
    kv_heads = np.array([_shapes(inputs)[1][1] for inputs in own["inputs"]])
    return attention_rows(
        name,
        batch=own["batch_size"],
        heads=own["heads"],
        kv_heads=kv_heads,
        head_dim=own["head_dim"],
        length=length,
        seconds=seconds,
        resident=np.full(len(seconds), NOWHERE),
    )


def _biased(name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    site = [own[key] for key in ("batch_size", "heads", "queries", "keys", "head_dim")]
    return shape_rows(name, sizes={"flops": own["flops"], "nbytes": own["bytes"]}, site=site, seconds=seconds)


def _moving(name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    sizes = {"nbytes": own["bytes"]}
    if name == classes.STRIDED:
        sizes["elements"] = own["elements"]
    return shape_rows(name, sizes=sizes, site=[own["bytes"], own["elements"]], seconds=seconds)


def _convolution(name: str, own: Mapping[str, Array], seconds: Array) -> KernelRows:
    """The second operand is the weight [out, in, height, width]."""
    weights = np.array([_shapes(inputs)[1] for inputs in own["inputs"]])
    sizes = {
        "flops": own["flops"],
        "nbytes": own["bytes"],
        "channels": weights[:, 1],
        "depth": weights[:, 1:].prod(axis=1),
    }
    return shape_rows(name, sizes=sizes, site=[own["flops"], own["bytes"]], seconds=seconds)


_READ: Final[Mapping[str, Callable[[str, Mapping[str, Array], Array], KernelRows]]] = MappingProxyType(
    {
        classes.GEMM: _gemm,
        classes.MOE: _grouped,
        classes.CONTEXT_ATTENTION: _attention,
        classes.ENCODER_ATTENTION: _attention,
        classes.GENERATION_ATTENTION: _attention,
        classes.BIAS_ATTENTION: _biased,
        classes.ELEMENTWISE: _moving,
        classes.COPY: _moving,
        classes.STRIDED: _moving,
        classes.CONVOLUTION: _convolution,
    }
)
