"""The vision stage of real pages, analytic against the real modules.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end_vision \
        'images=[page.png,scan.jpg]' workload=gundam detail=blocks

Each page's size goes through `compute_view_layout`; SAM, CLIP and the projector of the global view and of the crops
are measured on the meta device and compared module by module, and so is the stage as a whole. `verify.json` lands in
the run directory. Traffic and peaks are compared where the reference is the code that `execution` names.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from __future__ import annotations

from functools import cache, cached_property, partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.scripts.program import run
from modelmeter.models.deepseek_ocr.scripts.verify.comparison import (
    DETAILS,
    Row,
    StageRow,
    stage_row,
    vision_calls,
    vision_rows,
)
from modelmeter.models.deepseek_ocr.scripts.verify.measured_pages import (
    REPLICA_NOTE,
    WHOLE_MODELS,
    check_measured,
    page_geometry,
    page_reference,
)
from modelmeter.models.deepseek_ocr.scripts.verify.program import (
    PAGE_KEYS,
    PageResult,
    check_vision,
    comparison_table,
    memory_table,
    page_entry,
    page_line,
    stage_lines,
    stage_table,
    verify_pages,
)
from modelmeter.page_sizes import PageSize
from modelmeter.reference.branch import BranchMeasurement, measure_branch, vision_reference
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.page import PageGeometry

#: the keys of this program beside the pages' and the cost model's
OWN_KEYS = {
    "detail": "",
    "reference": {"name": "", "folder": "", "trust_remote_code": False},
}


class VisionVerifier:
    """A cost model and a reference of the same configuration; branches of equal geometry are measured once."""

    def __init__(self, cost_model: CostModel, reference: dict[str, Any]) -> None:
        check_vision(cost_model)
        self.cost_model = cost_model
        config = cost_model.config
        check_measured(config.execution.name, WHOLE_MODELS)
        modules = vision_reference(
            reference["name"],
            folder=reference["folder"],
            trust_remote_code=reference["trust_remote_code"],
            dtype=config.runtime.dtype,
            attention=config.runtime.attention,
            hidden_size=config.decoder.hidden_size,
        )
        #: whether the reference is the code whose traffic and peaks the cost model states
        self.same_code = reference["name"] == config.execution.name
        self._branch = cache(lambda views, side: measure_branch(modules, views, side))
        self._stage = cache(self._measure_stage)

    def rows(self, page: PageCost, detail: str) -> list[Row]:
        """The comparison of one page by module."""
        vision = self.cost_model.vision_config(page.layout)
        branches = {"global": vision.global_branch, "crops": vision.crop_branch}
        measurements: dict[str, BranchMeasurement] = {
            name: self._branch(branch.batch_size // vision_calls(self.cost_model), branch.img_size)
            for name, branch in branches.items()
            if branch is not None
        }
        return vision_rows(self.cost_model, page.layout, measurements, detail, with_memory=self.same_code)

    def stages(self, page: PageCost) -> list[StageRow]:
        """The comparison of the stage as a whole; none where the reference has no whole model of the same code."""
        if not self.same_code:
            return []
        walk = self.cost_model.stage_walk("vision", page=page)
        place = partial(self._whole.place, crops=page.layout.num_views_total > 1)
        return [stage_row("vision", page.vision, [walk], [self._stage(page_geometry(self.cost_model, page))], place)]

    @cached_property
    def _whole(self) -> Any:
        return page_reference(self.cost_model)

    def _measure_stage(self, geometry: PageGeometry) -> Measurement:
        measured: Measurement = self._whole.vision(self._whole.inputs(geometry))
        return measured

    def result(self, size: PageSize, detail: str, tolerance: float) -> PageResult:
        """Verify one page."""
        page = self.cost_model.page(size.width, size.height)
        rows, stages = self.rows(page, detail), self.stages(page)
        cost = page.vision
        line = (
            f"vision stage: {cost.flops_tensor_tflops:.6f} tensor-core TFLOPs, {cost.flops_cuda_tflops:.6f} CUDA-core "
            f"TFLOPs (by convention), {cost.io_bytes:,} bytes moved, {cost.weight_bytes:,} bytes of weights, "
            f"peak {cost.activation_peak_bytes:,} bytes at {cost.peak_path} ({cost.peak_operator})"
        )
        return PageResult(
            entry={
                **page_entry(size, page),
                "modules": [row.entry() for row in rows],
                "stages": {stage.name: stage.entry() for stage in stages},
                "stage_cost": {name: json_number(value) for name, value in cost.as_dict().items()},
            },
            compared=[*rows, *stages],
            printed=[
                page_line(size, page),
                comparison_table("vision", rows, tolerance),
                *([memory_table("vision, bytes, each module alone", rows, tolerance)] if self.same_code else []),
                *([stage_table("vision stage", stages, tolerance)] if stages else []),
                *(text for stage in stages for text in stage_lines(stage, tolerance)),
                line,
            ],
        )

    def notes(self) -> list[str]:
        """What is left out."""
        if self.same_code:
            return [REPLICA_NOTE] if self.cost_model.config.execution.name == "published" else []
        return [
            f"traffic and peaks are not compared: the reference is other code than "
            f"execution={self.cost_model.config.execution.name}."
        ]


def verify(config: DictConfig) -> int:
    """Verify every page of a composed configuration, print the tables, write verify.json; the exit status."""
    if config.detail not in DETAILS:
        raise ModelMeterError(f"verify: detail={config.detail} is unknown; {near(str(config.detail), DETAILS)}")
    reference: Any = OmegaConf.to_container(config.reference)
    verifier = VisionVerifier(CostModel(CONFIGURATION.resolve(config)), reference)
    return verify_pages(
        config, lambda size: verifier.result(size, config.detail, config.tolerance), notes=verifier.notes()
    )


def main() -> None:
    """The program."""
    run("verify_end2end_vision", {**PAGE_KEYS, **OWN_KEYS}, verify)


if __name__ == "__main__":
    main()
