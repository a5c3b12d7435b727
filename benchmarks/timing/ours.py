"""Our own measurements of an H100 and an H200 (reports/calibration) as rows of kernels.

Operands there come from memory, in CUDA graphs. A row is taken where it is one kernel: blocks of experts and fused
chains are PyTorch's operators one after another there, and plain copies are nodes of a graph that copy memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_rows import KernelRows, attention_rows, gemm_rows

#: folder of reports/calibration by device
OURS: Final[Mapping[str, str]] = {"H100-SXM": "nvidia-h100-80gb-hbm3", "H200": "nvidia-h200"}
CALIBRATION: Final = Path("reports/calibration")
_TYPES: Final = ("bfloat16", "float32")
#: classes whose rows are told by FLOPs and bytes, or by bytes alone
_BY_BYTES: Final = (
    classes.BIAS_ATTENTION,
    classes.ELEMENTWISE,
    classes.COPY,
    classes.STRIDED,
    classes.CONVOLUTION,
)
#: copies of a pass into another order, and with padding; of a row of numbers alone a clone copies memory
_REORDERS: Final = ("aten.clone.default", "aten.constant_pad_nd.default")
#: a reduction whose weights are smaller than its result
_REDUCES: Final = ("aten.native_layer_norm.default",)

Array = Any


def our_rows(folder: Path) -> dict[str, KernelRows]:
    """By class, the rows of a folder's table that are one kernel each."""
    table = pq.read_table(folder / "kernels.parquet")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}
    seconds = columns["graph_ms"].astype(float) * 1e-3
    numbers = {name: each.astype(float) for name, each in columns.items() if each.dtype.kind in "iu"}
    operators = columns["name"].astype(str)
    kinds = classes_of(columns, operators)
    found = {}
    for name in (classes.GEMM, classes.CONTEXT_ATTENTION, classes.ENCODER_ATTENTION, classes.GENERATION_ATTENTION):
        chosen = ~np.isnan(seconds) & (columns["dtype"] == "bfloat16") & (columns["class"] == name)
        if name == classes.GEMM:
            chosen &= (numbers["batch_size"] == 1) & (numbers["flops"] > 0)
        if chosen.any():
            sizes = {key: each[chosen] for key, each in numbers.items()}
            found[name] = _shaped(name, sizes, seconds[chosen])
    for name in _BY_BYTES:
        chosen = ~np.isnan(seconds) & np.isin(columns["dtype"], _TYPES) & (kinds == name)
        chosen &= np.char.startswith(operators, "aten.") & (numbers["bytes"] > 0)
        if chosen.any():
            sizes = {key: each[chosen] for key, each in numbers.items()}
            found[name] = _by_bytes(name, sizes, columns["inputs"][chosen], seconds[chosen])
    return found


def classes_of(columns: Mapping[str, Array], operators: Array) -> Array:
    """The class of each row as it is told today: the tables were written before there was one of strided kernels."""
    found = []
    rows = zip(columns["class"], operators, columns["inputs"], columns["output"], strict=True)
    for name, operator, inputs, output in rows:
        sizes = [_elements(each) for each in inputs.split()]
        if operator in _REORDERS:
            found.append(classes.STRIDED if "x" in output else "")
        elif name == classes.ELEMENTWISE and operator not in _REDUCES and _broadcast(sizes, output):
            found.append(classes.STRIDED)
        else:
            found.append(name)
    return np.array(found)


def _broadcast(sizes: Sequence[int], output: str) -> bool:
    return any(1 < size < _elements(output) for size in sizes)


def _elements(shape: str) -> int:
    return prod(int(size) for size in shape.split("x")) if shape else 1


def _shaped(name: str, sizes: Mapping[str, Array], seconds: Array) -> KernelRows:
    if name == classes.GEMM:
        return gemm_rows(sizes["m"], sizes["n"], sizes["k"], np.full(len(seconds), np.inf), seconds)
    prefill = name != classes.GENERATION_ATTENTION
    return attention_rows(
        name,
        batch=sizes["batch_size"],
        heads=sizes["heads"],
        kv_heads=sizes["heads"],
        head_dim=sizes["head_dim"],
        length=sizes["queries" if prefill else "keys"],
        seconds=seconds,
    )


def _by_bytes(name: str, sizes: Mapping[str, Array], inputs: Sequence[str], seconds: Array) -> KernelRows:
    taken = {"nbytes": sizes["bytes"]}
    if name == classes.STRIDED:
        taken["elements"] = sizes["elements"]
    if name in (classes.BIAS_ATTENTION, classes.CONVOLUTION):
        taken["flops"] = sizes["flops"]
    if name == classes.CONVOLUTION:  # the second operand is the weight [out, in, height, width]
        weights = np.array([[float(size) for size in each.split(" ")[1].split("x")] for each in inputs])
        taken |= {"channels": weights[:, 1], "depth": weights[:, 1:].prod(axis=1)}
    nothing = np.zeros(len(seconds), dtype=bool)
    return KernelRows(
        kernel_class=name,
        seconds=seconds,
        sizes=taken,
        resident=np.zeros(len(seconds)),
        held_out=nothing,
        ocr=nothing,
    )
