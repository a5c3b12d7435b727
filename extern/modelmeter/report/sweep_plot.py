"""A sweep as a plot: figures over what is varied, a line for each combination of the rest, with their intervals.

What is drawn along the axis is a key that is varied, or a figure, as in cost against tokens; then the points of a line
are not joined. Points without the figure are left out, and the title says how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.errors import ModelMeterError
from modelmeter.report.document import Cell, Chart, Column, Quantity, Report, Section, Table
from modelmeter.report.html import report_html
from modelmeter.report.plotting import COLOURS, LINEAR_UP_TO, figure_file, house_style
from modelmeter.report.point_tables import refusals
from modelmeter.report.sweep_tables import COLUMNS, default_columns, points_line
from modelmeter.sweep import BATCH, BATCH_SIZE, OUTPUT_TOKENS, Point, Result, Sweep, typed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: what is drawn unless told otherwise
OF_TIMES: Final = ("page_latency_s", "pages_per_s")
OF_COUNTS: Final = ("total_tensor_core_flops", "total_io_bytes")
#: lines that can be told apart
MAX_LINES: Final = 16

_AXIS_WORDS: Final[Mapping[str, str]] = {
    BATCH: "pages that decode together",
    BATCH_SIZE: "pages of a pass (runtime.batch_size)",
    OUTPUT_TOKENS: "decode steps (output_tokens)",
}
_STROKES: Final = ("-", "--", ":")
#: of lines: yellow is none on paper
_COLOURS: Final = tuple(colour for colour in COLOURS if colour != "#F0E442")
#: of the room of a word on the axis, what its points take
_SPREAD: Final = 0.6
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")


class Line(NamedTuple):
    """Points of one combination in the order of the axis: what each is drawn over, and it."""

    name: str
    points: Sequence[tuple[Any, Point]]


def default_x(sweep: Sweep) -> str:
    """What is drawn along the axis unless told otherwise: pages at once, the longest axis of numbers, or the first."""
    keys = [axis.key for axis in sweep.varied]
    if not keys:
        raise ModelMeterError(
            "sweep: --plot needs something that varies; give a key several values, as in batch=1,2,4."
        )
    numbers = [axis for axis in sweep.varied if all(isinstance(typed(value), int | float) for value in axis.values)]
    at_once = [key for key in (BATCH, BATCH_SIZE) if key in keys]
    if at_once:
        return at_once[0]
    return max(numbers, key=lambda axis: len(axis.values)).key if numbers else keys[0]


def lines_of(result: Result, x: str) -> list[Line]:
    """The points by their values on the axes that x does not follow."""
    sweep = result.sweep
    places = _follows(result, x)
    names = [axis.key for axis in sweep.varied if axis.key not in places]
    found: dict[tuple[str, ...], list[tuple[Any, Point]]] = {}
    for point in result.points:
        value = typed(point.settings[x]) if x in point.settings else point.figures.get(x)
        if value is not None:
            found.setdefault(tuple(point.settings[key] for key in names), []).append((value, point))
    if len(found) > MAX_LINES:
        raise ModelMeterError(
            f"sweep: the plot over {x} would have {len(found)} lines ({', '.join(names)}), and {MAX_LINES} can be told "
            "apart; give fewer values, or put another key along the axis with --x."
        )
    return [Line(", ".join(values), points) for values, points in found.items()]


def _follows(result: Result, x: str) -> set[str]:
    """The axes along which x changes: itself, or all that move a figure."""
    sweep = result.sweep
    if x not in COLUMNS:
        return {x}
    moving = set()
    for axis in sweep.varied:
        others = [each.key for each in sweep.axes if each.key != axis.key]
        values: dict[tuple[str, ...], set[Any]] = {}
        for point in result.points:
            values.setdefault(tuple(point.settings[key] for key in others), set()).add(point.figures.get(x))
        if any(len(each - {None}) > 1 for each in values.values()):
            moving.add(axis.key)
    return moving


def draw(result: Result, x: str, ys: Sequence[str]) -> Figure:
    """A panel a figure over the same axis. Call it and write the file within `house_style`."""
    from matplotlib.figure import Figure

    lines = lines_of(result, x)
    for y in ys:
        if all(point.figures.get(y) is None for line in lines for _, point in line.points):
            raise ModelMeterError(f"sweep: no point has {y}, so there is nothing to draw; --y names another figure.")
    figure = Figure(figsize=(8.6, 3.1 * len(ys) + 1.2), layout="constrained")
    panels = figure.subplots(len(ys), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title(result), fontsize=9)
    words = _words(result.sweep, x)
    for y, axes in zip(ys, panels, strict=True):
        _panel(axes, lines, x, y, words)
    _along(panels[-1], result.sweep, x, lines)
    if len(lines) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        keys = ", ".join(axis.key for axis in result.sweep.varied if axis.key not in _follows(result, x))
        figure.legend(handles, labels, title=keys, loc="outside right upper")
    figure.align_ylabels(panels)
    return figure


def _words(sweep: Sweep, x: str) -> list[str] | None:
    """The values of an axis of words, which stand at their places; None: of numbers."""
    values = next((axis.values for axis in sweep.axes if axis.key == x), [])
    return None if all(isinstance(typed(value), int | float) for value in values) else list(values)


def _panel(axes: Axes, lines: Sequence[Line], x: str, y: str, words: Sequence[str] | None) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    column = COLUMNS[y]
    heights = []
    for number, (line, (stroke, colour), marker) in enumerate(zip(lines, product(_STROKES, _COLOURS), cycle(_MARKERS))):
        drawn = [(words.index(str(at)) if words else at, p) for at, p in line.points if p.figures.get(y) is not None]
        drawn.sort(key=lambda each: each[0])
        aside = 0.0 if words is None else _SPREAD * ((number + 0.5) / len(lines) - 0.5)
        across = [at + aside for at, _ in drawn]
        up = [point.figures[y] / column.scale for _, point in drawn]
        joined = words is None and x not in COLUMNS
        axes.plot(
            across, up, linestyle=stroke if joined else "", marker=marker, markersize=4, color=colour, label=line.name
        )
        heights += up
        if all(f"{y}_low" in point.figures for _, point in drawn):
            low, high = ([point.figures[f"{y}_{end}"] / column.scale for _, point in drawn] for end in ("low", "high"))
            heights += [*low, *high]
            if joined:
                axes.fill_between(across, low, high, color=colour, alpha=0.13, linewidth=0)
            else:
                axes.vlines(across, low, high, color=colour, linewidth=1)
    axes.set_ylabel(column.axis)
    if min(heights) > 0 and max(heights) > LINEAR_UP_TO * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)


def _along(axes: Axes, sweep: Sweep, x: str, lines: Sequence[Line]) -> None:
    """The axis below: its words, its ticks, and powers of two where numbers differ by factors."""
    axes.set_xlabel(COLUMNS[x].axis if x in COLUMNS else _AXIS_WORDS.get(x, x))
    words = _words(sweep, x)
    if words is not None:
        upright = len(words) * max(map(len, words)) > 80
        axes.set_xticks(range(len(words)), words, rotation=90 if upright else 0)
        axes.set_xlim(-0.5, len(words) - 0.5)
        return
    values = sorted({at for line in lines for at, _ in line.points})
    if values[0] > 0 and values[-1] >= LINEAR_UP_TO * values[0] and x not in COLUMNS:
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()


def title(result: Result) -> str:
    """What all points have in common, what the intervals are, and how many points are missing."""
    sweep = result.sweep
    same = ", ".join(f"{axis.key} {axis.values[0]}" for axis in sweep.axes if len(axis.values) == 1)
    told = [same]
    if sweep.devices:
        kind = "bounds" if result.bound and len(result.engines) == 1 else "estimates with their intervals"
        told.append(f"engine {', '.join(result.engines)}; {kind}")
    missing = sum(point.refused is not None for point in result.points)
    if missing:
        told.append(f"{missing} of {len(result.points)} points refused")
    return "\n".join(each for each in told if each)


def plot_file(result: Result, x: str, ys: Sequence[str], form: str) -> bytes:
    """The plot as "svg", "png" or "html"; HTML has the points too, and loads nothing."""
    with house_style():
        figure = draw(result, x, ys)
        if form != "html":
            return figure_file(figure, form)
        svg = figure_file(figure, "svg").decode()
    return report_html(_report(result, x, ys, svg[svg.index("<svg") :])).encode()


def _report(result: Result, x: str, ys: Sequence[str], svg: str) -> Report:
    words = " and ".join(COLUMNS[y].axis for y in ys)
    over = f"{words} over {COLUMNS[x].axis if x in COLUMNS else _AXIS_WORDS.get(x, x)}"
    svg = svg.replace("<svg", f'<svg class="broad" role="img" aria-label="{escape(over)}"', 1)
    chart = Chart(key="plot", title=over, svg=svg, caption=title(result).replace("\n", "; "), data={})
    assumed = Table(
        key="assumptions",
        title="What is declared, assumed or conventional",
        columns=[Column(key=key, title=key) for key in ("label", "figure", "text")],
        rows=[[each.label, each.figure, each.text] for each in result.assumptions],
    )
    return Report(
        title="ModelMeter sweep",
        subject=f"{points_line(result.sweep)} points",
        sections=[
            Section(key="plot", title="Plot", blocks=[chart]),
            Section(key="points", title="Points", blocks=[_table(result)]),
            Section(key="assumptions", title="Assumptions", blocks=[assumed]),
        ],
    )


def _table(result: Result) -> Table:
    axes = [axis.key for axis in result.sweep.varied]
    figures = default_columns(result)
    reasons = refusals(result.points)
    return Table(
        key="points",
        title="All points",
        columns=[
            *(Column(key=key, title=key) for key in axes),
            *(Column(key=name, title=" ".join(COLUMNS[name].head.split())) for name in figures),
            *([Column(key="refused", title="why not")] if reasons else []),
        ],
        rows=[list(_cells(point, axes, figures, refused=bool(reasons))) for point in result.points],
    )


def _cells(point: Point, axes: Sequence[str], figures: Sequence[str], *, refused: bool) -> Iterator[Cell]:
    yield from (_cell(typed(point.settings[key])) for key in axes)
    for name in figures:
        value, column = point.figures.get(name), COLUMNS[name]
        yield _cell(value / column.scale, estimate=column.timed) if column.drawn and value is not None else value
    if refused:
        yield point.refused


def _cell(value: float | str, *, estimate: bool = False) -> Cell:
    return value if isinstance(value, str) else Quantity(value, estimate=estimate)
