"""Analytic against measured figures, by module and by stage, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common import StageCost
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.traits import PageTraits
from modelmeter.models.deepseek_ocr.vision_workload import BranchConfig, ViewLayout
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.reference.branch import BranchMeasurement
    from modelmeter.reference.measurement import Measurement

DETAILS: Final = ("modules", "blocks")

#: the figures of a stage that add up over decode steps; of the others the largest counts, of the cache the last
ADDED: Final = ("tensor_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes", "io_bytes")
PEAKS: Final = ("activation_peak_bytes", "resident_peak_bytes")


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
    """

    name: str
    analytic_flops: int
    measured_flops: int
    analytic_shape: tuple[int, ...] | None = None
    measured_shape: tuple[int, ...] | None = None
    io: Compared | None = None
    peak: Compared | None = None

    @property
    def difference(self) -> int:
        """Analytic minus measured FLOPs."""
        return self.analytic_flops - self.measured_flops

    def figures(self) -> list[Compared]:
        """Everything that is compared."""
        flops = Compared(self.analytic_flops, self.measured_flops)
        return [flops, *(each for each in (self.io, self.peak) if each is not None)]

    def agrees(self, tolerance: float) -> bool:
        """Whether every difference is within `tolerance` of the measured value, and the shapes are equal.

        What is measured as 0 agrees with 0 only, whatever the tolerance.
        """
        return all(each.agrees(tolerance) for each in self.figures()) and self.analytic_shape == self.measured_shape

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
    """One stage, or one decode step: its figures, named as in `StageCost`, and where the activation peak is reached."""

    name: str
    compared: Mapping[str, Compared]
    peak_operator: tuple[str, str]
    peak_path: tuple[str, str]

    def figures(self) -> list[Compared]:
        """Everything that is compared, but for the operator at the peak."""
        return list(self.compared.values())

    def same_operator(self, tolerance: float) -> bool:
        """Whether both reach the peak at the same operator; a tolerance lets it differ, as it lets the peaks."""
        return self.peak_operator[0] == self.peak_operator[1] or tolerance > 0

    def agrees(self, tolerance: float) -> bool:
        """Whether every difference is within `tolerance` of the measured value, and the peak at the same operator."""
        return self.same_operator(tolerance) and all(each.agrees(tolerance) for each in self.figures())

    def entry(self) -> dict[str, Any]:
        """The stage in verify.json."""
        entry: dict[str, Any] = {name: compared.entry() for name, compared in self.compared.items()}
        for name in ("peak_operator", "peak_path"):
            analytic, measured = getattr(self, name)
            entry[name] = {"analytic": analytic, "measured": measured}
        return entry


def stage_row(name: str, cost: StageCost, measured: Sequence[Measurement], kv_bytes: int = 0) -> StageRow:
    """A stage's cost against the calls that it consists of, in order; `kv_bytes` is the cache's where there is none."""
    figures = {
        figure: Compared(getattr(cost, figure), sum(measured_figure(each, figure) for each in measured))
        for figure in ADDED
    }
    for figure in PEAKS:
        largest = max((measured_figure(each, figure) for each in measured), default=0)
        figures[figure] = Compared(getattr(cost, figure), largest)
    last = measured[-1].kv_bytes if measured else kv_bytes
    figures["kv_bytes"] = Compared(cost.kv_bytes, last)
    at_peak = max(measured, key=lambda each: each.activation_peak_bytes, default=None)
    return StageRow(
        name=name,
        compared=figures,
        peak_operator=(cost.peak_operator, "" if at_peak is None else at_peak.peak_operator),
        peak_path=(cost.peak_path, "" if at_peak is None else at_peak.peak_path),
    )


def measured_figure(measured: Measurement, figure: str) -> int:
    """One measured figure, by its name in `StageCost`."""
    values = {
        "tensor_core_flops": measured.flops,
        "io_weight_bytes": measured.traffic.weight_bytes,
        "io_activation_bytes": measured.traffic.activation_bytes,
        "io_kv_bytes": measured.traffic.kv_bytes,
        "io_bytes": measured.io_bytes,
        "activation_peak_bytes": measured.activation_peak_bytes,
        "resident_peak_bytes": measured.resident_peak_bytes,
    }
    return values[figure]


def worst_difference(rows: Iterable[Row | StageRow]) -> int:
    """The largest difference, without its sign."""
    return max((abs(each.difference) for row in rows for each in row.figures()), default=0)


# -- the vision stage, by branch and module -------------------------------------------------------------------------


def vision_calls(cost_model: CostModel) -> int:
    """How often each branch runs: once for all pages, or page after page."""
    return cost_model.config.runtime.batch_size if cost_model.code.execution.traits(PageTraits).pages_looped else 1


def branch_rows(
    branch: str,
    walks: Mapping[str, Sequence[Walk]],
    measured: BranchMeasurement,
    alone: Mapping[str, Walk],
    shapes: Mapping[str, tuple[int, ...]],
    detail: str,
) -> Iterator[Row]:
    """A row for SAM, CLIP and projector of one branch and, on detail=blocks, for every block below them.

    walks: by path, a part's walks in the stage. measured, shapes: one call of each part. alone: the parts' own walks,
    whose traffic and peak are compared (none where the reference is other code).
    """
    for path, calls in walks.items():
        owner, _, part = path.partition(".")
        if owner != branch:
            continue
        walk, found = alone.get(part), measured.parts[part]
        yield Row(
            name=path,
            analytic_flops=sum(call.tensor_core_flops for call in calls),
            measured_flops=len(calls) * measured.flops_of(part),
            analytic_shape=shapes[part],
            measured_shape=measured.shapes[part],
            io=None if walk is None else Compared(walk.bytes_read + walk.bytes_written, found.io_bytes),
            peak=None if walk is None else Compared(walk.peak_bytes, found.activation_peak_bytes),
        )
        if detail == "blocks":
            blocks = [block_flops(call) for call in calls]
            for below in blocks[0]:
                yield Row(
                    name=f"{path}.{below}",
                    analytic_flops=sum(flops[below] for flops in blocks),
                    measured_flops=len(calls) * measured.flops_of(f"{part}.{below}"),
                )


def block_flops(walk: Walk) -> dict[str, int]:
    """FLOPs of every module directly below a part; a list of blocks is opened to its blocks."""
    flops: dict[str, int] = {}
    for record in walk.records():
        names = record.path.split(".")
        numbered = next((index for index, name in enumerate(names) if name.isdigit()), None)
        depth = 1 if numbered is None else numbered + 1
        if not record.path:
            continue
        path = ".".join(names[:depth])
        flops[path] = flops.get(path, 0) + record.tensor_core_flops
    return flops


def vision_rows(
    cost_model: CostModel,
    layout: ViewLayout,
    measurements: Mapping[str, BranchMeasurement],
    detail: str,
    *,
    with_memory: bool,
) -> list[Row]:
    """All rows of a page's vision stage; `measurements` of one call by branch, "global" and "crops"."""
    vision = cost_model.vision_config(layout)
    walks: dict[str, list[Walk]] = {}
    for cost in cost_model.vision_layers(layout):
        if cost.layer is not None and isinstance(cost.walk, Walk):
            walks.setdefault(cost.path, []).append(cost.walk)
    rows: list[Row] = []
    for name, branch in (("global", vision.global_branch), ("crops", vision.crop_branch)):
        if branch is None:
            continue
        parts = branch_parts(cost_model, branch)
        shapes = {part: layer.output_shapes()[0] for part, layer in parts.items()}
        alone = {part: layer.walk() for part, layer in parts.items()} if with_memory else {}
        rows.extend(branch_rows(name, walks, measurements[name], alone, shapes, detail))
    return rows


def branch_parts(cost_model: CostModel, branch: BranchConfig) -> dict[str, Any]:
    """SAM, CLIP and projector alone, for one call of one branch."""
    views = {"batch_size": branch.batch_size // vision_calls(cost_model)}
    return {
        "sam_model": cost_model.part("image_encoder_vit", **views, img_size=branch.img_size),
        "vision_model": cost_model.part("vit_model", **views, img_size=branch.img_size),
        "projector": cost_model.part("mlp_projector", **views, num_tokens=branch.num_tokens),
    }
