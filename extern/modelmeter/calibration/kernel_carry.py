"""Constants of kernels for a device that nobody measured, from those that were.

Of each constant the median over the fitted devices, after four things that a data sheet says:

- Kin. Shares are of a device's own figures, and mean the same where these do: a peak of GEMMs that is half the
  matrix units' (GeForce cards with float32 accumulation) is shared with others like it, the tiles of a prefill's and an
  encoder's attention with devices whose matrix units are fed alike; and where a device of the same architecture was
  fitted, only such devices count. Fits of few rows count where there is no other.
- Lanes. A multiprocessor of 64 vector lanes loads, stores, puts elements and takes exponentials as fast as one of 128:
  twice as much a FLOP.
- Power. GEMMs, of a prefill's and an encoder's attention too, run no faster than the power limit of a card lets
  them: the FLOPs a joule of the fitted devices whose matrix units are fed alike, times its watts.
- Error correction. GDDR6 memory holds its correction bits itself, a sixteenth of it, and they take a sixteenth of its
  rate.

The errors that this makes are found by leaving out each fitted device (`reports/timing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median, median_low
from types import MappingProxyType
from typing import Final

from modelmeter import kernel_classes as classes
from modelmeter.devices.collectives import DIRECT
from modelmeter.devices.device import Device
from modelmeter.devices.kernel_time import CONSTANTS, FITTED
from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Number, Whole

#: bf16 FLOPs of the matrix units over float32 FLOPs of the vector units, below which their rate is a half one
_HALF_RATE: Final = 3
#: rows of a fit that shows all of a class's constants, and not those alone that its few shapes depend on
_ENOUGH_ROWS: Final = 100
#: architectures of 64 vector lanes a multiprocessor; the others have 128
_FEW_LANES: Final = ("volta", "turing", "ampere")
#: architectures whose matrix units read shared memory for four warps at once, and take less power for it
_WARPGROUPS: Final = ("hopper", "blackwell")
#: classes whose kernels fill the matrix units long enough to meet the power limit; blocks of experts do not
_LIMITED: Final = (classes.GEMM, classes.CONTEXT_ATTENTION, classes.ENCODER_ATTENTION)
#: of the memory's rate, what is left beside error correction in the memory itself
_BESIDE_ECC: Final = 15 / 16


def carried(kernel_class: str, target: Device, fitted: Sequence[Device]) -> dict[str, float]:
    """A class's constants for `target` from those of the `fitted` devices, itself excepted."""
    kin = kin_of(kernel_class, target, fitted)
    found = {}
    for key, kind in CONSTANTS[kernel_class].items():
        scale = _as_it_is if kernel_class in classes.COLLECTIVES else _SCALED.get(key, _as_it_is)
        values = [device.kernels[kernel_class].values[key] / scale(device) for device in kin]
        if isinstance(kind, Whole):
            found[key] = float(median_low(values))  # of tiles one that exists
        else:
            assert isinstance(kind, Number)
            found[key] = min(median(values), float(kind.most)) * scale(target)
    if kernel_class in _LIMITED:
        found["matmul"] = min(
            found["matmul"], _share_of_power(kernel_class, target, _others(kernel_class, target, fitted))
        )
    return {key: float(f"{value:.4g}") for key, value in found.items()}


def kin_of(kernel_class: str, target: Device, fitted: Sequence[Device]) -> list[Device]:
    """The fitted devices whose constants of a class are carried to `target`."""
    kin = _others(kernel_class, target, fitted)
    if not kin:
        raise ModelMeterError(f"carry: no other device than {target.name} has fitted constants of {kernel_class}.")
    if kernel_class in classes.COLLECTIVES:
        return _alike(kin, target, _linked_directly)
    kin = [device for device in kin if device.kernels[kernel_class].fitted_rows >= _ENOUGH_ROWS] or kin
    if "exponentials" in CONSTANTS[kernel_class]:
        kin = _alike(kin, target, _fed_by_warpgroups)
    elif "matmul" in CONSTANTS[kernel_class]:
        kin = _alike(kin, target, _at_half_rate)
    if kernel_class == classes.GEMM and _at_half_rate(kin[0]) != _at_half_rate(target):
        return kin  # what a chip's GEMMs reach of another peak says nothing of this one's
    return [device for device in kin if device.architecture == target.architecture != ""] or kin


def _others(kernel_class: str, target: Device, fitted: Sequence[Device]) -> list[Device]:
    return [
        device
        for device in fitted
        if device.name != target.name
        and kernel_class in device.kernels
        and device.kernels[kernel_class].origin == FITTED
    ]


def _alike(kin: list[Device], target: Device, trait: Callable[[Device], bool]) -> list[Device]:
    """Those that are as `target` in a trait, or all where none is."""
    return [device for device in kin if trait(device) == trait(target)] or kin


def _peak(device: Device) -> float:
    """FLOPs a second of GEMMs in bfloat16, or in float16 where there is no other."""
    peaks = device.matmul_flops_per_s
    return float(peaks.get("bf16") or peaks.get("fp16") or max(peaks.values()))


def _at_half_rate(device: Device) -> bool:
    return _peak(device) < _HALF_RATE * device.vector_flops_per_s


def _fed_by_warpgroups(device: Device) -> bool:
    return device.architecture in _WARPGROUPS


def _linked_directly(device: Device) -> bool:
    return device.linked().kind == DIRECT


def _share_of_power(kernel_class: str, target: Device, others: Sequence[Device]) -> float:
    """The share of the peak that the power limit leaves; 1 where nothing is known of it."""
    reached = [
        device.kernels[kernel_class].values["matmul"] * _peak(device) / float(device.power_watts)
        for device in others
        if device.power_watts is not None
        and not _at_half_rate(device)
        and _fed_by_warpgroups(device) == _fed_by_warpgroups(target)
    ]
    if not reached or target.power_watts is None or not target.architecture:
        return 1.0
    return min(1.0, median(reached) * float(target.power_watts) / _peak(target))


def _beside_ecc(device: Device) -> float:
    return _BESIDE_ECC if device.inline_ecc else 1.0


def _for_lanes(device: Device) -> float:
    return 2.0 if device.architecture in _FEW_LANES else 1.0


def _as_it_is(device: Device) -> float:
    return 1.0


#: by constant, what its values go with from device to device; a link's shares go with nothing
_SCALED: Final[Mapping[str, Callable[[Device], float]]] = MappingProxyType(
    {
        "bandwidth": _beside_ecc,
        "bytes_per_flop": _for_lanes,
        "elements_per_flop": _for_lanes,
        "exponentials": _for_lanes,
    }
)
