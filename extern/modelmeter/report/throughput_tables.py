"""What devices make of pages, as rich tables and as content for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from modelmeter.devices import NOT_MODELLED, Device, Throughput
from modelmeter.devices.collectives import DIRECT, HOST, PEER, Link, link_content
from modelmeter.devices.device import PEAK_TYPES
from modelmeter.devices.throughput import BOUND, ESTIMATE, Figure, KindTime
from modelmeter.memory import MIB, amount
from modelmeter.models.common.engines import BEST, SERVED_BY
from modelmeter.quantities import estimated, number
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines

#: figures that stand together in a result's table; all others are results, or efficiencies
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "memory": (
        "devices",
        "batch_size",
        "weight_bytes",
        "cache_bytes",
        "activation_bytes",
        "kv_pool_tokens",
        "max_model_len_sequences",
        "max_num_seqs",
        "load_bytes",
        "memory_bytes",
        "reserve_bytes",
    ),
    "pages": ("pages", "output_tokens", "runaway_share", "runaway_cost"),
    "given": ("host_s", "host_workers", "kernel_launch_s", "price_per_hour"),
}
#: between a stage and a class of kernels in the name of a figure
_SHARE: Final = "_share_"
#: origins of figures that have no more than three digits
_ESTIMATES: Final = (ESTIMATE, BOUND)

_GB: Final = 10**9
_TERA: Final = 10**12


def devices_table(devices: Sequence[Device]) -> Fitting:
    """A row a device: memory as it reports it and in GB, bandwidth and peaks in powers of ten."""
    peaks = PEAK_TYPES
    table = figures_table(
        "device",
        "memory\nMiB",
        "memory\nGB",
        "bandwidth\nTB/s",
        *(f"{peak}\nTFLOP/s" for peak in peaks),
        "vector\nTFLOP/s",
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
    types = ("tf32", "int8", "fp4", "fp8", "fp16")
    spare = ("memory GB", "vector TFLOP/s", *(f"{peak} TFLOP/s" for peak in types))
    return Fitting(table=table, spare=spare)


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
        ("link", "not given" if device.link is None else _link_words(device.link)),
        *(
            (f"matmul {peak}", f"{number(float(rate))} FLOP/s, dense")
            for peak, rate in device.matmul_flops_per_s.items()
        ),
        ("vector", f"{number(float(device.vector_flops_per_s))} FLOP/s"),
        *(
            (f"efficiency {name}", f"{number(float(efficiency.factor))} ({efficiency.origin})")
            for name, efficiency in device.efficiency.items()
        ),
        ("kernel launch", launch),
        ("price an hour", price),
        *(
            ("source", f"{', '.join(source.figures)}: {source.document}, {source.where} {source.url}".rstrip())
            for source in device.sources
        ),
    )


#: what the kinds of links are
_OF_LINKS: Final[Mapping[str, str]] = {
    DIRECT: "from device to device",
    PEER: "through the host, from memory to memory",
    HOST: "by way of the host's memory",
}


def _link_words(link: Link) -> str:
    each = f" to each of {link.peers} others" if link.peers > 1 else ""
    rate = number(float(link.bandwidth_bytes_per_s))
    return f"{link.name}, {rate} bytes/s one way{each}, {_OF_LINKS[link.kind]}"


#: how published runs compare, in a line, and of which model how many figures are; written with reports/published.md
PUBLISHED_FILE: Final = Path(str(resources.files(__package__) / "published_runs.json"))


def published_runs(model: str) -> str:
    """In a line, how far predictions lay from what others published; of which models, where most are not of `model`."""
    runs = json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))
    told, of_models = runs["told"], runs["figures"]
    own = of_models.get(model, 0)
    if own == max(of_models.values()):
        return str(told)
    others = ", ".join(f"{count} of {name}" for name, count in of_models.items() if name != model)
    return f"{told}; of these figures {own or 'none'} {'is' if own < 2 else 'are'} of {model}, {others}"


def result_table(result: Throughput) -> Fitting:
    """Every figure of one device but the shares of its stages, with its interval, its unit and its origin."""
    table = figures_table("figure", "value", "low", "high", "unit", "origin")
    table.columns[4].justify = table.columns[5].justify = "left"
    figures = [figure for figure in result.figures() if _SHARE not in figure.name]
    names = [figure.name for figure in figures[1:]]
    for figure, following in zip(figures, [*names, ""], strict=True):
        table.add_row(*_cells(figure, bound=result.bound), end_section=_group_of(following) != _group_of(figure.name))
    return Fitting(table=table, folding=("unit",))


def shares_table(result: Throughput) -> Fitting:
    """What a prefill and a decode step spend their time on: a row a class of kernels, the largest first."""
    shares: dict[str, dict[str, Figure]] = {}
    for figure in result.figures():
        stage, share, name = figure.name.partition(_SHARE)
        if share:
            shares.setdefault(name, {})[stage] = figure
    stages = list(dict.fromkeys(stage for of in shares.values() for stage in of))
    origins = sorted({figure.origin for of in shares.values() for figure in of.values()})
    table = figures_table(f"share of the time ({', '.join(origins)})", *stages)
    for name, of in shares.items():
        table.add_row(name, *(estimated(of[stage].value) if stage in of else "-" for stage in stages))
    return Fitting(table=table)


def _group_of(name: str) -> str:
    """The group of a figure's name."""
    if name.startswith("efficiency_"):
        return "given"
    return next((group for group, names in _GROUPS.items() if name in names), "results")


def _cells(figure: Figure, *, bound: bool) -> tuple[str, ...]:
    """An estimate with both ends of its interval, a bound as one, a count with its digits."""
    if figure.low is None or figure.high is None:
        shown = estimated if figure.origin in _ESTIMATES else number
        return figure.name, shown(figure.value), "", "", figure.unit, figure.origin
    if bound:
        most = "at most" if figure.unit.endswith("/s") or figure.unit == "pages/day" else "at least"
        return figure.name, estimated(figure.value), "", "", figure.unit, f"{figure.origin}: {most}"
    ends = (estimated(figure.low), estimated(figure.high))
    return figure.name, estimated(figure.value), *ends, figure.unit, figure.origin


def concurrency_table(results: Mapping[str, Throughput]) -> Fitting:
    """Closed loops, a row a device: what a benchmark of its server would print."""
    table = figures_table(
        "in flight", "requests/s", "low", "high", "output\ntokens/s", "ttft\ns", "tpot\nms", "latency\ns"
    )
    for name, result in results.items():
        if result.concurrency is None:
            continue
        figures = {figure.name: figure for figure in result.concurrency.figures(result.origin)}
        rate, tpot = figures["requests_per_s"], figures.get("tpot_s")
        table.add_row(
            f"{result.concurrency.in_flight} on {name}",
            *(estimated(each or 0.0) for each in (rate.value, rate.low, rate.high)),
            estimated(figures["output_tokens_per_s"].value),
            estimated(figures["ttft_s"].value),
            "-" if tpot is None else estimated(float(tpot.value) * 1000),
            estimated(figures["latency_s"].value),
        )
    return Fitting(table=table, spare=("latency s",))


def kinds_table(result: Throughput) -> Fitting:
    """The kinds of pages of one device, a row for those of one label; figures are those of their average page."""
    decoded = "decode\ntokens" if result.yields_several else "decode\nsteps"
    table = figures_table("pages", "count", "prefill\ntokens", decoded, "prefill\ns", "decode\ns", "pages/s")
    labelled: dict[str, list[KindTime]] = {}
    for kind in result.kinds:
        labelled.setdefault(kind.label, []).append(kind)
    for label, kinds in labelled.items():
        count = sum(kind.count for kind in kinds)
        tokens, said = (
            Fraction(sum(getattr(kind, measure) * kind.count for kind in kinds), count)
            for measure in ("seq_len", "output_tokens")
        )
        prefill, decode, page = (
            sum(getattr(kind, measure) * kind.count for kind in kinds) / count
            for measure in ("prefill_s", "decode_s", "page_s")
        )
        cells = (
            number(_as_number(tokens)),
            number(_as_number(said)),
            *map(estimated, (prefill, decode, result.pages_per_request / page)),
        )
        table.add_row(label, f"{count:,}", *cells)
    return Fitting(table=table)


def _as_number(value: Fraction) -> float:
    return value.numerator if value.denominator == 1 else float(value)


def kinds_line(result: Throughput) -> str:
    """The pages in words."""
    pages = f"{result.pages:,} pages" if result.pages > 1 else "1 page"
    said = "tokens of decode steps" if result.yields_several else "decode steps"
    return f"{pages}, {number(result.output_tokens)} {said} a page, after the prefill's own token"


def engine_line(engine: str, *, default: bool) -> tuple[str, str]:
    """Which engine serves the pages, and whether anybody asked for it."""
    told = engine
    if default:
        why = "" if engine == SERVED_BY else f", since what {SERVED_BY} launches for this model is not written down"
        told = f"{engine}, the default here{why}; engine=NAME takes another"
    if engine == BEST:
        return "engine", f"{told}: the least that any could take, so rates are at most these, times at least"
    return "engine", told


def comparison_table(results: Mapping[str, Throughput | str]) -> Fitting:
    """Devices side by side; a device without a result has its reason below the table."""
    priced = any(not isinstance(each, str) and each.cost_per_1000_pages is not None for each in results.values())
    table = figures_table(
        "device",
        "continuous\nbatch",
        "pages\na day",
        "low",
        "high",
        "output\ntokens/s",
        "ttft\nms",
        "tpot\nms",
        "limited\nby",
    )
    if priced:
        table.add_column(Text("cost of\n1000 pages"), justify="right", no_wrap=True)
    for name, result in results.items():
        if isinstance(result, str):
            table.add_row(name, *["-"] * (len(table.columns) - 1))
            continue
        tpot = result.tpot_s
        days = [estimated(each) for each in result.interval("pages_per_day")] if result.output_tokens else ["-"] * 3
        if result.bound:
            days[1:] = ["-"] * 2
        cells = [
            str(result.batch_size),
            *days,
            estimated(result.output_tokens_per_s),
            estimated(result.ttft_s * 1000),
            "-" if tpot is None else estimated(tpot * 1000),
            result.limited_by.partition(",")[0],
        ]
        if priced:
            cost = result.cost_per_1000_pages
            cells.append("-" if cost is None else estimated(cost))
        table.add_row(name, *cells)
    return Fitting(table=table, spare=("output tokens/s", "continuous batch"))


def reason_lines(results: Mapping[str, Throughput | str]) -> Table:
    """Why devices have no result."""
    return label_lines(*((name, reason) for name, reason in results.items() if isinstance(reason, str)))


def rest_lines(model: str, result: Throughput, smallest: str | None) -> Table:
    """The smallest device for a model, what is assumed, how published runs compare, and what is not modelled."""
    return label_lines(
        ("smallest", f"bundled device that runs one such page at a time: {smallest or 'none'}"),
        *(("assumed", sentence) for sentence in result.assumptions()),
        ("published", published_runs(model)),
        *(("not modelled", sentence) for sentence in NOT_MODELLED),
    )


def device_content(device: Device) -> dict[str, Any]:
    """A device as JSON: numbers, efficiencies with their origins, sources."""
    return {
        "name": device.name,
        "title": device.title,
        "kind": device.kind,
        "matmul_flops_per_s": {peak: float(rate) for peak, rate in device.matmul_flops_per_s.items()},
        "vector_flops_per_s": float(device.vector_flops_per_s),
        "memory_bandwidth_bytes_per_s": float(device.memory_bandwidth_bytes_per_s),
        "memory_bytes": device.memory_bytes,
        "link": None if device.link is None else link_content(device.link),
        "efficiency": {
            name: {"factor": float(efficiency.factor), "origin": efficiency.origin}
            for name, efficiency in device.efficiency.items()
        },
        "kernel_launch": {
            "seconds": None if device.kernel_launch_s is None else float(device.kernel_launch_s),
            "origin": device.kernel_launch_origin,
        },
        "price_per_hour": None if device.price_per_hour is None else float(device.price_per_hour),
        "sources": [vars(source) | {"figures": list(source.figures)} for source in device.sources],
    }


def _content(figure: Figure) -> dict[str, Any]:
    """A figure; an estimate with the ends of its interval."""
    ends = {} if figure.low is None else {"low": figure.low, "high": figure.high}
    return {"value": figure.value, **ends, "unit": figure.unit, "origin": figure.origin}


def throughput_content(result: Throughput) -> dict[str, Any]:
    """A result as JSON: figures with unit and origin, kinds of pages, assumptions; the same of pages that end."""
    without = result.without_runaway
    return {
        "device": result.device.name,
        "figures": {figure.name: _content(figure) for figure in result.figures()},
        "concurrency": None
        if result.concurrency is None
        else {"in_flight": result.concurrency.in_flight}
        | {figure.name: _content(figure) for figure in result.concurrency.figures(result.origin)},
        "kinds": [
            {
                "label": kind.label,
                "count": kind.count,
                "prefill_tokens": kind.seq_len,
                "output_tokens": float(kind.output_tokens),
                "prefill_s": kind.prefill_s,
                "decode_s": kind.decode_s,
                "page_s": kind.page_s,
            }
            for kind in result.kinds
        ],
        "without_runaway": None if without is None else throughput_content(without),
        "assumptions": list(result.assumptions()),
    }
