"""Which rows are worth a choice: published quality beside each, and those that no other beats in quality and in cost.

A row has what was published of its checkpoint in its mode; a figure whose source names no mode stands with the
checkpoint's own mode alone. Rows without one of the two figures take no part, nor do those whose cost is not that of
what was found to read so well (`Row.aside`). Two versions of a benchmark are two, and one is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from modelmeter import quality
from modelmeter.compare.rows import MODE, UNDECLARED, Result
from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.engines import BEST
from modelmeter.search import efficient
from modelmeter.sweep import DEVICE, MODEL, Point

if TYPE_CHECKING:
    from modelmeter.quality import Quality

#: what stands for cost, the first of them that some row has
MONEY: Final = "cost_per_1000_pages"
COSTS: Final = (MONEY, "page_s", "total_tensor_core_flops")


@dataclass(frozen=True, kw_only=True)
class Row(Point):
    """A row with what was published of its model, by benchmark; efficient: whether no other row beats it.

    aside: why its cost is not to be held against that of others; None: it may be.
    """

    published: Mapping[str, Quality]
    aside: str | None = None
    efficient: bool = False


class Choice(NamedTuple):
    """Rows side by side. benchmark, cost: by which two some are efficient; None where no row has such a figure."""

    result: Result
    rows: Sequence[Row]
    benchmark: str | None
    cost: str | None

    @property
    def benchmarks(self) -> list[str]:
        """All that a row has a figure of."""
        return quality.columns([each for row in self.rows for each in row.published.values()])


def choose(result: Result, benchmark: str | None = None) -> Choice:
    """The rows with what was published, and which of them are efficient.

    benchmark: whose figures are looked at; None: that of which most models have one, of equal ones most of others'.
    """
    rows = [
        Row(
            settings=row.settings,
            figures=row.figures,
            refused=row.refused,
            published=_published(result, row),
            aside=_aside(row, bounds=len(result.engines) > 1),
        )
        for row in result.rows
    ]
    models = _models_with(rows)
    if benchmark is None:
        benchmark = max(models, key=lambda name: models[name], default=None)
    elif benchmark not in quality.benchmarks():
        raise ModelMeterError(
            f"compare: --quality {benchmark}: there is no such benchmark; {near(benchmark, quality.benchmarks())}"
        )
    elif benchmark not in models:
        raise ModelMeterError(
            f"compare: --quality {benchmark}: nobody published a figure of these models in their modes; there are "
            f"figures of {', '.join(models) or 'none'}."
        )
    cost = next((name for name in COSTS if any(name in row.figures for row in rows)), None)
    if benchmark is None or cost is None:
        return Choice(result, rows, benchmark, cost)
    numbers = [number for number, row in enumerate(rows) if takes_part(row, benchmark, cost)]
    # seconds of one device are no cost beside those of another
    devices = [None if cost == MONEY else row.settings.get(DEVICE) for row in rows]
    falls = quality.benchmarks()[benchmark].parts[quality.benchmarks()[benchmark].headline] == "lower"
    chosen: set[int] = set()
    for device in dict.fromkeys(devices):
        beside = [number for number in numbers if devices[number] == device]
        points = [
            (rows[each].figures[cost], (1 if falls else -1) * rows[each].published[benchmark].value) for each in beside
        ]
        chosen |= {number for number, best in zip(beside, efficient(points), strict=True) if best}
    rows = [replace(row, efficient=number in chosen) for number, row in enumerate(rows)]
    return Choice(result, rows, benchmark, cost)


def _models_with(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """How many models have a figure of each benchmark, and how many one that is not their vendor's."""
    found = {}
    for name in quality.benchmarks():
        by = {row.settings[MODEL]: row.published[name].measured_by for row in rows if name in row.published}
        if by:
            found[name] = len(by), sum(who == quality.INDEPENDENT for who in by.values())
    return found


def _published(result: Result, row: Point) -> dict[str, Quality]:
    """By benchmark, the one figure that a row has."""
    name, mode = row.settings[MODEL], row.settings[MODE]
    checkpoint = result.checkpoints.get(name, name)
    found = {each: quality.headline(checkpoint, each, mode) for each in quality.benchmarks()}
    own = result.own_modes.get(name) == mode
    return {benchmark: each for benchmark, each in found.items() if each is not None and (own or each.mode is not None)}


def _aside(row: Point, *, bounds: bool) -> str | None:
    """Why a row is no match for others. bounds: whether the times of some are bounds, and of others estimates."""
    if row.figures.get("regions") == UNDECLARED:
        return "no regions are declared (workload.regions), so one pass is counted"
    if row.figures.get("precision"):
        return f"what was published is of weights and a cache of 16 bits, and this is {row.figures['precision']}"
    if row.figures.get("pages_refused"):
        return "some pages are refused"
    if row.figures.get("pages_cut"):
        return "the output of some pages is cut off"
    if bounds and row.figures.get("engine") == BEST:
        return "times are bounds, of no engine"
    return None


def takes_part(row: Row, benchmark: str, cost: str) -> bool:
    """Whether a row has both figures, and may be held against others."""
    return row.aside is None and row.refused is None and cost in row.figures and benchmark in row.published
