"""A report as blocks that no format is part of: texts, tables, trees of modules, charts. HTML, Markdown and JSON are
three ways to write the same blocks; a figure becomes text in one place, `Quantity.text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from modelmeter.quantities import estimated, exact, number, readable_seconds
from modelmeter.report.page_tables import readable_figure

SHARE: Final = "1"
"""Unit of a share, as of any figure without a dimension: its value is from 0 to 1, its text in percent."""

#: units that are written with the prefix of a power of ten
_PREFIXED: Final = ("B", "FLOPs", "B/s", "FLOP/s")


class Quantity(NamedTuple):
    """A figure, its unit, and the ends of its interval if it has one. An estimate is shown with three digits."""

    value: int | float
    unit: str = ""
    estimate: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """Four digits and a prefix for bytes, FLOPs and seconds; counts with all digits; three of an estimate."""
        if self.unit == SHARE:
            return share_text(self.value)
        if self.unit == "s":
            return readable_seconds(self.value, digits=3 if self.estimate else 4)
        if self.estimate:
            return f"{estimated(self.value)} {self.unit}".rstrip()
        if self.unit in _PREFIXED:
            return readable_figure(round(self.value), self.unit)
        return f"{number(self.value)} {self.unit}".rstrip()

    @property
    def ends(self) -> str:
        """The interval in words; empty without one.

        >>> Quantity(0.5, "s", True, 0.4, 0.6).ends
        '400 ms to 600 ms'
        """
        if self.low is None or self.high is None:
            return ""
        low, high = (Quantity(each, self.unit, self.estimate).text for each in (self.low, self.high))
        return f"{low} to {high}"

    @property
    def digits(self) -> str:
        """All digits, and the unit."""
        value = exact(self.value) if isinstance(self.value, int) else repr(self.value)
        return f"{value} {'of 1' if self.unit == SHARE else self.unit}".rstrip()


#: what stands in a table: a figure, words, or nothing
Cell = Quantity | str | None


def share_text(share: float) -> str:
    """A share of 1 in percent.

    >>> share_text(0.20819), share_text(0.0049), share_text(0.00001), share_text(0.0), share_text(1.0)
    ('20.8 %', '0.49 %', '< 0.01 %', '0 %', '100 %')
    """
    if not share:
        return "0 %"
    if share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.2f} %" if share < 0.01 else f"{100 * share:.3g} %"


def holds_figures(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[bool]:
    """For each column whether figures stand in it."""
    return [any(isinstance(row[index], Quantity) for row in rows) for index in range(len(columns))]


def cell_text(cell: Cell) -> str:
    """A cell in words."""
    if cell is None or isinstance(cell, str):
        return "-" if cell is None else cell
    return f"{cell.text} ({cell.ends})" if cell.ends else cell.text


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its key in JSON, its title, where its figures come from, and whether it holds code (paths, names)."""

    key: str
    title: str
    origin: str = ""
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph. lead: the one that says the most, in larger letters."""

    text: str
    lead: bool = False


class Item(NamedTuple):
    """A label and what stands beside it: its key in JSON, and where it comes from."""

    key: str
    label: str
    cell: Cell
    origin: str = ""


#: how pairs are laid out: one below the other, side by side as facts, or as large figures
LIST: Final = "pairs"
FACTS: Final = "facts"
TILES: Final = "tiles"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Labels, and what stands beside each, laid out as LIST, FACTS or TILES."""

    key: str
    items: Sequence[Item]
    title: str = ""
    layout: str = LIST


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells. A table may be sorted by any of its columns unless its rows are parts of one another."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    sortable: bool = True


@dataclass(frozen=True, kw_only=True)
class Node:
    """A module: its cells, the operators that it runs itself, its submodules. Submodules and operators sum to it."""

    name: str
    cells: Sequence[Cell]
    operators: Sequence[Sequence[Cell]]
    children: Sequence[Node]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Modules within modules; the first column is the module's name."""

    key: str
    title: str
    columns: Sequence[Column]
    operator_columns: Sequence[Column]
    nodes: Sequence[Node]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture as SVG, what it shows in words, and the figures that were drawn."""

    key: str
    title: str
    svg: str
    caption: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Charts that are folded away under a line that says what they are."""

    title: str
    charts: Sequence[Chart]


Block = Text | Pairs | Table | Tree | Chart | Fold


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report under one heading."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Title, a line on what the report is of, and its sections."""

    title: str
    subject: str
    sections: Sequence[Section] = field(default_factory=tuple)
