"""The pages of a report by layout: those of one layout and as many decode steps cost the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from modelmeter.devices import Device, PageKind, Throughput, compute_throughput
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import CostModel, PageCost
from modelmeter.models.common.vram import Vram
from modelmeter.page_sizes import PageSize
from modelmeter.report.document import Quantity


class ReportPage(NamedTuple):
    """Pages of one size: how many times there is one, and the decode steps of each."""

    size: PageSize
    times: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True)
class LayoutPages:
    """Pages of one layout and as many decode steps: the first of them, how many, the cost and the memory of each."""

    first: PageSize
    count: int
    output_tokens: int
    cost: PageCost
    vram: Vram


def pages_by_layout(model: CostModel, pages: Sequence[ReportPage], device_kind: str) -> list[list[LayoutPages]]:
    """The pages by layout, the layout of most pages first; raises `ModelMeterError` for a page that has no cost.

    device_kind: of the device that the memory is needed on.
    """
    costs: dict[tuple[int, int, int], PageCost] = {}
    first: dict[tuple[int, ...], dict[int, PageSize]] = {}
    counts: Counter[tuple[tuple[int, ...], int]] = Counter()
    for page, times, steps in pages:
        asked = page.width, page.height, steps
        if asked not in costs:
            try:
                costs[asked] = model.page(*asked)
            except ModelMeterError as error:
                raise ModelMeterError(f"page {page.source}: {error}") from error
        layout = tuple(costs[asked].layout._asdict().values())
        first.setdefault(layout, {}).setdefault(steps, page)
        counts[layout, steps] += times
    layouts = [
        [
            LayoutPages(
                first=page,
                count=counts[layout, steps],
                output_tokens=steps,
                cost=costs[page.width, page.height, steps],
                vram=model.vram(page.width, page.height, steps, device_kind=device_kind),
            )
            for steps, page in by_steps.items()
        ]
        for layout, by_steps in first.items()
    ]
    return sorted(layouts, key=lambda kinds: -page_count(kinds))


def page_count(kinds: Iterable[LayoutPages]) -> int:
    """Pages of some kinds."""
    return sum(kind.count for kind in kinds)


def summed(kinds: Iterable[LayoutPages], figure: Callable[[LayoutPages], int]) -> int:
    """A figure of each page, over all pages."""
    return sum(kind.count * figure(kind) for kind in kinds)


def mean(kinds: Sequence[LayoutPages], figure: Callable[[LayoutPages], int], unit: str = "") -> Quantity:
    """A figure of the mean page; an integer where all pages have the same."""
    exact = Fraction(summed(kinds, figure), page_count(kinds))
    return Quantity(exact.numerator if exact.denominator == 1 else float(exact), unit)


def throughput(
    model: CostModel,
    device: Device,
    layouts: Sequence[Sequence[LayoutPages]],
    price_per_hour: float | None,
    *,
    batch_size: int | None = None,
) -> Throughput | str:
    """What a device makes of the pages, or why it cannot. batch_size: None for the most that fit."""
    pages = [
        PageKind(
            page=kinds[0].cost,
            output_tokens={kind.output_tokens: kind.count for kind in kinds},
            count=page_count(kinds),
            label=kinds[0].first.source,
        )
        for kinds in layouts
    ]
    try:
        return compute_throughput(model, device, pages, price_per_hour=price_per_hour, batch_size=batch_size)
    except ModelMeterError as error:
        return str(error)
