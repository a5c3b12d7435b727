"""Write the constants of kernels into the devices' files: fitted ones, then those that are carried over.

    python -m benchmarks.timing.constants TABLES

TABLES holds published tables: kernels/SYSTEM as `modelmeter judge` reads them, vidur/ and llmservingsim/. The classes
that nobody published rows of are fitted on our own measurements of one card, and judged on the other's. What nobody
measured on a device is carried from the fitted ones (`modelmeter.calibration.kernel_carry`), with the errors that these
have where they are left out one after another. Those of collectives stay as they are (`benchmarks.timing.collectives`).
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
from modelmeter.calibration.kernel_carry import carried, kin_of
from modelmeter.calibration.kernel_file import fit_tables, kernels_text
from modelmeter.calibration.kernel_fit import errors_of, fit_rows, predicted, unseen_rows
from modelmeter.calibration.kernel_judgement import PEAK
from modelmeter.calibration.kernel_rows import KernelRows, pooled
from modelmeter.calibration.kernel_tables import read_tables
from modelmeter.devices import Device, bundled_devices
from modelmeter.devices.kernel_time import CARRIED, FITTED, DeviceRates, Errors, KernelConstants

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
            new = {key: each for key, each in fit_tables(read, rates, source)[0].items() if key not in found[name]}
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


def _uncached(device: Device) -> DeviceRates:
    """The device as our own rows see it, whose operands lie in no cache."""
    return replace(device.rates(PEAK), l2_bytes=0)


def _shown(errors: Errors | None) -> str:
    return f"{errors.median:.1%} / {errors.p90:.0%} on {errors.rows:,} rows" if errors else "–"


def errors_left_out(devices: Mapping[str, Device], unseen: Mapping[str, Mapping[str, KernelRows]]) -> dict[str, Errors]:
    """By class, the errors on unseen rows of all fitted devices, each by what it would be given if it had no own."""
    found = {}
    for key in classes.CLASSES:
        if not any(key in by_class for by_class in unseen.values()):
            continue
        sizes = []
        for name, by_class in unseen.items():
            if key not in by_class:
                continue
            values = carried(key, devices[name], list(devices.values()))
            rates = _uncached(devices[name]) if key in OURS_ALONE else devices[name].rates(PEAK)
            sizes.append(abs(predicted(values, rates, by_class[key]) / by_class[key].seconds - 1))
            print(f"left out {name} {key} {np.median(sizes[-1]):.1%}", flush=True)
        every = np.concatenate(sizes)
        found[key] = Errors(rows=len(every), median=float(np.median(every)), p90=float(np.quantile(every, 0.9)))
    return found


def constants_of_all(tables: Path) -> dict[str, Kernels]:
    """By device, its constants by class; a CPU has none."""
    devices = {device.name: device for device in bundled_devices() if device.kind != "cpu"}
    fitted, unseen = fitted_devices(tables, devices)
    devices = {name: replace(device, kernels=fitted.get(name, {})) for name, device in devices.items()}
    errors = errors_left_out(devices, unseen)
    return {
        name: {key: device.kernels.get(key) or carried_class(key, device, devices, errors[key]) for key in errors}
        for name, device in devices.items()
    }


def carried_class(key: str, target: Device, devices: Mapping[str, Device], errors: Errors) -> KernelConstants:
    """A class's constants for a device that has none of its own."""
    every = list(devices.values())
    kin = ", ".join(device.name for device in kin_of(key, target, every))
    return KernelConstants(
        values=carried(key, target, every),
        origin=CARRIED,
        source=f"{kin}; errors: those of each fitted device by the others",
        fitted_rows=0,
        errors=errors,
    )


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
    devices = {device.name: device for device in bundled_devices()}
    for name, kernels in constants_of_all(Path(given[0])).items():
        old = devices[name].kernels
        write_kernels(devices[name], kernels | {key: old[key] for key in classes.COLLECTIVES if key in old})
    return 0


def write_kernels(device: Device, kernels: Kernels) -> None:
    """Put these constants into a bundled device's file."""
    path = DEVICES / device.file
    path.write_text(written(path.read_text(encoding="utf-8"), kernels_text(kernels)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
