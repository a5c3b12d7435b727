"""The vision stage of real pages, analytic against the real modules.

    python -m modelmeter.programs.verify.vision model=NAME \
        'images=[page.png,scan.jpg]' detail=blocks

Each page's size goes through the workload's rule; the stage runs on the meta device as a whole and is compared part by
part (FLOPs) and as one (FLOPs, traffic, weights, peaks). Where a model's parts can be called alone, they are: what
comes out of each is compared too, and what it moves and holds. Traffic and peaks are compared where the reference is
the code that `execution` names. `verify.json` lands in the run directory.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from modelmeter.errors import ModelMeterError, near
from modelmeter.models.common.contract import ModelPackage, WholeModel
from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.stage_cost import json_number
from modelmeter.page_sizes import PageSize
from modelmeter.programs.hydra_program import AnyCostModel, cost_model_of, run
from modelmeter.programs.verify.program import (
    PAGE_KEYS,
    PageResult,
    flops_table,
    memory_table,
    page_entry,
    page_line,
    stage_comparison_table,
    stage_lines,
    verify_pages,
)
from modelmeter.reference.comparison import DETAILS, Row, StageRow, part_rows, stage_row
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import Whole
from modelmeter.reference.whole_request import WholeRequest

#: the keys of this program beside the cost model's
OWN_KEYS = {
    "detail": "",
    "reference": {"name": "", "folder": "", "trust_remote_code": False},
}


class VisionVerifier:
    """A cost model and the real modules of the same configuration; pages of equal layout are measured once."""

    def __init__(self, cost_model: AnyCostModel, whole: WholeModel, reference: Mapping[str, Any]) -> None:
        self.cost_model = cost_model
        self.whole = WholeRequest(cost_model, cast("Whole", whole))  # as every model's is
        self.parts = whole.parts(reference)
        #: whether the reference is the code whose traffic and peaks the cost model states
        self.same_code = self.parts is None or self.parts.same_code
        self._stage = cache(self._measure)

    def _measure(self, layout: Any) -> Measurement:
        measured: Measurement = self.whole.vision(self.whole.inputs(layout))
        return measured

    def rows(self, page: PageCost, detail: str) -> list[Row]:
        """The comparison of one page by module."""
        if self.parts is not None:
            return list(self.parts.rows(page, detail))
        layers = self.cost_model.vision_layers(page.layout)
        place = partial(self.whole.place, layout=page.layout)
        return part_rows(layers, self._stage(page.layout), place, detail)

    def stages(self, page: PageCost) -> list[StageRow]:
        """The comparison of the stage as a whole; none where the reference has no whole model of the same code."""
        if not self.same_code:
            return []
        walk = self.cost_model.stage_walk("vision", page=page)
        place = partial(self.whole.place, layout=page.layout)
        return [stage_row("vision", page.vision, [walk], [self._stage(page.layout)], place)]

    def result(self, size: PageSize, detail: str, tolerance: float) -> PageResult:
        """Verify one page."""
        page = self.cost_model.page(size.width, size.height)
        rows, stages = self.rows(page, detail), self.stages(page)
        cost = page.vision
        alone = self.same_code and self.parts is not None
        line = (
            f"vision stage: {cost.flops_tensor_tflops:.6f} tensor-core TFLOPs, {cost.flops_cuda_tflops:.6f} vector "
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
                page_line(size, page, self.cost_model.workload),
                flops_table("vision", rows, tolerance),
                *([memory_table("vision, bytes, each module alone", rows, tolerance)] if alone else []),
                *([stage_comparison_table("vision stage", stages, tolerance)] if stages else []),
                *(text for stage in stages for text in stage_lines(stage, tolerance)),
                line,
            ],
        )

    def notes(self) -> list[str]:
        """What is left out."""
        if self.same_code:
            return list(self.whole.notes)
        return [
            f"traffic and peaks are not compared: the reference is other code than "
            f"execution={self.cost_model.config.execution.name}."
        ]


def verify(package: ModelPackage, config: DictConfig) -> int:
    """Verify every page of a composed configuration, print the tables, write verify.json; the exit status."""
    if config.detail not in DETAILS:
        raise ModelMeterError(f"verify: detail={config.detail} is unknown; {near(str(config.detail), DETAILS)}")
    reference: Any = OmegaConf.to_container(config.reference)
    cost_model = cost_model_of(package, config)
    verifier = VisionVerifier(cost_model, package.whole_model(cost_model), reference)
    return verify_pages(
        package, config, lambda size: verifier.result(size, config.detail, config.tolerance), notes=verifier.notes()
    )


def main() -> None:
    """The program."""
    run("verify_end2end_vision", {**PAGE_KEYS, **OWN_KEYS}, verify)


if __name__ == "__main__":
    main()
