"""Constants of kernels as the part `kernels` of a device's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelmeter.calibration.kernel_fit import (
    LEAST_ROWS,
    errors_of,
    fit_class,
    fitting_rows,
    predicted,
    unseen_rows,
)
from modelmeter.calibration.kernel_rows import KernelTable, all_left_out, none_usable, pooled
from modelmeter.devices.device import Device
from modelmeter.devices.kernel_time import CARRIED, CONSTANTS, FITTED, DeviceRates, Errors, KernelConstants
from modelmeter.kinds import Whole


def fit_tables(
    tables: Sequence[KernelTable], rates: DeviceRates, source: str
) -> tuple[dict[str, KernelConstants], dict[str, int]]:
    """The constants of every class that the tables have enough rows of, with their errors on the sites held out.

    And the rows that were left out, by class and reason. Raises `ModelMeterError` where no class has enough rows.
    """
    fitted = {}
    every, left_out = pooled(tables), all_left_out(tables)
    if not every:
        raise none_usable("calibrate", left_out)
    counts = {name: len(fitting_rows(rows, rates).seconds) for name, rows in every.items()}
    few = [name for name, count in counts.items() if count < LEAST_ROWS]
    for name, rows in every.items():
        if name in few and len(few) < len(every):
            left_out[f"{name}: too few to fit, {counts[name]} cold and not held out of {LEAST_ROWS}"] = len(
                rows.seconds
            )
            continue
        values = fit_class(rows, rates)
        unseen = unseen_rows(rows, rates)
        fitted[name] = KernelConstants(
            values=values,
            origin=FITTED,
            source=source,
            fitted_rows=counts[name],
            errors=errors_of(predicted(values, rates, unseen), unseen) if len(unseen.seconds) else None,
        )
    return fitted, left_out


def completed(fitted: Mapping[str, KernelConstants], known: Device) -> dict[str, KernelConstants]:
    """Constants of every class: of those that too little was measured of, a described device's own, as carried."""
    source = f"the constants of {known.name}: too few shapes of this class were measured; errors: that device's own"
    return {
        name: fitted.get(name) or replace(known.kernels[name], origin=CARRIED, source=source, fitted_rows=0)
        for name in CONSTANTS
        if name in fitted or name in known.kernels
    }


def kernels_content(kernels: Mapping[str, KernelConstants]) -> dict[str, Any]:
    """What stands under `kernels` of a device's file."""
    content = {}
    for name, constants in kernels.items():
        about: dict[str, Any] = {"origin": constants.origin, "source": constants.source}
        if constants.fitted_rows:
            about["fitted_rows"] = constants.fitted_rows
        if constants.errors is not None:
            about["errors"] = _errors(constants.errors)
        values = {
            key: int(constants.values[key]) if isinstance(kind, Whole) else constants.values[key]
            for key, kind in CONSTANTS[name].items()
        }
        content[name] = values | about
    return content


def _errors(errors: Errors) -> dict[str, Any]:
    return {"rows": errors.rows, "median": round(errors.median, 4), "p90": round(errors.p90, 4)}


def kernels_text(kernels: Mapping[str, KernelConstants]) -> str:
    """The part `kernels` as YAML, a class a block."""
    import yaml

    text: str = yaml.safe_dump(
        {"kernels": kernels_content(kernels)}, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return text
