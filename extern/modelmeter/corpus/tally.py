"""`Tally`: what is kept of a corpus while it is read: pages by group, layout and decode steps, and what was left out.

Its size depends on how many different cells there are, not on the pages. Everything else follows from it exactly, in
`totals`, as a page's cost depends on its layout and decode steps alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelmeter.corpus.page_costs import PAGE_COUNT
from modelmeter.errors import ModelMeterError, printable
from modelmeter.models.common.contract import Layout

#: cells that are counted; more are refused, since a column with that many values is no group
MAX_CELLS: Final = 1_000_000

#: pages left out that are listed with their reasons; the others are counted
MAX_LISTED: Final = 1000


class Cell(NamedTuple):
    """Pages that cost the same and are counted together. group: None where pages have none."""

    group: str | None
    layout: Layout
    decode_steps: int


class LeftOut(NamedTuple):
    """A page, or a file, that could not be counted."""

    source: str
    page_number: int | None
    error: str

    def __str__(self) -> str:
        where = self.source if self.page_number is None else f"{self.source}#{self.page_number}"
        named = self.error.startswith(f"page {printable(str(Path(self.source)))} ")
        return self.error if named else f"{where}: {self.error}"


@dataclass
class Tally:
    """Pages by cell; how many were left out, and the first of them."""

    pages: Counter[Cell] = field(default_factory=Counter)
    left_out: int = 0
    listed: list[LeftOut] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """Pages counted."""
        return self.pages.total()

    def add(self, summary: pa.Table) -> None:
        """Take in what `summarise` made of some pages."""
        _, *layout_columns, _ = _cell_columns(summary)
        for row in summary.to_pylist():
            if row["decode_steps"] is None:
                self.left_out += row["pages"]
                if row["error"] is not None and len(self.listed) < MAX_LISTED:
                    self.listed.append(LeftOut(row["source"], row["page_number"], row["error"]))
                continue
            layout = tuple([row[name] for name in layout_columns])
            self.pages[Cell(row["group"], layout, row["decode_steps"])] += row["pages"]
        if len(self.pages) > MAX_CELLS:
            raise ModelMeterError(
                f"corpus: more than {MAX_CELLS:,} different groups, layouts and numbers of output tokens; "
                "group by a column with fewer values."
            )

    def as_json(self) -> dict[str, Any]:
        """For `json`; `from_json` reads it back."""
        return {
            "pages": [[cell.group, *cell.layout, cell.decode_steps, count] for cell, count in self.pages.items()],
            "left_out": self.left_out,
            "listed": [list(each) for each in self.listed],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Tally:
        """The tally that `as_json` gave."""
        pages: Counter[Cell] = Counter()
        for group, *layout, steps, count in values["pages"]:
            pages[Cell(group, tuple(layout), steps)] = count
        return cls(pages, values["left_out"], [LeftOut(*each) for each in values["listed"]])


def _cell_columns(summary: pa.Table) -> list[str]:
    """The columns of a summary that tell cells apart: the group, the layout's numbers, the decode steps."""
    names = summary.column_names
    return names[: names.index("decode_steps") + 1]  # type: ignore[no-any-return]


def summarise(costs: pa.RecordBatch, layout_columns: Sequence[str]) -> pa.Table:
    """What a tally needs of a batch that `page_costs` gave: a row a cell, and a row a page left out.

    Of more than `MAX_LISTED` pages left out, a last row counts the others.
    """
    table = pa.Table.from_batches([costs])
    if PAGE_COUNT not in table.column_names:
        table = table.append_column(PAGE_COUNT, pa.repeat(pa.scalar(1, pa.int64()), table.num_rows))
    if "group" not in table.column_names:
        table = table.append_column("group", pa.nulls(table.num_rows, pa.string()))
    bad = np.flatnonzero(table.column("error").is_valid().to_numpy())
    cell = ["group", *layout_columns, "decode_steps"]
    cells = table.select([*cell, PAGE_COUNT])
    if bad.size:
        cells = cells.take(np.flatnonzero(table.column("error").is_null().to_numpy()))
    summary = cells.group_by(cell, use_threads=False).aggregate([(PAGE_COUNT, "sum")])
    of_cells = pa.schema([("group", pa.string()), *((name, pa.int64()) for name in (*cell[1:], "pages"))])
    counted = summary.rename_columns([*cell, "pages"]).cast(of_cells)
    counted = counted.filter(pc.greater(counted.column("pages"), 0))  # rows may stand for no page
    listed = table.take(bad[:MAX_LISTED]).select(["source", "page_number", "error", PAGE_COUNT])
    left_out = listed.rename_columns(["source", "page_number", "error", "pages"]).to_pylist()
    if bad.size > MAX_LISTED:
        left_out.append({"pages": sum(table.column(PAGE_COUNT).take(bad[MAX_LISTED:]).to_pylist())})
    whole = pa.schema([*of_cells, ("source", pa.string()), ("page_number", pa.int64()), ("error", pa.string())])
    return pa.concat_tables([counted, pa.Table.from_pylist(left_out, schema=whole)], promote_options="default").select(
        whole.names
    )
