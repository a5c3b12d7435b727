"""Write the constants of collectives into the devices' files, and how far they are from what was measured.

    python -m benchmarks.timing.collectives TABLES

TABLES holds comm/SYSTEM/comm, published tables of ai-dynamo/aiconfigurator: all-reduces of vLLM in a CUDA graph, and
NCCL's of two bytes an element. A fifth of the sizes is held out of every fit, of all numbers of devices: 1 KiB, 32 KiB,
1 MiB, 32 MiB, 1 GiB. Of devices over PCIe rows of more than two count up to `CROWDED_BYTES`: what larger messages of
several take is their host's (`modelmeter.devices.collectives`).

A device with a link and without rows carries the constants of the one that is linked alike, with the errors that both
make of one another's rows and of what is published of others. Writes the part `kernels` of the devices' files, other
classes as they are, and reports/timing/collectives.md.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.timing.constants import carried_class, write_kernels
from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_carry import carried
from modelmeter.calibration.kernel_fit import errors_of, fit_rows, predicted
from modelmeter.calibration.kernel_judgement import PEAK
from modelmeter.calibration.kernel_rows import KernelRows
from modelmeter.devices import Device, bundled_devices
from modelmeter.devices.collectives import DIRECT, by_own_kernel
from modelmeter.devices.kernel_time import FITTED, SECONDS, Errors, KernelConstants

REPORT: Final = Path("reports/timing/collectives.md")
SOURCE: Final = "ai-dynamo/aiconfigurator at 095f58a5 (Apache-2.0), aic-core/src/aiconfigurator_core/systems/data/"


class Tables(NamedTuple):
    """Of a device: its folder, and the versions of vLLM and of NCCL whose rows count."""

    system: str
    vllm: str
    nccl: str


#: vLLM 0.19 is the version whose scheduler `simulate` has; of L40S there is 0.14 alone, under the name of 0.22 too
FITTED_ON: Final = {
    "H100-SXM": Tables("h100_sxm", "0.19.0", "2.29.2"),
    "L40S": Tables("l40s", "0.14.0", "2.27.3"),
}
#: bytes up to which rows of more than two devices over PCIe tell a kernel's time and not the host's
CROWDED_BYTES: Final = 2**14
#: of a model for OCR: 8,192 rows of 4,096 features; larger messages weigh little
OCR_BYTES: Final = 2**26
#: bytes of an element, which the tables count messages in
_ELEMENT: Final = 2
#: powers of two of the sizes that are held out
_HELD_OUT: Final = (10, 15, 20, 25, 30)

Array = Any


class Published(NamedTuple):
    """A figure of a device without rows here: microseconds of a message, in bytes, on so many devices.

    tells: whether it tells a kernel's time, and not how devices over PCIe slow each other.
    """

    device: str
    kernel_class: str
    ranks: int
    message_bytes: int
    microseconds: float
    source: str
    tells: bool = True

    @property
    def seconds(self) -> float:
        """The time."""
        return self.microseconds * 1e-6


_SAME: Final = "the same tables"
_TINYGRAD: Final = "tinygrad/open-gpu-kernel-modules, README"
_AIKITORIA: Final = "aikitoria/open-gpu-kernel-modules, README"
_PRO: Final = "RTX-PRO-6000-Server"
_GATHERED: Final[Mapping[str, Mapping[int, float]]] = {
    "A100-80G": {2**9: 9.0, 2**17: 12.4, 2**21: 38.1, 2**29: 1790.0},
    _PRO: {2**9: 5.9, 2**17: 10.3, 2**21: 47.2, 2**29: 8306.0},
}
_SMALLEST: Final[Mapping[str, Mapping[int, float]]] = {"A100-80G": {4: 5.2, 8: 5.7}, _PRO: {4: 12.6, 8: 23.6}}
#: of NCCL, on hosts whose drivers were changed so that these cards read each other's memory
_5090: Final = {2**9: 24.62, 2**15: 39.33, 2**19: 56.96, 2**21: 104.5, 2**23: 326.13, 2**27: 5355.16}
PUBLISHED: Final = (
    *(
        Published(device, classes.ALL_GATHER, 2, size, us, _SAME)
        for device, row in _GATHERED.items()
        for size, us in row.items()
    ),
    *(
        Published(device, classes.ALL_REDUCE, ranks, 2**8, us, _SAME)
        for device, row in _SMALLEST.items()
        for ranks, us in row.items()
    ),
    Published("RTX-4090", classes.ALL_REDUCE, 6, 2**25, 2275.1, _TINYGRAD, tells=False),
    *(Published("RTX-5090", classes.ALL_REDUCE, 8, size, us, _AIKITORIA, tells=False) for size, us in _5090.items()),
)


# -- constants ------------------------------------------------------------------------------------------------------


def rows_of(folder: Path, device: Device) -> dict[str, KernelRows]:
    """By class, the rows of a device's tables."""
    system, vllm, nccl = FITTED_ON[device.name]
    of_nccl = folder / "comm" / system / "comm/nccl" / nccl / "nccl_perf.parquet"
    of_vllm = folder / "comm" / system / "comm/vllm" / vllm / "custom_allreduce_perf.parquet"
    found = {}
    for name in classes.COLLECTIVES:
        parts = [_measured(of_nccl, op_name=name, nccl_dtype="half")]
        own = [np.zeros(len(parts[0]))]
        if name == classes.ALL_REDUCE:
            parts.append(_measured(of_vllm, kernel_source="vLLM_custom_graph"))
            own.append(_own(device, *parts[1].T[:2]))
        ranks, message_bytes, seconds = np.concatenate(parts).T
        sizes = {"message_bytes": message_bytes, "ranks": ranks}
        found[name] = KernelRows(
            kernel_class=name,
            seconds=seconds,
            sizes=sizes | ({"own": np.concatenate(own)} if name == classes.ALL_REDUCE else {}),
            resident=np.zeros(len(seconds)),
            held_out=np.isin(np.log2(message_bytes), _HELD_OUT),
            ocr=message_bytes <= OCR_BYTES,
        )
    return found


def _measured(path: Path, **chosen: str) -> Array:
    """Devices, bytes of the message and seconds of a table's rows: of those with these words, repeats as their mean."""
    table = pq.read_table(path).to_pydict()
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row, latency in enumerate(table["latency"]):
        if all(table[column][row] == word for column, word in chosen.items()):
            key = int(table["num_gpus"][row]), _ELEMENT * int(table["message_size"][row])
            found[key].append(latency * 1e-3)
    return np.array([(*key, np.mean(each)) for key, each in sorted(found.items())])


def _own(device: Device, ranks: Array, message_bytes: Array) -> Array:
    return by_own_kernel(device.linked(), message_bytes, ranks) * np.ones(len(ranks))


def _told(device: Device, rows: KernelRows) -> Array:
    """The rows that tell a kernel's time, and not how devices of this host slow each other."""
    alone = (rows.sizes["ranks"] == 2) | (rows.sizes["message_bytes"] <= CROWDED_BYTES)
    return alone | (device.linked().kind == DIRECT)


def _as_run(device: Device, rows: KernelRows) -> Array:
    """The rows of the kernel that vLLM runs for them."""
    if rows.kernel_class != classes.ALL_REDUCE:
        return np.ones(len(rows.seconds), dtype=bool)
    return rows.sizes["own"] == _own(device, rows.sizes["ranks"], rows.sizes["message_bytes"])


def unseen_of(device: Device, rows: KernelRows) -> KernelRows:
    """The rows that tell the errors of a class: held out, of kernels that vLLM runs."""
    return rows.where(rows.held_out & _told(device, rows) & _as_run(device, rows))


def fitted(device: Device, rows: KernelRows) -> KernelConstants:
    """A class's constants, by a device's own rows."""
    known = rows.where(~rows.held_out & _told(device, rows))
    rates, unseen = device.rates(PEAK), unseen_of(device, rows)
    values = fit_rows(known, rates)
    return KernelConstants(
        values=values,
        origin=FITTED,
        source=f"{SOURCE}{FITTED_ON[device.name].system}/comm",
        fitted_rows=len(known.seconds),
        errors=errors_of(predicted(values, rates, unseen), unseen),
    )


Rows = Mapping[str, Mapping[str, KernelRows]]


def errors_carried(devices: Mapping[str, Device], rows: Rows) -> dict[str, Errors]:
    """By class, the errors of constants that a device has from others: of fitted ones left out, and of `PUBLISHED`."""
    found = {}
    for key in classes.COLLECTIVES:
        sizes = []
        for name in FITTED_ON:
            unseen, device = unseen_of(devices[name], rows[name][key]), devices[name]
            times = predicted(carried(key, device, list(devices.values())), device.rates(PEAK), unseen)
            sizes.append(abs(times / unseen.seconds - 1))
            print(f"left out {name} {key} {np.median(sizes[-1]):.1%}", flush=True)
        of_others = [each for each in PUBLISHED if each.kernel_class == key and each.tells]
        sizes.append(np.array([abs(seconds_of(devices, each) / each.seconds - 1) for each in of_others]))
        print(f"published {key} {np.median(sizes[-1]):.1%}", flush=True)
        every = np.concatenate(sizes)
        found[key] = Errors(rows=len(every), median=float(np.median(every)), p90=float(np.quantile(every, 0.9)))
    return found


def seconds_of(devices: Mapping[str, Device], each: Published) -> float:
    """Seconds of a published message by constants that its device carries."""
    device = devices[each.device]
    values = carried(each.kernel_class, device, list(devices.values()))
    law = SECONDS[each.kernel_class]
    return float(law(values, device.rates(PEAK), message_bytes=each.message_bytes, ranks=each.ranks))


def constants_of_all(devices: Mapping[str, Device], rows: Rows) -> dict[str, dict[str, KernelConstants]]:
    """By device that has a link, its constants of collectives."""
    own = {name: {key: fitted(devices[name], each) for key, each in rows[name].items()} for name in FITTED_ON}
    every = {name: replace(device, kernels=own.get(name, {})) for name, device in devices.items()}
    errors = errors_carried(every, rows)
    return {
        name: {key: device.kernels.get(key) or carried_class(key, device, every, errors[key]) for key in errors}
        for name, device in every.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, write, judge."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print(__doc__)
        return 2
    devices = {device.name: device for device in bundled_devices() if device.link is not None}
    rows = {name: rows_of(Path(given[0]), devices[name]) for name in FITTED_ON}
    for name, kernels in constants_of_all(devices, rows).items():
        write_kernels(devices[name], {**devices[name].kernels, **kernels})
    return 0


if __name__ == "__main__":
    sys.exit(main())
