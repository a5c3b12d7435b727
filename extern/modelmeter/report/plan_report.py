"""A plan as the first section of a report: the decision, what it rests on, and why the others lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelmeter.plan.verdict import BEST, DEARER, NOT_SEARCHED, REFUSED, TOO_SLOW, verdict
from modelmeter.plan.ways import Plan, Way
from modelmeter.report.compare_report import published_table
from modelmeter.report.document import FACTS, TILES, Block, Column, Item, Pairs, Report, Section, Table, Text
from modelmeter.report.plan_tables import (
    NOT_MODELLED,
    ORIGINS,
    TIMES,
    answer_text,
    asked,
    mark,
    marks_text,
    quality_lines,
    shares,
    simulated_line,
    varied,
    way_columns,
)

TITLE: Final = "ModelMeter plan"

#: of a verdict, in a table
_WORDS: Final = {
    BEST: "the best",
    DEARER: "holds the limits",
    NOT_SEARCHED: "not searched",
    TOO_SLOW: "too slow",
    REFUSED: "cannot serve",
}


def plan_section(
    plan: Plan, rows: Sequence[Way], *, subject: str, given: str, benchmark: str | None, kept: str | None
) -> Section:
    """The decision. rows: ways that hold the limits, in their order. subject: the pages in words; given: inputs and
    overrides as words of a command line. kept: what a saved plan says of this one; None: it was not saved.
    """
    answer = answer_text(plan)
    told = [*asked(plan, subject), *quality_lines(plan, benchmark if rows else None)]
    facts = [Item(label, label, text) for label, text in told]
    blocks: list[Block] = [
        Text(text=f"{answer[0].upper()}{answer[1:]}.", lead=True),
        Pairs(key="asked", items=facts, layout=FACTS),
    ]
    if rows:
        blocks += [_tiles(plan, rows, benchmark), _ways(plan, rows, benchmark)]
    blocks.append(_verdicts(plan, rows))
    simulated = simulated_line(plan, given)
    beside = [
        *([("simulated alone by", simulated)] if simulated else []),
        *([("kept", kept)] if kept else []),
        *(("not modelled", each) for each in NOT_MODELLED),
    ]
    if rows:
        blocks.append(_pairs("shares", "What the host costs, and what the engine", shares(plan)))
    blocks += [
        _pairs("origins", "Where the figures come from", list(ORIGINS.items())),
        _pairs("check", "How to check it, and what is not in it", beside),
    ]
    figures = [(way.settings["model"], way.quality) for way in rows if way.quality is not None]
    if figures:
        blocks.append(published_table(figures))
    return Section(key="plan", title="Plan", blocks=blocks)


def with_plan(report: Report, plan: Section, way: Way) -> Report:
    """A report of the pages by one way, behind the plan that it is of."""
    first, *others = report.sections
    told = Text(
        text=f"From here on: one {way.device.name} by itself that is always full, each page with the median of what it "
        "says where that is spread. The plan has the spread, the peak's load, and the price of all GPUs around the "
        "clock, idle or not, so that its pages cost more."
    )
    pages = Section(key=first.key, title=f"Pages on one {way.device.name}", blocks=[told, *first.blocks])
    return Report(title=report.title, subject=report.subject, sections=[plan, pages, *others])


def _tiles(plan: Plan, rows: Sequence[Way], benchmark: str | None) -> Pairs:
    """The best way's figures in large, without the percentiles that no limit is on."""
    assert plan.best is not None
    own = (f"{name}_p{plan.question.level.percentile}" for name in TIMES)
    columns = {column.key: column for column in way_columns(plan, rows, benchmark)}
    keys = ("gpus", "money_a_month", "money_for_1000_pages", *own, "load", "energy_kwh_a_month", "quality")
    shown = [columns[key] for key in keys if key in columns]
    items = [Item(column.key, column.title, column.cell(plan.best), column.origin) for column in shown]
    return Pairs(key="best", items=items, layout=TILES)


def _ways(plan: Plan, rows: Sequence[Way], benchmark: str | None) -> Table:
    keys, columns = varied(plan), way_columns(plan, rows, benchmark)
    return Table(
        key="ways",
        title="Ways that hold the limits",
        columns=[
            *(Column(key=key, title=key) for key in keys),
            Column(key="efficient", title="*"),
            *(Column(key=column.key, title=column.title, origin=column.origin) for column in columns),
        ],
        rows=[
            [*(way.settings[key] for key in keys), mark(plan, way), *(column.cell(way) for column in columns)]
            for way in rows
        ],
        note="GPUs are whole, the spare ones among them; up to: where steps and host are at the slow end of their "
        f"interval. *: {marks_text(plan, benchmark)}.",
    )


def _verdicts(plan: Plan, rows: Sequence[Way]) -> Table:
    """Why each way but the best loses, those that hold the limits first."""
    keys = varied(plan)
    others = [way for way in plan.ways if way.found is None]
    found = [(way, verdict(plan, way)) for way in (*rows, *others)]
    return Table(
        key="verdicts",
        title="Why the others lose, and the smallest change that would let them win",
        columns=[
            *(Column(key=key, title=key) for key in keys),
            Column(key="verdict", title="verdict"),
            Column(key="why", title="why"),
            Column(key="change", title="smallest change"),
        ],
        rows=[
            [*(way.settings[key] for key in keys), _WORDS[each.kind], each.why or None, each.change or None]
            for way, each in found
        ],
        sortable=False,
    )


def _pairs(key: str, title: str, lines: Sequence[tuple[str, str]]) -> Pairs:
    """Labels with texts."""
    items = [Item(f"{key}_{number}", label, text) for number, (label, text) in enumerate(lines)]
    return Pairs(key=key, title=title, items=items)
