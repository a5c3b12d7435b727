"""What a device offers: peaks, bandwidth, memory, each with its source; one YAML file a device.

The bundled files stand beside this one; a file of the user's own is read from any path. Peaks are the vendor's dense
ones, without sparsity. A derating stands beside its peak and is never multiplied into it: 1.0 unless it was measured.
A figure that a file lacks is refused when it is needed, never guessed.

    >>> load_device("A100-40G").memory_bandwidth_bytes_per_s
    Fraction(1555000000000, 1)

To add a device: copy the file nearest to it, and give every figure its source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from modelmeter.errors import ModelMeterError, near
from modelmeter.memory import GPU, RESERVE_BYTES

#: types that a device may list a matmul peak for
PEAK_TYPES: Final = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8")
#: the peak of a product whose operands are of a type of PyTorch
PEAK_OF_DTYPE: Final[Mapping[str, str]] = MappingProxyType({"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"})
#: what a derating applies to
DERATED: Final = ("matmul", "vector", "bandwidth")

ASSUMED: Final = "assumed"
MEASURED: Final = "measured"

_FIGURES: Final = ("vector_flops_per_s", "memory_bandwidth_bytes_per_s", "memory_bytes")
_KEYS: Final = (
    "name",
    "title",
    "kind",
    "matmul_flops_per_s",
    *_FIGURES,
    "derating",
    "kernel_launch",
    "price_per_hour",
    "sources",
)


@dataclass(frozen=True, kw_only=True)
class Derating:
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
    matmul_flops_per_s: dense peak by type, products accumulated in float32 (in int32 for int8).
    vector_flops_per_s: float32 peak of the cores that are no matrix units.
    memory_bytes: as the device reports it: MiB as nvidia-smi prints them x 2**20, not the vendor's GB.
    kernel_launch_s: time of an operator before it computes or moves anything; None: not known, counted as 0.
    price_per_hour: in the user's own currency; None: not given.
    """

    name: str
    title: str
    kind: str
    matmul_flops_per_s: Mapping[str, Fraction]
    vector_flops_per_s: Fraction
    memory_bandwidth_bytes_per_s: Fraction
    memory_bytes: int
    derating: Mapping[str, Derating]
    kernel_launch_s: Fraction | None
    kernel_launch_origin: str
    price_per_hour: Fraction | None
    sources: tuple[Source, ...]
    file: str

    def matmul_rate(self, peak: str) -> Fraction:
        """Derated matmul FLOPs a second for a type of `PEAK_TYPES`."""
        if peak not in self.matmul_flops_per_s:
            raise ModelMeterError(
                f"device {self.name} lists no matmul peak for {peak} (it has {', '.join(self.matmul_flops_per_s)}); "
                f"run the model in one of those types, or add matmul_flops_per_s.{peak} with its source to {self.file}."
            )
        return self.matmul_flops_per_s[peak] * self.derating["matmul"].factor

    @property
    def vector_rate(self) -> Fraction:
        """Derated vector FLOPs a second."""
        return self.vector_flops_per_s * self.derating["vector"].factor

    @property
    def bandwidth(self) -> Fraction:
        """Derated bytes a second."""
        return self.memory_bandwidth_bytes_per_s * self.derating["bandwidth"].factor

    def assumptions(self) -> tuple[str, ...]:
        """What of this device is assumed, not measured, a sentence each."""
        assumed = [name for name, derating in self.derating.items() if derating.origin == ASSUMED]
        sentences = []
        if assumed:
            factors = ", ".join(f"{name} {float(self.derating[name].factor):g}" for name in assumed)
            sentences.append(f"share of the published peaks that is reached: {factors}")
        if self.kernel_launch_s is None:
            sentences.append("kernel launch overhead: not known for this device, counted as 0")
        elif self.kernel_launch_origin == ASSUMED:
            sentences.append(f"kernel launch overhead: {float(self.kernel_launch_s):g} s an operator")
        return tuple(sentences)


def device_names() -> list[str]:
    """The bundled devices, by name."""
    return [device.name for device in bundled_devices()]


def bundled_devices() -> list[Device]:
    """All bundled devices, in the order of their files."""
    folder = resources.files(__package__)
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return [_read(Path(str(folder / file))) for file in files]


def load_device(name: str | os.PathLike[str]) -> Device:
    """A bundled device by its name, in any case, or one of the user's own by the path of its YAML file."""
    text = os.fspath(name)
    if text.endswith((".yaml", ".yml")) or os.sep in text:
        return _read(Path(text))
    bundled = Path(str(resources.files(__package__) / f"{_stem(text)}.yaml"))
    if not bundled.is_file():
        names = device_names()
        likely = [name for name in names if _stem(name).startswith(_stem(text))] or names
        raise ModelMeterError(
            f"device {text} is unknown; {near(text, likely)} "
            "A device of your own is the path of its YAML file, ending in .yaml."
        )
    return _read(bundled)


def _stem(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


# -- reading a file -------------------------------------------------------------------------------------------------


def _read(path: Path) -> Device:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    who = f"device file {path.name}"
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError as error:
        raise ModelMeterError(f"device file {path} does not exist; check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelMeterError(f"device file {path} cannot be read ({error}).") from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise ModelMeterError(f"{who} is no YAML file that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ModelMeterError(f"{who} holds a {type(content).__name__}; a device is a mapping of its figures.")
    return _device(who, path, content)


def _device(who: str, path: Path, content: Mapping[Any, Any]) -> Device:
    _check_keys(who, "", content, _KEYS)
    peaks = _mapping(who, "matmul_flops_per_s", content)
    _check_keys(who, "matmul_flops_per_s.", peaks, PEAK_TYPES)
    if not peaks:
        raise ModelMeterError(f"{who}: matmul_flops_per_s is empty; give the peak of one of {', '.join(PEAK_TYPES)}.")
    memory_bytes = _number(who, "memory_bytes", content)
    if memory_bytes.denominator != 1:
        raise ModelMeterError(f"{who}: memory_bytes={float(memory_bytes):g} is no whole number of bytes.")
    launch_s, launch_origin = _launch(who, content)
    sources = _sources(who, content)
    figures = [*(f"matmul_flops_per_s.{peak}" for peak in peaks), *_FIGURES]
    named = {figure for source in sources for figure in source.figures}
    for figure in figures:
        if figure not in named and figure.split(".")[0] not in named:
            raise ModelMeterError(f"{who}: {figure} has no source; name it under figures of one of the sources.")
    _check_keys(who, "sources: figures: ", dict.fromkeys(named), ("matmul_flops_per_s", *figures))
    return Device(
        name=_text(who, "name", content),
        title=_text(who, "title", content),
        kind=_kind(who, content),
        matmul_flops_per_s=MappingProxyType(
            {peak: _number(who, f"matmul_flops_per_s.{peak}", peaks, peak) for peak in PEAK_TYPES if peak in peaks}
        ),
        vector_flops_per_s=_number(who, "vector_flops_per_s", content),
        memory_bandwidth_bytes_per_s=_number(who, "memory_bandwidth_bytes_per_s", content),
        memory_bytes=int(memory_bytes),
        derating=_deratings(who, content),
        kernel_launch_s=launch_s,
        kernel_launch_origin=launch_origin,
        price_per_hour=None
        if content.get("price_per_hour") is None
        else _number(who, "price_per_hour", content, least=Fraction(0)),
        sources=sources,
        file=path.name,
    )


def _check_keys(who: str, where: str, given: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ModelMeterError(f"{who}: {where}{key} is no key of a device file; {near(str(key), known)}")


def _present(who: str, name: str, content: Mapping[Any, Any], key: str) -> Any:
    if content.get(key) is None:
        raise ModelMeterError(f"{who}: {name} is missing; add it with its source (no figure is guessed).")
    return content[key]


def _number(
    who: str, name: str, content: Mapping[Any, Any], key: str | None = None, *, least: Fraction | None = None
) -> Fraction:
    """A figure exactly as it is written: above 0, or from `least` on."""
    value = _present(who, name, content, name if key is None else key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ModelMeterError(f"{who}: {name}={value!r} is no number; write it as in 1.5e+12.")
    number = Fraction(repr(value))
    if number < least if least is not None else number <= 0:
        raise ModelMeterError(
            f"{who}: {name}={value!r} is {'negative' if value < 0 else 'zero'}; give the figure itself."
        )
    return number


def _text(who: str, name: str, content: Mapping[Any, Any]) -> str:
    value = _present(who, name, content, name.split(".")[-1])
    if not isinstance(value, str) or not value.strip():
        raise ModelMeterError(f"{who}: {name}={value!r} is no text.")
    return value


def _kind(who: str, content: Mapping[Any, Any]) -> str:
    kind = GPU if content.get("kind") is None else _text(who, "kind", content)
    if kind not in RESERVE_BYTES:
        raise ModelMeterError(f"{who}: kind={kind} is no kind of device; {near(kind, RESERVE_BYTES)}")
    return kind


def _mapping(who: str, name: str, content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    value = _present(who, name, content, name.split(".")[-1])
    if not isinstance(value, dict):
        raise ModelMeterError(f"{who}: {name}={value!r} is no mapping of keys and values.")
    return value


def _origin(who: str, name: str, content: Mapping[Any, Any]) -> str:
    origin = _text(who, name, content)
    if origin not in (ASSUMED, MEASURED):
        raise ModelMeterError(f"{who}: {name}={origin} is neither {ASSUMED} nor {MEASURED}.")
    return origin


def _deratings(who: str, content: Mapping[Any, Any]) -> Mapping[str, Derating]:
    given = _mapping(who, "derating", content) if content.get("derating") is not None else {}
    _check_keys(who, "derating.", given, DERATED)
    deratings = {}
    for name in DERATED:
        if given.get(name) is None:
            deratings[name] = Derating(factor=Fraction(1), origin=ASSUMED)
            continue
        where = f"derating.{name}"
        entry = _mapping(who, where, given)
        _check_keys(who, f"{where}.", entry, ("factor", "origin"))
        factor = _number(who, f"{where}.factor", entry, "factor")
        if factor > 1:
            raise ModelMeterError(
                f"{who}: {where}.factor={float(factor):g} is above 1; it is the share of the peak that is reached, "
                "so where more was measured, correct the peak."
            )
        deratings[name] = Derating(factor=factor, origin=_origin(who, f"{where}.origin", entry))
    return MappingProxyType(deratings)


def _launch(who: str, content: Mapping[Any, Any]) -> tuple[Fraction | None, str]:
    if content.get("kernel_launch") is None:
        return None, ASSUMED
    entry = _mapping(who, "kernel_launch", content)
    _check_keys(who, "kernel_launch.", entry, ("seconds", "origin"))
    if entry.get("seconds") is None:
        return None, ASSUMED
    seconds = _number(who, "kernel_launch.seconds", entry, "seconds", least=Fraction(0))
    return seconds, _origin(who, "kernel_launch.origin", entry)


def _sources(who: str, content: Mapping[Any, Any]) -> tuple[Source, ...]:
    entries = _present(who, "sources", content, "sources")
    if not isinstance(entries, list) or not entries:
        raise ModelMeterError(f"{who}: sources={entries!r} is no list of sources.")
    sources = []
    for number, entry in enumerate(entries):
        where = f"sources[{number}]"
        if not isinstance(entry, dict):
            raise ModelMeterError(f"{who}: {where}={entry!r} is no mapping of figures, document, where and url.")
        _check_keys(who, f"{where}.", entry, ("figures", "document", "where", "url"))
        figures = _present(who, f"{where}.figures", entry, "figures")
        if not isinstance(figures, list) or not all(isinstance(figure, str) for figure in figures):
            raise ModelMeterError(f"{who}: {where}.figures={figures!r} is no list of the figures that it gives.")
        document, place = (_text(who, f"{where}.{key}", entry) for key in ("document", "where"))
        url = "" if entry.get("url") is None else _text(who, f"{where}.url", entry)
        sources.append(Source(figures=tuple(figures), document=document, where=place, url=url))
    return tuple(sources)
