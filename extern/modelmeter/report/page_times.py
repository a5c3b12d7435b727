"""How long a device takes for pages, in the lines of a page's screen: a page alone, and as many at once as fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.devices import NOT_MODELLED, Device, PageKind, Throughput, compute_throughput
from modelmeter.devices.throughput import BOTH
from modelmeter.memory import GIB
from modelmeter.quantities import estimated, readable_seconds
from modelmeter.report.throughput_tables import published_runs

if TYPE_CHECKING:
    from modelmeter.devices.stage_time import StageTimes
    from modelmeter.models.common.contract import CostModel
    from modelmeter.report.page_rows import Row

#: units of seconds, and how many make one
_A_SECOND: Final[Mapping[str, float]] = MappingProxyType({"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9})


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """What a device makes of the pages: of one alone, and of as many at once as fit."""

    device: Device
    alone: Throughput
    most: Throughput


def on_device(model: CostModel, times: StageTimes, rows: Sequence[Row], output_tokens: int) -> OnDevice:
    """Times of pages on the device of `times`."""
    return kinds_on_device(
        model,
        times,
        [PageKind(page=row.page, output_tokens=output_tokens, count=row.count, label=row.size.source) for row in rows],
    )


def kinds_on_device(model: CostModel, times: StageTimes, kinds: Sequence[PageKind[Any]]) -> OnDevice:
    """The same of kinds of pages and prompts."""
    alone, most = (
        compute_throughput(model, times.device, kinds, batch_size=batch, float32=times.float32, times=times)
        for batch in (1, None)
    )
    return OnDevice(device=times.device, alone=alone, most=most)


def time_lines(found: OnDevice, engine: str, output_tokens: int) -> list[tuple[str, str]]:
    """Seconds of a page alone, and pages a second of as many as fit. engine: which, in words."""
    alone, most = found.alone, found.most
    kind = "bounds: times at least, rates at most" if alone.bound else "estimates (low-high)"
    label = " (regions: assumed)" if alone.regions_prepared else ""
    parts = [f"host {readable_seconds(alone.host_s, 3)}{label}"] if alone.host_s else []
    parts.append(f"prefill {readable_seconds(alone.prefill_s, 3)}")
    if output_tokens:
        parts.append(f"decode {readable_seconds(alone.decode_s, 3)}")
    mean = "the average alone" if alone.pages > 1 else "alone"
    at_once = f"{most.batch_size:,} at once" if most.batch_size > 1 else "one after another"
    limit = "" if most.limited_by == BOTH else f", limited by {most.limited_by}"
    day = f", {estimated(most.pages_per_day)} a day" if output_tokens else " of prefill alone"
    rate = f"{_interval(most, 'pages_per_s')} pages/s{day}{limit}"
    lines = [
        ("time", f"on {found.device.name}, engine {engine}; {kind}"),
        ("", f"{mean} {_seconds(alone, 'page_latency_s')} = {' + '.join(parts)}"),
        ("", f"{at_once}: {rate}"),
    ]
    if alone.pages > 1:
        longer = "" if most.fills_batch else "; so few never fill a batch, so they take longer"
        lines.append(("", f"all {most.pages:,} pages at that rate {_seconds(most, 'corpus_s')}{longer}"))
    return lines


def _seconds(result: Throughput, name: str) -> str:
    """Seconds with their interval, in the unit of the estimate."""
    _, unit = readable_seconds(getattr(result, name), 3).split()
    return f"{_interval(result, name, _A_SECOND[unit])} {unit}"


def _interval(result: Throughput, name: str, scale: float = 1.0) -> str:
    """A figure and both ends of its interval, each so many times; a bound has none."""
    value, *ends = (
        f"{scale * each:#.3g}".rstrip(".") if each * scale < 1000 else estimated(scale * each)
        for each in result.interval(name)
    )
    return value if result.bound or len({value, *ends}) == 1 else f"{value} ({'-'.join(ends)})"


def fits_text(found: OnDevice) -> str:
    """How many pages the device holds at once, or fewer that its engine runs."""
    device, most = found.device, found.most
    fit = "it fits"
    if most.batch_size > 1:
        limited = most.batch_size == most.limits.max_num_seqs
        at_once = "fit, the engine's most at once (engine.max_num_seqs)" if limited else "fit at once"
        fit = f"{most.batch_size:,} pages {at_once}"
    return f"on {device.name} ({device.memory_bytes / GIB:.2f} GiB) {fit}"


def meaning_lines() -> list[tuple[str, str]]:
    """What the lines of times mean."""
    return [
        (
            "time",
            "the host, and the kernels of the engine's code, from constants of the engine's and the device's files",
        ),
        ("interval", "meant to hold nine of ten measured times; docs/throughput.md defines every figure"),
    ]


def behind_lines(model: str, found: OnDevice) -> list[tuple[str, str]]:
    """What times of a model rest on, and what they leave out."""
    return [
        *(("assumed", sentence) for sentence in found.most.assumptions()),
        ("published", published_runs(model)),
        *(("not modelled", sentence) for sentence in NOT_MODELLED),
    ]
