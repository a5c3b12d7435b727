"""Rows of analytic against measured figures, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.layers.core.deepseek_ocr_model import LayerCost
from modelmeter.models.deepseek_ocr.vision_workload import BranchConfig, ViewLayout
from modelmeter.reference.branch import BranchMeasurement
from modelmeter.shape_tensor import Walk

DETAILS = ("modules", "blocks")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One module: FLOPs by the cost model and as measured, and the shapes that both give (None: not compared)."""

    name: str
    analytic_flops: int
    measured_flops: int
    analytic_shape: tuple[int, ...] | None = None
    measured_shape: tuple[int, ...] | None = None

    @property
    def difference(self) -> int:
        """Analytic minus measured FLOPs."""
        return self.analytic_flops - self.measured_flops

    def agrees(self, tolerance: float) -> bool:
        """Whether the difference is within `tolerance` of the measured value, and the shapes are equal.

        A module measured as 0 agrees with 0 only, whatever the tolerance.
        """
        return abs(self.difference) <= tolerance * self.measured_flops and self.analytic_shape == self.measured_shape


def branch_rows(
    branch: str,
    layers: Iterable[LayerCost],
    measured: BranchMeasurement,
    shapes: dict[str, tuple[int, ...]],
    detail: str,
) -> Iterator[Row]:
    """A row for SAM, CLIP and projector of one branch and, on detail=blocks, for every block below them."""
    for cost in layers:
        owner, _, part = cost.path.partition(".")
        if cost.layer is None or owner != branch or not isinstance(cost.walk, Walk):
            continue
        yield Row(
            name=cost.path,
            analytic_flops=cost.walk.tensor_core_flops,
            measured_flops=measured.flops_of(part),
            analytic_shape=shapes[part],
            measured_shape=measured.shapes[part],
        )
        if detail == "blocks":
            for path, flops in block_flops(cost.walk).items():
                below = f"{part}.{path}"
                yield Row(name=f"{branch}.{below}", analytic_flops=flops, measured_flops=measured.flops_of(below))


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


def part_shapes(cost_model: CostModel, branch: BranchConfig) -> dict[str, tuple[int, ...]]:
    """The output shapes of the three parts for one branch."""
    views = {"batch_size": branch.batch_size}
    parts = {
        "sam_model": cost_model.part("image_encoder_vit", **views, img_size=branch.img_size),
        "vision_model": cost_model.part("vit_model", **views, img_size=branch.img_size),
        "projector": cost_model.part("mlp_projector", **views, num_tokens=branch.num_tokens),
    }
    return {name: part.output_shapes()[0] for name, part in parts.items()}


def vision_rows(
    cost_model: CostModel,
    layout: ViewLayout,
    measurements: dict[str, BranchMeasurement],
    detail: str,
) -> list[Row]:
    """All rows of a page's vision stage; `measurements` by branch, "global" and "crops"."""
    vision = cost_model.vision_config(layout)
    layers = cost_model.vision_layers(layout)
    branches = {"global": vision.global_branch, "crops": vision.crop_branch}
    rows: list[Row] = []
    for name, branch in branches.items():
        if branch is not None:
            rows.extend(branch_rows(name, layers, measurements[name], part_shapes(cost_model, branch), detail))
    return rows


def worst_difference(rows: Sequence[Row]) -> int:
    """The largest difference in FLOPs, without its sign."""
    return max((abs(row.difference) for row in rows), default=0)
