"""`read_sizes`: the sizes of a corpus, each with how many pages have it, read once and without a model.

    >>> sizes = read_sizes(["sizes.csv"], CorpusOptions())
    >>> sizes.widths, sizes.heights, sizes.counts

What several models cost on one corpus needs its sizes alone: each cuts the distinct ones (`modelmeter.compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from modelmeter.corpus.page_costs import read_sizes as sizes_of
from modelmeter.corpus.run import CorpusOptions, Reader
from modelmeter.corpus.sources import Notes, list_items
from modelmeter.corpus.tally import MAX_LISTED, LeftOut
from modelmeter.errors import ModelMeterError

Array = Any

_NAMES = ("group", "width", "height", "steps")


@dataclass(frozen=True, kw_only=True)
class CorpusSizes:
    """Distinct pages, an entry each: group, sides in pixels, decode steps, how many there are; what was left out."""

    groups: Sequence[str | None]
    widths: Array
    heights: Array
    steps: Array
    counts: Array
    left_out: int
    listed: tuple[LeftOut, ...]
    notes: Notes


def read_sizes(sources: Sequence[str], options: CorpusOptions) -> CorpusSizes:
    """The sizes of the pages of `sources`; raises `ModelMeterError` where there is none."""
    reader = Reader(options)
    found: list[pa.Table] = []
    left_out, listed = 0, list[LeftOut]()
    for item in list_items(sources, reader.notes):
        columns = reader.columns(item)
        for batch in reader.batches(item):
            sizes = sizes_of(batch, columns)
            good = sizes.errors.none_yet() & (sizes.counts > 0)  # rows may stand for no page
            for row, reason in sorted(sizes.errors.texts.items()):
                left_out += int(sizes.counts[row])
                if len(listed) < MAX_LISTED:
                    source, number = (batch.column(name)[row].as_py() for name in ("source", "page_number"))
                    listed.append(LeftOut(source, number, reason))
            group = batch.column("group") if "group" in batch.schema.names else pa.nulls(batch.num_rows, pa.string())
            arrays = [group.cast(pa.string()), *(pa.array(each) for each in sizes[:4])]
            found.append(_distinct(pa.table(arrays, names=[*_NAMES, "pages"]).filter(pa.array(good))))
    table = _distinct(pa.concat_tables(found)) if found else None
    if table is None or not table.num_rows:
        more = f" ({left_out:,} left out; the first: {listed[0]})" if left_out else ""
        raise ModelMeterError(f"corpus: there is no page to count{more}; give images, PDFs, or tables that have rows.")
    groups, *numbers = (table.column(name) for name in table.column_names)
    widths, heights, steps, counts = (np.asarray(each.to_numpy(), np.int64) for each in numbers)
    return CorpusSizes(
        groups=groups.to_pylist(),
        widths=widths,
        heights=heights,
        steps=steps,
        counts=counts,
        left_out=left_out,
        listed=tuple(listed),
        notes=reader.notes,
    )


def _distinct(table: pa.Table) -> pa.Table:
    """Equal pages as one, with their number together."""
    together = table.group_by(list(_NAMES), use_threads=False).aggregate([("pages", "sum")])
    return together.rename_columns([*_NAMES, "pages"])
