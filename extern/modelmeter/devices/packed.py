"""What a kernel over packed weights, or a cache of fewer bits, takes beside one in bfloat16.

A GEMM, or a block of experts, over packed weights is timed by the constants of its class on the device, with the peak
of the type that it multiplies in and the packed bytes, and three factors beside (`packed_times.yaml`, written by
benchmarks/timing/packed.py): the share of the peak and the share of the memory's rate that it reaches, times those
that the class reaches in bfloat16, and seconds a kernel more; unpacking is in them. Such a GEMM has tiles of few rows
on every device, as kernels made for steps of a few sequences have. A device that has no rows of a type takes the median
of those that have, with the errors that these make of one another; a type that nobody published rows of takes another's
(`AS`). Of a decode step's attention the memory's share is that of as many bytes as in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from modelmeter import kernel_classes as classes
from modelmeter.devices.kernel_time import CARRIED, FEWEST_ROWS, FITTED, Errors
from modelmeter.documents import read_yaml

#: types that are timed as another: nobody published rows of theirs
AS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        classes.GEMM: {"mxfp4": "nvfp4", "gguf": "int4_wo", "nf4": "int4_wo"},
        classes.MOE: {"mxfp4": "nvfp4", "gguf": "int4_wo", "nf4": "int4_wo", "int8_wo": "int4_wo", "int8": "fp8"},
    }
)

#: classes that have such factors: of packed weights, and of a cache of fewer bits
OF_PACKED: Final = (classes.GEMM, classes.MOE, classes.GENERATION_ATTENTION)


class Factors(NamedTuple):
    """matmul, bandwidth: times the shares of the class in bfloat16. overhead_s: seconds a kernel more."""

    matmul: float
    bandwidth: float
    overhead_s: float


class PackedConstants(NamedTuple):
    """Factors; whether they were fitted on the device's own rows of this type; and their errors."""

    factors: Factors
    origin: str
    errors: Errors


def beside(kernel_class: str, values: Mapping[str, float], factors: Factors) -> dict[str, float]:
    """The constants of a class in bfloat16, with factors: shares of no more than there is, tiles of few rows."""
    found = {**values, "overhead_s": values["overhead_s"] + factors.overhead_s}
    if kernel_class == classes.GEMM:
        found["least_rows"] = FEWEST_ROWS
    most = {"matmul": 1.0, "bandwidth": 2.0 if kernel_class == classes.GENERATION_ATTENTION else 1.0}
    for name in most.keys() & values.keys():
        found[name] = min(found[name] * getattr(factors, name), most[name])
    return found


def packed_constants(kernel_class: str, packed: str, device: str) -> PackedConstants:
    """What kernels of a class over weights of a type take on a device."""
    name = AS.get(kernel_class, {}).get(packed, packed)
    rows = _file()[kernel_class][name]
    own = name == packed and device in rows
    each = rows[device if device in rows else "others"]
    factors = Factors(float(each["matmul"]), float(each["bandwidth"]), float(each["overhead_s"]))
    errors = Errors(rows=int(each["rows"]), median=float(each["median"]), p90=float(each["p90"]))
    return PackedConstants(factors, FITTED if own else CARRIED, errors)


@cache
def _file() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    path = Path(str(resources.files("modelmeter") / "packed_times.yaml"))
    return cast("Mapping[str, Mapping[str, Mapping[str, Any]]]", read_yaml("packed_times.yaml", path, 2**16))
