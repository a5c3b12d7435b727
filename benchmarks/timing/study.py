"""The tables and figures of reports/timing: predicted against measured kernels, by class and device.

    python -m benchmarks.timing.study TABLES reports/timing

TABLES holds a folder a system (a100_sxm, h100_sxm, h200_sxm, l40s, rtx_pro_6000_server), each with the files that
`modelmeter judge` reads. Published rows are those of sites that no fit has seen; our own measurements of an H100 and an
H200 (reports/calibration) no fit has seen at all. Needs `modelmeter[corpus,plot]`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_fit import bound, errors_of, predicted, unseen_rows
from modelmeter.calibration.kernel_judgement import PEAK, Judgement, carried_constants, constants_of, judge, rates_of
from modelmeter.calibration.kernel_rows import KernelRows, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.devices import Device, bundled_devices, load_device
from modelmeter.devices.kernel_time import (
    gemm_seconds,
    generation_attention_seconds,
    moe_seconds,
    prefill_attention_seconds,
)

SYSTEMS: Final[Mapping[str, str]] = {
    "A100-80G": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200": "h200_sxm",
    "L40S": "l40s",
    "RTX-PRO-6000-Server": "rtx_pro_6000_server",
}
OURS: Final[Mapping[str, str]] = {"H100-SXM": "nvidia-h100-80gb-hbm3", "H200": "nvidia-h200"}
_CALIBRATION: Final = Path("reports/calibration")
#: points of a figure's panel
_SHOWN: Final = 1500

Array = Any


def published_tables(tables: Path) -> dict[str, dict[str, Judgement]]:
    """By device: its own constants on held-out sites, and the other devices' on all rows."""
    found = {}
    for name, folder in SYSTEMS.items():
        device, read = load_device(name), read_tables(tables / folder)
        found[name] = {
            "own": judge(read, device, constants_of(device), held_out_only=True),
            "left out": judge(read, device, carried_constants(bundled_devices(), name)),
        }
        print(name, flush=True)
    return found


def our_times(device: Device, rows: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
    """(measured, predicted) seconds of our own rows in bfloat16, by class; blocks of experts alone of moe's."""
    rates = device.rates(PEAK)
    values = constants_of(device)
    timed = ~np.isnan(rows["graph_ms"]) & (rows["dtype"] == "bfloat16")
    found = {}
    for name in (classes.GEMM, classes.MOE, *_ATTENTION):
        chosen = timed & (rows["class"] == name)
        if name == classes.MOE:
            chosen &= np.char.startswith(rows["name"].astype(str), "block.balanced")
        if name == classes.GEMM:
            chosen &= rows["batch_size"] == 1
            chosen &= rows["flops"] > 0
        sizes = {key: each[chosen] for key, each in rows.items()}
        if not chosen.any():
            continue
        if name == classes.GEMM:
            seconds = gemm_seconds(values[name], rates, rows=sizes["m"], flops=sizes["flops"], nbytes=sizes["bytes"])
        elif name == classes.MOE:
            seconds = _block_seconds(values[name], rates, sizes)
        else:
            seconds = _attention_seconds(name, values[name], rates, sizes)
        found[name] = (sizes["graph_ms"] * 1e-3, seconds)
    return found


_ATTENTION: Final = (classes.CONTEXT_ATTENTION, classes.ENCODER_ATTENTION, classes.GENERATION_ATTENTION)


def _block_seconds(values: Mapping[str, float], rates: Any, sizes: Mapping[str, Array]) -> Array:
    """A block of 64 experts, 6 a token, of width 896."""
    experts, chosen, width = 64, 6, 896
    tokens, hidden = sizes["m"], sizes["k"]
    hit = np.minimum(experts, tokens * chosen)
    return moe_seconds(
        values,
        rates,
        flops=6 * tokens * chosen * hidden * width,
        weight_bytes=6 * hit * hidden * width,
        activation_bytes=2 * (2 * tokens * hidden + tokens * chosen * (3 * hidden + 4 * width)),
        rows_an_expert=tokens * chosen / hit,
    )


def _attention_seconds(name: str, values: Mapping[str, float], rates: Any, sizes: Mapping[str, Array]) -> Array:
    common = {"batch": sizes["batch_size"], "heads": sizes["heads"], "kv_heads": sizes["heads"]}
    common |= {"head_dim": sizes["head_dim"]}
    if name == classes.GENERATION_ATTENTION:
        return generation_attention_seconds(values, rates, keys=sizes["keys"], **common)
    causal = name == classes.CONTEXT_ATTENTION
    return prefill_attention_seconds(values, rates, length=sizes["queries"], causal=causal, **common)


def our_rows(folder: str) -> dict[str, Array]:
    """The columns of our own table of kernels."""
    table = pq.read_table(_CALIBRATION / folder / "kernels.parquet")
    rows = {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}
    rows["graph_ms"] = rows["graph_ms"].astype(float)
    for name, values in rows.items():
        if values.dtype.kind in "iu":
            rows[name] = values.astype(float)
    return rows


def _median(measured: Array, times: Array) -> float:
    return float(np.median(abs(times / measured - 1)))


def _cell(median: float, p90: float) -> str:
    return f"{100 * median:.1f} / {100 * p90:.0f}"


def _table(judged: Mapping[str, dict[str, Judgement]], which: str, roofline: bool = False) -> list[str]:
    names = list(judged["H100-SXM"][which].classes)
    lines = [f"| class | {' | '.join(judged)} |", f"|---|{'---:|' * len(judged)}"]
    for name in names:
        cells = []
        for each in judged.values():
            verdict = each[which].classes.get(name)
            if verdict is None:
                cells.append("–")
            elif roofline:
                cells.append(f"{100 * verdict.roofline_median:.0f}")
            else:
                cells.append(_cell(verdict.median, verdict.p90))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _our_table(ours: Mapping[str, dict[str, tuple[Array, Array]]]) -> list[str]:
    lines = ["| device | class | rows | median / p90 % | total % |", "|---|---|---:|---:|---:|"]
    for device, by_class in ours.items():
        for name, (measured, times) in by_class.items():
            p90 = float(np.quantile(abs(times / measured - 1), 0.9))
            cell = _cell(_median(measured, times), p90)
            total = 100 * (times.sum() / measured.sum() - 1)
            lines.append(f"| {device} | `{name}` | {len(measured):,} | {cell} | {total:+.1f} |")
    return lines


def report(judged: Mapping[str, dict[str, Judgement]], ours: Mapping[str, dict[str, tuple[Array, Array]]]) -> str:
    """The page of the report."""
    return "\n".join(
        [
            "# Times of kernels: predicted against measured",
            "",
            "Made by `benchmarks/timing/study.py` on tables that ai-dynamo/aiconfigurator publishes (commit 095f58a5,",
            "Apache-2.0), which are not part of this repository. docs/calibration.md says what classes, rows and the",
            "split are. Errors are sizes of predicted / measured − 1, median / 90th percentile in %.",
            "",
            "## Each device by its own constants, on the sites that its fit left out",
            "",
            *_table(judged, "own"),
            "",
            "![Predicted against measured, by class and device](held_out.png)",
            "",
            "## The roofline as it is, on the same rows: median error in %",
            "",
            *_table(judged, "own", roofline=True),
            "",
            "## By the constants of the other devices (median of each constant), on all rows",
            "",
            *_table(judged, "left out"),
            "",
            "## Our own measurements, which no fit has seen",
            "",
            "`make gpu` measured them in CUDA graphs, with operands that no cache holds. Attention",
            "is PyTorch's, which writes no KV cache: its small calls take some 5 µs less than those of the",
            "engines, long ones the same. Of `moe` the block of 64 experts, 6 a token, width 896, balanced, is not one",
            "fused kernel there but PyTorch's operators one after another: it takes twice the time of an engine's.",
            "",
            *_our_table(ours),
            "",
            "![Our own measurements](ours.png)",
            "",
        ]
    )


def draw(panels: Sequence[tuple[str, Array, Array, Array | None]], columns: int, path: Path) -> None:
    """Panels (title, measured, predicted, roofline) of predicted over measured seconds, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.5 * columns, 2.5 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, measured, times, floor) in zip(axes.flat, panels, strict=False):
        axis.set_title(title, fontsize=7)
        if not len(measured):
            axis.axis("off")
            continue
        step = max(1, len(measured) // _SHOWN)
        ends = [measured.min() * 1e6, measured.max() * 1e6]
        if floor is not None:
            axis.plot(measured[::step] * 1e6, floor[::step] * 1e6, ".", markersize=1.5, color="#bbbbbb")
        axis.plot(measured[::step] * 1e6, times[::step] * 1e6, ".", markersize=1.5, color="#1f5fa8")
        axis.plot(ends, ends, linewidth=0.8, color="#222222")
        axis.set(xscale="log", yscale="log")
        axis.tick_params(labelsize=6)
    figure.supxlabel("measured, µs", fontsize=8)
    grey = " (grey: the roofline as it is)" if any(floor is not None for *_, floor in panels) else ""
    figure.supylabel(f"predicted, µs{grey}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _published_panels(tables: Path) -> list[tuple[str, Array, Array, Array | None]]:
    """A panel for each class and device, of the rows that no fit has seen."""
    rows: dict[str, dict[str, KernelRows]] = {}
    for name, folder in SYSTEMS.items():
        rows[name] = pooled(read_tables(tables / folder))
    panels: list[tuple[str, Array, Array, Array | None]] = []
    for kernel_class in (classes.GEMM, classes.MOE, *_ATTENTION):
        for name, by_class in rows.items():
            if kernel_class not in by_class:
                panels.append((f"{name}\n{kernel_class}: no table", np.ones(0), np.ones(0), None))
                continue
            device = load_device(name)
            rates = rates_of(device)
            chosen = unseen_rows(by_class[kernel_class], rates)
            times = predicted(device.kernels[kernel_class].values, rates, chosen)
            title = f"{name}\n{kernel_class}: median error {errors_of(times, chosen).median:.1%}"
            panels.append((title, chosen.seconds, times, bound(rates, chosen)))
    return panels


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the figures."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 2:
        print(__doc__)
        return 2
    tables, out = Path(given[0]), Path(given[1])
    out.mkdir(parents=True, exist_ok=True)
    judged = published_tables(tables)
    ours = {name: our_times(load_device(name), our_rows(folder)) for name, folder in OURS.items()}
    (out / "README.md").write_text(report(judged, ours), encoding="utf-8")
    draw(_published_panels(tables), len(SYSTEMS), out / "held_out.png")
    panels = [
        (f"{name}\n{kernel_class}: median error {_median(measured, times):.1%}", measured, times, None)
        for name, by_class in ours.items()
        for kernel_class, (measured, times) in by_class.items()
    ]
    draw(panels, len(panels) // len(ours), out / "ours.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
