"""Whole pages, analytic against the real model: vision, prefill and every decode step.

    python -m modelmeter.models.deepseek_ocr.scripts.verify.run_verify_end2end \
        'images=[page.png,scan.jpg]' workload=gundam output_tokens=10

Each page's size goes through `compute_view_layout`; transformers' whole model (for `execution=published` the replica of
that code) runs on the meta device, on the inputs that preprocessing makes of such a page, and is compared by stage
(FLOPs, elements outside products by operator, traffic, weights, both peaks and where the peak is, KV cache, sequence
length) and by module (FLOPs). Every decode step is compared for itself, and their sum.
`verify.json` lands in the run directory.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final

from omegaconf import DictConfig

from modelmeter.checks import check_count
from modelmeter.errors import ModelMeterError
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.common import StageCost
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.common.vision_language import LayerCost
from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.models.deepseek_ocr.cost_model import CostModel, PageCost
from modelmeter.models.deepseek_ocr.scripts.program import run
from modelmeter.models.deepseek_ocr.scripts.verify.comparison import Compared, Row, StageRow, stage_row
from modelmeter.models.deepseek_ocr.scripts.verify.measured_pages import REPLICA_NOTE, page_geometry, page_reference
from modelmeter.models.deepseek_ocr.scripts.verify.program import (
    PAGE_KEYS,
    PageResult,
    cells,
    check_vision,
    figure_table,
    page_entry,
    page_line,
    stage_lines,
    stage_table,
    verdict,
    verify_pages,
)
from modelmeter.page_sizes import PageSize
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.page import PageGeometry

#: the keys of this program beside the pages' and the cost model's
OWN_KEYS: Final = {"output_tokens": 0}

#: a stage's modules, in the order in which they are shown
BRANCHES: Final = tuple(
    f"{branch}.{part}" for branch in ("global", "crops") for part in ("sam_model", "vision_model", "projector")
)
VISION, DENSE, MOE, OTHER = "vision", "layers (dense)", "layers (MoE)", "other"
DECODER: Final = ("embed_tokens", DENSE, MOE, "norm", "lm_head")
MODULES: Final[Mapping[str, Sequence[str]]] = {
    "vision": (*BRANCHES, OTHER),
    "prefill": (VISION, *DECODER, OTHER),
    "decode": (*DECODER, OTHER),
}


@dataclass(frozen=True, kw_only=True)
class MeasuredPage:
    """The calls of one page: vision alone, prefill, the decode steps; positions in the cache after each of them."""

    vision: Measurement
    prefill: Measurement
    steps: Sequence[Measurement]
    seq_lens: Sequence[int]


class PageVerifier:
    """A cost model and the whole model of the same configuration; pages of equal layout are measured once."""

    def __init__(self, cost_model: CostModel, output_tokens: int) -> None:
        check_count("verify", "output_tokens", output_tokens)
        config = cost_model.config
        if config.runtime.experts_hit == "uniform":
            raise ModelMeterError(
                "verify: runtime.experts_hit=uniform is an assumption, a mean over routings that no run can show; "
                "verify experts_hit=max, or a number of experts."
            )
        check_vision(cost_model)
        self.cost_model = cost_model
        self.output_tokens = output_tokens
        self.reference = page_reference(cost_model)
        self.reference.check_decoder()
        self._measured = cache(self._measure)

    def _measure(self, geometry: PageGeometry) -> MeasuredPage:
        cost_model, reference = self.cost_model, self.reference
        pages, head = geometry.pages, cost_model.head
        inputs = reference.inputs(geometry)
        vision = reference.vision(inputs)
        tokens = inputs.token_ids.numel()
        prefill, kv_cache = reference.prefill(inputs, experts_hit=self._experts_hit(tokens), head=head)
        seq_lens = [kv_cache.get_seq_length()]
        steps = []
        for _ in range(self.output_tokens):
            hit = self._experts_hit(pages)
            steps.append(reference.decode_step(kv_cache, pages=pages, experts_hit=hit, head=head))
            seq_lens.append(kv_cache.get_seq_length())
        return MeasuredPage(vision=vision, prefill=prefill, steps=steps, seq_lens=seq_lens)

    def _experts_hit(self, tokens: int) -> int:
        return int(self.cost_model.experts_hit(tokens))

    # -- comparisons --------------------------------------------------------------------------------------------------

    def measured(self, page: PageCost) -> MeasuredPage:
        """What the real model was seen to do on such a page."""
        return self._measured(page_geometry(self.cost_model, page))

    def stages(self, page: PageCost) -> list[StageRow]:
        """Vision, prefill and all decode steps together."""
        measured, place = self.measured(page), self._place(page)
        walk = partial(self.cost_model.stage_walk, page=page)
        contexts = range(page.seq_len, page.seq_len + self.output_tokens)
        steps = (walk("decode", context=context) for context in contexts)
        prefill = stage_row("prefill", page.prefill, [walk("prefill")], [measured.prefill], place)
        decode = stage_row("decode", page.decode, steps, measured.steps, place, measured.prefill)
        return [
            stage_row("vision", page.vision, [walk("vision")], [measured.vision], place),
            _with_length(prefill, page.seq_len, measured.seq_lens[0]),
            _with_length(decode, page.seq_len + self.output_tokens, measured.seq_lens[-1]),
        ]

    def _place(self, page: PageCost) -> Callable[[str, int], str]:
        """Where the reference's operators stand in the walks of such a page."""
        return partial(self.reference.place, crops=page.layout.num_views_total > 1)

    def steps(self, page: PageCost) -> list[StageRow]:
        """Each decode step for itself."""
        measured, cost_model, place = self.measured(page), self.cost_model, self._place(page)
        rows = []
        for index, step in enumerate(measured.steps):
            context = page.seq_len + index
            walk = cost_model.stage_walk("decode", context=context)
            row = stage_row(f"decode step {index}", cost_model.step(context), [walk], [step], place)
            rows.append(_with_length(row, context + 1, measured.seq_lens[index + 1]))
        return rows

    def modules(self, page: PageCost) -> dict[str, list[Row]]:
        """FLOPs by stage and module."""
        cost_model, measured = self.cost_model, self.measured(page)
        seq_len = cost_model.seq_len(page.layout)
        contexts = range(seq_len, seq_len + self.output_tokens)
        analytic = {
            "vision": [cost_model.vision_layers(page.layout)],
            "prefill": [cost_model.prefill_layers(page.layout)],
            "decode": [cost_model.step_layers(context) for context in contexts],
        }
        calls = {"vision": [measured.vision], "prefill": [measured.prefill], "decode": measured.steps}
        crops = page.layout.num_views_total > 1
        return {
            stage: module_rows(
                stage,
                grouped(stage, (each for walk in analytic[stage] for each in analytic_flops(walk))),
                grouped(stage, (each for call in calls[stage] for each in self._measured_flops(call, crops))),
            )
            for stage in MODULES
        }

    def _measured_flops(self, call: Measurement, crops: bool) -> Iterable[tuple[str, bool, int]]:
        moe = {f"layers.{number}" for number in self.reference.moe_layers}
        flops_by_path = self.reference.module_flops(call, crops=crops)
        return ((path, path in moe, flops) for path, flops in flops_by_path.items())

    def result(self, size: PageSize, tolerance: float) -> PageResult:
        """Verify one page."""
        page = self.cost_model.page(size.width, size.height, self.output_tokens)
        stages, steps, modules = self.stages(page), self.steps(page), self.modules(page)
        costs = {"vision": page.vision, "prefill": page.prefill, "decode": page.decode, "total": page.total}
        seq_len = self.cost_model.seq_len(page.layout)
        agreeing = sum(step.agrees(tolerance) for step in steps)
        wrong = [step for step in steps if not step.agrees(tolerance)]
        return PageResult(
            entry={
                **page_entry(size, page),
                "seq_len": seq_len,
                "output_tokens": self.output_tokens,
                "modules": [{"stage": stage, **row.entry()} for stage, rows in modules.items() for row in rows],
                "stages": {stage.name: stage.entry() for stage in stages},
                "steps": [{"context": seq_len + index, **step.entry()} for index, step in enumerate(steps)],
                "stage_cost": {name: _numbers(cost) for name, cost in costs.items()},
            },
            compared=[*(row for rows in modules.values() for row in rows), *stages, *steps],
            printed=[
                page_line(size, page),
                module_table(modules, tolerance),
                stage_table("stages", stages, tolerance),
                *(line for stage in stages for line in stage_lines(stage, tolerance)),
                f"decode, step by step: {agreeing} of {len(steps)} steps agree ({seq_len} positions before the first)",
                *([stage_table("decode steps that differ", wrong, tolerance)] if wrong else []),
            ],
        )

    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        runtime = self.cost_model.config.runtime
        notes = []
        if self.cost_model.config.execution.name == "published":
            notes.append(REPLICA_NOTE)
        if runtime.attention == "eager" and runtime.dtype == "float16":
            notes.append(
                "float16 with attention=eager: the meta device converts before a softmax in float32; on CUDA that is "
                "one operator, with less traffic and perhaps a lower peak."
            )
        return notes


def _with_length(row: StageRow, analytic: int, measured: int) -> StageRow:
    return replace(row, compared={**row.compared, "seq_len": Compared(analytic, measured)})


def _numbers(cost: StageCost) -> dict[str, Any]:
    return {name: json_number(value) for name, value in cost.as_dict().items()}


# -- FLOPs by module ------------------------------------------------------------------------------------------------


def analytic_flops(layers: Iterable[LayerCost]) -> Iterable[tuple[str, bool, int]]:
    """(published path, whether it is a mixture of experts, FLOPs) of a walk's layers and of what ran between them."""
    for cost in layers:
        layer = cost.layer
        moe = isinstance(layer, DecoderLayer) and isinstance(layer.mlp, MixtureOfExperts)
        yield cost.path, moe, cost.walk.tensor_core_flops


def grouped(stage: str, flops: Iterable[tuple[str, bool, int]]) -> dict[str, int]:
    """FLOPs by the modules that are shown for a stage."""
    sums: dict[str, int] = {}
    for path, moe, value in flops:
        if path.startswith("layers."):
            module = MOE if moe else DENSE
        elif path.startswith(("global.", "crops.")) and stage == "prefill":
            module = VISION
        else:
            module = path if path in MODULES[stage] else OTHER
        sums[module] = sums.get(module, 0) + value
    return sums


def module_rows(stage: str, analytic: Mapping[str, int], measured: Mapping[str, int]) -> list[Row]:
    """A row for each module that the stage has on either side, and for what is left."""
    return [
        Row(name=module, analytic_flops=analytic.get(module, 0), measured_flops=measured.get(module, 0))
        for module in MODULES[stage]
        if module in analytic or module in measured
    ]


def module_table(modules: Mapping[str, Sequence[Row]], tolerance: float) -> Any:
    """Analytic and measured FLOPs, a row a stage and module."""
    table = figure_table("FLOPs by module", ("stage", "module"), ("FLOPs",))
    for stage, rows in modules.items():
        for row in rows:
            flops = Compared(row.analytic_flops, row.measured_flops)
            table.add_row(stage, row.name, *cells(flops), verdict(row.agrees(tolerance)))
        table.add_section()
    return table


def verify(config: DictConfig) -> int:
    """Verify every page of a composed configuration, print the tables, write verify.json; the exit status."""
    verifier = PageVerifier(CostModel(CONFIGURATION.resolve(config)), config.output_tokens)
    return verify_pages(config, lambda size: verifier.result(size, config.tolerance), notes=verifier.notes())


def main() -> None:
    """The program."""
    run("verify_end2end", {**PAGE_KEYS, **OWN_KEYS}, verify)


if __name__ == "__main__":
    main()
