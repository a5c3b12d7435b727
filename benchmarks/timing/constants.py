"""Write the constants of kernels into the devices' files: fitted ones, then those that are carried over.

    python -m benchmarks.timing.constants TABLES

TABLES holds published tables: kernels/SYSTEM as `modelmeter judge` reads them, vidur/ and llmservingsim/. The classes
that nobody published rows of are fitted on our own measurements of one card, and judged on the other's. A device that
nobody measured carries the constants of one with the same chip, or else the median of each constant over the fitted
devices; its error is that of each fitted device by the median of the others.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.timing.ours import CALIBRATION, OURS, our_rows
from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_file import fit_tables, kernels_text
from modelmeter.calibration.kernel_fit import carried, errors_of, fit_rows, predicted, unseen_rows
from modelmeter.calibration.kernel_judgement import PEAK
from modelmeter.calibration.kernel_rows import KernelRows, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.devices import Device, bundled_devices
from modelmeter.devices.kernel_time import CARRIED, FITTED, Errors, KernelConstants, Rates

DEVICES: Final = Path("extern/modelmeter/devices")
_AICONFIGURATOR: Final = (
    "ai-dynamo/aiconfigurator at 095f58a5 (Apache-2.0), aic-core/src/aiconfigurator_core/systems/data/"
)
_VIDUR: Final = "microsoft/vidur at 7d475133 (MIT), data/profiling/compute/"
_LLMSERVINGSIM: Final = "casys-kaist/LLMServingSim at 5daddb21 (MIT), profiler/perf/"
#: by device, the tables that it is fitted on and their source; of two with the same class the first counts
FITTED_ON: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "A100-80G": (("kernels/a100_sxm", f"{_AICONFIGURATOR}a100_sxm"), ("vidur/a100", f"{_VIDUR}a100")),
    "H100-SXM": (("kernels/h100_sxm", f"{_AICONFIGURATOR}h100_sxm"), ("vidur/h100", f"{_VIDUR}h100")),
    "H200": (("kernels/h200_sxm", f"{_AICONFIGURATOR}h200_sxm"),),
    "L40S": (("kernels/l40s", f"{_AICONFIGURATOR}l40s"),),
    "RTX-PRO-6000-Server": (
        ("kernels/rtx_pro_6000_server", f"{_AICONFIGURATOR}rtx_pro_6000_server"),
        ("llmservingsim/profiler/perf/RTXPRO6000", f"{_LLMSERVINGSIM}RTXPRO6000"),
    ),
    "RTX-4090": (("llmservingsim/profiler/perf/RTX4090", f"{_LLMSERVINGSIM}RTX4090"),),
}
#: devices of the same chip, from which shares are carried as they are
SAME_CHIP: Final[Mapping[str, Sequence[str]]] = {
    "A100-40G": ("A100-80G",),
    "H100-PCIe": ("H100-SXM",),
    "H20": ("H100-SXM",),
    "H200": ("H100-SXM",),
    "L40S": ("RTX-4090",),
    "RTX-4090": ("L40S",),
    "RTX-6000-Ada": ("L40S", "RTX-4090"),
    "RTX-PRO-6000": ("RTX-PRO-6000-Server",),
}
#: of 64 lanes a multiprocessor, as the A100: twice the bytes a FLOP that the others move
FEW_LANES: Final = ("T4", "V100-16GB", "V100-32GB")
A100S: Final = ("A100-40G", "A100-80G")
#: classes of our own rows, which nobody published
OURS_ALONE: Final = (classes.BIAS_ATTENTION, classes.COPY, classes.STRIDED, classes.CONVOLUTION)

Kernels = dict[str, KernelConstants]


def fitted_devices(
    tables: Path, devices: Mapping[str, Device]
) -> tuple[dict[str, Kernels], dict[str, dict[str, KernelRows]]]:
    """By device, its fitted constants by class, and the rows that its fit left out."""
    found: dict[str, Kernels] = {}
    unseen: dict[str, dict[str, KernelRows]] = {}
    for name, sources in FITTED_ON.items():
        rates = devices[name].rates(PEAK)
        found[name], unseen[name] = {}, {}
        for folder, source in sources:
            read = read_tables(tables / folder)
            new = {key: each for key, each in fit_tables(read, rates, source).items() if key not in found[name]}
            rows = pooled(read)
            found[name] |= new
            unseen[name] |= {key: unseen_rows(rows[key], rates) for key in new}
        print(name, *(f"{key} {_shown(each.errors)}" for key, each in found[name].items()), sep="\n  ", flush=True)
    for name, other in zip(OURS, reversed(list(OURS)), strict=True):
        mine, others = our_rows(CALIBRATION / OURS[name]), our_rows(CALIBRATION / OURS[other])
        for key in OURS_ALONE:
            values = fit_rows(mine[key], _uncached(devices[name]))
            errors = errors_of(predicted(values, _uncached(devices[other]), others[key]), others[key])
            source = f"our own measurements, reports/calibration/{OURS[name]}; errors: on those of {other}"
            found[name][key] = KernelConstants(
                values=values, origin=FITTED, source=source, fitted_rows=len(mine[key].seconds), errors=errors
            )
            unseen[name][key] = mine[key]
            print(name, key, _shown(errors), flush=True)
    return found, unseen


def _uncached(device: Device) -> Rates:
    """The device as our own rows see it, whose operands lie in no cache."""
    return replace(device.rates(PEAK), l2_bytes=0)


def _shown(errors: Errors | None) -> str:
    return f"{errors.median:.1%} / {errors.p90:.0%} on {errors.rows:,} rows" if errors else "–"


def median_constants(
    fitted: Mapping[str, Kernels], unseen: Mapping[str, Mapping[str, KernelRows]], devices: Mapping[str, Device]
) -> Kernels:
    """By class, the median of each constant over the fitted devices, and the error of each of them by the others."""
    found = {}
    for key in classes.CLASSES:
        known = {name: kernels[key].values for name, kernels in fitted.items() if key in kernels}
        sizes = []
        for name in known:
            values = carried(key, [each for other, each in known.items() if other != name])
            rows = unseen[name][key]
            rates = _uncached(devices[name]) if key in OURS_ALONE else devices[name].rates(PEAK)
            sizes.append(abs(predicted(values, rates, rows) / rows.seconds - 1))
        every = np.concatenate(sizes)
        errors = Errors(rows=len(every), median=float(np.median(every)), p90=float(np.quantile(every, 0.9)))
        found[key] = KernelConstants(
            values={constant: float(f"{value:.4g}") for constant, value in carried(key, list(known.values())).items()},
            origin=CARRIED,
            source=f"the median of each constant over {', '.join(known)}; errors: each of them by the others",
            fitted_rows=0,
            errors=errors,
        )
        print("carried", key, _shown(errors), flush=True)
    return found


def constants_of_all(tables: Path) -> dict[str, Kernels]:
    """By device, its constants by class; a CPU has none."""
    devices = {device.name: device for device in bundled_devices() if device.kind != "cpu"}
    fitted, unseen = fitted_devices(tables, devices)
    median = median_constants(fitted, unseen, devices)
    return {name: {key: _constants(name, key, fitted, median) for key in classes.CLASSES} for name in devices}


def _constants(name: str, key: str, fitted: Mapping[str, Kernels], median: Kernels) -> KernelConstants:
    if key in fitted.get(name, {}):
        return fitted[name][key]
    if name in FEW_LANES and key == classes.ELEMENTWISE:
        return _carried_from("A100-80G", fitted["A100-80G"][key], "whose multiprocessors have as many lanes")
    if key == classes.STRIDED and name in (*FEW_LANES, *A100S):
        few = median[key]
        values = dict(few.values) | {"elements_per_flop": 2 * few.values["elements_per_flop"]}
        return replace(few, values=values, source=f"{few.source}; twice the elements a FLOP, with half of the lanes")
    for same in SAME_CHIP.get(name, ()):
        if key in fitted[same]:
            return _carried_from(same, fitted[same][key], "of the same chip")
    return median[key]


def _carried_from(name: str, fitted: KernelConstants, why: str) -> KernelConstants:
    source = f"{name}, {why}; errors: that device's own"
    return replace(fitted, origin=CARRIED, source=source, fitted_rows=0)


_PART: Final = re.compile(r"(# Constants of the times of kernels[^\n]*\n(#[^\n]*\n)?)?kernels:\n(?:[ #][^\n]*\n)+")
_HEADING: Final = (
    "# Constants of the times of kernels, written by benchmarks/timing/constants.py;\n"
    "# modelmeter.devices.kernel_time says what each is.\n"
)


def written(file: str, text: str) -> str:
    """A device's file with another part `kernels`, before its sources."""
    without = _PART.sub("", file)
    head, sources, tail = without.partition("\nsources:\n")
    if not sources:
        raise ValueError("the file has no sources")
    return f"{head}\n{_HEADING}{text.rstrip()}{sources}{tail}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every device's file."""
    given: list[Any] = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print(__doc__)
        return 2
    files = {device.name: DEVICES / device.file for device in bundled_devices()}
    for name, kernels in constants_of_all(Path(given[0])).items():
        path = files[name]
        path.write_text(written(path.read_text(encoding="utf-8"), kernels_text(kernels)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
