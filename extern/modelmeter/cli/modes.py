"""`modelmeter modes`: one page in every named mode, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from modelmeter.cli.arguments import (
    engine_option,
    page_options,
    read_arguments,
    read_inputs,
    same_sizes,
    with_engine,
)
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.page_sizes import PageSize

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.models.common.vram import Vram
    from modelmeter.report.fitting import Fitting


@click.command(short_help="Pages in every named mode, side by side.")
@page_options
@engine_option("transformers")
def command(
    arguments: tuple[str, ...],
    model: str | None,
    output_tokens: int | None,
    dpi: int,
    max_pixels: int,
    exact: bool,
    as_json: bool,
    engine: str | None,
) -> None:
    """What pages cost in each named mode of the model, side by side.

    INPUT is an image file, a PDF, or a size such as 1275x1650. KEY=VALUE overrides the configuration of all modes, as
    in runtime.attention=eager. A mode whose context is too short for a page stands without figures, and why.
    """
    model, names, overrides = read_arguments(model, arguments)
    overrides = with_engine("modes", engine, overrides)
    package = model_package(model)
    _check_overrides(overrides, package.MODES)
    inputs = read_inputs(names, dpi, max_pixels)
    cost_models = {mode: package.load_cost_model([f"workload={mode}", *overrides]).lazy() for mode in package.MODES}
    costs = {size: _costs(cost_models, size, output_tokens or 0) for each in inputs for size in each.pages}
    common = next(iter(cost_models.values()))
    # a mode may have one of its own
    assumptions = list(dict.fromkeys(each for model in cost_models.values() for each in model.assumptions()))
    if as_json:
        from modelmeter.report.json_document import json_text

        content = common.to_dict()
        del content["configuration"]
        content["assumptions"] = [asdict(assumption) for assumption in assumptions]
        content["configurations"] = {mode: asdict(cost_model.config) for mode, cost_model in cost_models.items()}
        content["output_tokens"] = output_tokens or 0
        content["pages"] = [
            asdict(size)
            | {
                "dpi": each.dpi,
                "modes": {
                    mode: {"error": cost} if isinstance(cost, str) else cost[0].to_dict()
                    for mode, cost in costs[size].items()
                },
            }
            for each in inputs
            for size in each.pages
        ]
        write(json_text("modes", content))
        return

    from modelmeter.report import page_tables
    from modelmeter.report.fitting import Fitting

    show = page_tables.exact_figure if exact else page_tables.readable_figure
    parts: list[RenderableType | Fitting] = []
    for title, size in same_sizes(inputs):
        fitting = {mode: None if isinstance(cost, str) else cost for mode, cost in costs[size].items()}
        parts += [
            title,
            page_tables.modes_lines(common, overrides, output_tokens),
            "",
            Fitting(table=page_tables.modes_table(common.workload, fitting, assumptions, show)),
            *(f"{mode}: {cost}" for mode, cost in costs[size].items() if isinstance(cost, str)),
            "",
        ]
    write(rendered(*parts, page_tables.assumption_lines(assumptions)))


def _costs(
    cost_models: Mapping[str, CostModel], size: PageSize, output_tokens: int
) -> dict[str, tuple[PageCost, Vram] | str]:
    """Cost and memory need in every mode, or why there is none; raises if there is none in any mode."""
    costs: dict[str, tuple[PageCost, Vram] | str] = {}
    for mode, cost_model in cost_models.items():
        try:
            page = cost_model.page(size.width, size.height, output_tokens)
            costs[mode] = page, cost_model.vram(size.width, size.height, output_tokens)
        except ModelMeterError as error:
            costs[mode] = str(error)
    if all(isinstance(cost, str) for cost in costs.values()):
        raise ModelMeterError(f"page {size.source} fits no mode; {costs[next(iter(costs))]}")
    return costs


def _check_overrides(overrides: Sequence[str], modes: Mapping[str, Any]) -> None:
    """Refuse an override of what makes the modes differ."""
    workloads = [vars(workload) for workload in modes.values()]
    differing = [key for key in workloads[0] if len({workload[key] for workload in workloads}) > 1]
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in ("workload", *(f"workload.{name}" for name in differing)):
            raise ModelMeterError(f"{override}: the modes set {key} themselves; leave it out, or use modelmeter page.")
