"""What a device offers: peaks, bandwidth, memory, each with its source; one YAML file a device.

The bundled files stand beside this one; a file of the user's own is read from any path. Peaks are the vendor's dense
ones, without sparsity. An efficiency stands beside its peak, never multiplied into it: 1.0 unless it was measured.
A figure that a file lacks is refused when it is needed, never guessed.

    >>> load_device("A100-40G").memory_bandwidth_bytes_per_s
    Fraction(1555000000000, 1)

To add a device: copy the file nearest to it, and give every figure its source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

from modelmeter.devices.collectives import LINK, LINKS, Link, read_link
from modelmeter.devices.kernel_time import KERNELS, DeviceRates, KernelConstants, check_processors, read_kernels
from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, near, printable
from modelmeter.kinds import Choice, Flag, ListOf, Maybe, Number, Record, Some, Text, Whole
from modelmeter.memory import GPU, RESERVE_BYTES

#: types that a device may list a matmul peak for
PEAK_TYPES: Final = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8", "fp4")
#: those of them that not every card has, so that a refusal says which do
FEW_BITS: Final = ("fp8", "int8", "fp4")
#: the peak of a GEMM whose operands are of a type of PyTorch
PEAK_OF_DTYPE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bfloat16": "bf16",
        "float16": "fp16",
        "float32": "fp32",
        "float8_e4m3fn": "fp8",
        "float4_e2m1fn_x2": "fp4",
        "int8": "int8",
    }
)
#: what an efficiency applies to
RATES: Final = ("matmul", "vector", "bandwidth")

ASSUMED: Final = "assumed"
MEASURED: Final = "measured"

_FIGURES: Final = ("vector_flops_per_s", "memory_bandwidth_bytes_per_s", "memory_bytes")
#: what times of kernels, and of several devices, need beside; a file may lack them
_DETAILS: Final = ("multiprocessors", "l2_bytes", "power_watts", "link")


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """The share of a peak that is reached, above 0 and up to 1, and whether it was measured or assumed."""

    factor: Fraction
    origin: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where figures come from: the document, the place in it, and its address if it has one."""

    figures: tuple[str, ...]
    document: str
    where: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device. Rates are a second, FLOPs count a multiply-add as 2; numbers are exactly as the file writes them.

    kind: "gpu", or "cpu" for a processor whose memory is the host's.
    matmul_flops_per_s: dense peak by type, GEMMs accumulated in float32 (in int32 for int8).
    vector_flops_per_s: float32 peak of the cores that are no matrix units.
    memory_bytes: as the device reports it: MiB as nvidia-smi prints them x 2**20, not the vendor's GB.
    link: to others of its kind; None: not given, or it has none.
    kernel_launch_s: time of an operator before it computes or moves anything; None: not known, counted as 0.
    price_per_hour: in the user's own currency; None: not given.
    multiprocessors, l2_bytes, power_watts (its power limit): of the GPU; None: not given.
    architecture: of the chip, as constants of kernels are carried between its kin; "": not given.
    inline_ecc: whether error correction takes its bits from the memory itself, and so from its rate.
    kernels: constants of the times of kernels, by class; only those that are known.
    """

    name: str
    title: str
    kind: str
    matmul_flops_per_s: Mapping[str, Fraction]
    vector_flops_per_s: Fraction
    memory_bandwidth_bytes_per_s: Fraction
    memory_bytes: int
    link: Link | None
    efficiency: Mapping[str, Efficiency]
    kernel_launch_s: Fraction | None
    kernel_launch_origin: str
    price_per_hour: Fraction | None
    multiprocessors: int | None
    l2_bytes: int | None
    power_watts: Fraction | None
    architecture: str
    inline_ecc: bool
    kernels: Mapping[str, KernelConstants]
    sources: tuple[Source, ...]
    file: str

    def matmul_rate(self, peak: str) -> Fraction:
        """Matmul FLOPs a second that are reached, peak x efficiency, for a type of `PEAK_TYPES`."""
        if peak not in self.matmul_flops_per_s:
            having = ""
            if peak in FEW_BITS:
                having = ", ".join(each.name for each in bundled_devices() if peak in each.matmul_flops_per_s)
            raise NoPeak(
                f"device {self.name} lists no matmul peak for {peak} (it has {', '.join(self.matmul_flops_per_s)}); "
                f"run the model in one of those types, or add matmul_flops_per_s.{peak} with its source to {self.file}."
                + (f" Devices with {peak}: {having}." if having else "")
            )
        return self.matmul_flops_per_s[peak] * self.efficiency["matmul"].factor

    @property
    def vector_rate(self) -> Fraction:
        """Vector FLOPs a second that are reached, peak x efficiency."""
        return self.vector_flops_per_s * self.efficiency["vector"].factor

    @property
    def bandwidth(self) -> Fraction:
        """Bytes a second that are reached, peak x efficiency."""
        return self.memory_bandwidth_bytes_per_s * self.efficiency["bandwidth"].factor

    def rates(self, peak: str) -> DeviceRates:
        """What times of kernels are computed from: figures as published, for GEMMs of a type of `PEAK_TYPES`."""
        self.matmul_rate(peak)  # refused in words where there is none
        return DeviceRates(
            peak=float(self.matmul_flops_per_s[peak]),
            bandwidth=float(self.memory_bandwidth_bytes_per_s),
            vector=float(self.vector_flops_per_s),
            processors=self.multiprocessors or 0,
            l2_bytes=self.l2_bytes or 0,
            link=self.link,
        )

    def linked(self) -> Link:
        """Its link to others of its kind; raises `NoLink` where there is none."""
        if self.link is None:
            raise NoLink(
                f"device {self.name} lists no link to others of its kind, so a model that is split over several of "
                f"them has no time; run it whole on each (parallel.tensor=1), or add link with its name, kind "
                f"({', '.join(LINKS)}), bandwidth_bytes_per_s one way and source to {self.file}."
            )
        return self.link

    def named(self, devices: int = 1) -> str:
        """Its name, and how many of them a model is split over."""
        return self.name if devices == 1 else f"{devices} x {self.name}"

    def titled(self, devices: int = 1) -> str:
        """The same with its title."""
        return f"{self.named(devices)}: {self.title}"

    def assumptions(self) -> tuple[str, ...]:
        """What of this device is assumed, not measured, a sentence each."""
        assumed = [name for name, efficiency in self.efficiency.items() if efficiency.origin == ASSUMED]
        sentences = []
        if assumed:
            factors = ", ".join(f"{name} {float(self.efficiency[name].factor):g}" for name in assumed)
            sentences.append(f"share of the published peaks that is reached: {factors}")
        if self.kernel_launch_s is None:
            sentences.append("kernel launch overhead: not known for this device, counted as 0")
        elif self.kernel_launch_origin == ASSUMED:
            sentences.append(f"kernel launch overhead: {float(self.kernel_launch_s):g} s an operator")
        return tuple(sentences)


class NoPeak(ModelMeterError):
    """A device has no matrix units for a type."""


class NoLink(ModelMeterError):
    """A device has no link to others of its kind."""


def device_names() -> list[str]:
    """The bundled devices, by name."""
    return [device.name for device in bundled_devices()]


def bundled_devices() -> list[Device]:
    """All bundled devices, in the order of their files."""
    return [_read_bundled(path) for path in _bundled_files().values()]


def load_device(name: str | os.PathLike[str]) -> Device:
    """A bundled device by its name, in any case, or one of the user's own by the path of its YAML file."""
    text = os.fspath(name)
    if text.endswith((".yaml", ".yml")) or os.sep in text:
        return _read(Path(text))
    bundled = _bundled_files().get(_stem(text))
    if bundled is None:
        names = device_names()
        likely = [name for name in names if _stem(name).startswith(_stem(text))] or names
        raise ModelMeterError(
            f"device {printable(text, 100)} is unknown; {near(text, likely)} "
            "A device of your own is the path of its YAML file, ending in .yaml."
        )
    return _read_bundled(bundled)


@cache  # nobody changes it, and reading all of them takes half a second
def _read_bundled(path: Path) -> Device:
    return _read(path)


def _bundled_files() -> dict[str, Path]:
    """The bundled devices' files by their stems, in order."""
    folder = resources.files(__package__)
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): Path(str(folder / name)) for name in names}


def _stem(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


# -- reading a file -------------------------------------------------------------------------------------------------

#: far beyond any device, and near enough that no quotient of counts and rates leaves what a float can show
_RATE: Final = Number(Fraction(1), Fraction(10**24))
_BYTES: Final = Number(Fraction(1), Fraction(10**24))
_SHARE: Final = Number(
    Fraction(1, 10**6),
    Fraction(1),
    "it is the share of the peak that is reached; where more was measured, correct the peak",
)
_ORIGIN: Final = Choice((ASSUMED, MEASURED))
_NOTE: Final = Text(2000, least=1)
#: a device's name: it goes into tables, files and pages
NAME: Final = Text(64, least=1, without="/\\<>|`'\"")
_EFFICIENCY: Final = Record({"factor": _SHARE, "origin": _ORIGIN}, "an efficiency")
_FILE: Final = Record(
    {
        "name": NAME,
        "title": Text(200, least=1),
        "kind": Maybe(Choice(tuple(RESERVE_BYTES))),
        "matmul_flops_per_s": Some(PEAK_TYPES, _RATE, "a device file"),
        **dict.fromkeys(_FIGURES, _RATE),
        "memory_bytes": _BYTES,
        "link": Maybe(LINK),
        "efficiency": Maybe(Record({part: Maybe(_EFFICIENCY) for part in RATES}, "a device file")),
        "kernel_launch": Maybe(
            Record({"seconds": Maybe(Number(Fraction(0), Fraction(3600))), "origin": Maybe(_ORIGIN)}, "a device file")
        ),
        "price_per_hour": Maybe(Number(Fraction(0), Fraction(10**9))),
        "multiprocessors": Maybe(Whole(1, 10**5)),
        "l2_bytes": Maybe(Whole(1, 10**12)),
        "power_watts": Maybe(Number(Fraction(1), Fraction(10**5))),
        "architecture": Maybe(Text(64, least=1)),
        "inline_ecc": Maybe(Flag()),
        "kernels": Maybe(KERNELS),
        "sources": ListOf(
            Record(
                {
                    "figures": ListOf(Text(), 1, 100),
                    "document": _NOTE,
                    "where": _NOTE,
                    "url": Maybe(Text(2000, start="https?://")),
                },
                "a source",
            ),
            1,
            100,
        ),
    },
    "a device file",
    missing="add it with its source (no figure is guessed)",
)

#: of a device file, comments included: what PyYAML reads in a second or two
_MOST_BYTES: Final = 2**17


def _read(path: Path) -> Device:
    content = read_yaml(f"device file {path}", path, _MOST_BYTES)
    who = f"device file {path.name}"
    values = _FILE.read(f"{who}: ", content)
    peaks = values["matmul_flops_per_s"]
    if not peaks:
        raise ModelMeterError(f"{who}: matmul_flops_per_s is empty; give the peak of one of {', '.join(PEAK_TYPES)}.")
    memory_bytes = values["memory_bytes"]
    if memory_bytes.denominator != 1:
        raise ModelMeterError(f"{who}: memory_bytes={float(memory_bytes):g} is no whole number of bytes.")
    launch = values["kernel_launch"] or {"seconds": None}
    if launch["seconds"] is not None and launch["origin"] is None:
        raise ModelMeterError(f"{who}: kernel_launch.origin is missing; write {ASSUMED} or {MEASURED}.")
    sources = tuple(
        Source(figures=tuple(each["figures"]), document=each["document"], where=each["where"], url=each["url"] or "")
        for each in values["sources"]
    )
    details = [name for name in _DETAILS if values[name] is not None]
    _check_sourced(who, sources, [*(f"matmul_flops_per_s.{peak}" for peak in peaks), *_FIGURES, *details])
    kernels = read_kernels(values["kernels"] or {})
    check_processors(who, kernels, values["multiprocessors"])
    efficiencies = values["efficiency"] or {}
    return Device(
        name=values["name"],
        title=values["title"],
        kind=values["kind"] or GPU,
        matmul_flops_per_s=MappingProxyType(peaks),
        vector_flops_per_s=values["vector_flops_per_s"],
        memory_bandwidth_bytes_per_s=values["memory_bandwidth_bytes_per_s"],
        memory_bytes=int(memory_bytes),
        link=read_link(values["link"]),
        efficiency=MappingProxyType(
            {
                rate: Efficiency(**(efficiencies.get(rate) or {"factor": Fraction(1), "origin": ASSUMED}))
                for rate in RATES
            }
        ),
        kernel_launch_s=launch["seconds"],
        kernel_launch_origin=ASSUMED if launch["seconds"] is None else launch["origin"],
        price_per_hour=values["price_per_hour"],
        multiprocessors=values["multiprocessors"],
        l2_bytes=values["l2_bytes"],
        power_watts=values["power_watts"],
        architecture=values["architecture"] or "",
        inline_ecc=bool(values["inline_ecc"]),
        kernels=kernels,
        sources=sources,
        file=path.name,
    )


def _check_sourced(who: str, sources: Sequence[Source], figures: Sequence[str]) -> None:
    """Raise `ModelMeterError` unless every figure has a source, and every source gives figures that are there."""
    named = {figure for source in sources for figure in source.figures}
    for figure in figures:
        if figure not in named and figure.split(".")[0] not in named:
            raise ModelMeterError(f"{who}: {figure} has no source; name it under figures of one of the sources.")
    known = ("matmul_flops_per_s", *figures)
    for name in named.difference(known):
        raise ModelMeterError(f"{who}: sources: figures: {name} is no key of this device file; {near(name, known)}")
