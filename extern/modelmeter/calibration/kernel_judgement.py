"""A device's constants held against tables of measured kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_carry import carried
from modelmeter.calibration.kernel_fit import bound, errors_of, predicted
from modelmeter.calibration.kernel_rows import KernelRows, KernelTable, all_left_out, none_usable, pooled
from modelmeter.devices.device import Device
from modelmeter.devices.kernel_time import FITTED, DeviceRates, KernelConstants
from modelmeter.errors import ModelMeterError
from modelmeter.memory import CPU

#: the peak that rows in bfloat16 run at
PEAK: Final = "bf16"
COLD: Final = "gemm_cold"
OCR: Final = "gemm_ocr"
#: what a judgement is given for, in this order
JUDGED: Final = (
    classes.GEMM,
    COLD,
    OCR,
    classes.MOE,
    classes.CONTEXT_ATTENTION,
    classes.ENCODER_ATTENTION,
    classes.GENERATION_ATTENTION,
    classes.BIAS_ATTENTION,
    classes.ELEMENTWISE,
    classes.COPY,
    classes.STRIDED,
    classes.CONVOLUTION,
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Errors as fractions: median and p90 of |predicted / measured - 1|; total: of all rows' times together, signed.

    roofline_median: the median error of the roofline as it is, on the same rows.
    """

    rows: int
    median: float
    p90: float
    total: float
    roofline_median: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdicts by class, and the rows that were left out, by class and reason."""

    device: str
    classes: Mapping[str, Verdict]
    left_out: Mapping[str, int]


def rates_of(device: Device) -> DeviceRates:
    """The device's figures for GEMMs in bfloat16; raises `ModelMeterError` where its file lacks what rows need."""
    if device.kind == CPU:
        raise ModelMeterError(f"device {device.name} is a CPU; constants of kernels are those of GPUs, name one.")
    for name in ("multiprocessors", "l2_bytes"):
        if getattr(device, name) is None:
            raise ModelMeterError(
                f"device {device.name} lists no {name}; add it with its source to {device.file} to judge kernels."
            )
    return device.rates(PEAK)


def carried_constants(target: Device, devices: Sequence[Device], without: str) -> dict[str, dict[str, float]]:
    """By class, what `target` would be given if of `devices` the one called `without` had not been fitted."""
    others = [device for device in devices if device.name != without]
    fitted = {
        name for device in others for name, each in device.kernels.items() if each.origin == FITTED and device != target
    }
    return {name: carried(name, target, others) for name in classes.CLASSES if name in fitted}


def constants_of(device: Device) -> dict[str, Mapping[str, float]]:
    """The device's own constants, by class."""
    kernels: Mapping[str, KernelConstants] = device.kernels
    return {name: constants.values for name, constants in kernels.items()}


def judge(
    tables: Sequence[KernelTable],
    device: Device,
    constants: Mapping[str, Mapping[str, float]],
    *,
    held_out_only: bool = False,
    may_be_empty: bool = False,
) -> Judgement:
    """How far times by `constants` are from the tables', rows of all tables together.

    may_be_empty: tables without a usable row are no error, but a judgement without a class.
    """
    rates = rates_of(device)
    left_out = all_left_out(tables)
    verdicts: dict[str, Verdict] = {}
    for name, every in pooled(tables).items():
        if name not in constants:
            has = ", ".join(constants) or "none"
            raise ModelMeterError(
                f"device {device.name} has no constants of {name} (it has {has}); add kernels.{name} to {device.file}, "
                "or write them with modelmeter calibrate --from."
            )
        rows = every
        if held_out_only:
            rows = every.where(every.held_out)
            fitted = int((~every.held_out).sum())
            if fitted:
                left_out[f"{name}: a site of the fit"] = fitted
        times, floor = predicted(constants[name], rates, rows), bound(rates, rows)
        parts: dict[str, Any] = {name: np.ones(len(times), dtype=bool)}
        if name == classes.GEMM:
            parts[COLD] = rows.cold(rates.l2_bytes)
            parts[OCR] = parts[COLD] & rows.ocr
        for part, chosen in parts.items():
            if chosen.any():
                verdicts[part] = _verdict(times[chosen], floor[chosen], rows.where(chosen))
    if not verdicts and not may_be_empty:
        raise none_usable("judge", left_out)
    return Judgement(
        device=device.name,
        classes=MappingProxyType({name: verdicts[name] for name in JUDGED if name in verdicts}),
        left_out=MappingProxyType(left_out),
    )


def _verdict(times: Any, floor: Any, rows: KernelRows) -> Verdict:
    errors = errors_of(times, rows)
    return Verdict(
        rows=errors.rows,
        median=errors.median,
        p90=errors.p90,
        total=float(times.sum() / rows.seconds.sum() - 1),
        roofline_median=errors_of(floor, rows).median,
    )
