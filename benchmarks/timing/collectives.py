"""Write the constants of collectives into the devices' files, and how far they are from what was measured.

    python -m benchmarks.timing.collectives TABLES

TABLES holds comm/SYSTEM/comm, published tables of ai-dynamo/aiconfigurator: all-reduces of vLLM in a CUDA graph, and
NCCL's of two bytes an element. A fifth of the sizes is held out of every fit, of all numbers of devices: 1 KiB, 32 KiB,
1 MiB, 32 MiB, 1 GiB. Of devices over PCIe rows of more than two count up to `CROWDED_BYTES`: what larger messages of
several take is their host's (`modelmeter.devices.collectives`).

The tables count a message in elements. An all-gather's is what every device has in the end: two H100 gather 512 MiB in
1,039 us, which would be 517 GB/s over a link of 450 if it were what each sends.

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
from modelmeter import load_cost_model
from modelmeter.calibration.kernel_carry import carried
from modelmeter.calibration.kernel_fit import errors_of, fit_rows, predicted
from modelmeter.calibration.kernel_judgement import PEAK
from modelmeter.calibration.kernel_rows import KernelRows
from modelmeter.devices import Device, bundled_devices
from modelmeter.devices.collectives import DIRECT, by_own_kernel
from modelmeter.devices.kernel_time import CONSTANTS, FITTED, SECONDS, Errors, KernelConstants
from modelmeter.devices.stage_time import Estimate, StageTimes
from modelmeter.operators import all_gather, all_reduce
from modelmeter.shape_tensor import Tape

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
    found = {}
    for name, device in every.items():
        others = {key: carried_class(key, device, every, errors[key]) for key in errors if key not in device.kernels}
        told = {key: replace(each, source=f"{each.source}, and of published figures") for key, each in others.items()}
        found[name] = {**device.kernels, **told}
    return found


# -- the report -----------------------------------------------------------------------------------------------------

#: powers of two of the bytes that are shown, and numbers of devices
_SHOWN: Final = (9, 13, 17, 19, 21, 23, 25, 29)
_RANKS: Final = (2, 4, 8)
_OPERATORS: Final[Mapping[str, Any]] = {classes.ALL_REDUCE: all_reduce, classes.ALL_GATHER: all_gather}


class Intervals:
    """Estimates of single collectives on devices."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._model = load_cost_model(["decoder.num_hidden_layers=1"])
        self._devices = devices
        self._times: dict[str, StageTimes] = {}

    def of(self, device: str, kernel_class: str, ranks: float, message_bytes: float) -> Estimate:
        """One collective whose message has so many bytes, as a stage would have it."""
        if device not in self._times:
            self._times[device] = StageTimes(self._model, self._devices[device])
        tape = Tape()
        given = message_bytes // ranks if kernel_class == classes.ALL_GATHER else message_bytes
        _OPERATORS[kernel_class](tape.input((1, int(given) // _ELEMENT), "bfloat16"), int(ranks))
        return self._times[device].walk(tape.walk())

    def holds(self, device: str, kernel_class: str, ranks: float, message_bytes: float, seconds: float) -> bool:
        """Whether a measured time lies in its interval."""
        found = self.of(device, kernel_class, ranks, message_bytes)
        return found.low <= seconds <= found.high


def _constants_table(devices: Mapping[str, Device]) -> list[str]:
    columns = [(name, device) for name in classes.COLLECTIVES for device in FITTED_ON]
    lines = [f"| constant | {' | '.join(map(' '.join, columns))} |", f"|---|{'---:|' * len(columns)}"]
    for key in CONSTANTS[classes.ALL_REDUCE]:
        values = [devices[device].kernels[name].values.get(key) for name, device in columns]
        cells = [
            "–" if each is None else f"{1e6 * each:.1f} µs" if key.endswith("_s") else f"{each:.2f}" for each in values
        ]
        lines.append(f"| `{key}` | {' | '.join(cells)} |")
    return lines


def _errors_table(devices: Mapping[str, Device], rows: Rows, intervals: Intervals) -> list[str]:
    lines = [
        "| class | device | devices | rows held out | own | all rows | own | the other's | in the interval |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in classes.COLLECTIVES:
        for device_name in FITTED_ON:
            device, every = devices[device_name], rows[device_name][name]
            own, others = device.kernels[name].values, carried(name, device, list(devices.values()))
            for ranks in _RANKS:
                chosen = every.where(_as_run(device, every) & (every.sizes["ranks"] == ranks))
                unseen = unseen_of(device, chosen)
                held = [
                    intervals.holds(device_name, name, ranks, size, seconds)
                    for size, seconds in zip(chosen.sizes["message_bytes"], chosen.seconds, strict=True)
                ]
                lines.append(
                    f"| {name} | {device_name} | {ranks} | {len(unseen.seconds)} | {_errors(own, device, unseen)} | "
                    f"{len(chosen.seconds)} | {_errors(own, device, chosen)} | {_errors(others, device, chosen)} | "
                    f"{np.mean(held):.0%} |"
                )
    return lines


def _errors(values: Mapping[str, float], device: Device, rows: KernelRows) -> str:
    errors = errors_of(predicted(values, device.rates(PEAK), rows), rows)
    return f"{100 * errors.median:.0f} / {100 * errors.p90:.0f}"


def _beside_table(devices: Mapping[str, Device], rows: Rows, name: str) -> list[str]:
    columns = [(device, ranks) for device in FITTED_ON for ranks in _RANKS]
    lines = [
        f"| bytes | {' | '.join(f'{device}, {ranks}' for device, ranks in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for power in _SHOWN:
        cells = []
        for device_name, ranks in columns:
            device, every = devices[device_name], rows[device_name][name]
            sizes = every.sizes
            of_size = (sizes["ranks"] == ranks) & (sizes["message_bytes"] == 2**power)
            chosen = every.where(_as_run(device, every) & of_size)
            time = predicted(device.kernels[name].values, device.rates(PEAK), chosen)
            cells.append(f"{_us(time[-1])} / {_us(chosen.seconds[-1])}")  # of two tables vLLM's comes last
        lines.append(f"| {2**power:,} | {' | '.join(cells)} |")
    return lines


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}" if seconds < 1e-4 else f"{1e6 * seconds:,.0f}"


def _published_table(intervals: Intervals) -> list[str]:
    lines = [
        "| device | class | devices | bytes | predicted | measured | in the interval | source |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for each in PUBLISHED:
        place = each.device, each.kernel_class, each.ranks, each.message_bytes
        found = intervals.of(*place)
        held = "yes" if intervals.holds(*place, each.seconds) else "no"
        lines.append(
            f"| {each.device} | {each.kernel_class} | {each.ranks} | {each.message_bytes:,} | {_us(found.value)} "
            f"({_us(found.low)} to {_us(found.high)}) | {_us(each.seconds)} | {held} | {each.source} |"
        )
    return lines


_PAGE: Final = """\
# Collectives over a link: predicted against measured

Written by `make collectives` on tables that ai-dynamo/aiconfigurator (095f58a5, Apache-2.0) publishes and that are no
part of this repository: all-reduces of vLLM ({vllm}) in a CUDA graph, and NCCL
({nccl}). `modelmeter/devices/collectives.py` has the laws; a fifth of the sizes is held out
of every fit. Errors are median / 90th percentile of the size of predicted / measured − 1, in %. Times are in µs;
*bytes* are those of the message that every device has in the end.
The tables do not say whether an all-gather's size is that or what each device sends; sent, the longest ones of two H100
(512 MiB in 1,039 µs) would be faster than their link.

## Constants

{constants}

Shares are of the link's rate one way: 450 GB/s of NVLink 4, 32 GB/s of PCIe 4.0 x16. `stage_s` of L40S is where the
search began: over PCIe vLLM takes no second stage.

## Errors

*Own*: by the device's constants. *The other's*: by those of the other device, as if this one had not been measured.
*All rows* are those of the kernel that vLLM runs. Of more than two devices over PCIe no fit has seen messages beyond
{crowded:,} bytes: the devices of this host slow each other more than those of any other known host. The rate of several
is taken half way between it and hosts whose devices do not, so these rows are far off by design, and the interval
reaches for both ends.

{errors}

On eight H100 vLLM 0.19 sums messages from 256 KiB on in symmetric memory (all_reduce_utils.py), as 0.14 does not; the
law has the two stages of its own kernel below 8 MiB and NCCL's ring from there.

## Predicted / measured

All-reduce:

{all_reduce}

All-gather:

{all_gather}

## Devices without a row in any fit

By the constants that they carry. The RTX 4090 and RTX 5090 run a changed driver here, by which they read each other's
memory; by NVIDIA's own they do not, nobody published rows of that, and our files describe them so. The figures of A100
and RTX PRO 6000 are among the errors of carried constants, the others in nothing.

{published}

On A100 NCCL's all-gather takes up to twice as long as by H100's constants.

## What is not modelled

- SGLang's own kernel, quicker on NVLink for short messages (0.5.14 on two H100: 2.4 µs for 256 bytes, where vLLM takes
  4.3), and TensorRT-LLM's.
- An eager all-reduce copies its message into the kernel's buffer first: 4 MiB between two H100 take 27.5 µs, not 20.2.
- What changes between versions. vLLM 0.14, 0.19 and 0.24 agree within 3 % up to 4 MiB on two and four H100; 0.24 takes
  a quarter longer than 0.19 for 64 MiB between two, and a tenth longer for 32 MiB between four.
- NCCL's sums in the switch (NVLS) on eight devices, types of 8 bits, several hosts.
"""


def page(devices: Mapping[str, Device], rows: Rows) -> str:
    """The report. devices: with the constants that stand in their files."""
    intervals = Intervals(devices)
    tables = {
        "constants": _constants_table(devices),
        "errors": _errors_table(devices, rows, intervals),
        **{name: _beside_table(devices, rows, name) for name in classes.COLLECTIVES},
        "published": _published_table(intervals),
    }
    return _PAGE.format(
        vllm=", ".join(f"{each.vllm} on {name}" for name, each in FITTED_ON.items()),
        nccl=", ".join(f"{each.nccl} on {name}" for name, each in FITTED_ON.items()),
        crowded=CROWDED_BYTES,
        **{name: "\n".join(lines) for name, lines in tables.items()},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, write, judge."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print(__doc__)
        return 2
    devices = {device.name: device for device in bundled_devices() if device.link is not None}
    rows = {name: rows_of(Path(given[0]), devices[name]) for name in FITTED_ON}
    found = constants_of_all(devices, rows)
    for name, kernels in found.items():
        write_kernels(devices[name], {**devices[name].kernels, **kernels})
    written = {name: replace(device, kernels={**device.kernels, **found[name]}) for name, device in devices.items()}
    REPORT.write_text(page(written, rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
