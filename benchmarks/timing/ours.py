"""Our own measurements of an H100 and an H200 (reports/calibration) as rows of kernels.

Operands there come from memory, in CUDA graphs. A row is taken where it is one kernel: blocks of experts and fused
chains are PyTorch's operators one after another there, and plain copies are nodes of a graph that copy memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_BY_BYTES: Final = (classes.BIAS_ATTENTION, classes.ELEMENTWISE, classes.COPY, classes.CONVOLUTION)
_COPIES_MEMORY: Final = "aten.clone.default"

Array = Any


def our_rows(folder: Path) -> dict[str, KernelRows]:
    """By class, the rows of a folder's table that are one kernel each."""
    table = pq.read_table(folder / "kernels.parquet")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}
    seconds = columns["graph_ms"].astype(float) * 1e-3
    numbers = {name: each.astype(float) for name, each in columns.items() if each.dtype.kind in "iu"}
    operators = columns["name"].astype(str)
    found = {}
    for name in (classes.GEMM, classes.CONTEXT_ATTENTION, classes.ENCODER_ATTENTION, classes.GENERATION_ATTENTION):
        chosen = ~np.isnan(seconds) & (columns["dtype"] == "bfloat16") & (columns["class"] == name)
        if name == classes.GEMM:
            chosen &= (numbers["batch_size"] == 1) & (numbers["flops"] > 0)
        if chosen.any():
            sizes = {key: each[chosen] for key, each in numbers.items()}
            found[name] = _shaped(name, sizes, seconds[chosen])
    for name in _BY_BYTES:
        chosen = ~np.isnan(seconds) & np.isin(columns["dtype"], _TYPES) & (columns["class"] == name)
        chosen &= np.char.startswith(operators, "aten.") & (operators != _COPIES_MEMORY) & (numbers["bytes"] > 0)
        if chosen.any():
            sizes = {key: each[chosen] for key, each in numbers.items()}
            found[name] = _by_bytes(name, sizes, columns["inputs"][chosen], seconds[chosen])
    return found


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
