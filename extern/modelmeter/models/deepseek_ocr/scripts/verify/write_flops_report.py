"""FLOPs of a list of real pages by grid of crops, verified: writes reports/verification/flops.md.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.write_flops_report page_sizes.csv [SOURCE]

The list is a CSV file with the columns source, width and height (pixels); of it, the rows whose source begins with
SOURCE (OmniDocBench, where not given) are counted. A page's figures depend on its grid alone, so each grid is measured
once, on a page that falls on it, by both verification programs' machinery; nothing of the list but how many pages fall
on each grid goes into the report. Exit status 0: every difference is 0; 1: one is not; 2: the list cannot be used.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost, load_cost_model
from modelmeter.models.deepseek_ocr.reference.whole import DeepseekOcrWhole
from modelmeter.models.deepseek_ocr.vision_workload import MODES, NO_CROP_SIDE, compute_view_layout
from modelmeter.page_sizes import PageSize
from modelmeter.programs.hydra_program import AGREES, DISAGREES, ended
from modelmeter.programs.verify.end2end import PageVerifier
from modelmeter.programs.verify.vision import VisionVerifier
from modelmeter.reference.comparison import Row, StageRow, worst_difference

REPORT: Final = Path("reports/verification/flops.md")
SOURCE: Final = "OmniDocBench"
COLUMNS: Final = ("source", "width", "height")
OUTPUT_TOKENS: Final = 10
REFERENCE: Final = {"name": "transformers", "folder": "", "trust_remote_code": False}

Grid = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What both programs found of the pages of one grid."""

    figures: int
    worst: int
    agrees: bool


def read_sizes(path: Path, source: str) -> list[PageSize]:
    """Sizes of the listed pages whose source begins with `source`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ModelMeterError(f"{path}: lacks the columns {', '.join(missing)}; {', '.join(COLUMNS)} are read.")
            rows = [(reader.line_num, row) for row in reader if (row["source"] or "").startswith(source)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelMeterError(f"{path}: cannot be read as CSV ({error}).") from error
    if not rows:
        raise ModelMeterError(f"{path}: has no page whose source begins with {source}.")
    return [_page_size(path, line, row) for line, row in rows]


def _page_size(path: Path, line: int, row: Mapping[str, str | None]) -> PageSize:
    where = f"{path}, line {line}"
    try:
        return PageSize(source=where, width=int(row["width"] or ""), height=int(row["height"] or ""))
    except (ModelMeterError, ValueError) as error:
        raise ModelMeterError(f"{where}: width={row['width']}, height={row['height']} is no size in pixels.") from error


def count_grids(cost_model: CostModel, sizes: Iterable[PageSize]) -> Counter[Grid]:
    """How many pages fall on each grid (columns, rows)."""
    layouts = (compute_view_layout(cost_model.workload, size.width, size.height) for size in sizes)
    return Counter((layout.w_crop, layout.h_crop) for layout in layouts)


def page_on(cost_model: CostModel, grid: Grid) -> PageCost:
    """A page that falls on this grid: as large as its crops together, or too small for any."""
    columns, rows = grid
    side = NO_CROP_SIDE if grid == (1, 1) else cost_model.workload.image_size
    page = cost_model.page(columns * side, rows * side, OUTPUT_TOKENS)
    if page.layout[1:] != grid:
        raise ModelMeterError(f"write_flops_report: no page of {columns}x{rows} crops was found to measure.")
    return page


def verify_grids(cost_model: CostModel, grids: Iterable[Grid]) -> dict[Grid, Verified]:
    """Measure a page of each grid and compare every figure."""
    whole = DeepseekOcrWhole(cost_model)
    vision, pages = VisionVerifier(cost_model, whole, REFERENCE), PageVerifier(cost_model, whole, OUTPUT_TOKENS)
    found = {}
    for grid in grids:
        page = page_on(cost_model, grid)
        compared: list[Row | StageRow] = [*vision.rows(page, "blocks"), *vision.stages(page)]
        for rows in pages.modules(page).values():
            compared.extend(rows)
        compared.extend([*pages.stages(page), *pages.steps(page)])
        found[grid] = Verified(
            figures=sum(len(row.figures()) for row in compared),
            worst=worst_difference(compared),
            agrees=all(row.agrees(0) for row in compared),
        )
    return found


def mode_table(cost_model: CostModel, pages: Mapping[Grid, int], verified: Mapping[Grid, Verified]) -> str:
    """One mode's grids, a row each, the fewest crops first."""
    lines = [
        "| grid | pages | image tokens | sequence length | vision | prefill | decode | figures compared "
        "| worst difference |",
        "|---|" + "---:|" * 8,
    ]
    for grid in sorted(pages, key=lambda grid: (grid[0] * grid[1], grid)):
        page, result = page_on(cost_model, grid), verified[grid]
        cells = (
            f"{grid[0]}x{grid[1]}" if grid != (1, 1) else "no crops",
            pages[grid],
            page.tokens.total,
            cost_model.seq_len(page.layout),
            *(f"{stage.tensor_core_flops:,}" for stage in (page.vision, page.prefill, page.decode)),
            result.figures,
            result.worst if result.agrees else f"{result.worst} (differs)",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def report_text(source: str, tables: Mapping[str, str], pages: int, prompt_tokens: int) -> str:
    """The report."""
    head = f"""# FLOPs of real pages, verified

{pages} pages of {source}, by the grid of crops that each mode cuts them into. Tensor-core FLOPs of one page
(multiply-add = 2) under `execution=transformers`, `runtime.attention=flash`, `runtime.dtype=bfloat16`, with
{prompt_tokens} prompt tokens; prefill includes vision; decode is {OUTPUT_TOKENS} steps.

The figures are analytic, and each grid was measured too, on transformers' modules on the meta device: FLOPs of every
vision block, decoder part, stage and decode step; elements outside GEMMs by operator, vector FLOPs, traffic,
weights, peaks and KV cache of every stage and decode step; traffic and peaks of SAM, CLIP and projector alone. The
worst difference is the largest of all these, in FLOPs, elements, bytes or tokens.

Written by `modelmeter.models.deepseek_ocr.scripts.verify.write_flops_report` from a list of page sizes that is not
part of this repository.
"""
    return head + "".join(f"\n## {mode}\n\n{table}\n" for mode, table in tables.items())


def write_report(arguments: Sequence[str]) -> int:
    """Write the report on the list that the command line names; the exit status."""
    if not 1 <= len(arguments) <= 2 or any(argument.startswith("-") for argument in arguments):
        raise ModelMeterError("write_flops_report: give a CSV file of page sizes, and what its sources begin with.")
    source = arguments[1] if len(arguments) > 1 else SOURCE
    sizes = read_sizes(Path(arguments[0]), source)
    tables: dict[str, str] = {}
    agrees, prompt_tokens = True, 0
    for mode in MODES:
        cost_model = load_cost_model([f"workload={mode}"])
        prompt_tokens = cost_model.prompt_tokens
        pages = count_grids(cost_model, sizes)
        verified = verify_grids(cost_model, pages)
        tables[mode] = mode_table(cost_model, pages, verified)
        agrees = agrees and all(each.agrees for each in verified.values())
        worst = max(each.worst for each in verified.values())
        print(f"{mode}: {len(pages)} grids, worst difference {worst}")
    write_whole(REPORT, report_text(source, tables, len(sizes), prompt_tokens))
    print(REPORT)
    return AGREES if agrees else DISAGREES


if __name__ == "__main__":
    sys.exit(ended(lambda: write_report(sys.argv[1:])))
