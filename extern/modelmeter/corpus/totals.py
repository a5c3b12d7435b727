"""Totals and distributions of a corpus, exact: counts by layout times the integers of one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from modelmeter.corpus.sources import Notes
from modelmeter.corpus.tally import Cell, LeftOut, Tally
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import CorpusModel, Layout
from modelmeter.models.common.totals import Totals

#: percentiles of a distribution, beside its smallest and largest value
PERCENTILES: Final = (50, 90, 99)

#: what is distributed over the pages, from one page's totals
MEASURES: Final[Mapping[str, Callable[[Totals], int]]] = MappingProxyType(
    {
        "views": lambda page: page.views,
        "image_tokens": lambda page: page.image_tokens,
        "output_tokens": lambda page: page.output_tokens,
        "tensor_core_flops": lambda page: page.total.tensor_core_flops,
        "io_bytes": lambda page: page.total.io_bytes,
        "kv_bytes": lambda page: page.total.kv_bytes,
        "activation_peak_bytes": lambda page: page.total.activation_peak_bytes,
    }
)


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A measure over pages: percentiles by nearest rank, so that each value is some page's."""

    smallest: int
    percentiles: Mapping[int, int]
    largest: int
    total: int

    @classmethod
    def of_values(cls, pages_by_value: Mapping[int, int]) -> Distribution:
        """Of `pages_by_value`: how many pages have each value."""
        ordered = sorted(pages_by_value.items())
        pages = sum(pages_by_value.values())
        percentiles = {}
        for percent in PERCENTILES:
            rank = -(-percent * pages // 100)
            for value, count in ordered:
                rank -= count
                if rank <= 0:
                    percentiles[percent] = value
                    break
        return cls(
            smallest=ordered[0][0],
            percentiles=percentiles,
            largest=ordered[-1][0],
            total=sum(value * count for value, count in ordered),
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some pages: their totals, and for every measure how many pages have each of its values."""

    totals: Totals
    pages_by_value: Mapping[str, Mapping[int, int]]

    @classmethod
    def of_pages(cls, pages: Sequence[tuple[Totals, int]]) -> Group:
        """Pages, each a number of times."""
        pages_by_value: dict[str, Counter[int]] = {name: Counter() for name in MEASURES}
        for page, times in pages:
            for name, measure in MEASURES.items():
                pages_by_value[name][measure(page)] += times
        return cls(totals=Totals.of_pages(pages), pages_by_value=pages_by_value)

    @classmethod
    def of_groups(cls, groups: Iterable[Group]) -> Group:
        """Groups together."""
        parts = list(groups)
        pages_by_value: dict[str, Counter[int]] = {name: Counter() for name in MEASURES}
        for part in parts:
            for name, counts in part.pages_by_value.items():
                pages_by_value[name].update(counts)
        totals = Totals.of_pages([(part.totals, 1) for part in parts])
        return cls(totals=totals, pages_by_value=pages_by_value)

    def distribution(self, measure: str) -> Distribution:
        """How a measure, a name in `MEASURES`, is distributed over the pages."""
        return Distribution.of_values(self.pages_by_value[measure])


@dataclass(frozen=True, kw_only=True)
class CorpusCost:
    """A corpus: all pages, the pages of each layout and of each group, what was left out, and the counts themselves.

    workload: by whose rule the layouts are cut. notes: what was seen and not taken.
    """

    workload: Any
    everything: Group
    layouts: Mapping[Layout, Group]
    groups: Mapping[str | None, Group]
    left_out: int
    listed: tuple[LeftOut, ...]
    cells: Mapping[Cell, int]
    notes: Notes = field(default_factory=Notes, compare=False)


def corpus_cost(tally: Tally, model: CorpusModel, notes: Notes | None = None) -> CorpusCost:
    """The cost of what was tallied; raises `ModelMeterError` if no page was counted."""
    if not tally.pages:
        if not tally.left_out:
            raise ModelMeterError("corpus: there is no page to count; give images, PDFs, or tables that have rows.")
        raise ModelMeterError(
            f"corpus: there is no page to count ({tally.left_out} left out; the first: {tally.listed[0]})"
        )
    # In the order of layout and steps, so that equal peaks are named the same however the pages came.
    cells = sorted(tally.pages, key=lambda cell: (cell.layout, cell.decode_steps, cell.group or ""))
    one_page: dict[tuple[Layout, int], Totals] = {}
    for cell in cells:
        pair = cell.layout, cell.decode_steps
        if pair not in one_page:
            one_page[pair] = Totals.of_page(model.layout_cost(*pair), cell.decode_steps)

    by_layout: dict[Layout, list[Cell]] = {}
    by_group: dict[str | None, list[Cell]] = {}
    for cell in cells:
        by_layout.setdefault(cell.layout, []).append(cell)
        by_group.setdefault(cell.group, []).append(cell)

    @cache  # of many groups most are alike: a page or two of a layout
    def of_counts(counts: tuple[tuple[Layout, int, int], ...]) -> Group:
        return Group.of_pages([(one_page[layout, steps], pages) for layout, steps, pages in counts])

    def group(chosen: Sequence[Cell]) -> Group:
        return of_counts(tuple((cell.layout, cell.decode_steps, tally.pages[cell]) for cell in chosen))

    layouts = {layout: group(chosen) for layout, chosen in by_layout.items()}
    everything = Group.of_groups(layouts.values())
    names = sorted(by_group, key=lambda name: (name is None, name or ""))
    return CorpusCost(
        workload=model.workload,
        everything=everything,
        layouts=layouts,
        groups={name: group(by_group[name]) if len(names) > 1 else everything for name in names},
        left_out=tally.left_out,
        listed=tuple(tally.listed),
        cells=dict(tally.pages),
        notes=notes or Notes(),
    )
