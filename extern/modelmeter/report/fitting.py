"""Tables that fit a terminal: what a narrow one goes without, and how its columns move together.

A table that is too wide puts its columns closer; then it leaves out those that it can spare, in the order in which they
are named; then it folds the names in its first column, or the columns that may fold. Digits are never cut off: a table
that is still too wide stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

_NO_LIMIT: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A table, the heads of the columns that it can spare, the first to go first, and of those that fold.

    Heads in a tuple go together: an interval is never left with one of its ends.
    """

    table: Table
    spare: Sequence[str | tuple[str, ...]] = ()
    folding: Sequence[str] = ()

    def at(self, width: int) -> Iterator[RenderableType]:
        """The table for a terminal of some columns, and what it leaves out there."""
        table, whole = self.table, _width(self.table)
        columns = list(table.columns)
        left_out: list[str] = []
        if whole > width:
            table.collapse_padding = True
        for spared in self.spare:
            heads = {spared} if isinstance(spared, str) else set(spared)
            going = [_head(column) for column in table.columns if _head(column) in heads]
            if going and _width(table) > width:
                _keep(table, [column for column in table.columns if _head(column) not in heads])
                left_out += going
        if _width(table) > width and not self._fold(width):
            _keep(table, columns)  # nothing helps, so nothing is left out
            left_out = []
        yield table
        if left_out:
            yield Text(f"Left out in {width} columns: {'; '.join(left_out)}; COLUMNS={whole} shows all, --json too.")

    def _fold(self, width: int) -> bool:
        """Fold columns until the table is as wide as the terminal, if that is possible."""
        columns = self.table.columns
        folding = [column for column in columns if _head(column) in self.folding] or columns[:1]
        natural = [max(map(_cell_width, column.cells), default=0) for column in folding]
        room = width - (_width(self.table) - sum(natural))
        least = [min(_LEAST, max(map(_word_width, column.cells), default=0)) for column in folding]
        if room < sum(least):
            return False
        for column, needed, fewest in zip(folding, natural, least, strict=True):
            column.no_wrap, column.overflow = False, "fold"
            column.width = max(fewest, room * needed // sum(natural))
        return True


#: characters that a column folds into at least, unless its longest word has fewer
_LEAST: Final = 16

_WIDE: Final = Console(width=_NO_LIMIT)


def _width(table: Table) -> int:
    return Measurement.get(_WIDE, _WIDE.options, table).maximum


def _keep(table: Table, columns: Sequence[Column]) -> None:
    """Let a table have these of its columns alone."""
    table.columns = [replace(column, _index=index) for index, column in enumerate(columns)]


def _cell_width(cell: RenderableType) -> int:
    return max(map(cell_len, str(cell).split("\n")))


def _word_width(cell: RenderableType) -> int:
    return max(map(cell_len, str(cell).split()), default=0)


def _head(column: Column) -> str:
    """A column's head in one line."""
    return " ".join(str(column.header).split())
