"""Points of many figures as a table of a terminal, as CSV and as JSON: a row a point, its settings first.

A column has one unit in all its rows, so that they compare; CSV and JSON have every figure as it is, in bytes, FLOPs
and seconds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelmeter.quantities import number
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines
from modelmeter.sweep import DEVICE, Point, typed

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.models.common.assumption import Assumption

#: reasons that are told in words
_TOLD: Final = 6


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure: its head in the table, with the unit in its last line; and what it says there of a value.

    axis: words and unit on the axis of a plot. scale: of the unit. falling: the largest is the best. timed: it is there
    with a device alone. drawn: it is a number.
    """

    head: str
    axis: str
    show: Callable[[Any], str] = number
    scale: float = 1.0
    falling: bool = True
    timed: bool = False
    drawn: bool = True

    def text(self, value: Any) -> str:
        """A value in the table."""
        if value is None:
            return "-"
        return (
            value.partition(",")[0]
            if isinstance(value, str)
            else self.show(value / self.scale if self.scale != 1 else value)
        )


def sorted_points(points: Iterable[Point], name: str, column: Column | None) -> list[Point]:
    """The points by a figure, the best first, or by a setting (column: None); "-" before its name turns that round.

    Those without a value stand last.
    """
    points, key = list(points), name.removeprefix("-")
    falling = (column is not None and column.falling) != name.startswith("-")

    def value(point: Point) -> Any:
        return typed(point.settings[key]) if column is None else point.figures.get(key)

    known = [point for point in points if value(point) is not None]
    worded = any(isinstance(value(point), str) for point in known)
    known.sort(key=lambda point: str(value(point)) if worded else value(point), reverse=falling)
    return known + [point for point in points if value(point) is None]


def points_table(
    points: Sequence[Point], keys: Sequence[str], columns: Mapping[str, Column], spare: Sequence[str | tuple[str, ...]]
) -> Fitting:
    """A row a point: its settings `keys`, then its figures, and a number for why it has none.

    spare: heads of columns that a narrow terminal goes without, the first to go first; those in a tuple together.
    """
    reasons = refusals(points)
    heads = [*map(_key_head, keys), *(column.head for column in columns.values()), *(["why"] if reasons else [])]
    table = figures_table(*heads)
    for place, key in enumerate(keys):
        if not all(isinstance(typed(point.settings[key]), int | float) for point in points):
            table.columns[place].justify = "left"
    for point in points:
        cells = [
            *(point.settings[key] for key in keys),
            *(column.text(point.figures.get(name)) for name, column in columns.items()),
        ]
        if reasons:
            cells.append("" if point.refused is None else f"[{list(reasons).index(_reason(point)) + 1}]")
        table.add_row(*cells)
    return Fitting(table=table, spare=spare)


def _key_head(key: str) -> str:
    """A key in as many lines as it has parts."""
    return key.replace(".", ".\n").replace("_", "_\n" if len(key) > 12 else "_")


def refusals(points: Sequence[Point]) -> dict[str, list[str]]:
    """The reasons why points lack figures, each as often as it holds; pages too large for one device are one reason."""
    reasons: dict[str, list[str]] = {}
    for point in points:
        if point.refused is not None:
            reasons.setdefault(_reason(point), []).append(point.refused)
    return reasons


def _reason(point: Point) -> str:
    return f"too large for {point.settings[DEVICE]}" if point.figures.get("fits") == "no" else str(point.refused)


def rests_on_lines(assumptions: Sequence[Assumption]) -> Table:
    """The labels of what stands behind the figures."""
    labels = ", ".join(dict.fromkeys(f"{each.label} ({each.figure})" for each in assumptions))
    return label_lines(("labels", f"{labels}; --explain says what each means"))


def refusal_lines(points: Sequence[Point]) -> Table:
    """Why points lack figures, the first reasons, and of unlike points that are too large for a device the first."""
    lines = []
    for place, reasons in enumerate(refusals(points).values(), start=1):
        unlike = len(set(reasons)) - 1
        lines.append((f"[{place}]", reasons[0] + (f" And {unlike} others: --csv FILE and --json." if unlike else "")))
    if len(lines) > _TOLD:
        lines[_TOLD:] = [("", f"and {len(lines) - _TOLD} more reasons: --csv FILE and --json have each")]
    return label_lines(*lines)


def points_csv(points: Sequence[Point], keys: Sequence[str], figures: Sequence[str]) -> str:
    """A row a point: settings, figures, why there are none; what nobody computed is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, *figures, "refused"])
    for point in points:
        settings = [point.settings[key] for key in keys]
        writer.writerow([*settings, *(point.figures.get(name) for name in figures), point.refused])
    return text.getvalue()


def point_content(point: Point, keys: Sequence[str], figures: Sequence[str] | None) -> dict[str, Any]:
    """For JSON: a point's settings, all its figures or these alone, and why it has none."""
    return {
        "settings": {key: typed(point.settings[key]) for key in keys},
        "figures": {name: value for name, value in point.figures.items() if not figures or name in figures},
        "refused": point.refused,
    }
