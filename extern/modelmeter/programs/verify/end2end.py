"""Whole pages, analytic against the real model: vision, prefill and every decode step.

    python -m modelmeter.programs.verify.end2end model=NAME \
        'images=[page.png,scan.jpg]' output_tokens=10

Each page's size goes through the workload's rule; the model's real modules run on the meta device, on the inputs that
preprocessing makes of such a page, and are compared by stage (FLOPs, elements outside GEMMs by operator, traffic,
weights, both peaks and where the peak is, KV cache, sequence length) and by module (FLOPs). Every decode step is
compared for itself, and their sum; those before `first_step` are skipped, where a later one is what matters. With
`cached` the prefill runs over a cache of so many positions, of those that requests share.
`verify.json` lands in the run directory.
Exit status 0: every difference is within `tolerance`; 1: one is not, or a page was bad; 2: nothing could be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from operator import add
from typing import Any, Final, cast

from omegaconf import DictConfig

from modelmeter.checks import check_count
from modelmeter.errors import ModelMeterError
from modelmeter.layers.decoder.block import DecoderLayer
from modelmeter.layers.decoder.moe import MixtureOfExperts
from modelmeter.models.common import StageCost
from modelmeter.models.common.contract import ModelPackage, WholeModel
from modelmeter.models.common.cost_model import PageCost
from modelmeter.models.common.speculation import NONE
from modelmeter.models.common.stage_cost import json_number
from modelmeter.models.common.vision_language import LayerCost
from modelmeter.page_sizes import PageSize
from modelmeter.programs.hydra_program import AnyCostModel, cost_model_of, run
from modelmeter.programs.verify.program import (
    PAGE_KEYS,
    PageResult,
    cells,
    figure_table,
    page_entry,
    page_line,
    stage_comparison_table,
    stage_lines,
    verdict,
    verify_pages,
)
from modelmeter.reference.comparison import OTHER, Compared, Row, StageRow, flops_by_place, named_below, stage_row
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.whole_page import Whole
from modelmeter.reference.whole_request import WholeRequest

#: the keys of this program beside the pages' and the cost model's
OWN_KEYS: Final = {"output_tokens": 0, "first_step": 0, "cached": 0}

#: a stage's modules, in the order in which they are shown
VISION, DENSE, MOE = "vision", "layers (dense)", "layers (MoE)"
DECODER: Final = ("embed_tokens", DENSE, MOE, "norm", "lm_head")


@dataclass(frozen=True, kw_only=True)
class MeasuredPage:
    """The calls of one page: vision alone, prefill, the decode steps; positions in the cache after each of them."""

    vision: Measurement
    prefill: Measurement
    steps: Sequence[Measurement]
    seq_lens: Sequence[int]


class PageVerifier:
    """A cost model and the whole model of the same configuration; pages of equal layout are measured once.

    output_tokens: decode steps; first_step: the first of them that is measured. cached: positions of the prefill that
    its cache holds already.
    """

    def __init__(
        self, cost_model: AnyCostModel, whole: WholeModel, output_tokens: int, first_step: int = 0, cached: int = 0
    ) -> None:
        check_count("verify", "output_tokens", output_tokens)
        check_count("verify", "first_step", first_step)
        if first_step and first_step >= output_tokens:
            raise ModelMeterError(
                f"verify: first_step={first_step} leaves none of output_tokens={output_tokens} steps, which begin at "
                "0; give a smaller one."
            )
        if cost_model.config.runtime.experts_hit == "uniform":
            raise ModelMeterError(
                "verify: runtime.experts_hit=uniform is an assumption, a mean over routings that no run can show; "
                "verify experts_hit=max, or a number of experts."
            )
        if cost_model.config.runtime.draft != NONE:
            raise ModelMeterError(
                f"verify: runtime.draft={cost_model.config.runtime.draft} declares steps of several positions, and the "
                "real modules run steps of one; leave it out."
            )
        whole.check()
        self.cost_model = cost_model
        self.output_tokens = output_tokens
        self.first_step = first_step
        self.cached = cached
        self.whole = WholeRequest(cost_model, cast("Whole", whole))  # as every model's is
        self._measured = cache(self._measure)

    def _measure(self, layout: Any) -> MeasuredPage:
        cost_model, whole = self.cost_model, self.whole
        pages, head = cost_model.batch_size, cost_model.head
        inputs = whole.inputs(layout)
        vision = whole.vision(inputs)
        hit = self._experts_hit(pages * (cost_model.seq_len(layout) - self.cached))
        prompts = whole.inputs(layout, self.cached)
        prefill, kv_cache = whole.prefill(prompts, experts_hit=hit, head=head, cached=self.cached)
        seq_lens = [whole.positions(kv_cache)]
        steps = []
        if self.first_step:
            whole.skip(kv_cache, self.first_step)
        for _ in self._numbers():
            steps.append(whole.decode_step(kv_cache, experts_hit=self._experts_hit(pages), head=head))
            seq_lens.append(whole.positions(kv_cache))
        return MeasuredPage(vision=vision, prefill=prefill, steps=steps, seq_lens=seq_lens)

    def _numbers(self) -> range:
        """Of the steps that are measured."""
        return range(self.first_step, self.output_tokens)

    def _experts_hit(self, tokens: int) -> int:
        return int(self.cost_model.experts_hit(tokens))

    # -- comparisons --------------------------------------------------------------------------------------------------

    def measured(self, page: PageCost) -> MeasuredPage:
        """What the real model was seen to do on such a page."""
        return self._measured(page.layout)

    def stages(self, page: PageCost) -> list[StageRow]:
        """Vision, prefill and all decode steps together."""
        measured, place = self.measured(page), self._place(page)
        walk = partial(self.cost_model.stage_walk, page=page)
        steps = (walk("decode", context=page.seq_len + index, generated=index) for index in self._numbers())
        cost = self.cost_model.prefill_over_cache(page, self.cached)
        prefill = stage_row("prefill", cost, [walk("prefill", cached=self.cached)], [measured.prefill], place)
        decode = stage_row("decode", self._decode(page), steps, measured.steps, place, measured.prefill)
        return [
            stage_row("vision", page.vision, [walk("vision")], [measured.vision], place),
            _with_length(prefill, page.seq_len, measured.seq_lens[0]),
            _with_length(decode, page.seq_len + self.output_tokens, measured.seq_lens[-1]),
        ]

    def _decode(self, page: PageCost) -> StageCost:
        """The steps that are measured; all of them as the page's own cost has them."""
        if not self.first_step:
            return page.decode
        return reduce(add, (self.cost_model.step(page.seq_len + index, index) for index in self._numbers()))

    def _place(self, page: PageCost) -> Callable[[str, int], str]:
        """Where the real operators stand in the walks of such a page."""
        return partial(self.whole.place, layout=page.layout)

    def steps(self, page: PageCost) -> list[StageRow]:
        """Each decode step for itself."""
        measured, cost_model, place = self.measured(page), self.cost_model, self._place(page)
        rows = []
        for index, step, length in zip(self._numbers(), measured.steps, measured.seq_lens[1:], strict=True):
            context = page.seq_len + index
            walk = cost_model.stage_walk("decode", context=context, generated=index)
            row = stage_row(f"decode step {index}", cost_model.step(context, index), [walk], [step], place)
            rows.append(_with_length(row, context + 1, length))
        return rows

    def modules(self, page: PageCost) -> dict[str, list[Row]]:
        """FLOPs by stage and module."""
        cost_model, measured, place = self.cost_model, self.measured(page), self._place(page)
        steps = [cost_model.step_layers(page.seq_len + index, index) for index in self._numbers()]
        analytic = {
            "vision": [cost_model.vision_layers(page.layout)],
            "prefill": [cost_model.prefill_layers(page.layout, self.cached)],
            "decode": steps,
        }
        calls = {"vision": [measured.vision], "prefill": [measured.prefill], "decode": measured.steps}
        vision = vision_modules(cost_model, page.layout)
        moe = moe_layers(cost_model)
        shown = {"vision": (*vision, OTHER), "prefill": (VISION, *DECODER, OTHER), "decode": (*DECODER, OTHER)}
        rows = {}
        for stage, modules in shown.items():
            group = partial(grouped, modules=modules, vision=vision, moe=moe)
            ours = group(pair for walk in analytic[stage] for pair in analytic_flops(walk))
            theirs = group(pair for call in calls[stage] for pair in flops_by_place(call, place).items())
            rows[stage] = module_rows(modules, ours, theirs)
        return rows

    def result(self, size: PageSize, tolerance: float) -> PageResult:
        """Verify one page."""
        page = self.cost_model.page(size.width, size.height, self.output_tokens)
        stages, steps, modules = self.stages(page), self.steps(page), self.modules(page)
        costs = {"vision": page.vision, "prefill": page.prefill, "decode": page.decode, "total": page.total}
        seq_len = self.cost_model.seq_len(page.layout)
        agreeing = sum(step.agrees(tolerance) for step in steps)
        wrong = [step for step in steps if not step.agrees(tolerance)]
        first = seq_len + self.first_step
        return PageResult(
            entry={
                **page_entry(size, page),
                "seq_len": seq_len,
                "output_tokens": self.output_tokens,
                "modules": [{"stage": stage, **row.entry()} for stage, rows in modules.items() for row in rows],
                "stages": {stage.name: stage.entry() for stage in stages},
                "steps": [{"context": first + index, **step.entry()} for index, step in enumerate(steps)],
                "stage_cost": {name: _numbers(cost) for name, cost in costs.items()},
            },
            compared=[*(row for rows in modules.values() for row in rows), *stages, *steps],
            printed=[
                page_line(size, page, self.cost_model.workload),
                module_table(modules, tolerance),
                stage_comparison_table("stages", stages, tolerance),
                *(line for stage in stages for line in stage_lines(stage, tolerance)),
                f"decode, step by step: {agreeing} of {len(steps)} steps agree ({first} positions before the first)",
                *([stage_comparison_table("decode steps that differ", wrong, tolerance)] if wrong else []),
            ],
        )


def _with_length(row: StageRow, analytic: int, measured: int) -> StageRow:
    return replace(row, compared={**row.compared, "seq_len": Compared(analytic, measured)})


def _numbers(cost: StageCost) -> dict[str, Any]:
    return {name: json_number(value) for name, value in cost.as_dict().items()}


# -- FLOPs by module ------------------------------------------------------------------------------------------------


def analytic_flops(layers: Iterable[LayerCost]) -> Iterable[tuple[str, int]]:
    """(path, FLOPs) of a walk's layers and of what ran between them."""
    return ((cost.path, cost.walk.tensor_core_flops) for cost in layers)


def vision_modules(cost_model: AnyCostModel, layout: Any) -> list[str]:
    """The parts of vision that are told apart, view after view as they stand in the prompt."""
    ran = dict.fromkeys(cost.path for cost in cost_model.vision_layers(layout) if cost.layer is not None)
    named = [f"{view.name}.{part}" for view in cost_model.workload.views(layout) for part in parts_of(cost_model)]
    return [*(path for path in named if path in ran), *(path for path in ran if path not in named)]


def parts_of(cost_model: AnyCostModel) -> list[str]:
    """Names of the parts of vision."""
    return list(cost_model.model.vision_parts())


def moe_layers(cost_model: AnyCostModel) -> set[str]:
    """Paths of the decoder layers whose feed-forward part is a mixture of experts."""
    layers = cost_model.model.decoder.layers.children()
    return {
        f"layers.{name}"
        for name, layer in layers
        if isinstance(layer, DecoderLayer) and isinstance(layer.mlp, MixtureOfExperts)
    }


def grouped(
    flops: Iterable[tuple[str, int]], *, modules: Sequence[str], vision: Sequence[str], moe: set[str]
) -> dict[str, int]:
    """FLOPs by path as FLOPs by the modules that are shown for a stage."""
    sums: dict[str, int] = {}
    for path, value in flops:
        if path.startswith("layers."):
            module = MOE if ".".join(path.split(".")[:2]) in moe else DENSE
        elif VISION in modules and named_below(path, vision):
            module = VISION
        else:
            module = named_below(path, modules) or OTHER
        sums[module] = sums.get(module, 0) + value
    return sums


def module_rows(modules: Sequence[str], analytic: Mapping[str, int], measured: Mapping[str, int]) -> list[Row]:
    """A row for each module that the stage has on either side, and for what is left."""
    return [
        Row(name=module, analytic_flops=analytic.get(module, 0), measured_flops=measured.get(module, 0))
        for module in modules
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


def verify(package: ModelPackage, config: DictConfig) -> int:
    """Verify every page of a composed configuration, print the tables, write verify.json; the exit status."""
    cost_model = cost_model_of(package, config)
    whole = package.whole_model(cost_model)
    verifier = PageVerifier(cost_model, whole, config.output_tokens, config.first_step, config.cached)
    return verify_pages(
        package, config, lambda size: verifier.result(size, config.tolerance), notes=verifier.whole.notes
    )


def main() -> None:
    """The program."""
    run("verify_end2end", {**PAGE_KEYS, **OWN_KEYS}, verify)


if __name__ == "__main__":
    main()
