"""Models side by side as a report: the chart of quality against cost, all rows, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from modelmeter.compare.choice import Choice, Row
from modelmeter.compare.rows import MODE
from modelmeter.quality import Quality
from modelmeter.report.compare_tables import (
    COLUMNS,
    EFFICIENT,
    assumptions_of,
    column_of,
    default_columns,
    facts,
    foot_lines,
    keys_of,
    published_cell,
)
from modelmeter.report.document import Block, Cell, Column, Item, Pairs, Quantity, Report, Section, Table
from modelmeter.report.quality_chart import quality_charts
from modelmeter.sweep import DEVICE, MODEL


def compare_report(choice: Choice, rows: Sequence[Row], subject: str, output: str) -> Report:
    """The report. subject: the pages; output: what they say, in words."""
    charts = quality_charts(choice)
    blocks: list[Block] = [
        Pairs(key="compared", items=[Item(key, label, text) for key, label, text in facts(choice, subject, output)])
    ]
    sections = [Section(key="compared", title="What is compared", blocks=blocks)]
    if charts:
        sections.append(Section(key="chart", title="Quality against cost", blocks=charts))
    sections += [
        Section(key="models", title="Models", blocks=[_rows(choice, rows), _marks(choice), *_reasons(rows)]),
        Section(
            key="published", title="Published quality", blocks=[_beside(choice), published_table(_published(choice))]
        ),
        Section(key="assumptions", title="What the figures rest on", blocks=[_assumptions(choice)]),
    ]
    return Report(title="ModelMeter comparison", subject=subject, sections=sections)


def _rows(choice: Choice, rows: Sequence[Row]) -> Table:
    keys = [key for key in keys_of(choice.result) if key != DEVICE or len(choice.result.comparison.devices) > 1]
    others = [name for name in choice.benchmarks if name != choice.benchmark]
    names = [name for name in default_columns(choice) if not name.endswith(("_low", "_high")) and name not in others]
    return Table(
        key="rows",
        title="A row a model, a mode and a device",
        columns=[
            *(Column(key=key, title=key, code=key == MODEL) for key in keys),
            Column(key=EFFICIENT, title="*"),
            *(Column(key=name, title=" ".join(column_of(name, choice).head.split())) for name in names),
        ],
        rows=[
            [
                *(row.settings[key] for key in keys),
                "*" if row.efficient else "",
                *(_cell(choice, row, name) for name in names),
            ]
            for row in rows
        ],
    )


def _marks(choice: Choice) -> Pairs:
    """What the marks mean, and what limits the rows."""
    items, label = [], ""
    for number, (word, text) in enumerate(foot_lines(choice)):
        label = word or label
        items.append(Item(f"mark_{number}", label, text))
    return Pairs(key="marks", items=items)


def _beside(choice: Choice) -> Table:
    """A row a model and a mode, a column a benchmark."""
    rows = {(row.settings[MODEL], row.settings[MODE]): row for row in choice.rows if row.published}
    return Table(
        key="benchmarks",
        title="Each benchmark's version by itself; v: the vendor's own figure",
        columns=[
            Column(key=MODEL, title=MODEL, code=True),
            Column(key=MODE, title=MODE),
            *(Column(key=name, title=name) for name in choice.benchmarks),
        ],
        rows=[
            [model, mode, *(_cell(choice, row, name) for name in choice.benchmarks)]
            for (model, mode), row in rows.items()
        ],
    )


def _cell(choice: Choice, row: Row, name: str) -> Cell:
    """A figure, with its interval where it has one; a published one with who measured it where that is the vendor."""
    if name in choice.benchmarks:
        return published_cell(row.published.get(name))
    value, column = row.figures.get(name), COLUMNS[name]
    if value is None or isinstance(value, str):
        return value
    low, high = (row.figures.get(f"{name}_{end}") for end in ("low", "high"))
    ends = {} if low is None or high is None else {"low": low / column.scale, "high": high / column.scale}
    scaled = value / column.scale if column.scale != 1 else value
    return Quantity(scaled, estimate=column.timed and not isinstance(value, int), **ends)


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


def _published(choice: Choice) -> Iterator[tuple[str, Quality]]:
    """Every figure that stands in a row, with its model."""
    for row in choice.rows:
        yield from ((row.settings[MODEL], each) for each in row.published.values())


def published_table(figures: Iterable[tuple[str, Quality]]) -> Table:
    """(model, figure): each with its source."""
    return Table(
        key="published",
        title="Where each figure was published",
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
            for model, each in dict.fromkeys(figures)
        ],
    )


def _assumptions(choice: Choice) -> Table:
    return Table(
        key="assumptions",
        title="What is declared, assumed or conventional",
        columns=[Column(key=key, title=key) for key in ("label", "figure", "text")],
        rows=[[each.label, each.figure, each.text] for each in assumptions_of(choice.result)],
    )
