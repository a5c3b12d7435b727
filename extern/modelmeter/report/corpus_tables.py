"""The cost of a corpus as rich tables and the lines around them, and as what JSON carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final

from modelmeter.corpus.sources import Notes
from modelmeter.corpus.totals import PERCENTILES, CorpusCost, Group
from modelmeter.errors import ModelMeterError
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import Show, figures_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.corpus.sizes import CorpusSizes


#: rows of the distributions: measure, words for it, unit
MEASURES: Final = (
    ("views", "views", ""),
    ("image_tokens", "image tokens", ""),
    ("output_tokens", "decode steps", ""),
    ("tensor_core_flops", "tensor-core FLOPs", ""),
    ("io_bytes", "traffic", "B"),
    ("kv_bytes", "KV cache at the end", "B"),
    ("activation_peak_bytes", "activation peak", "B"),
)

#: figures of an assumption that these tables do not show
NOT_SHOWN: Final = ("reserve_bytes",)

#: layouts that the table shows: grids of tiles are fewer, grids of patches are thousands
MAX_LAYOUTS: Final = 100

#: groups that the table shows, and that JSON lists
MAX_GROUPS: Final = 1000
MAX_JSON_GROUPS: Final = 10_000

#: suffixes of files not read that are named
MAX_SUFFIXES: Final = 10

#: lines about pages left out; the others are counted
MAX_LINES: Final = 20


def pages_line(cost: CorpusCost, sources: Sequence[str]) -> str:
    """How many pages there are, where they come from, and what was not read."""
    pages = cost.everything.totals.pages
    parts = [f"{pages:,} page{'s' * (pages != 1)} from {', '.join(sources)}"]
    if cost.left_out:
        parts.append(f"{cost.left_out:,} left out")
    return "; ".join([*parts, *not_read(cost.notes)])


def not_read(notes: Notes) -> Iterator[str]:
    """Files of folders that are of other kinds, by suffix, if there are any; the most frequent first."""
    found = sorted(notes.not_read.items(), key=lambda item: (-item[1], item[0]))
    if found:
        named = ", ".join(f"{suffix} {count:,}" for suffix, count in found[:MAX_SUFFIXES])
        more = sum(count for _, count in found[MAX_SUFFIXES:])
        yield f"files not read: {named}{f', others {more:,}' if more else ''}"


def hint_lines(notes: Notes) -> Iterator[str]:
    """What a user may have meant."""
    if notes.unused_count is not None:
        yield f"hint: {notes.unused_count}: column count is not used; --count count takes it as pages a row"


def distribution_table(group: Group, show: Show) -> Fitting:
    """What a page costs, over the pages: a row a measure."""
    table = figures_table("a page", "smallest", *(f"{percent} %" for percent in PERCENTILES), "largest", "mean")
    for name, words, unit in MEASURES:
        measure = group.distribution(name)
        values = (measure.smallest, *measure.percentiles.values(), measure.largest)
        table.add_row(
            words, *(show(value, unit) for value in values), _mean(measure.total, group.totals.pages, unit, show)
        )
    return Fitting(table=table)


def _mean(total: int, pages: int, unit: str, show: Show) -> str:
    mean = Fraction(total, pages)
    return f"{float(mean):.1f} {unit}".rstrip() if mean < 1000 else show(round(mean), unit)


def parts_table(first: str, parts: Mapping[str, Group], show: Show) -> Fitting:
    """Groups of pages one below the other. KV cache: of the largest page."""
    everything = sum(group.totals.pages for group in parts.values())
    table = figures_table(
        first,
        "pages",
        "share",
        "views",
        "image\ntokens",
        "vision\nFLOPs",
        "prefill\nFLOPs",
        "decode\nFLOPs",
        "traffic",
        "KV cache\nat the end",
    )
    for name, group in parts.items():
        totals = group.totals
        table.add_row(
            name,
            f"{totals.pages:,}",
            f"{100 * totals.pages / everything:.2f} %",
            show(totals.views, ""),
            show(totals.image_tokens, ""),
            *(show(stage.tensor_core_flops, "") for stage in (totals.vision, totals.prefill, totals.decode)),
            show(totals.total.io_bytes, "B"),
            show(totals.total.kv_bytes, "B"),
        )
    return Fitting(table=table, spare=("views", "vision FLOPs", "share"))


def corpus_tables(cost: CorpusCost, group: str | None, show: Show) -> Iterator[RenderableType | Fitting]:
    """The distributions, the layouts, and the groups if pages are grouped by `group`."""
    workload = cost.workload
    yield distribution_table(cost.everything, show)
    yield ""
    layouts = {workload.layout_text(key): part for key, part in cost.layouts.items()}
    yield from _largest_parts(workload.layout_title, layouts, MAX_LAYOUTS, "layouts", show)
    if group is not None:
        yield ""
        groups = {_group_name(group, name): part for name, part in cost.groups.items()}
        yield from _largest_parts(group, groups, MAX_GROUPS, "groups", show)
    yield ""
    yield "FLOPs in these tables are those of the tensor cores."


def _largest_parts(
    first: str, parts: Mapping[str, Group], most: int, words: str, show: Show
) -> Iterator[RenderableType | Fitting]:
    """The table of some groups of pages; where there are more than `most`, of those with the most pages."""
    if len(parts) > most:
        largest = nlargest(most, parts, key=lambda name: parts[name].totals.pages)
        yield f"The {most:,} {words} with the most pages, of {len(parts):,}; shares are of these pages."
        parts = {name: parts[name] for name in largest}
    yield parts_table(first, parts, show)


def left_out_lines(cost: CorpusCost | CorpusSizes) -> Iterator[str]:
    """The first pages left out, and how many more there are."""
    for each in cost.listed[:MAX_LINES]:
        yield f"left out: {each}"
    more = cost.left_out - min(len(cost.listed), MAX_LINES)
    if more:
        yield f"left out: {more:,} more"


def corpus_content(cost: CorpusCost, group: str | None) -> dict[str, Any]:
    """For JSON: everything, by layout, by group, and what was left out."""
    content: dict[str, Any] = {"left_out": {"pages": cost.left_out, "listed": [each._asdict() for each in cost.listed]}}
    content["files_not_read"] = dict(cost.notes.not_read)
    content |= _group_content(cost.everything)
    content["layouts"] = [
        {"layout": dict(zip(cost.workload.layout_columns, layout, strict=True)), **_group_content(part)}
        for layout, part in cost.layouts.items()
    ]
    if group is not None and len(cost.groups) > MAX_JSON_GROUPS:
        raise ModelMeterError(
            f"corpus: {group} has {len(cost.groups):,} different values, and JSON lists {MAX_JSON_GROUPS:,} groups at "
            "most; group by a column with fewer, or take --rows and group those."
        )
    if group is not None:
        content["groups"] = [{"group": name, **_group_content(part)} for name, part in cost.groups.items()]
    return content


def _group_content(group: Group) -> dict[str, Any]:
    distributions = {name: asdict(group.distribution(name)) for name in group.pages_by_value}
    return group.totals.as_dict() | {"distributions": distributions}


def _group_name(group: str, name: str | None) -> str:
    return f"(no {group})" if name is None else name
