"""Parts of a page's stages as blocks of a report: what tells them, in columns, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from modelmeter.report.document import SHARE, Cell, Column, Quantity, Table
from modelmeter.report.origins import ANALYTIC, origin
from modelmeter.report.parts import KERNEL_CLASS, OPERATOR, Part, WalkedStage, parts_of

#: key and title of the tables, and the columns that name a part
_TABLES: Final = {
    OPERATOR: (
        "operators",
        "Operators by kind",
        (Column(key="operator", title="operator", code=True), Column(key="dtype", title="type", code=True)),
    ),
    KERNEL_CLASS: (
        "kernel_classes",
        "Classes of kernels",
        (Column(key="kernel_class", title="class", code=True),),
    ),
}


def part_columns(labels: Mapping[str, str], timed: str) -> tuple[Column, ...]:
    """What is told of a part beside its name and how many operators it has; timed: where times come from."""
    return (
        Column(key="tensor_core_flops", title="tensor-core FLOPs", origin=ANALYTIC),
        Column(key="cuda_core_flops", title="vector FLOPs", origin=labels["cuda_core_flops"]),
        Column(key="io_bytes", title="traffic", origin=origin(labels, "io_bytes")),
        Column(key="io_weight_bytes", title="weights read", origin=ANALYTIC),
        Column(key="seconds", title="time", origin=timed),
        Column(key="share", title="share of time", origin=timed),
        Column(key="bound", title="mostly bound by", origin="roofline"),
    )


def part_cells(part: Part, total: float) -> tuple[Cell, ...]:
    """How many operators, then the cells of `part_columns`; total: seconds of the stage."""
    seconds = part.seconds or 0.0
    return (
        Quantity(part.operators),
        Quantity(part.tensor_core_flops, "FLOPs"),
        Quantity(part.cuda_core_flops, "FLOPs"),
        Quantity(part.io_bytes, "B"),
        Quantity(part.io_weight_bytes, "B"),
        Quantity(seconds, "s", estimate=True),
        Quantity(seconds / total if total else 0.0, SHARE),
        part.bound or "-",
    )


def parts_block(stages: Sequence[WalkedStage], by: str, labels: Mapping[str, str], timed: str) -> Table:
    """The parts of all stages by "operator" or "kernel-class", a row a part."""
    key, title, names = _TABLES[by]
    rows: list[list[Cell]] = [
        [stage.name, *part.words, *part_cells(part, stage.seconds)]
        for stage in stages
        for part in parts_of(stage.operators, by)
    ]
    columns = [
        Column(key="stage", title="stage"),
        *names,
        Column(key="count", title="how many", origin=ANALYTIC),
        *part_columns(labels, timed),
    ]
    return Table(key=key, title=title, columns=columns, rows=rows)
