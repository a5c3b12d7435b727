"""The figures of a sweep, as SVG and PNG.

costs: work by component, tensor- against vector work, traffic, activation peak and KV cache, a column a point.
intensity: FLOPs per byte by stage, the points named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING, Final

from modelmeter.models.common.components import component_titles
from modelmeter.models.common.stage_cost import STAGES
from modelmeter.programs.sweep.sweep import Result, Row, peak_name
from modelmeter.report.plotting import COLOURS, FORMATS, LINEAR_UP_TO, figure_file, house_style
from modelmeter.units import GIGA, MEGA, TERA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES: Final = ("costs", "intensity")

#: where a point's name may stand: distances in points, nearest first, then directions (right, up)
REACHES: Final = (4, 12, 20, 30, 42, 56)
DIRECTIONS: Final = ((0, 1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (1, -1), (-1, -1))

_Named = tuple[float, float, str]


def draw(result: Result) -> dict[str, bytes]:
    """Every figure of a result in every format, by the end of its file's name, as in costs.svg."""
    with house_style():
        figures = {"costs": costs_figure(result), "intensity": intensity_figure(result)}
        return {
            f"{name}.{extension}": figure_file(figure, extension)
            for name, figure in figures.items()
            for extension in FORMATS
        }


def costs_figure(result: Result) -> Figure:
    """Five panels over the same points."""
    from matplotlib.figure import Figure

    rows = result.computed
    figure = Figure(figsize=(max(6.0, 0.42 * len(rows)) + 4.0, 13.0), layout="constrained")
    panels = figure.subplots(5, 1, sharex=True)
    figure.suptitle(_title(result))
    decodes = any(row["output_tokens"] for row in rows)
    whole_page = "prefill and decode" if decodes else "prefill"

    titles = component_titles(result.cost_model)
    parts = {title: [_component(row, name) / TERA for row in rows] for name, title in titles.items()}
    _stacked(panels[0], {name: values for name, values in parts.items() if any(values)})
    panels[0].set_title(f"tensor-core work by component, {whole_page}")
    panels[0].set_ylabel("TFLOPs (10¹²)")

    totals = [row["stages"]["total"] for row in rows]
    cores = {"tensor cores": "tensor_core_flops", "vector (by convention)": "cuda_core_flops"}
    _grouped(panels[1], {name: [total[key] / TERA for total in totals] for name, key in cores.items()})
    panels[1].set_title(f"tensor-core against vector work, {whole_page}")
    panels[1].set_ylabel("TFLOPs (10¹²)")

    stages = STAGES if decodes else STAGES[:2]
    names = {"prefill": "prefill, vision included"}
    traffic = {names.get(stage, stage): [row["stages"][stage]["io_bytes"] / GIGA for row in rows] for stage in stages}
    _grouped(panels[2], traffic)
    panels[2].set_title("traffic by stage")
    panels[2].set_ylabel("GB (10⁹ bytes)")

    operators = list(dict.fromkeys(peak_name(row) for row in rows))
    peaks = {
        operator.replace(" (", "\n("): [
            total["activation_peak_bytes"] / MEGA if peak_name(row) == operator else 0.0
            for row, total in zip(rows, totals, strict=True)
        ]
        for operator in operators
    }
    _stacked(panels[3], peaks)
    panels[3].set_title("activation peak, by the operator that reaches it")
    panels[3].set_ylabel("MB (10⁶ bytes)")

    panels[4].bar(range(len(rows)), [total["kv_bytes"] / MEGA for total in totals], color=COLOURS[0])
    panels[4].set_title("KV cache at the end")
    panels[4].set_ylabel("MB (10⁶ bytes)")

    labels = [row["label"] for row in rows]
    upright = len(labels) * max(map(len, labels)) > 60
    panels[4].set_xticks(range(len(rows)), labels, rotation=90 if upright else 0)
    panels[4].set_xlabel(result.sweep.axis)
    for axes in panels:
        axes.grid(visible=False, axis="x")
    figure.align_ylabels(panels)
    return figure


def intensity_figure(result: Result) -> Figure:
    """Arithmetic intensity of each stage over the sweep's own measure, the points named."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    sweep = result.sweep
    intensities = _intensities(result)
    points = {stage: each for stage, each in intensities.items() if len({y for _, y, _ in each}) > 1} or intensities
    figure = Figure(figsize=(10.0, 3.2 * len(points) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(points), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(_title(result))
    for stage, axes in zip(points, panels, strict=True):
        xs, ys, _ = zip(*points[stage], strict=True)
        axes.plot(xs, ys, linestyle="", marker="o", markersize=4, color=COLOURS[STAGES.index(stage)])
        axes.margins(x=0.08, y=0.25)
        axes.set_title(stage if stage != "prefill" else "prefill, vision included")
        axes.set_ylabel("FLOPs per byte")
        if sweep.log_x:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    same = [f"{stage} {each[0][1]:.1f}" for stage, each in intensities.items() if stage not in points]
    figure.align_ylabels(panels)
    panels[-1].set_xlabel(sweep.x_text + (f" (the same at every point: {', '.join(same)})" if same else ""))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the names placed now move nothing
    for stage, axes in zip(points, panels, strict=True):
        name_points(axes, points[stage])
    return figure


def _intensities(result: Result) -> dict[str, list[_Named]]:
    """The points of each stage that runs: the sweep's measure, FLOPs per byte, and a name."""
    return {
        stage: [
            (row[result.sweep.x], row["stages"][stage]["arithmetic_intensity"], _point_name(result, row))
            for row in result.computed
            if row["stages"][stage]["io_bytes"]
        ]
        for stage in STAGES
        if any(row["stages"][stage]["io_bytes"] for row in result.computed)
    }


def name_points(axes: Axes, points: Sequence[_Named]) -> None:
    """Write each point's name near it, where it covers neither a name nor a point nor leaves the axes.

    A point for whose name there is no room keeps none; the table has it.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    centres = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in centres]
    for x, y, name in points:
        for reach, (right, up) in product(REACHES, DIRECTIONS):
            text = axes.annotate(
                name,
                (x, y),
                xytext=(right * reach, up * reach),
                textcoords="offset points",
                ha=("right", "center", "left")[right + 1],
                va=("top", "center", "bottom")[up + 1],
                fontsize=8,
                arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#555555"} if reach > REACHES[0] else None,
            )
            text.get_window_extent()  # puts the words in their place
            box = Text.get_window_extent(text).padded(2.0)  # the words alone, without their line
            fits = all(inside.contains(*corner) for corner in box.corners())
            if fits and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _stacked(axes: Axes, series: Mapping[str, Sequence[float]]) -> None:
    """Bars upon each other, one series upon the next."""
    heights = [0.0] * max(map(len, series.values()))
    for colour, (name, values) in zip(cycle(COLOURS), series.items()):
        axes.bar(range(len(values)), values, bottom=heights, label=name, color=colour)
        heights = [height + value for height, value in zip(heights, values, strict=True)]
    _legend(axes, reverse=True)  # topmost first


def _grouped(axes: Axes, series: Mapping[str, Sequence[float]]) -> None:
    """Bars beside each other, over a logarithmic axis where they differ by orders of magnitude."""
    heights = [value for values in series.values() for value in values if value]
    width = 0.8 / len(series)
    for number, (colour, (name, values)) in enumerate(zip(cycle(COLOURS), series.items())):
        shift = (number - (len(series) - 1) / 2) * width
        axes.bar([place + shift for place in range(len(values))], values, width, label=name, color=colour)
    if max(heights) > LINEAR_UP_TO * min(heights):
        axes.set_yscale("log")
    _legend(axes)


def _legend(axes: Axes, *, reverse: bool = False) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, reverse=reverse)


def _component(row: Row, name: str) -> int:
    """A component's tensor-core FLOPs in the whole page."""
    return sum(int(parts[name]["tensor_core_flops"]) for parts in row["components"].values())


def _point_name(result: Result, row: Row) -> str:
    """A point's label, and its grid where the grids differ."""
    label = str(row["label"])
    grids = {each["grid"] for each in result.computed}
    return label if label == row["grid"] or len(grids) == 1 else f"{label} {row['grid']}"


def _title(result: Result) -> str:
    """What the figure shows, and how many points are missing."""
    refused = len(result.rows) - len(result.computed)
    return result.title + (f", {refused} of {len(result.rows)} points refused" if refused else "")
