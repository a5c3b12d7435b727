"""`modelmeter page`: the cost of pages by stage."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from modelmeter.cli.arguments import page_options, read_arguments, read_inputs, same_sizes
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.page_sizes import PageSize

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.models.common.vram import Vram


@click.command(short_help="Tokens, FLOPs, traffic and memory of pages, by stage.")
@page_options
def command(
    arguments: tuple[str, ...],
    model: str | None,
    output_tokens: int | None,
    dpi: int,
    max_pixels: int,
    exact: bool,
    as_json: bool,
) -> None:
    """What pages cost, by stage.

    INPUT is an image file, a PDF, or a size such as 1275x1650. KEY=VALUE overrides the configuration, as in
    runtime.dtype=float32. Every page is read and computed before anything is printed. A PDF or a TIFF of several pages
    has a table of all of them together at the end.
    """
    model, names, overrides = read_arguments(model, arguments)
    package = model_package(model)
    inputs = read_inputs(names, dpi, max_pixels)
    cost_model = package.load_cost_model(overrides)
    costs = {size: _cost(cost_model, size, output_tokens or 0) for each in inputs for size in each.pages}
    from modelmeter.models.common.totals import Totals

    totals = [
        (each.name, Totals.of_pages([(Totals.of_page(costs[size][0], output_tokens or 0), 1) for size in each.pages]))
        for each in inputs
        if len(each.pages) > 1
    ]
    if as_json:
        from modelmeter.report.json_document import cost_content, json_text, model_content

        pages = [
            asdict(size) | {"dpi": each.dpi} | cost_content(*costs[size]) for each in inputs for size in each.pages
        ]
        content = model_content(model, cost_model) | {"output_tokens": output_tokens or 0, "pages": pages}
        content["totals"] = [{"source": name} | each.as_dict() for name, each in totals]
        write(json_text("page", content))
        return

    from modelmeter.report import page_tables

    show = page_tables.exact_figure if exact else page_tables.readable_figure
    parts: list[RenderableType] = []
    for title, size in same_sizes(inputs):
        page, vram = costs[size]
        parts += [
            title,
            page_tables.page_lines(cost_model, package.MODES, overrides, page, output_tokens),
            "",
            page_tables.stage_table(page, cost_model.assumptions(), show),
            "",
            page_tables.memory_lines(page, vram),
            "",
        ]
    for name, together in totals:
        table = page_tables.stage_table(together, cost_model.assumptions(), show)
        parts += [
            page_tables.totals_line(name, together, cost_model.batch_size),
            "",
            table,
            "",
            *page_tables.MEANING.splitlines(),
            "",
        ]
    write(rendered(*parts, page_tables.assumption_lines(cost_model.assumptions())))


def _cost(cost_model: CostModel, size: PageSize, output_tokens: int) -> tuple[PageCost, Vram]:
    try:
        page = cost_model.page(size.width, size.height, output_tokens)
        return page, cost_model.vram(size.width, size.height, output_tokens)
    except ModelMeterError as error:
        raise ModelMeterError(f"page {size.source}: {error}") from error
