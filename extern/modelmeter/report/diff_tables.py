"""Two costs of a page side by side, as rich tables and as content for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from modelmeter.comparison import SUMS, Change
from modelmeter.devices import StageTime
from modelmeter.models.common.page_text import FIGURES
from modelmeter.models.common.stage_cost import STAGES, WITH_TOTAL
from modelmeter.report.calibration_tables import milliseconds
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import Show, figures_table, label_lines

#: stages in which a figure is compared; a figure that is not here is not
COMPARED: Final[Mapping[str, Sequence[str]]] = {
    "tensor_core_flops": WITH_TOTAL,
    "cuda_core_flops": WITH_TOTAL,
    "io_bytes": WITH_TOTAL,
    "activation_peak_bytes": STAGES,
    "kv_bytes": ("total",),
    "weight_bytes": ("total",),
}
_SIDES: Final = ("A", "B", "B - A", "change")


def configuration_lines(differences: Iterable[tuple[str, Any, Any]]) -> Table:
    """What the two were asked for, where that differs."""
    lines = [(key, f"{_plain(one)} -> {_plain(other)}") for key, one, other in differences]
    return label_lines(*(lines or [("configuration", "the same")]))


def tokens_table(a: Mapping[str, Any], b: Mapping[str, Any], layout_words: Mapping[str, str]) -> Table:
    """How the pages are cut, tokens and positions."""
    table = figures_table("", *_SIDES)
    for name, one, other in token_rows(a, b, layout_words):
        table.add_row(name, f"{one:,}", f"{other:,}", *_change(one, other, lambda value, _: f"{value:,}", ""))
    return table


def token_rows(
    a: Mapping[str, Any], b: Mapping[str, Any], layout_words: Mapping[str, str]
) -> list[tuple[str, int, int]]:
    """(what, A's, B's) of two pages' JSON content. layout_words: what the numbers of a layout are called.

    Of two models those are compared that both have.
    """

    def sides(*keys: str) -> tuple[int, int]:
        values = [a, b]
        for key in keys:
            values = [value[key] for value in values]
        return int(values[0]), int(values[1])  # type: ignore[call-overload]

    both = a["layout"].keys() & b["layout"].keys()
    return [
        *((words, *sides("layout", name)) for name, words in layout_words.items() if name in both),
        ("image tokens", *sides("tokens", "total")),
        ("prefill tokens", *sides("prefill_tokens")),
    ]


def stage_rows(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """(figure, stage, A's, B's) of two pages' JSON content, but for what is 0 in both."""
    return [
        (figure, stage, int(a["stages"][stage][figure]), int(b["stages"][stage][figure]))
        for figure, stages in COMPARED.items()
        for stage in stages
        if int(a["stages"][stage][figure]) or int(b["stages"][stage][figure])
    ]


def stages_table(a: Mapping[str, Any], b: Mapping[str, Any], show: Show) -> Fitting:
    """A row a figure and stage."""
    words = {figure: (name.strip(), unit) for figure, name, unit in FIGURES}
    table = figures_table("", "stage", *_SIDES)
    table.columns[1].justify = "left"
    last = ""
    for figure, stage, one, other in stage_rows(a, b):
        name, unit = words[figure]
        label = "" if figure == last else name
        table.add_row(label, stage, show(one, unit), show(other, unit), *_change(one, other, show, unit))
        last = figure
    return Fitting(table=table)


def times_table(a: Mapping[str, StageTime], b: Mapping[str, StageTime]) -> Table:
    """Predicted time by stage, in milliseconds."""
    table = figures_table("predicted ms", *_SIDES)
    for stage, one in a.items():
        other = b[stage]
        delta = other.seconds - one.seconds
        share = f"{delta / one.seconds:+.1%}" if one.ticks else "-"
        table.add_row(
            stage,
            milliseconds(one.seconds),
            milliseconds(other.seconds),
            f"{'-' if delta < 0 else '+'}{milliseconds(abs(delta))}" if delta else "0",
            share if delta else "same",
        )
    return table


def peak_lines(a: Mapping[str, Any], b: Mapping[str, Any]) -> Table:
    """The module and operator that reach each stage's activation peak first, in both."""
    lines = [("activation peak at", "")]
    for stage in STAGES:
        one, other = (_peak(each["stages"][stage]) for each in (a, b))
        lines.append((f"  {stage}", one if one == other else f"{one} -> {other}"))
    return label_lines(*lines)


def operators_table(changes: Sequence[Change], top: int, show: Show, *, timed: bool) -> Fitting:
    """The first `top` changes, and the others together."""
    table = figures_table(
        "stage",
        "module",
        "operator",
        "run, A",
        "run, B",
        "tensor-core\nFLOPs",
        "vector\nFLOPs",
        "traffic",
        *(("predicted\nms",) if timed else ()),
    )
    table.columns[1].justify = table.columns[2].justify = "left"
    for change in changes[:top]:
        counts = (f"{change.a.count:,}", f"{change.b.count:,}")
        _add(table, (change.stage, change.path or "-", change.aten, *counts), [change], show, timed)
    rest = changes[top:]
    if rest:
        _add(table, ("", f"{len(rest)} more", "", "", ""), rest, show, timed)
    table.add_section()
    _add(table, ("all", "", "", "", ""), changes, show, timed)
    return Fitting(table=table, spare=("run, A", "run, B", "vector FLOPs"), folding=("module", "operator"))


def _add(table: Table, names: Sequence[str], changes: Sequence[Change], show: Show, timed: bool) -> None:
    cells = [
        signed(sum(change.delta(figure) for change in changes), show, unit)
        for figure, unit in zip(SUMS, ("", "", "B"), strict=True)
    ]
    if timed:
        seconds = float(sum(change.seconds for change in changes))
        cells.append(f"{'-' if seconds < 0 else '+'}{milliseconds(abs(seconds))}" if seconds else "0")
    table.add_row(*names, *cells)


def change_content(change: Change, *, timed: bool) -> dict[str, Any]:
    """For JSON: a group's figures on both sides, and B less A."""
    content: dict[str, Any] = {"stage": change.stage, "path": change.path, "aten": change.aten}
    content["count"] = {"a": change.a.count, "b": change.b.count}
    for figure in SUMS:
        one, other = (int(getattr(each.cost, figure)) for each in (change.a, change.b))
        content[figure] = {"a": one, "b": other, "delta": other - one}
    if timed:
        one_s, other_s = (float(each.seconds or 0) for each in (change.a, change.b))
        content["predicted_s"] = {"a": one_s, "b": other_s, "delta": float(change.seconds)}
    return content


def signed(value: int, show: Show, unit: str) -> str:
    """A difference with its sign; 0 as it is."""
    return "0" if not value else f"{'-' if value < 0 else '+'}{show(abs(value), unit)}"


def _change(one: int, other: int, show: Show, unit: str) -> tuple[str, str]:
    if one == other:
        return "0", "same"
    return signed(other - one, show, unit), f"{(other - one) / one:+.1%}" if one else "new"


def _peak(stage: Mapping[str, Any]) -> str:
    if not int(stage["activation_peak_bytes"]):
        return "none"
    return f"{stage['peak_path'] or 'between the layers'} ({stage['peak_operator']})"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "not set" if value is None else str(value)
