"""The constants of each class of kernels, fitted on tables of measured ones.

Minimised: the mean of log(1 + (e / 5 %)^2), where e = log(predicted / measured), so that a kernel of 5 us weighs as
much as one of 5 ms, and rows of another kernel than most (several times off) hardly pull; by iteratively reweighted
Gauss-Newton steps with Marquardt's damping, in the logarithms of the constants. The problems have ten constants at most
and are smooth but for the larger of two times; numpy alone solves them, and the same rows give the same constants.

Fitted on cold rows, whose weights are beyond twice the L2 cache: in a model's pass nothing else is read twice. GEMMs
are fitted on all rows after that, from there, with what the cache gives, those that are not cold at a tenth of the
weight: small GEMMs show what an overhead is. Tiles are tried one after another on a part of the rows. GEMMs of
the sizes of models for OCR weigh sixteen times as much. A constant that rows say nothing of stays at its usual value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from modelmeter import kernel_classes as classes
from modelmeter.calibration.kernel_rows import NOWHERE, KernelRows
from modelmeter.devices.kernel_time import CONSTANTS, SECONDS, DeviceRates, Errors
from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Number

#: errors far above this hardly pull; those far above the other, while the search is far away
_USUAL: Final = 0.05
_FAR: Final = 0.5
_OCR_WEIGHT: Final = 16.0
#: of GEMMs whose weights the cache may hold: they show what a small one takes
_WARM_WEIGHT: Final = 0.1
#: what a constant costs that is e times its usual value, or a part of it
_STAYS: Final = 0.002
#: rows that a class needs to be fitted, and those that tiles are tried on
LEAST_ROWS: Final = 20
_TRIED_ROWS: Final = 3000

#: where the search begins
_START: Final[Mapping[str, float]] = {
    "overhead_s": 8e-6,
    "matmul": 0.7,
    "exponentials": 0.05,
    "bandwidth": 0.8,
    "overlap": 0.3,
    "chain": 0.1,
    "waves": 0.35,
    "tile_half": 6.0,
    "activations": 1.0,
    "misaligned": 1.5,
    "l2_share": 0.5,
    "l2_speed": 2.0,
    "tile_s": 3e-6,
    "key_s": 2e-9,
    "grouped_key_s": 5e-10,
    "split_s": 2e-6,
    "bytes_per_flop": 0.03,
    "elements_per_flop": 0.005,
    "vector": 0.3,
    "depth_s": 8e-9,
    "own_s": 4e-6,
    "stage_s": 3e-6,
    "own_bandwidth": 0.6,
    "hop_s": 1.5e-6,
    "short_bandwidth": 0.3,
    "long_s": 1.5e-5,
}
#: classes whose operands lie in the cache where they were just written
_MOVING: Final = (classes.ELEMENTWISE, classes.COPY, classes.STRIDED)
_NO_CACHE: Final[Mapping[str, float]] = {"l2_share": 0.0, "l2_speed": 1.0}
#: and in a class whose kernels are others: plain copies are as fast as memory
_START_OF: Final[Mapping[str, Mapping[str, float]]] = {classes.COPY: {"bytes_per_flop": 0.3}}
#: constants that are no less than 1
_FACTORS: Final = ("l2_speed", "misaligned")
#: tiles that are tried
_TILES: Final[Mapping[str, Mapping[str, Sequence[int]]]] = {
    classes.GEMM: {"tile": (64, 128)},
    classes.MOE: {"few": (8, 16), "tile_least": (32, 64), "tile": (64, 128)},
    classes.CONTEXT_ATTENTION: {"tile_rows": (64, 128, 192), "tile_rows_wide": (64, 128), "tile_keys": (64, 128)},
    classes.ENCODER_ATTENTION: {"tile_rows": (64, 128, 192), "tile_rows_wide": (128,), "tile_keys": (64, 128)},
}

Array = Any
Values = dict[str, float]


def predicted(values: Mapping[str, float], rates: DeviceRates, rows: KernelRows) -> Array:
    """Seconds of each row by the constants of its class."""
    arguments: dict[str, Any] = dict(rows.sizes)
    if rows.kernel_class == classes.GEMM:
        arguments["resident"] = np.where(rows.cold(rates.l2_bytes), 0.0, rows.resident)
    elif rows.kernel_class == classes.GENERATION_ATTENTION:
        arguments["resident"] = rows.resident
    elif rows.kernel_class in (classes.CONTEXT_ATTENTION, classes.ENCODER_ATTENTION):
        arguments["causal"] = rows.kernel_class == classes.CONTEXT_ATTENTION
    elif rows.kernel_class in _MOVING:
        arguments["cached"] = rows.resident != NOWHERE
    return SECONDS[rows.kernel_class](values, rates, **arguments)


def bound(rates: DeviceRates, rows: KernelRows) -> Array:
    """Seconds of each row by the roofline as it is: peaks in full, all scores counted, nothing for a launch."""
    sizes = rows.sizes
    if "batch" not in sizes:
        nbytes = sizes["nbytes"] if "nbytes" in sizes else sizes["weight_bytes"] + sizes["activation_bytes"]
        return np.maximum(sizes.get("flops", 0) / rates.peak, nbytes / rates.bandwidth)
    queries = sizes.get("length", 1)
    keys = sizes.get("keys", queries + sizes.get("before", 0))
    flops = 4 * sizes["batch"] * sizes["heads"] * queries * keys * sizes["head_dim"]
    moved = sizes["heads"] * queries + sizes["kv_heads"] * keys
    return np.maximum(flops / rates.peak, 4 * sizes["batch"] * moved * sizes["head_dim"] / rates.bandwidth)


def errors_of(times: Array, rows: KernelRows) -> Errors:
    """How far predicted times are from the measured ones."""
    sizes = abs(times / rows.seconds - 1)
    return Errors(rows=len(sizes), median=float(np.median(sizes)), p90=float(np.quantile(sizes, 0.9)))


def fitting_rows(rows: KernelRows, rates: DeviceRates) -> KernelRows:
    """The rows that a class is fitted on: not held out, and cold where the class reads weights."""
    return rows.where(~rows.held_out & _cold(rows, rates))


def unseen_rows(rows: KernelRows, rates: DeviceRates) -> KernelRows:
    """The rows that tell the error of a class's constants: held out, and cold where the class reads weights."""
    return rows.where(rows.held_out & _cold(rows, rates))


def _cold(rows: KernelRows, rates: DeviceRates) -> Array:
    if rows.kernel_class in (classes.GEMM, classes.MOE):
        return rows.cold(rates.l2_bytes)
    return np.ones(len(rows.seconds), dtype=bool)


def fit_class(rows: KernelRows, rates: DeviceRates) -> Values:
    """The constants of a class; raises `ModelMeterError` where there are too few rows for them."""
    cold = fitting_rows(rows, rates)
    if len(cold.seconds) < LEAST_ROWS:
        raise ModelMeterError(
            f"fit: {len(cold.seconds)} rows of {rows.kernel_class} are usable (bfloat16, cold, not held out); it takes "
            f"{LEAST_ROWS}."
        )
    values = fit_rows(cold, rates)
    if rows.kernel_class == classes.GEMM:
        every = rows.where(~rows.held_out)
        if not every.cold(rates.l2_bytes).all():  # else no row shows what the cache gives
            tiles = {key: values[key] for key in _TILES[classes.GEMM]}
            free = [key for key in CONSTANTS[classes.GEMM] if key in _START]
            begin = values | {key: _START[key] for key in _NO_CACHE}
            _, values = _minimised(every, rates, free, tiles, begin, steps=60)
    return {key: _rounded(key, values[key]) for key in CONSTANTS[rows.kernel_class]}


def fit_rows(cold: KernelRows, rates: DeviceRates) -> Values:
    """The constants of a class by all of the rows, as of a pass: no weight lies in the L2 cache."""
    name = cold.kernel_class
    free = [key for key in CONSTANTS[name] if key in _START]
    unseen = name == classes.GEMM or bool((cold.resident == NOWHERE).all())  # what the cache gives, no row shows
    fixed: Values = {key: value for key, value in _NO_CACHE.items() if unseen and key in CONSTANTS[name]}
    free = [key for key in free if key not in fixed]
    tried = cold.where(np.arange(len(cold.seconds)) % max(1, len(cold.seconds) // _TRIED_ROWS) == 0)
    best: tuple[float, Values] | None = None
    choices = _TILES.get(name, {})
    for tiles in product(*choices.values()):
        chosen = fixed | dict(zip(choices, map(float, tiles), strict=True))
        cost, values = _minimised(tried, rates, free, chosen, {}, steps=20 if choices else 0)
        if best is None or cost < best[0]:
            best = cost, values
    assert best is not None
    tiles_of = {key: best[1][key] for key in choices}
    _, values = _minimised(cold, rates, free, fixed | tiles_of, best[1], steps=60)
    return {key: _rounded(key, values[key]) for key in CONSTANTS[name]}


#: constants that are no share at 0
_SHARES: Final = ("matmul", "bandwidth", "exponentials", "vector", "own_bandwidth", "short_bandwidth")


def _rounded(key: str, value: float) -> float:
    """Four digits; what is next to nothing is nothing."""
    smallest = 1e-14 if key.endswith("_s") else 1e-6
    return 0.0 if value < smallest and key not in _SHARES else float(f"{value:.4g}")


def _limits(name: str, key: str) -> tuple[float, float]:
    kind = CONSTANTS[name][key]
    assert isinstance(kind, Number)
    return float(kind.least), float(kind.most)


def _minimised(
    rows: KernelRows, rates: DeviceRates, free: Sequence[str], fixed: Mapping[str, float], start: Values, *, steps: int
) -> tuple[float, Values]:
    """The least cost and its constants; `free` are searched, from `start` or the usual beginning."""
    name = rows.kernel_class
    limits = [_limits(name, key) for key in free]
    shift = np.array([1.0 if key in _FACTORS else 0.0 for key in free])
    weights = 1 + (_OCR_WEIGHT - 1) * rows.ocr
    if name == classes.GEMM:
        weights = np.where(rows.cold(rates.l2_bytes), weights, _WARM_WEIGHT)
    weights = weights / weights.sum()
    measured = np.log(rows.seconds)

    def constants(point: Array) -> Values:
        found = np.exp(point) + shift
        return dict(fixed) | {
            key: float(min(max(value, least), most))
            for key, value, (least, most) in zip(free, found, limits, strict=True)
        }

    def residuals(point: Array) -> Array:
        return np.log(predicted(constants(point), rates, rows)) - measured

    usually = {**_START, **_START_OF.get(name, {})}
    usual = np.log(np.array([usually[key] for key in free]) - shift)
    begin = np.log(np.maximum(np.array([start.get(key, usually[key]) for key in free]) - shift, 1e-14))
    found = []
    for widths in ((_USUAL,), (_FAR, _USUAL)):  # straight, and by way of where rows far off pull too
        point = begin
        for width in widths:
            point = _gauss_newton(residuals, point, usual, weights, width, steps)
        found.append((_cost(residuals(point), weights, point - usual, _USUAL), constants(point)))
    return min(found, key=lambda each: each[0])


def _cost(residuals: Array, weights: Array, away: Array, width: float) -> float:
    return float((weights * np.log1p((residuals / width) ** 2)).sum() + _STAYS * (away**2).sum())


def _gauss_newton(
    residuals: Callable[[Array], Array], point: Array, usual: Array, weights: Array, width: float, steps: int
) -> Array:
    """The point where the cost of `residuals` is least, near `point`."""
    here = residuals(point)
    cost, damping = _cost(here, weights, point - usual, width), 1e-2
    for _ in range(steps):
        slopes = np.empty((len(here), len(point)))
        for column in range(len(point)):
            moved = point.copy()
            moved[column] += 1e-4
            slopes[:, column] = (residuals(moved) - here) / 1e-4
        pull = weights / (here**2 + width**2)
        curvature = slopes.T @ (slopes * pull[:, None]) + _STAYS * np.eye(len(point))
        gradient = slopes.T @ (here * pull) + _STAYS * (point - usual)
        scale = np.diag(np.diag(curvature) + 1e-9 * np.trace(curvature) + 1e-12)
        for _ in range(8):
            step = np.clip(-np.linalg.solve(curvature + damping * scale, gradient), -1, 1)
            there = residuals(point + step)
            new = _cost(there, weights, point + step - usual, width)
            if new < cost:
                break
            damping *= 4
        else:
            return point
        gained = cost - new
        point, here, cost, damping = point + step, there, new, max(damping / 5, 1e-7)
        if gained < 1e-6 * cost:
            return point
    return point
