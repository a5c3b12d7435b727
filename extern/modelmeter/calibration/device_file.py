"""A fit as a device file: what `devices.load_device` reads, with the fit's residuals and its circumstances as comments.

Measured figures are written with six digits. Where the peaks are another device file's, they and its link are written
as they stand there, with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from modelmeter.calibration.fit import Fit, Peaks, Residual
from modelmeter.calibration.kernel_file import completed, fit_tables, kernels_content
from modelmeter.calibration.kernel_judgement import PEAK
from modelmeter.calibration.kernel_rows import KernelTable
from modelmeter.devices.collectives import link_content
from modelmeter.devices.device import MEASURED, Device
from modelmeter.devices.kernel_time import DeviceRates, KernelConstants
from modelmeter.errors import ModelMeterError

_DIGITS: Final = 6


#: a device's peaks, by the keys of its file
PEAKS: Final = ("matmul_flops_per_s", "vector_flops_per_s", "memory_bandwidth_bytes_per_s")


def peaks_of(device: Device) -> Peaks:
    """The peaks of a described device, without efficiencies."""
    return Peaks(
        matmul=device.matmul_flops_per_s,
        vector=device.vector_flops_per_s,
        bandwidth=device.memory_bandwidth_bytes_per_s,
    )


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a GPU reports of itself, beside its memory."""

    multiprocessors: int
    l2_bytes: int


def fitted_kernels(
    table: KernelTable, fit: Fit, card: Card, known: Device | None, source: str
) -> dict[str, KernelConstants]:
    """The constants of every class of kernels, by the figures that the device's file has.

    Of a class with too few rows they are those of the device whose peaks the fit has; without one there are none.
    """
    try:
        found = fit_tables([table], _rates(fit, card), source)[0] if PEAK in fit.peaks.matmul else {}
    except ModelMeterError:  # no class has rows enough
        found = {}
    return found if known is None else completed(found, known)


def _rates(fit: Fit, card: Card) -> DeviceRates:
    return DeviceRates(
        peak=float(fit.peaks.matmul[PEAK]),
        bandwidth=float(fit.peaks.bandwidth),
        vector=float(fit.peaks.vector),
        processors=card.multiprocessors,
        l2_bytes=card.l2_bytes,
    )


def device_content(
    fit: Fit,
    *,
    name: str,
    kind: str,
    memory_bytes: int,
    where: str,
    known: Device | None = None,
    card: Card | None = None,
    kernels: Mapping[str, KernelConstants] | None = None,
) -> dict[str, Any]:
    """What the device's file says. kind: gpu or cpu. where: how it was measured. known: whose peaks the fit has."""
    peaks = fit.peaks
    reported = {} if card is None else vars(card)
    measured = ["memory_bytes", *reported]
    sources = []
    if known is None:
        measured += PEAKS
    else:
        for source in known.sources:
            figures = [figure for figure in source.figures if figure.partition(".")[0] in (*PEAKS, "link")]
            if figures:
                entry = {"figures": figures, "document": source.document, "where": source.where}
                sources.append(entry | ({"url": source.url} if source.url else {}))
    sources.append({"figures": measured, "document": "measured by modelmeter calibrate", "where": where})
    rate = _rounded if known is None else float
    return {
        "name": name,
        "title": f"{name}, measured" if known is None else f"{name}, measured against the peaks of {known.name}",
        "kind": kind,
        "matmul_flops_per_s": {peak: rate(each) for peak, each in peaks.matmul.items()},
        "vector_flops_per_s": rate(peaks.vector),
        "memory_bandwidth_bytes_per_s": rate(peaks.bandwidth),
        "memory_bytes": memory_bytes,
        **({} if known is None or known.link is None else {"link": link_content(known.link)}),
        "efficiency": {
            part: {"factor": _rounded(share), "origin": MEASURED}
            for part, share in (("matmul", fit.matmul), ("vector", fit.vector), ("bandwidth", fit.bandwidth))
        },
        "kernel_launch": {"seconds": _rounded(fit.launch_s), "origin": MEASURED},
        **reported,
        **({"kernels": kernels_content(kernels)} if kernels else {}),
        "sources": sources,
    }


def device_text(content: Mapping[str, Any], fit: Fit, notes: Sequence[str]) -> str:
    """The file: `notes` and the residuals as comments, then the content."""
    import yaml

    lines = [*notes, *fit_lines(fit)]
    comments = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    body: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=110)
    return comments + body


def fit_lines(fit: Fit) -> list[str]:
    """How well the fit tells the times that it was made of, a line a GEMM, the longest of a page's first."""
    residuals = sorted(fit.residuals, key=lambda each: -each.product.seconds * each.product.count)
    lines = [
        f"{len(residuals)} GEMMs; measured less fitted time, as a share of the fitted: median size "
        f"{float(fit.median_error):.1%}, all of a page's together {float(fit.total_error):+.1%}"
    ]
    if not fit.compute_bound:
        lines.append("compute bounds no GEMM of the page: the share of the matmul peak is the best one of any probe")
    lines.append(f"{'a page':>7} {'bound':>7} {'measured us':>13} {'fitted us':>13} {'error':>8}  GEMM")
    return [*lines, *(_line(each) for each in residuals)]


def _line(residual: Residual) -> str:
    product = residual.product
    return (
        f"{product.count or 'probe':>7} {residual.bound:>7} {_microseconds(product.seconds):>13} "
        f"{_microseconds(residual.predicted_s):>13} {float(residual.error):>+8.1%}  {product.peak} {product.name}"
    )


def _microseconds(seconds: Fraction) -> str:
    return f"{float(seconds * 10**6):,.1f}"


def _rounded(value: Fraction) -> float:
    return float(f"{float(value):.{_DIGITS}g}")
