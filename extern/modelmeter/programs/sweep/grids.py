"""A page in every grid of tiles that a workload's limits allow, and a page without tiles.

python -m modelmeter.programs.sweep.grids model=NAME

The page of a grid is one of its ratio, as large as its tiles where that gives the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import ModelPackage
from modelmeter.models.common.tiles import TiledWorkload, candidate_grids
from modelmeter.programs.hydra_program import AnyCostModel
from modelmeter.programs.sweep.sweep import Sweep, SweepPoint, SweepProgram, check_number, output_tokens_of, run_sweep


def points(cost_model: AnyCostModel, own: Mapping[str, Any]) -> Iterator[SweepPoint]:
    """The page without tiles, then a page of each grid, by tiles, then by columns."""
    workload: TiledWorkload = cost_model.workload
    least, most = (getattr(workload, name) for name in workload.tile_limits)
    workload.check_tiled()
    output_tokens = output_tokens_of(own)
    grids = candidate_grids(least, most)
    check_number(len(grids))  # before a page is sought for each
    for columns, rows in [(1, 1), *((columns, rows) for columns, rows, _ in grids if columns * rows > 1)]:
        page = workload.page_of_grid(columns, rows)
        yield SweepPoint(label=f"{columns}x{rows}", cost_model=cost_model, page=page, output_tokens=output_tokens)


def sweep_of(package: ModelPackage) -> Sweep:
    """The sweep over grids, of a model that cuts pages into tiles."""
    workload = next(iter(package.MODES.values()))
    if not isinstance(workload, TiledWorkload):
        raise ModelMeterError(f"sweep: {package.TITLE} cuts no page into tiles ({package.IMAGE_RULE}); sweep modes.")
    tiles, (least, most) = workload.layout_title, workload.tile_limits
    return Sweep(
        title=f"{tiles.removesuffix('s').capitalize()} grids",
        axis="grid",
        about=f"Every grid of columns x rows that `workload.{least}` and `workload.{most}` allow; 1x1 is a page "
        f"without {tiles}. Grids of as many {tiles} differ by their newline tokens, one a row of tokens.",
        varied=(),
        points=points,
        x="image_tokens",
        x_text="image tokens",
    )


PROGRAM: Final = SweepProgram(name="grids", keys=("output_tokens",), of=sweep_of)


def main() -> None:
    """The program."""
    run_sweep(PROGRAM)


if __name__ == "__main__":
    main()
