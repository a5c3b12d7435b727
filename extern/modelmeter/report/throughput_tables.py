"""What devices make of pages, as rich tables and as content for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from modelmeter.devices import BOUNDS, NOT_MODELLED, Device, Throughput
from modelmeter.devices.throughput import KindTime
from modelmeter.memory import MIB, amount
from modelmeter.report.page_tables import figures_table, label_lines
from modelmeter.report.quantities import number

#: the first figure of each group of a result's figures
_GROUPS: Final = ("prefill_share_compute", "batch_size", "pages", "derating_matmul")

_GB: Final = 10**9
_TERA: Final = 10**12


def devices_table(devices: Sequence[Device]) -> Table:
    """A row a device: memory as it reports it and in GB, bandwidth and peaks in powers of ten."""
    peaks = ("bf16", "fp16", "tf32", "fp32", "fp8", "int8")
    table = figures_table(
        "device",
        "memory\nMiB",
        "memory\nGB",
        "bandwidth\nTB/s",
        *(f"{peak}\nTFLOPS" for peak in peaks),
        "vector\nTFLOPS",
    )
    for device in devices:
        rates = [device.matmul_flops_per_s.get(peak) for peak in peaks]
        table.add_row(
            device.name,
            number(round(device.memory_bytes / MIB)),
            number(device.memory_bytes / _GB),
            number(float(device.memory_bandwidth_bytes_per_s / _TERA)),
            *("-" if rate is None else number(float(rate / _TERA)) for rate in rates),
            number(float(device.vector_flops_per_s / _TERA)),
        )
    return table


def device_lines(device: Device) -> Table:
    """Everything that a device's file says, with its sources."""
    launch = "not known, counted as 0"
    if device.kernel_launch_s is not None:
        launch = f"{number(float(device.kernel_launch_s))} s ({device.kernel_launch_origin})"
    price = "not given" if device.price_per_hour is None else number(float(device.price_per_hour))
    return label_lines(
        (device.name, device.title),
        ("kind", device.kind),
        ("memory", f"{device.memory_bytes:,} bytes: {device.memory_bytes // MIB:,} MiB, {amount(device.memory_bytes)}"),
        ("bandwidth", f"{number(float(device.memory_bandwidth_bytes_per_s))} bytes/s"),
        *(
            (f"matmul {peak}", f"{number(float(rate))} FLOPs/s, dense")
            for peak, rate in device.matmul_flops_per_s.items()
        ),
        ("vector", f"{number(float(device.vector_flops_per_s))} FLOPs/s"),
        *(
            (f"derating {name}", f"{number(float(derating.factor))} ({derating.origin})")
            for name, derating in device.derating.items()
        ),
        ("kernel launch", launch),
        ("price an hour", price),
        *(
            ("source", f"{', '.join(source.figures)}: {source.document}, {source.where} {source.url}".rstrip())
            for source in device.sources
        ),
    )


def result_table(result: Throughput) -> Table:
    """Every figure of one device, with its unit and its origin."""
    table = figures_table("figure", "value", "unit", "origin")
    table.columns[2].justify = table.columns[3].justify = "left"
    figures = result.figures()
    names = [figure.name for figure in figures[1:]]
    for figure, following in zip(figures, [*names, ""], strict=True):
        cells = (figure.name, number(figure.value), figure.unit, figure.origin)
        table.add_row(*cells, end_section=following in _GROUPS)
    return table


def kinds_table(result: Throughput) -> Table:
    """The kinds of pages of one device, a row for those of one label; figures are those of their average page."""
    table = figures_table("pages", "count", "prefill\ntokens", "output\ntokens", "prefill\ns", "decode\ns", "pages/s")
    labelled: dict[str, list[KindTime]] = {}
    for kind in result.kinds:
        labelled.setdefault(kind.label, []).append(kind)
    for label, kinds in labelled.items():
        count = sum(kind.count for kind in kinds)
        measures = ("seq_len", "output_tokens", "prefill_s", "decode_s", "page_s")
        tokens, said, prefill, decode, page = (
            Fraction(sum(getattr(kind, measure) * kind.count for kind in kinds), count) for measure in measures
        )
        cells = (tokens, said, prefill, decode, 1 / page)
        table.add_row(label, f"{count:,}", *(number(_as_number(each)) for each in cells))
    return table


def _as_number(value: Fraction) -> float:
    return value.numerator if value.denominator == 1 else float(value)


def kinds_line(result: Throughput) -> str:
    """The pages in words."""
    pages = f"{result.pages:,} pages" if result.pages > 1 else "1 page"
    return f"{pages}, {number(float(result.output_tokens))} output tokens a page"


def comparison_table(results: Mapping[str, Throughput | str]) -> Table:
    """Devices side by side; a device without a result has its reason below the table."""
    priced = any(not isinstance(each, str) and each.cost_per_1000_pages is not None for each in results.values())
    table = figures_table(
        "device", "continuous\nbatch", "pages\na day", "output\ntokens/s", "ttft\nms", "tpot\nms", "decode\nbound"
    )
    if priced:
        table.add_column(Text("cost of\n1000 pages"), justify="right", no_wrap=True)
    for name, result in results.items():
        if isinstance(result, str):
            table.add_row(name, *["-"] * (len(table.columns) - 1))
            continue
        tpot = result.tpot_s
        cells = [
            str(result.batch_size),
            number(float(result.pages_per_day)),
            number(float(result.output_tokens_per_s)),
            number(float(result.ttft_s * 1000)),
            "-" if tpot is None else number(float(tpot * 1000)),
            "-" if tpot is None else max(BOUNDS, key=lambda bound: result.share("decode", bound)),
        ]
        if priced:
            cost = result.cost_per_1000_pages
            cells.append("-" if cost is None else number(float(cost)))
        table.add_row(name, *cells)
    return table


def reason_lines(results: Mapping[str, Throughput | str]) -> Table:
    """Why devices have no result."""
    return label_lines(*((name, reason) for name, reason in results.items() if isinstance(reason, str)))


def rest_lines(result: Throughput, smallest: str | None) -> Table:
    """The smallest device, what is assumed, and what is not modelled."""
    return label_lines(
        ("smallest", f"bundled device that runs one such page at a time: {smallest or 'none'}"),
        *(("assumed", sentence) for sentence in result.assumptions()),
        *(("not modelled", sentence) for sentence in NOT_MODELLED),
    )


def device_content(device: Device) -> dict[str, Any]:
    """A device as JSON: numbers, deratings with their origins, sources."""
    return {
        "name": device.name,
        "title": device.title,
        "kind": device.kind,
        "matmul_flops_per_s": {peak: float(rate) for peak, rate in device.matmul_flops_per_s.items()},
        "vector_flops_per_s": float(device.vector_flops_per_s),
        "memory_bandwidth_bytes_per_s": float(device.memory_bandwidth_bytes_per_s),
        "memory_bytes": device.memory_bytes,
        "derating": {
            name: {"factor": float(derating.factor), "origin": derating.origin}
            for name, derating in device.derating.items()
        },
        "kernel_launch": {
            "seconds": None if device.kernel_launch_s is None else float(device.kernel_launch_s),
            "origin": device.kernel_launch_origin,
        },
        "price_per_hour": None if device.price_per_hour is None else float(device.price_per_hour),
        "sources": [vars(source) | {"figures": list(source.figures)} for source in device.sources],
    }


def throughput_content(result: Throughput) -> dict[str, Any]:
    """A result as JSON: figures with unit and origin, kinds of pages, assumptions; the same without runaway pages."""
    without = result.without_runaway
    return {
        "device": result.device.name,
        "figures": {
            figure.name: {"value": figure.value, "unit": figure.unit, "origin": figure.origin}
            for figure in result.figures()
        },
        "kinds": [
            {
                "label": kind.label,
                "count": kind.count,
                "prefill_tokens": kind.seq_len,
                "output_tokens": float(kind.output_tokens),
                "prefill_s": float(kind.prefill_s),
                "decode_s": float(kind.decode_s),
                "page_s": float(kind.page_s),
            }
            for kind in result.kinds
        ],
        "without_runaway": None if without is None else throughput_content(without),
        "assumptions": list(result.assumptions()),
    }
