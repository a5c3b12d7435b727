"""A sweep as a table of a terminal, as CSV and as JSON: a row a point, its settings first.

A column has one unit in all its rows, so that they compare; CSV and JSON have every figure as it is, in bytes, FLOPs
and seconds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.engines import BEST
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.quantities import estimated, number
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import figures_table, label_lines
from modelmeter.sweep import BATCH, BATCH_SIZE, COUNTED, DEVICE, TIMED, Point, Result, Sweep, typed
from modelmeter.units import GIGA, TERA

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.models.common.assumption import Assumption


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


_STAGE_FIGURES: Final = MappingProxyType(
    {
        "tensor_core_flops": ("TFLOPs", "tensor-core FLOPs", TERA),
        "cuda_core_flops": ("vector\nTFLOPs", "vector FLOPs (by convention)", TERA),
        "io_bytes": ("GB", "traffic", GIGA),
    }
)
_UNITS: Final = {"tensor_core_flops": "TFLOPs", "cuda_core_flops": "TFLOPs", "io_bytes": "GB"}


def _of_stage(stage: str, figure: str) -> Column:
    head, words, scale = _STAGE_FIGURES[figure]
    return Column(head=f"{stage}\n{head}", axis=f"{words}, {stage}, {_UNITS[figure]}", scale=scale)


def _time(head: str, axis: str, *, scale: float = 1.0, falling: bool = False) -> Column:
    return Column(head=head, axis=axis, show=estimated, scale=scale, falling=falling, timed=True)


_TIMES: Final[Mapping[str, Column]] = {
    "page_latency_s": _time("latency\ns", "seconds from a page's arrival to its last token"),
    "pages_per_s": _time("pages/s", "pages/s", falling=True),
    "pages_per_day": _time("pages\na day", "pages a day", falling=True),
    "ttft_s": _time("ttft\nms", "time to first token, ms", scale=1e-3),
    "tpot_s": _time("tpot\nms", "time per output token, ms", scale=1e-3),
    "output_tokens_per_s": _time("output\ntokens/s", "output tokens/s", falling=True),
    "cost_per_1000_pages": _time("cost of\n1000 pages", "cost of 1,000 pages"),
}


def _ends(name: str, column: Column) -> dict[str, Column]:
    """A time and the ends of its interval."""
    unit = column.head.rpartition("\n")[2]
    return {name: column} | {
        f"{name}_{end}": _time(f"{end}\n{unit}", f"{column.axis}, {end}", scale=column.scale, falling=column.falling)
        for end in ("low", "high")
    }


#: every figure of a point, by the name that CSV and JSON have
COLUMNS: Final[Mapping[str, Column]] = {
    "image_tokens": Column(head="image\ntokens", axis="image tokens"),
    "prefill_tokens": Column(head="prefill\ntokens", axis="tokens of the prefill"),
    **{f"{stage}_{figure}": _of_stage(stage, figure) for figure in COUNTED for stage in WITH_TOTAL},
    "weight_bytes": Column(head="weights\nGB", axis="weights, GB", scale=GIGA),
    "kv_bytes": Column(head="KV\nGB", axis="KV cache at the end, GB", scale=GIGA),
    "activation_peak_bytes": Column(head="peak\nGB", axis="activation peak, GB", scale=GIGA),
    "memory_bytes": Column(head="memory\nGB", axis="memory that is needed, GB", scale=GIGA),
    "fits": Column(head="fits", axis="fits", timed=True, drawn=False),
    "batch_size": Column(head="pages\nat once", axis="pages that decode together", timed=True),
    "limited_by": Column(head="limited\nby", axis="limited by", timed=True, falling=False, drawn=False),
    **{key: column for name in TIMED for key, column in _ends(name, _TIMES[name]).items()},
}

#: the columns of the table unless told otherwise
OF_COUNTS: Final = (
    "image_tokens",
    "vision_tensor_core_flops",
    "prefill_tensor_core_flops",
    "decode_tensor_core_flops",
    "total_io_bytes",
    "kv_bytes",
    "memory_bytes",
)
OF_TIMES: Final = (
    "image_tokens",
    "total_tensor_core_flops",
    "memory_bytes",
    "fits",
    "batch_size",
    "page_latency_s",
    "pages_per_s",
    "pages_per_s_low",
    "pages_per_s_high",
    "ttft_s",
    "tpot_s",
    "output_tokens_per_s",
    "cost_per_1000_pages",
    "limited_by",
)
#: of these the first to go where a terminal is narrow
_SPARE: Final = (
    "KV GB",
    "output tokens/s",
    "memory GB",
    "total TFLOPs",
    "image tokens",
    "ttft ms",
    "latency s",
    "tpot ms",
    "pages at once",
    "vision TFLOPs",
)
#: reasons that are told in words
_TOLD: Final = 6


def default_columns(result: Result) -> list[str]:
    """The columns that the table has unless told otherwise: those of which there are figures."""
    shown = OF_TIMES if result.sweep.devices else OF_COUNTS
    there = {name for point in result.points for name in point.figures}
    if any(axis.key in (BATCH, BATCH_SIZE) for axis in result.sweep.axes):
        there.discard("batch_size")  # it is what was asked for
    if all(point.figures.get("fits") != "no" for point in result.points):
        there.discard("fits")
    decodes = any(result.sweep.output_tokens)
    return [name for name in shown if name in there and (decodes or not name.startswith(("decode_", "tpot")))]


def sorted_points(result: Result, sort: str | None) -> list[Point]:
    """The points by a column or an axis, those without a value last; "-" before its name turns the order round."""
    points = list(result.points)
    if sort is None:
        return points
    name = sort.removeprefix("-")
    column = COLUMNS.get(name)
    falling = (column is not None and column.falling) != sort.startswith("-")

    def value(point: Point) -> Any:
        return typed(point.settings[name]) if column is None else point.figures.get(name)

    known = [point for point in points if value(point) is not None]
    worded = any(isinstance(value(point), str) for point in known)
    known.sort(key=lambda point: str(value(point)) if worded else value(point), reverse=falling)
    return known + [point for point in points if value(point) is None]


def points_table(sweep: Sweep, points: Sequence[Point], columns: Sequence[str]) -> Fitting:
    """A row a point: what is varied, then its figures, and a number for why it has none."""
    axes = [axis.key for axis in sweep.varied] or [sweep.axes[0].key]
    reasons = refusals(points)
    heads = [*map(_axis_head, axes), *(COLUMNS[name].head for name in columns), *(["why"] if reasons else [])]
    table = figures_table(*heads)
    for place, axis in enumerate(sweep.varied):
        if not all(isinstance(typed(value), int | float) for value in axis.values):
            table.columns[place].justify = "left"
    for point in points:
        cells = [*(point.settings[key] for key in axes), *(COLUMNS[n].text(point.figures.get(n)) for n in columns)]
        if reasons:
            cells.append("" if point.refused is None else f"[{list(reasons).index(_reason(point)) + 1}]")
        table.add_row(*cells)
    return Fitting(table=table, spare=_SPARE)


def _axis_head(key: str) -> str:
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


def head_lines(result: Result) -> Table:
    """What all points have in common, and what their figures are."""
    sweep = result.sweep
    same = [f"{axis.key}={axis.values[0]}" for axis in sweep.axes if len(axis.values) == 1]
    lines = [("points", points_line(sweep)), ("all", " ".join(same))]
    if not same:
        lines.pop()
    per = f"of the pages of one pass ({BATCH_SIZE})" if _batches(sweep) else "of a page"
    lines.append(("counts", f"exact, {per}; TFLOPs of tensor cores, 10^12; GB 10^9 bytes"))
    if sweep.devices:
        lines += _time_lines(result)
    return label_lines(*lines)


def _batches(sweep: Sweep) -> bool:
    return any(axis.key == BATCH_SIZE for axis in sweep.settings)


def _time_lines(result: Result) -> list[tuple[str, str]]:
    sweep = result.sweep
    bounds = "bounds: times at least, rates at most"
    kind = "estimates, low and high meant to hold nine of ten measured times"
    if result.bound:
        kind = bounds if len(result.engines) == 1 else f"{kind}; of {BEST} {bounds}"
    at_once = "the most that fit"
    if sweep.batches is not None or _batches(sweep):
        at_once = f"as many as {BATCH if sweep.batches is not None else BATCH_SIZE} says"
    return [
        ("times", f"engine {', '.join(result.engines)}; {kind}"),
        ("", f"each page prefilled alone, {at_once} decode together; docs/throughput.md defines every figure"),
    ]


def points_line(sweep: Sweep) -> str:
    """How many points there are, and of what."""
    parts = [f"{len(axis.values):,} {axis.key}" for axis in sweep.varied]
    return f"{sweep.points:,} = {' x '.join(parts)}" if len(parts) > 1 else f"{sweep.points:,}"


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


def sweep_csv(sweep: Sweep, points: Sequence[Point], columns: Sequence[str] | None) -> str:
    """A row a point, all axes and all figures, or these alone; what nobody computed is empty."""
    there = {name for point in points for name in point.figures}
    figures = columns or [name for name in COLUMNS if name in there]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(axis.key for axis in sweep.axes), *figures, "refused"])
    for point in points:
        settings = [point.settings[axis.key] for axis in sweep.axes]
        writer.writerow([*settings, *(point.figures.get(name) for name in figures), point.refused])
    return text.getvalue()


def sweep_content(result: Result, points: Sequence[Point], columns: Sequence[str] | None) -> dict[str, Any]:
    """For JSON: what is varied, and every point."""
    return {
        "axes": {axis.key: [typed(value) for value in axis.values] for axis in result.sweep.axes},
        "engines": result.engines,
        "bound": result.bound,
        "assumptions": [asdict(each) for each in result.assumptions],
        "points": [
            {
                "settings": {key: typed(point.settings[key]) for key in (axis.key for axis in result.sweep.axes)},
                "figures": {name: value for name, value in point.figures.items() if not columns or name in columns},
                "refused": point.refused,
            }
            for point in points
        ],
    }
