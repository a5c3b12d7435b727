"""A sweep as a table of a terminal, as CSV and as JSON: its columns, its points, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.engines import BEST
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.quantities import estimated
from modelmeter.report.fitting import Fitting
from modelmeter.report.page_tables import label_lines
from modelmeter.report.point_tables import Column, point_content, points_csv, points_table, sorted_points
from modelmeter.sweep import BATCH, BATCH_SIZE, COUNTED, TIMED, Point, Result, Sweep, typed
from modelmeter.units import GIGA, TERA

if TYPE_CHECKING:
    from rich.table import Table

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


def with_ends(name: str, column: Column) -> dict[str, Column]:
    """A time and the ends of its interval."""
    unit = column.head.rpartition("\n")[2]
    return {name: column} | {
        f"{name}_{end}": replace(column, head=f"{end}\n{unit}", axis=f"{column.axis}, {end}") for end in ("low", "high")
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
    **{key: column for name in TIMED for key, column in with_ends(name, _TIMES[name]).items()},
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


def sorted_sweep(result: Result, sort: str | None) -> list[Point]:
    """The points by a column or an axis, or as they run."""
    if sort is None:
        return list(result.points)
    return sorted_points(result.points, sort, COLUMNS.get(sort.removeprefix("-")))


def sweep_table(sweep: Sweep, points: Sequence[Point], columns: Sequence[str]) -> Fitting:
    """A row a point: what is varied, then its figures."""
    keys = [axis.key for axis in sweep.varied] or [sweep.axes[0].key]
    return points_table(points, keys, {name: COLUMNS[name] for name in columns}, _SPARE)


def sweep_csv(sweep: Sweep, points: Sequence[Point], columns: Sequence[str] | None) -> str:
    """A row a point, all axes and all figures, or these alone."""
    there = {name for point in points for name in point.figures}
    figures = columns or [name for name in COLUMNS if name in there]
    return points_csv(points, [axis.key for axis in sweep.axes], figures)


def sweep_content(result: Result, points: Sequence[Point], columns: Sequence[str] | None) -> dict[str, Any]:
    """For JSON: what is varied, and every point."""
    keys = [axis.key for axis in result.sweep.axes]
    return {
        "axes": {axis.key: [typed(value) for value in axis.values] for axis in result.sweep.axes},
        "engines": result.engines,
        "bound": result.bound,
        "assumptions": [asdict(each) for each in result.assumptions],
        "points": [point_content(point, keys, columns) for point in points],
    }
