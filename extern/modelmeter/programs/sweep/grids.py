"""A page in every crop grid that `workload.max_num` allows, and a page without crops.

    python -m modelmeter.programs.sweep.grids workload=gundam workload.max_num=6

The page of a grid is one of its ratio, `image_size` pixels a crop where that gives the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.tiles import candidate_grids
from modelmeter.models.deepseek_ocr.cost_model import CostModel
from modelmeter.models.deepseek_ocr.vision_workload import (
    NO_CROP_SIDE,
    VisionWorkload,
    compute_view_layout,
)
from modelmeter.page_sizes import PageSize
from modelmeter.programs.sweep.sweep import Point, Sweep, check_number, output_tokens_of, run_sweep


def page_of_grid(workload: VisionWorkload, columns: int, rows: int) -> PageSize:
    """A page that `compute_view_layout` cuts into this grid.

    Only grids of the same ratio compete, and area decides: a grid wins over the smaller ones from half its own pixels
    on. So crops of `image_size` do, or else the smallest that win and that make a page large enough to be cut.
    """
    smallest = max(isqrt(workload.image_size**2 // 2), NO_CROP_SIDE // max(columns, rows)) + 1
    for side in (workload.image_size, smallest):
        width, height = columns * side, rows * side
        layout = compute_view_layout(workload, width, height)
        if (layout.w_crop, layout.h_crop) == (columns, rows):
            return PageSize(source=f"{width}x{height}", width=width, height=height)
    raise ModelMeterError(
        f"sweep: no page is cut into {columns} x {rows} crops with workload.image_size={workload.image_size}, since "
        f"pages of up to {NO_CROP_SIDE} pixels a side are not cut; give a larger workload.image_size."
    )


def points(cost_model: CostModel, own: Mapping[str, Any]) -> Iterator[Point]:
    """The page without crops, then a page of each grid, by crops, then by columns."""
    workload = cost_model.workload
    if not workload.crop_mode:
        raise ModelMeterError(
            "sweep: workload.crop_mode=false cuts no page; take a mode with crops, workload=gundam or gundam_m."
        )
    output_tokens = output_tokens_of(own)
    whole = PageSize(source="no crops", width=NO_CROP_SIDE, height=NO_CROP_SIDE)
    yield Point(label="1x1", cost_model=cost_model, page=whole, output_tokens=output_tokens)
    grids = candidate_grids(workload.min_num, workload.max_num)
    check_number(len(grids))  # before a page is sought for each
    for columns, rows, _ in grids:
        if columns * rows > 1:
            page = page_of_grid(workload, columns, rows)
            yield Point(label=f"{columns}x{rows}", cost_model=cost_model, page=page, output_tokens=output_tokens)


SWEEP = Sweep(
    name="grids",
    title="Crop grids",
    axis="grid",
    about="Every grid of columns x rows that `workload.min_num` and `workload.max_num` allow; 1x1 is a page without "
    "crops. Grids of as many crops differ by their newline tokens, one a row of tokens.",
    keys=("output_tokens",),
    varied=(),
    points=points,
    x="image_tokens",
    x_text="image tokens",
)


def main() -> None:
    """The program."""
    run_sweep(SWEEP)


if __name__ == "__main__":
    main()
