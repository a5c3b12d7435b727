"""The real modules' side of a case, measured on the meta device. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from modelmeter import models
from modelmeter.models.common.stage_cost import json_number
from modelmeter.reference.comparison import measured_figure
from modelmeter.reference.measurement import Measurement
from tests.measured.account import FIGURES, Stage, cost_model, digest, page_of, seq_len_of
from tests.measured.cases import Case


@lru_cache(maxsize=1)
def whole_of(model: str, overrides: tuple[str, ...]) -> Any:
    """The real modules of a configuration."""
    return models.model_package(model).whole_model(cost_model(Case(model=model, overrides=overrides)))


def measure(case: Case) -> dict[str, Stage]:
    """Every figure of every stage of a case."""
    model, whole = cost_model(case), whole_of(case.model, case.overrides)
    page, pages, head = page_of(case, model), model.batch_size, model.head
    whole.check()
    stages = {}
    if case.text_alone:
        layout, inputs = model.workload.examples()[0], whole.page.text_inputs(model.prompt_tokens, pages)
    else:
        layout, inputs = page.layout, whole.inputs(page.layout)
    place = partial(whole.place, layout=layout)
    if inputs.images:
        stages["vision"] = stage_of(whole.vision(inputs), place)
    hit = int(model.experts_hit(pages * seq_len_of(case, model, page)))
    measured, cache = whole.prefill(inputs, experts_hit=hit, head=head)
    stages["prefill"] = {"seq_len": whole.positions(cache), **stage_of(measured, place)}
    done = 0
    for step in case.steps:
        if step > done:
            whole.skip(cache, step - done)
        measured = whole.decode_step(cache, experts_hit=int(model.experts_hit(pages)), head=head)
        stages[f"step {step}"] = {"seq_len": whole.positions(cache), **stage_of(measured, place)}
        done = step + 1
    return stages


def stage_of(measured: Measurement, place: Callable[[str, int], str]) -> Stage:
    """The figures of a measurement; modules by their places in the cost model's walks."""
    figures = {figure: measured_figure(measured, figure) for figure in FIGURES}
    figures |= {"weight_bytes": measured.weight_bytes, "kv_bytes": measured.kv_bytes}
    moving = {each.operator for each in measured.operator_traffic}
    elements = [count for operator, count in measured.element_series if operator in moving]
    return {
        **{figure: json_number(value) for figure, value in figures.items()},
        "peak_operator": measured.peak_operator,
        "peak_path": place(measured.peak_path, measured.peak_run),
        "elements": {name: json_number(count) for name, count in sorted(measured.elements.items()) if count},
        "operators": digest(
            (each.operator, place(each.path, each.run), count, each.traffic.read_bytes, each.traffic.written_bytes)
            for each, count in zip(measured.operator_traffic, elements, strict=True)
        ),
        "products": digest((place(each.path, each.run), each.flops) for each in measured.operator_flops if each.flops),
    }
