"""Analytic against measured figures, by module and by stage, and how far apart they may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common import StageCost
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.common.vision_language import LayerCost
from modelmeter.operators import FLOPS_PER_ELEMENT
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.reference.measurement import Measurement

DETAILS: Final = ("modules", "blocks")

#: what ran in none of the parts that are told apart
OTHER: Final = "other"

#: the figures of a stage that add up over decode steps; of the others the largest counts, of the cache the last
ADDED: Final = (
    "tensor_core_flops",
    "cuda_core_flops",
    "io_weight_bytes",
    "io_activation_bytes",
    "io_kv_bytes",
    "io_bytes",
    "kv_added_bytes",
)
PEAKS: Final = ("activation_peak_bytes", "resident_peak_bytes")

_NAMED_ALIKE: Final = (
    "add arange bucketize cat cos cumsum div floor_divide gelu histc mean mul neg pow prod rsqrt sigmoid silu sin "
    "sort sqrt sub sum topk where"
)
#: what each aten operator outside GEMMs is in `FLOPS_PER_ELEMENT`, by its name without overload
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{name: name for name in _NAMED_ALIKE.split()},
        **dict.fromkeys(("all", "bitwise_and", "bitwise_or", "clamp", "eq", "ge", "gt", "le", "lt", "ne"), "compare"),
        **dict.fromkeys(("clone", "copy_", "im2col", "repeat", "tril"), "copy"),
        **dict.fromkeys(("full", "new_ones", "new_zeros", "ones", "scalar_tensor", "zeros"), "fill"),
        **dict.fromkeys(("embedding", "index", "nonzero"), "gather"),
        **dict.fromkeys(("amax", "argmax"), "max"),
        **dict.fromkeys(("index_put_", "masked_scatter", "masked_scatter_", "scatter_"), "scatter"),
        **dict.fromkeys(("_safe_softmax", "_softmax"), "softmax"),
        "_to_copy": "cast",
        "_upsample_bicubic2d_aa": "upsample_bicubic",
        "add_": "add",
        "stack": "cat",
        "constant_pad_nd": "pad",
        "masked_fill_": "where",
        "mul_": "mul",
        "native_layer_norm": "layer_norm",
        "reciprocal": "div",
        "upsample_bilinear2d": "upsample_bilinear",
        "upsample_linear1d": "upsample_linear",
    }
)


@dataclass(frozen=True)
class Compared:
    """One figure: FLOPs, bytes or tokens."""

    analytic: int
    measured: int

    @property
    def difference(self) -> int:
        """Analytic minus measured."""
        return self.analytic - self.measured

    def agrees(self, tolerance: float) -> bool:
        """Whether the difference is within `tolerance` of the measured value; 0 agrees with 0 only."""
        return abs(self.difference) <= tolerance * self.measured

    def entry(self) -> dict[str, Any]:
        """The figure in verify.json."""
        return {name: json_number(getattr(self, name)) for name in ("analytic", "measured", "difference")}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One module: FLOPs by the cost model and as measured, and the shapes that both give (None: not compared).

    io, peak: bytes that the module moves and holds at its peak, called alone (None: not compared).
    peak_operator, peak_path: analytic and measured, where that peak is first reached.
    """

    name: str
    analytic_flops: int
    measured_flops: int
    analytic_shape: tuple[int, ...] | None = None
    measured_shape: tuple[int, ...] | None = None
    io: Compared | None = None
    peak: Compared | None = None
    peak_operator: tuple[str, str] = ("", "")
    peak_path: tuple[str, str] = ("", "")

    @property
    def difference(self) -> int:
        """Analytic minus measured FLOPs."""
        return self.analytic_flops - self.measured_flops

    def figures(self) -> list[Compared]:
        """Everything that is compared."""
        flops = Compared(self.analytic_flops, self.measured_flops)
        return [flops, *(each for each in (self.io, self.peak) if each is not None)]

    def agrees(self, tolerance: float) -> bool:
        """Whether every difference is within `tolerance` of the measured value, shapes and places of peaks are equal.

        What is measured as 0 agrees with 0 only, whatever the tolerance.
        """
        return (
            all(each.agrees(tolerance) for each in self.figures())
            and self.analytic_shape == self.measured_shape
            and self.same_peak(tolerance)
        )

    def same_peak(self, tolerance: float) -> bool:
        """Whether both reach the peak at the same operator of the same module; a tolerance lets them differ."""
        return _same_place(self.peak_operator, self.peak_path, tolerance)

    def entry(self) -> dict[str, Any]:
        """The module in verify.json."""
        entry: dict[str, Any] = {"name": self.name}
        for name in ("analytic_flops", "measured_flops", "difference"):
            entry[name] = json_number(getattr(self, name))
        for name, compared in (("io_bytes", self.io), ("activation_peak_bytes", self.peak)):
            if compared is not None:
                entry[name] = compared.entry()
        return entry


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage, or one decode step: its figures, named as in `StageCost`, and where the activation peak is reached.

    elements: by aten operator, what the stage works through outside GEMMs. peak_operator, peak_path: analytic and
    measured, the first operator to reach the peak; paths are those of the cost model's walks. peak_module: the real
    module's own path.
    """

    name: str
    compared: Mapping[str, Compared]
    elements: Mapping[str, Compared]
    peak_operator: tuple[str, str]
    peak_path: tuple[str, str]
    peak_module: str

    def figures(self) -> list[Compared]:
        """Everything that is compared, but for where the peak is."""
        return [*self.compared.values(), *self.elements.values()]

    def same_peak(self, tolerance: float) -> bool:
        """Whether both reach the peak at the same operator of the same module; a tolerance lets them differ."""
        return _same_place(self.peak_operator, self.peak_path, tolerance)

    def agrees(self, tolerance: float) -> bool:
        """Whether every difference is within `tolerance` of the measured value, and the peak at the same place."""
        return self.same_peak(tolerance) and all(each.agrees(tolerance) for each in self.figures())

    def entry(self) -> dict[str, Any]:
        """The stage in verify.json."""
        entry: dict[str, Any] = {name: compared.entry() for name, compared in self.compared.items()}
        entry["elements"] = {operator: compared.entry() for operator, compared in self.elements.items()}
        for name in ("peak_operator", "peak_path"):
            analytic, measured = getattr(self, name)
            entry[name] = {"analytic": analytic, "measured": measured}
        entry["peak_module"] = self.peak_module
        return entry


def _same_place(operators: tuple[str, str], paths: tuple[str, str], tolerance: float) -> bool:
    """Whether analytic and measured operator and path are the same; where peaks may differ, so may their places."""
    return tolerance > 0 or (operators[0] == operators[1] and paths[0] == paths[1])


def stage_row(
    name: str,
    cost: StageCost,
    walks: Iterable[Walk],
    measured: Sequence[Measurement],
    place: Callable[[str, int], str],
    before: Measurement | None = None,
) -> StageRow:
    """A stage's cost, and the walks that it is the sum of, against the calls that it consists of, in order.

    place: where an operator stands in the cost model's walks, by the path and run of its module. before: the call
    before the stage, whose cache and weights are those of a stage without calls.
    """
    figures = {
        figure: Compared(getattr(cost, figure), sum(measured_figure(each, figure) for each in measured))
        for figure in ADDED
    }
    for figure in PEAKS:
        largest = max((measured_figure(each, figure) for each in measured), default=0)
        figures[figure] = Compared(getattr(cost, figure), largest)
    last = measured[-1] if measured else before
    for figure in ("weight_bytes", "kv_bytes"):
        figures[figure] = Compared(getattr(cost, figure), 0 if last is None else getattr(last, figure))
    at_peak = max(measured, key=lambda each: each.activation_peak_bytes, default=None)
    operator, module, path = "", "", ""
    if at_peak is not None:
        operator, module = at_peak.peak_operator, at_peak.peak_path
        path = place(module, at_peak.peak_run)
    return StageRow(
        name=name,
        compared=figures,
        elements=compared_elements(walks, measured),
        peak_operator=(cost.peak_operator, operator),
        peak_path=(cost.peak_path, path),
        peak_module=module,
    )


def compared_elements(walks: Iterable[Walk], measured: Iterable[Measurement]) -> dict[str, Compared]:
    """Elements by aten operator, of every operator that has some on either side."""
    analytic: Counter[str] = Counter()
    for walk in walks:
        for record in walk.records():
            analytic[record.aten] += record.elements
    found: Counter[str] = Counter()
    for each in measured:
        found.update(each.elements)
    operators = sorted(operator for operator in analytic | found if analytic[operator] or found[operator])
    return {operator: Compared(analytic[operator], found[operator]) for operator in operators}


def cuda_core_flops(elements: Mapping[str, int]) -> int:
    """Vector FLOPs of measured elements by aten operator, by the convention of `FLOPS_PER_ELEMENT`."""
    flops = 0
    for operator, count in elements.items():
        name = operator.split(".")[1]
        if name not in KINDS:
            raise ModelMeterError(
                f"verify: operator {operator} has no kind, so its vector FLOPs are not known; add it to KINDS in "
                "comparison.py."
            )
        flops += count * FLOPS_PER_ELEMENT[KINDS[name]]
    return flops


def measured_figure(measured: Measurement, figure: str) -> int:
    """One measured figure, by its name in `StageCost`."""
    values = {
        "tensor_core_flops": measured.flops,
        "cuda_core_flops": cuda_core_flops(measured.elements),
        "io_weight_bytes": measured.traffic.weight_bytes,
        "io_activation_bytes": measured.traffic.activation_bytes,
        "io_kv_bytes": measured.traffic.kv_bytes,
        "io_bytes": measured.io_bytes,
        "activation_peak_bytes": measured.activation_peak_bytes,
        "resident_peak_bytes": measured.resident_peak_bytes,
        "kv_added_bytes": measured.kv_added_bytes,
    }
    return values[figure]


def check_measured(execution: str, measured: Iterable[str]) -> None:
    """Raise `ModelMeterError` unless an execution is one of those whose code can be measured."""
    if execution not in measured:
        raise ModelMeterError(
            f"verify: execution={execution} has no code here to measure; verify one of {', '.join(measured)}."
        )


def worst_difference(rows: Iterable[Row | StageRow]) -> int:
    """The largest difference, without its sign."""
    return max((abs(each.difference) for row in rows for each in row.figures()), default=0)


# -- FLOPs by where they stand ---------------------------------------------------------------------------------------


def flops_by_place(measured: Measurement, place: Callable[[str, int], str]) -> dict[str, int]:
    """Measured FLOPs by where their operators stand in the cost model's walks."""
    sums: dict[str, int] = {}
    for each in measured.operator_flops:
        path = place(each.path, each.run)
        sums[path] = sums.get(path, 0) + each.flops
    return sums


def named_below(path: str, modules: Iterable[str]) -> str:
    """The module among `modules` that a path is, or lies in; "" for none."""
    return next((module for module in modules if path == module or path.startswith(f"{module}.")), "")


def block_of(path: str) -> str:
    """The module directly below a part that a path in it lies in; a list of blocks is opened to its blocks."""
    names = path.split(".")
    numbered = next((index for index, name in enumerate(names) if name.isdigit()), None)
    return ".".join(names[: 1 if numbered is None else numbered + 1])


def block_flops(walk: Walk) -> dict[str, int]:
    """FLOPs of every module directly below a part, as `block_of` says."""
    flops: dict[str, int] = {}
    for record in walk.records():
        if record.path:
            path = block_of(record.path)
            flops[path] = flops.get(path, 0) + record.tensor_core_flops
    return flops


def part_rows(
    layers: Iterable[LayerCost], measured: Measurement, place: Callable[[str, int], str], detail: str
) -> list[Row]:
    """FLOPs of each part of a stage that is told apart and of what ran between them, analytic and measured.

    On detail=blocks also of every block below a part.
    """
    costs = list(layers)
    parts = list(dict.fromkeys(cost.path for cost in costs if cost.layer is not None))

    def names(path: str) -> list[str]:
        part = named_below(path, parts)
        below = path[len(part) + 1 :] if part else ""
        return [part or OTHER, *([f"{part}.{block_of(below)}"] if below and detail == "blocks" else [])]

    analytic: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for cost in costs:
        analytic[names(cost.path)[0]] += cost.walk.tensor_core_flops
        if detail == "blocks" and isinstance(cost.walk, Walk) and cost.layer is not None:
            for below, flops in block_flops(cost.walk).items():
                analytic[f"{cost.path}.{below}"] += flops
    for path, flops in flops_by_place(measured, place).items():
        for name in names(path):
            found[name] += flops
    return [
        Row(name=name, analytic_flops=analytic[name], measured_flops=found[name])
        for name in dict.fromkeys((*analytic, *found))
    ]
