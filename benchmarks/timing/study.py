"""The tables and figures of reports/timing: predicted against measured kernels, by class and device.

    python -m benchmarks.timing.study TABLES reports/timing docs/calibration.md

TABLES holds published tables as `benchmarks.timing.constants` reads them. Published rows are those of sites that no fit
has seen; our own measurements of an H100 and an H200 (reports/calibration) no fit has seen at all. The tables go into
README.md of the folder, and between the markers of the document. Needs `modelmeter[corpus,plot]`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.timing.constants import FITTED_ON
from benchmarks.timing.ours import CALIBRATION, OURS, our_rows
from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_fit import bound, errors_of, predicted, unseen_rows
from modelmeter.calibration.kernel_judgement import JUDGED, PEAK, Judgement, carried_constants, constants_of, judge
from modelmeter.calibration.kernel_rows import KernelRows, KernelTable, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.devices import Device, bundled_devices, load_device
from modelmeter.report.marked import refresh_marked

#: a device whose kernels two published, and where the other's tables are: pointwise kernels alone were fitted on those
ANOTHERS: Final = ("RTX-PRO-6000-Server", "llmservingsim/profiler/perf/RTXPRO6000")
#: classes of our own rows that no fit has seen
UNSEEN: Final = (
    classes.GEMM,
    classes.CONTEXT_ATTENTION,
    classes.ENCODER_ATTENTION,
    classes.GENERATION_ATTENTION,
    classes.ELEMENTWISE,
)
#: what stands between the markers of the document
MARKER: Final = "judged"
#: points of a figure's panel
_SHOWN: Final = 1500

Array = Any
#: (measured, predicted) seconds by class
Times = dict[str, tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class Study:
    """own, carried: by device, the judgement of its own constants and of the other devices'.

    anothers: of the device that another published too, on those tables. ours: by device, our own rows' times.
    """

    own: Mapping[str, Judgement]
    carried: Mapping[str, Judgement]
    anothers: Judgement
    ours: Mapping[str, Times]


def fitted_tables(name: str, tables: Path) -> list[KernelTable]:
    """The tables that a device's constants were fitted on, each class from where it was."""
    found: list[KernelTable] = []
    fitted: set[str] = set()
    for folder, _ in FITTED_ON[name]:
        read = read_tables(tables / folder)
        rows = [[each for each in table.rows if each.kernel_class not in fitted] for table in read]
        found += [replace(table, rows=tuple(kept)) for table, kept in zip(read, rows, strict=True)]
        fitted |= set(pooled(read))
    return found


def study(tables: Path) -> Study:
    """Everything that the page says."""
    own, left_out = {}, {}
    for name in FITTED_ON:
        device, read = load_device(name), fitted_tables(name, tables)
        own[name] = judge(read, device, constants_of(device), held_out_only=True)
        left_out[name] = judge(read, device, carried_constants(device, bundled_devices(), name))
        print(name, flush=True)
    device = load_device(ANOTHERS[0])
    anothers = judge(read_tables(tables / ANOTHERS[1]), device, constants_of(device))
    return Study(own=own, carried=left_out, anothers=anothers, ours={name: our_times(name) for name in OURS})


def our_times(name: str) -> Times:
    """Of our own rows of a device by the constants that published rows gave it, or its kin."""
    device = load_device(name)
    uncached = replace(device.rates(PEAK), l2_bytes=0)
    rows = our_rows(CALIBRATION / OURS[name])
    return {key: (rows[key].seconds, predicted(device.kernels[key].values, uncached, rows[key])) for key in UNSEEN}


# -- the page -------------------------------------------------------------------------------------------------------


def _cell(sizes: Array) -> str:
    return _pair(float(np.median(sizes)), float(np.quantile(sizes, 0.9)))


def _pair(median: float, p90: float) -> str:
    return f"{100 * median:.1f} / {100 * p90:.0f}"


def _table(judged: Mapping[str, Judgement], roofline: bool = False) -> list[str]:
    lines = [f"| class | {' | '.join(judged)} |", f"|---|{'---:|' * len(judged)}"]
    for name in JUDGED:
        verdicts = [judgement.classes.get(name) for judgement in judged.values()]
        if any(verdicts):
            cells = [
                "–"
                if each is None
                else f"{100 * each.roofline_median:.0f}"
                if roofline
                else _pair(each.median, each.p90)
                for each in verdicts
            ]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def tables_of(found: Study) -> list[str]:
    """The tables that the page and the document share."""
    return [
        "Median / 90th percentile in %, each device by its own constants, on the sites held out:",
        "",
        *_table(found.own),
        "",
        "By constants carried over from the other devices, as if it had not been measured, on all of its rows:",
        "",
        *_table(found.carried),
        "",
        "The median error of the roofline as it is, on the rows of the first table:",
        "",
        *_table(found.own, roofline=True),
        "",
    ]


def _anothers_table(judgement: Judgement) -> list[str]:
    lines = ["| class | rows | median / p90 % | total % |", "|---|---:|---:|---:|"]
    for name, each in judgement.classes.items():
        lines.append(f"| `{name}` | {each.rows:,} | {_pair(each.median, each.p90)} | {100 * each.total:+.1f} |")
    return lines


def _our_table(ours: Mapping[str, Times]) -> list[str]:
    lines = ["| device | class | rows | median / p90 % | total % |", "|---|---|---:|---:|---:|"]
    for device, by_class in ours.items():
        for name, (measured, times) in by_class.items():
            total = 100 * (times.sum() / measured.sum() - 1)
            cell = _cell(abs(times / measured - 1))
            lines.append(f"| {device} | `{name}` | {len(measured):,} | {cell} | {total:+.1f} |")
    return lines


def page(found: Study) -> str:
    """The page of the report."""
    return "\n".join(
        [
            "# Times of kernels: predicted against measured",
            "",
            "Made by `benchmarks/timing/study.py` on tables that ai-dynamo/aiconfigurator (commit 095f58a5,",
            "Apache-2.0), microsoft/vidur (7d475133, MIT) and casys-kaist/LLMServingSim (5daddb21, MIT) publish,",
            "and which are no part of this repository. docs/calibration.md says what classes, rows and the split are.",
            "Errors are sizes of predicted / measured − 1.",
            "",
            "## Devices by their own constants, by the others', and by the roofline",
            "",
            *tables_of(found),
            "![Predicted against measured, by class and device](held_out.png)",
            "",
            f"## {ANOTHERS[0]} on another publisher's rows",
            "",
            "LLMServingSim profiled three models' layers under vLLM 0.19, kernels alone, without the gaps of a graph.",
            "Of its rows no constant has seen any but half of the pointwise ones.",
            "",
            *_anothers_table(found.anothers),
            "",
            "## Our own measurements, which no fit has seen",
            "",
            "`make gpu` measured them in CUDA graphs, with operands that no cache holds. Attention is PyTorch's, which",
            "writes no KV cache: its small calls take some 5 µs less than those of the engines, long ones the same.",
            "Pointwise operators are eager ones, reductions, sorts and choices of experts among them.",
            "",
            *_our_table(found.ours),
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
    devices: dict[str, Device] = {name: load_device(name) for name in FITTED_ON}
    rows: dict[str, dict[str, KernelRows]] = {name: pooled(fitted_tables(name, tables)) for name in devices}
    panels: list[tuple[str, Array, Array, Array | None]] = []
    for kernel_class in classes.CLASSES:
        if not any(kernel_class in by_class for by_class in rows.values()):
            continue
        for name, device in devices.items():
            if kernel_class not in rows[name]:
                panels.append((f"{name}\n{kernel_class}: no table", np.ones(0), np.ones(0), None))
                continue
            rates = device.rates(PEAK)
            chosen = unseen_rows(rows[name][kernel_class], rates)
            times = predicted(device.kernels[kernel_class].values, rates, chosen)
            title = f"{name}\n{kernel_class}: median error {errors_of(times, chosen).median:.1%}"
            panels.append((title, chosen.seconds, times, bound(rates, chosen)))
    return panels


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, the figures and the document's tables."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 3:
        print(__doc__)
        return 2
    tables, out, document = map(Path, given)
    out.mkdir(parents=True, exist_ok=True)
    found = study(tables)
    (out / "README.md").write_text(page(found), encoding="utf-8")
    text = document.read_text(encoding="utf-8")
    document.write_text(refresh_marked(document.name, text, MARKER, "\n".join(tables_of(found))), encoding="utf-8")
    draw(_published_panels(tables), len(FITTED_ON), out / "held_out.png")
    panels = [
        (f"{name}\n{key}: median error {np.median(abs(times / measured - 1)):.1%}", measured, times, None)
        for name, by_class in found.ours.items()
        for key, (measured, times) in by_class.items()
    ]
    draw(panels, len(UNSEEN), out / "ours.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
