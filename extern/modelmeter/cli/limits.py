"""`modelmeter limits`: an engine's pool, who fits in it, what it reserves, and what to set."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from modelmeter.cli.arguments import (
    by_option,
    complete_device,
    debug_option,
    dpi_option,
    engine_option,
    inputs_argument,
    json_option,
    max_pixels_option,
    model_option,
    read_arguments,
    table_options,
    with_engine,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.page_class import page_class_options
from modelmeter.cli.page_kinds import asked_pages, tell_left_out
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.report.fitting import Fitting


@click.command(short_help="What limits an engine on a device, and what to set.")
@inputs_argument
@click.option(
    "--device",
    "name",
    required=True,
    shell_complete=complete_device,
    metavar="DEVICE",
    help="A bundled device, or the path of a YAML file of your own.",
)
@engine_option("vllm")
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="[GROUP=]N|N:WEIGHT,...|COLUMN",
    help="Decode steps of a page, as in modelmeter throughput.",
)
@page_class_options
@by_option
@table_options
@dpi_option
@max_pixels_option
@model_option
@json_option
@click.option("--explain", is_flag=True, help="Say what every line means, and what is assumed of the model.")
@debug_option
def command(
    arguments: tuple[str, ...],
    name: str,
    engine: str | None,
    output_tokens: tuple[str, ...],
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    by: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    dpi: int,
    max_pixels: int,
    model: str | None,
    as_json: bool,
    explain: bool,
) -> None:
    """What limits an engine on a device for these pages: its KV pool, pages at once, memory that it reserves.

    INPUT and KEY=VALUE are those of modelmeter throughput; engine.max_num_seqs=64 and its like set the engine. Beside
    what holds now stands what to set, and why, and whether pages need more memory than the engine's profile run.
    """
    if as_json and explain:
        raise ModelMeterError("limits: --explain is of the screen; --json says its assumptions; leave one out.")
    model, files, overrides = read_arguments(model, arguments)
    overrides = with_engine("limits", engine, overrides)
    package = model_package(model)
    asked = asked_pages(
        "limits",
        files,
        output_tokens,
        (page_class, language, text_format, tokenizers),
        (package, overrides),
        {"by": by, "width": width, "height": height, "unit": unit, "count": count},
        dpi=dpi,
        max_pixels=max_pixels,
    )
    from modelmeter.devices import load_device
    from modelmeter.devices.engine_limits import engine_limits
    from modelmeter.memory import amount
    from modelmeter.models.common.engines import is_chosen, served
    from modelmeter.report import limits_tables, page_tables, throughput_tables
    from modelmeter.report.json_document import json_text

    device = load_device(name)
    cost_model = package.load_cost_model(served(overrides, package.EXECUTIONS)).lazy()
    kinds, counted = asked.read(cost_model)
    answer = engine_limits(cost_model, device, kinds)
    assumptions = asked.assumptions(counted)
    if as_json:
        content: dict[str, Any] = cost_model.to_dict() | {
            "assumptions": [asdict(each) for each in (*cost_model.assumptions(), *assumptions)]
        }
        write(json_text("limits", content | limits_tables.limits_content(answer, cost_model)))
        tell_left_out(counted)
        return
    parts: list[RenderableType | Fitting] = [
        f"{device.titled(cost_model.devices)}, {amount(device.memory_bytes)}",
        page_tables.model_lines(
            cost_model,
            overrides,
            throughput_tables.engine_line(cost_model.engine.name, default=not is_chosen(overrides)),
        ),
        "",
        limits_tables.pool_table(answer),
        "",
        limits_tables.limits_table(answer),
        "",
        limits_tables.advice_lines(answer, cost_model),
        "",
        page_tables.label_lines(*limits_tables.notes(answer)),
    ]
    if explain:
        parts += ["", page_tables.label_lines(*limits_tables.MEANINGS)]
        assumptions = [*cost_model.assumptions(), *assumptions]
    if assumptions:
        parts += ["", page_tables.assumption_lines(assumptions)]
    write(rendered(*parts))
    tell_left_out(counted)
