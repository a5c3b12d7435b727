"""Write what GEMMs and blocks of experts over packed weights take beside those in bfloat16.

    python -m benchmarks.timing.packed TABLES

TABLES holds kernels/SYSTEM, published tables of ai-dynamo/aiconfigurator. Three constants, by class of kernel, type and
device, beside the device's own of bfloat16: what the type's peak and the memory reach of those shares, and a part of a
kernel more (`modelmeter.devices.packed`). Half of the shapes is held out. A device without rows takes the median over
the others, with the errors that these have where they are left out one after another. Writes
extern/modelmeter/packed_times.yaml and reports/timing/packed.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_rows import KernelRows, attention_rows, gemm_rows, moe_rows
from modelmeter.devices import Device, load_device
from modelmeter.devices.kernel_time import gemm_seconds, generation_attention_seconds, moe_seconds, moving_seconds
from modelmeter.devices.packed import Factors, beside

ROOT: Final = Path(__file__).parents[2]
PACKED: Final = ROOT / "extern/modelmeter/packed_times.yaml"
REPORT: Final = ROOT / "reports/timing/packed.md"
SOURCE: Final = "ai-dynamo/aiconfigurator at 095f58a5 (Apache-2.0), aic-core/src/aiconfigurator_core/systems/data"

DEVICES: Final = {
    "A100-80G": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200": "h200_sxm",
    "L40S": "l40s",
    "RTX-PRO-6000-Server": "rtx_pro_6000_server",
}
#: weights that a GEMM's benchmark goes round
ROTATED: Final = 6
#: numbers of rows that a fit looks at, and those that it needs
_ROWS: Final = 1500
_LEAST: Final = 60
#: shares of peak and of memory beside bfloat16's are no less; together with those they are no more than all
_LEAST_SHARE: Final = 0.1
#: seconds more; no kernel takes less than half of its overhead
_MOST_MORE: Final = 1e-4
_FAR: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Type:
    """A type of a table: what it is called there, by class; bits of a weight; the peak; bytes of an activation.

    gemm, moe: engines whose rows count. H100's and H200's vLLM rows of GEMMs of fp8 in blocks wait for the host (0.06
    to 0.2 ms whatever the shape), so SGLang's do. moe_of: by system, what stands for a type in blocks of experts:
    H100's and H200's fp8 rows are of a kernel that was not tuned, slower than bfloat16, so those in blocks of 128 do,
    whose kernel is the one that vLLM runs for both.
    """

    called: str
    bits: float
    peak: str
    activation: float = 2.0
    gemm: tuple[str, ...] = ("vllm",)
    moe: tuple[str, ...] = ("vllm",)
    moe_of: Mapping[str, str] = field(default_factory=dict)


TYPES: Final = {
    "fp8": Type(
        called="fp8",
        bits=8,
        peak="fp8",
        activation=1,
        moe_of=dict.fromkeys(("h100_sxm", "h200_sxm"), "fp8_block"),
    ),
    "fp8_block": Type(called="fp8_block", bits=8, peak="fp8", activation=1, gemm=("sglang",)),
    "int8": Type(called="sq", bits=8, peak="int8", activation=1, gemm=("trtllm",)),
    "int8_wo": Type(called="int8_wo", bits=8.125, peak="bf16", gemm=("trtllm",)),
    "int4_wo": Type(called="int4_wo", bits=4.15625, peak="bf16", gemm=("trtllm",), moe=("vllm", "sglang")),
    "nvfp4": Type(called="nvfp4", bits=4.5, peak="fp4", activation=0.5),
}

#: caches of fewer bits, by the type in PyTorch
CACHES: Final = {"float8_e4m3fn": Type(called="fp8", bits=8, peak="bf16")}

Table = dict[str, Any]


def tables(folder: Path, system: str, kernel_class: str, type_: Type) -> Iterator[Table]:
    """The rows of a type, a dictionary of columns for each file."""
    engines = type_.gemm if kernel_class == classes.GEMM else type_.moe
    for engine in engines:
        found = sorted((folder / "kernels" / system).glob(f"{kernel_class}.{engine}-*.parquet"))
        for path in found:
            table = pq.read_table(path).to_pydict()
            column = f"{kernel_class}_dtype" if kernel_class != classes.GENERATION_ATTENTION else "kv_cache_dtype"
            called = type_.called if kernel_class == classes.GEMM else type_.moe_of.get(system, type_.called)
            chosen = np.array(table[column]) == called
            if chosen.any():
                yield {name: np.array(values)[chosen] for name, values in table.items()}
                return


def rows_of(kernel_class: str, table: Table, type_: Type) -> KernelRows:
    """The rows of a table, sizes in packed bytes."""
    number = {name: each.astype(float) for name, each in table.items() if each.dtype.kind in "iuf"}
    seconds = number["latency"] * 1e-3
    if kernel_class == classes.GEMM:
        m, n, k = (number[name] for name in ("m", "n", "k"))
        weights = n * k * type_.bits / 8
        rows = gemm_rows(m, n, k, ROTATED * weights, seconds)
        rows.sizes["nbytes"][:] = weights + type_.activation * m * k + 2 * m * n  # type: ignore[index]
        return rows.where(rows.ocr & (n % 64 == 0) & (k % 64 == 0))
    if kernel_class == classes.GENERATION_ATTENTION:
        batch, heads, given, width = (
            number[name] for name in ("batch_size", "num_heads", "num_key_value_heads", "head_dim")
        )
        rows = attention_rows(
            kernel_class,
            batch=batch,
            heads=heads,
            kv_heads=np.where(given > 0, given, heads),
            head_dim=width,
            length=number["step"] + 1,
            seconds=seconds,
        )
        return rows.where(number["window_size"] == 0)
    tokens, hidden, inner, chosen, experts, parts = (
        number[name] for name in ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size")
    )
    rows = moe_rows(
        tokens=tokens,
        hidden=hidden,
        width=inner / parts,
        chosen=chosen,
        hit=np.minimum(experts, tokens * chosen),
        matrices=np.full(len(tokens), 3),
        site=[hidden, inner, chosen, experts, parts],
        seconds=seconds,
    )
    rows.sizes["weight_bytes"][:] *= type_.bits / 16
    balanced = (table["distribution"] == "balanced") & (number["moe_ep_size"] == 1) & ((inner / parts) % 64 == 0)
    return rows.where(balanced)


def predicted(factors: Factors, kernel_class: str, device: Device, type_: Type, rows: KernelRows) -> Any:
    """Seconds of each row, with the kernel that quantises a GEMM's input."""
    rates = device.rates(type_.peak)
    values = beside(kernel_class, device.kernels[kernel_class].values, factors)
    if kernel_class == classes.MOE:
        return moe_seconds(values, rates, **rows.sizes)
    if kernel_class == classes.GENERATION_ATTENTION:
        return generation_attention_seconds(values, rates, resident=rows.resident, **rows.sizes)
    cold = np.where(rows.cold(rates.l2_bytes), 0.0, rows.resident)
    seconds = gemm_seconds(values, rates, resident=cold, **rows.sizes)
    if type_.activation == 2:
        return seconds
    depth = rows.sizes["flops"] / (2 * rows.sizes["rows"] * rows.sizes["columns"])
    moved = rows.sizes["rows"] * depth * (2 + type_.activation)
    return seconds + moving_seconds(device.kernels[classes.ELEMENTWISE].values, rates, nbytes=moved)


def fitted(kernel_class: str, device: Device, type_: Type, rows: KernelRows) -> Factors:
    """The constants that the rows that are not held out agree with best."""
    known = rows.where(~rows.held_out)
    if len(known.seconds) > _ROWS:
        known = known.where(np.linspace(0, len(known.seconds) - 1, _ROWS).astype(int))

    def far(numbers: Sequence[float]) -> float:
        errors = np.log(np.maximum(predicted(Factors(*numbers), kernel_class, device, type_, known), 1e-9))
        return float(np.mean(np.log1p(((errors - np.log(known.seconds)) / _FAR) ** 2)))

    values = device.kernels[kernel_class].values
    narrower = 2 if kernel_class == classes.GENERATION_ATTENTION else 1  # a byte for two
    bounds = (
        (_LEAST_SHARE, 1 / values.get("matmul", 1)),
        (_LEAST_SHARE, narrower / values["bandwidth"]),
        (-values["overhead_s"] / 2, _MOST_MORE),
    )
    return Factors(*least(far, bounds))


def least(far: Callable[[Sequence[float]], float], bounds: Sequence[tuple[float, float]]) -> list[float]:
    """Where a function of shares and seconds is least within bounds: steps along each, halved where none helps."""
    here, step = [1.0, 1.0, 0.0], [0.3, 0.3, 4e-6]
    best = far(here)
    while step[0] > 0.004:
        moved = False
        for place in range(3):
            for sign in (1, -1):
                there = list(here)
                there[place] += sign * step[place] * (1 if place == 2 else here[place])
                there[place] = min(max(there[place], bounds[place][0]), bounds[place][1])
                value = far(there)
                if value < best:
                    here, best, moved = there, value, True
                    break
        if not moved:
            step = [each / 2 for each in step]
    return here


def errors(seconds: Any, rows: KernelRows) -> tuple[int, float, float]:
    """(rows, median, 90th percentile) of how far predicted seconds are from measured ones."""
    off = abs(seconds / rows.seconds - 1)
    return len(off), float(np.median(off)), float(np.quantile(off, 0.9))


def middle(each: Sequence[Factors]) -> Factors:
    """The median of each constant."""
    return Factors(*(median(values) for values in zip(*each, strict=True)))


def main(folder: Path) -> None:
    """Fit, judge, write."""
    yaml = [
        "# What kernels over packed weights take beside those in bfloat16, written by benchmarks/timing/packed.py;",
        "# modelmeter.devices.packed says what each is.",
        f"source: '{SOURCE}'",
    ]
    report = [
        "# GEMMs and blocks of experts over packed weights",
        "",
        f"Written by `python -m benchmarks.timing.packed TABLES`, on the tables of {SOURCE}.",
        "Shares of the type's peak and of the memory's rate beside those that the device's kernels reach in",
        "bfloat16, and microseconds a kernel more; errors are those of shapes that no fit has seen, half of all:",
        "GEMMs of n and k from 768 to 6144 and m to 8192, with the kernel that quantises their input; balanced",
        "blocks of experts; a decode step's attention over a cache of fp8, whose memory's share counts two bytes where",
        "there is one. *Unseen*: every device by the median of the others. *Before*: the type's peak and bytes,",
        "and bfloat16's shares of them.",
        "",
        "| kernel | type | device | peak × | memory × | more, µs | rows | median, % | p90, % | before, % |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kernel_class in (classes.GEMM, classes.MOE, classes.GENERATION_ATTENTION):
        yaml.append(f"{kernel_class}:")
        for name, type_ in (CACHES if kernel_class == classes.GENERATION_ATTENTION else TYPES).items():
            found: dict[str, Factors] = {}
            held: dict[str, KernelRows] = {}
            for device_name, system in DEVICES.items():
                device = load_device(device_name)
                for table in tables(folder, system, kernel_class, type_):
                    rows = rows_of(kernel_class, table, type_)
                    if min((~rows.held_out).sum(), rows.held_out.sum()) >= _LEAST // 2:
                        found[device_name] = fitted(kernel_class, device, type_, rows)
                        held[device_name] = rows.where(rows.held_out)
            if not found:
                continue
            yaml.append(f"  {name}:")
            unseen = []
            for device_name, factors in found.items():
                device, rows = load_device(device_name), held[device_name]
                own = errors(predicted(factors, kernel_class, device, type_, rows), rows)
                plain = errors(predicted(Factors(1, 1, 0), kernel_class, device, type_, rows), rows)
                yaml.append(f"    {device_name}: {line(factors, own)}")
                report.append(cells(kernel_class, name, device_name, factors, own, plain))
                others = [each for other, each in found.items() if other != device_name]
                if others:
                    seconds = predicted(middle(others), kernel_class, device, type_, rows)
                    unseen.append(abs(seconds / rows.seconds - 1))
            pooled = np.concatenate(unseen) if unseen else None
            stated = own if pooled is None else (len(pooled), float(np.median(pooled)), float(np.quantile(pooled, 0.9)))
            factors = middle(list(found.values()))
            yaml.append(f"    others: {line(factors, stated)}")
            label = "unseen" if unseen else "unseen: not judged"
            report.append(cells(kernel_class, name, label, factors, stated, None))
            print(*report[-len(found) - 1 :], sep="\n", flush=True)
    PACKED.write_text("\n".join(yaml) + "\n", encoding="utf-8")
    REPORT.write_text("\n".join(report) + "\n", encoding="utf-8")


def line(factors: Factors, off: tuple[int, float, float]) -> str:
    """A device's constants and errors as YAML."""
    matmul, bandwidth, more_s = factors
    rows, middle_, p90 = off
    return (
        f"{{matmul: {matmul:.3f}, bandwidth: {bandwidth:.3f}, overhead_s: {more_s:.2e}, "
        f"rows: {rows}, median: {middle_:.4f}, p90: {p90:.4f}}}"
    )


def cells(
    kernel_class: str,
    name: str,
    device: str,
    factors: Factors,
    off: tuple[int, float, float],
    plain: tuple[int, float, float] | None,
) -> str:
    """A line of the report."""
    shares = f"{factors.matmul:.2f} | {factors.bandwidth:.2f} | {1e6 * factors.overhead_s:.1f}"
    before = "" if plain is None else f"{100 * plain[1]:.0f}, {100 * plain[2]:.0f}"
    stated = f"{off[0]:,} | {100 * off[1]:.1f} | {100 * off[2]:.1f}"
    return f"| {kernel_class} | {name} | {device} | {shares} | {stated} | {before} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
