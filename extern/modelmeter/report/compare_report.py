"""Models side by side as a report: the chart of quality against cost, all rows, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelmeter.compare.choice import Choice, Row
from modelmeter.quality import VENDOR
from modelmeter.report.compare_tables import (
    COLUMNS,
    assumptions_of,
    column_of,
    default_columns,
    facts,
    foot_lines,
    keys_of,
)
from modelmeter.report.document import Block, Cell, Column, Item, Pairs, Quantity, Report, Section, Table
from modelmeter.report.quality_chart import quality_chart
from modelmeter.sweep import MODEL

if TYPE_CHECKING:
    from modelmeter.report.document import Chart


def compare_report(choice: Choice, rows: Sequence[Row], subject: str, output: str) -> Report:
    """The report. subject: the pages; output: what they say, in words."""
    chart: Chart | None = quality_chart(choice)
    blocks: list[Block] = [
        Pairs(key="compared", items=[Item(key, label, text) for key, label, text in facts(choice, subject, output)])
    ]
    sections = [Section(key="compared", title="What is compared", blocks=blocks)]
    if chart is not None:
        sections.append(Section(key="chart", title="Quality against cost", blocks=[chart]))
    sections += [
        Section(key="models", title="Models", blocks=[_rows(choice, rows), *_reasons(rows)]),
        Section(key="published", title="Published quality", blocks=[_published(choice)]),
        Section(key="assumptions", title="What the figures rest on", blocks=[_assumptions(choice)]),
    ]
    return Report(title="ModelMeter comparison", subject=subject, sections=sections)


def _rows(choice: Choice, rows: Sequence[Row]) -> Table:
    keys = keys_of(choice.result)
    names = [name for name in default_columns(choice) if not name.endswith(("_low", "_high"))]
    columns = [
        *(Column(key=key, title=key, code=key == MODEL) for key in keys),
        Column(key="efficient", title="*"),
        *(Column(key=name, title=" ".join(column_of(name, choice).head.split())) for name in names),
    ]
    marks = " ".join(f"{label}: {text}." for label, text in foot_lines(choice))
    return Table(
        key="rows",
        title="A row a model, a mode and a device",
        columns=columns,
        rows=[
            [
                *(row.settings[key] for key in keys),
                "*" if row.efficient else "",
                *(_cell(choice, row, name) for name in names),
            ]
            for row in rows
        ],
        note=marks,
    )


def _cell(choice: Choice, row: Row, name: str) -> Cell:
    """A figure, with its interval where it has one; a published one with who measured it where that is the vendor."""
    if name in choice.benchmarks:
        figure = row.published.get(name)
        return None if figure is None else Quantity(figure.value, "v" if figure.measured_by == VENDOR else "")
    value, column = row.figures.get(name), COLUMNS[name]
    if value is None or isinstance(value, str):
        return value
    low, high = (row.figures.get(f"{name}_{end}") for end in ("low", "high"))
    ends = {} if low is None or high is None else {"low": low / column.scale, "high": high / column.scale}
    return Quantity(value / column.scale if column.scale != 1 else value, estimate=column.timed, **ends)


def _reasons(rows: Sequence[Row]) -> list[Block]:
    """Why rows lack figures."""
    refused = [row for row in rows if row.refused is not None]
    if not refused:
        return []
    keys = list(refused[0].settings)
    return [
        Table(
            key="refused",
            title="Why figures are missing",
            columns=[*(Column(key=key, title=key) for key in keys), Column(key="reason", title="reason")],
            rows=[[*(row.settings[key] for key in keys), row.refused] for row in refused],
        )
    ]


def _published(choice: Choice) -> Table:
    """Every figure that stands in a row, with its source."""
    figures = {
        (row.settings[MODEL], each.benchmark, each.mode): each for row in choice.rows for each in row.published.values()
    }
    return Table(
        key="published",
        title="Figures as they were published, each benchmark's version by itself",
        columns=[
            Column(key=key, title=title)
            for key, title in (
                ("model", "model"),
                ("benchmark", "benchmark"),
                ("value", "value"),
                ("better", "better"),
                ("mode", "mode"),
                ("measured_by", "measured by"),
                ("source", "source"),
                ("date", "date"),
                ("doubt", "doubt"),
            )
        ],
        rows=[
            [
                model,
                each.benchmark,
                Quantity(each.value),
                each.better,
                each.mode or "not said",
                each.measured_by,
                each.source,
                each.date,
                each.doubt,
            ]
            for (model, _, _), each in figures.items()
        ],
    )


def _assumptions(choice: Choice) -> Table:
    return Table(
        key="assumptions",
        title="What is declared, assumed or conventional",
        columns=[Column(key=key, title=key) for key in ("label", "figure", "text")],
        rows=[[each.label, each.figure, each.text] for each in assumptions_of(choice.result)],
    )
