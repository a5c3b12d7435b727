"""Shapes of kernels run for themselves, a row of a table each: `modelmeter.calibration.kernel_measured` reads it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

import torch

from modelmeter.errors import ModelMeterError
from modelmeter.reference.kernel_calls import OperandPool, call_of, operand_bytes
from modelmeter.reference.kernel_shapes import sizes
from modelmeter.reference.kernel_timing import sets_needed, short, time_calls

#: bytes of the pool that operands are cut from, at most; of a GPU's memory it takes a fifth
POOL_BYTES: Final = {"cuda": 12 * 2**30, "cpu": 2**26}
#: what a CPU's cache is taken to hold
CPU_CACHE_BYTES: Final = 2**21

#: the table's columns, with what stands there where a shape has no such figure
COLUMNS: Final[dict[str, Any]] = {
    "group": "",
    "class": "",
    "name": "",
    "path": "",
    "execution": "",
    "stage": "",
    "batch": 0,
    "count": 0,
    "uses": "",
    "dtype": "",
    "inputs": "",
    "output": "",
    "m": 0,
    "n": 0,
    "k": 0,
    "batch_size": 0,
    "heads": 0,
    "queries": 0,
    "keys": 0,
    "head_dim": 0,
    "experts": 0,
    "experts_hit": 0,
    "elements": 0,
    "flops": 0,
    "vector_flops": 0,
    "bytes_read": 0,
    "bytes_written": 0,
    "bytes": 0,
    "eager_ms": None,
    "eager_spread": None,
    "host_ms": None,
    "graph_ms": None,
    "graph_spread": None,
    "graph_error": "",
    "repeats": 0,
    "calls": 0,
    "sets": 0,
    "footprint_bytes": 0,
    "error": "",
}


def new_pool(device: str) -> tuple[OperandPool, int]:
    """Memory that operands are cut from, and the bytes of the cache that a round of calls goes beyond."""
    l2_bytes, pool_bytes = CPU_CACHE_BYTES, POOL_BYTES[device]
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        l2_bytes, pool_bytes = int(properties.L2_cache_size), min(pool_bytes, properties.total_memory // 5)
    torch.backends.cuda.matmul.allow_tf32 = False
    return OperandPool(device, pool_bytes // 512 * 512), l2_bytes


def time_kernels(
    records: Iterable[Any], device: str, *, repeats: int, told: Callable[[int], None]
) -> list[dict[str, Any]]:
    """A row of each shape; `told` hears how many are done. Raises `ModelMeterError` where the device breaks."""
    pool, l2_bytes = new_pool(device)
    warm_up(device)
    rows = []
    for record in records:
        rows.append(timed(record, pool, l2_bytes, repeats))
        if rows[-1]["error"] and not answers(device):
            raise ModelMeterError(
                f"calibrate: the device answers no more after {record['name']} of {rows[-1]['inputs']} "
                f"({rows[-1]['error']}); begin again."
            )
        told(len(rows))
    return rows


def timed(record: Any, pool: OperandPool, l2_bytes: int, repeats: int) -> dict[str, Any]:
    """A row of the table: the shape, and its times or why it has none."""
    execution, stage, batch, count = record["uses"][0] if record["uses"] else ("", "", 0, 0)
    moved = record["bytes_read"] + record["bytes_written"]
    row: dict[str, Any] = COLUMNS | {
        "class": record["class"],
        "name": record["name"],
        "path": record["path"],
        "execution": execution,
        "stage": stage,
        "batch": batch,
        "count": count,
        "uses": "; ".join(" ".join(map(str, use)) for use in record["uses"]),
        "dtype": record["dtype"],
        "inputs": " ".join("x".join(map(str, shape)) for shape in record["inputs"]),
        "output": "x".join(map(str, record["outputs"][0])),
        **sizes(record),
        "flops": record["flops"],
        "vector_flops": record["vector_flops"],
        "bytes_read": record["bytes_read"],
        "bytes_written": record["bytes_written"],
        "bytes": moved,
    }
    try:
        pool.reset()
        taken = max(operand_bytes(record), 1)
        sets = min(sets_needed(moved, record["bytes_written"], l2_bytes), max(1, pool.nbytes // taken))
        calls = [call_of(record, pool) for _ in range(sets)]
        times = time_calls(calls, pool.device, repeats=repeats)
        row |= vars(times)
        row |= {"sets": sets, "footprint_bytes": sets * moved}
    except Exception as error:  # out of memory, an operator that this torch has not, a shape that it refuses
        row["error"] = short(error)
        if isinstance(error, torch.OutOfMemoryError):
            gc.collect()
            torch.cuda.empty_cache()
    if pool.device == "cuda" and answers("cuda"):
        give_back_much()
    return row


def give_back_much() -> None:
    """Give the memory of destroyed graphs back before it fills the device: no later graph takes it over."""
    if torch.cuda.memory_reserved() > torch.cuda.get_device_properties(0).total_memory // 2:
        torch.cuda.empty_cache()


def answers(device: str) -> bool:
    """Whether the device still computes: some errors of a kernel end it for the process."""
    if device != "cuda":
        return True
    try:
        torch.cuda.synchronize()
        return int(torch.ones(1, device=device).sum().item()) == 1
    except Exception:
        return False


def warm_up(device: str) -> None:
    """Let clocks rise: half a second of GEMMs."""
    if device != "cuda":
        return
    left = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    end = monotonic() + 0.5
    while monotonic() < end:
        for _ in range(4):
            left @ left
        torch.cuda.synchronize()
