"""The vision stage of real pages, analytic against the real modules.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision \
        'images=[page.png,scan.jpg]' workload=gundam detail=blocks

Each page's size goes through `compute_view_layout`; SAM, CLIP and the projector of the global view and of the crops
are measured on the meta device and compared module by module. `verify.json` lands in the run directory.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.schema import CONFIG_MODULE, VisionSchema, resolve
from modelmeter.models.deepseek_ocr.scripts.verify.comparison import DETAILS, Row, vision_rows, worst_difference
from modelmeter.models.deepseek_ocr.scripts.verify.program import (
    AGREES,
    DISAGREES,
    BadPage,
    comparison_table,
    console,
    ended,
    output_folder,
    read_pages,
    run,
)
from modelmeter.page_sizes import PageSize
from modelmeter.reference.branch import BranchMeasurement, measure_branch, vision_reference
from modelmeter.report.files import write_whole

#: the keys of this program beside the cost model's
OWN_KEYS = {
    "images": [],
    "sizes": [],
    "detail": "",
    "tolerance": 0,
    "reference": {"name": "", "folder": "", "trust_remote_code": False},
}


class VisionVerifier:
    """A cost model and a reference of the same configuration; branches of equal geometry are measured once."""

    def __init__(self, cost_model: CostModel, reference: dict[str, Any]) -> None:
        if cost_model.config.vision != VisionSchema():
            raise ModelMeterError(
                "verify: the configuration changes vision.*; the reference measures the published architecture only, "
                "so leave vision.* as it is."
            )
        self.cost_model = cost_model
        runtime = cost_model.config.runtime
        modules = vision_reference(
            reference["name"],
            folder=reference["folder"],
            trust_remote_code=reference["trust_remote_code"],
            dtype=runtime.dtype,
            attention=runtime.attention,
        )
        self._measure = cache(lambda views, side: measure_branch(modules, views, side))

    def rows(self, page: PageCost, detail: str) -> list[Row]:
        """The comparison of one page."""
        branches = {"global": page.vision_config.global_branch, "crops": page.vision_config.crop_branch}
        measurements: dict[str, BranchMeasurement] = {
            name: self._measure(branch.batch_size, branch.img_size)
            for name, branch in branches.items()
            if branch is not None
        }
        return vision_rows(self.cost_model, page.layout, measurements, detail)


def page_entry(size: PageSize, page: PageCost, rows: list[Row]) -> dict[str, Any]:
    """One page of verify.json."""
    return {
        "source": size.source,
        "width": size.width,
        "height": size.height,
        "layout": page.layout._asdict(),
        "tokens": page.tokens._asdict(),
        "modules": [
            {
                "name": row.name,
                "analytic_flops": json_number(row.analytic_flops),
                "measured_flops": json_number(row.measured_flops),
                "difference": json_number(row.difference),
            }
            for row in rows
        ],
        "stage_cost": {name: json_number(value) for name, value in page.vision.as_dict().items()},
    }


def verify(config: DictConfig) -> int:
    """Verify every page of a composed configuration, print the tables, write verify.json; the exit status."""
    if config.detail not in DETAILS:
        raise ModelMeterError(f"verify: detail={config.detail} is unknown; {near(str(config.detail), DETAILS)}")
    tolerance = config.tolerance
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise ModelMeterError(f"verify: tolerance={tolerance} is no share of the measured value; give 0 or more.")
    plain: Any = OmegaConf.to_container(config, resolve=True)
    pages = read_pages(plain["images"], plain["sizes"])
    verifier = VisionVerifier(CostModel(resolve(config)), plain["reference"])
    out = console()
    entries: list[dict[str, Any]] = []
    bad: list[BadPage] = []
    compared: list[Row] = []
    with Progress(console=_errors(), transient=True) as progress:
        for size in progress.track(pages, description="pages"):
            if isinstance(size, BadPage):
                bad.append(size)
                continue
            try:
                page = verifier.cost_model.page(size.width, size.height)
                rows = verifier.rows(page, config.detail)
            except ModelMeterError as error:
                bad.append(BadPage(size.source, str(error)))
                continue
            compared.extend(rows)
            entries.append(page_entry(size, page, rows))
            _print_page(out, size, page, rows, tolerance)
    result = {
        "pages": entries,
        "bad_pages": [vars(each) for each in bad],
        "worst_difference": worst_difference(compared),
        "tolerance": float(tolerance),
    }
    path = output_folder() / "verify.json"
    write_whole(path, json.dumps(result, indent=2) + "\n")
    for refused in bad:
        print(f"error: {refused.error}", file=sys.stderr)
    agrees = bool(compared) and all(row.agrees(tolerance) for row in compared)
    out.print(
        f"{len(entries)} of {len(pages)} pages verified, {len(compared)} figures, "
        f"worst difference {result['worst_difference']} FLOPs (tolerance {tolerance}) -> {path}",
        soft_wrap=True,
    )
    return AGREES if agrees and not bad else DISAGREES


def _errors() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _print_page(out: Any, size: PageSize, page: PageCost, rows: list[Row], tolerance: float) -> None:
    layout, tokens, cost = page.layout, page.tokens, page.vision
    out.print(
        f"\n{size.source}: {size.width} x {size.height} pixels, grid {layout.w_crop}x{layout.h_crop}, "
        f"{layout.num_views_total} views, {tokens.total} image tokens "
        f"(global {tokens.global_tokens}, crops {tokens.crop_tokens})",
        soft_wrap=True,
        highlight=False,
    )
    out.print(comparison_table("vision", rows, tolerance))
    out.print(
        f"vision stage: {cost.flops_tensor_tflops:.6f} tensor-core TFLOPs, {cost.flops_cuda_tflops:.6f} CUDA-core "
        f"TFLOPs (by convention), {cost.io_bytes:,} bytes moved, {cost.weight_bytes:,} bytes of weights, "
        f"peak {cost.activation_peak_bytes:,} bytes at {cost.peak_path} ({cost.peak_operator})",
        soft_wrap=True,
        highlight=False,
    )


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="verify_end2end_vision")
def _program(config: DictConfig) -> None:
    raise SystemExit(ended(lambda: verify(config)))


def main() -> None:
    """The program."""
    run(_program, OWN_KEYS)


if __name__ == "__main__":
    main()
