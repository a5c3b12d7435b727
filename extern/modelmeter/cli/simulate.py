"""`modelmeter simulate`: how long requests take under a load that arrives."""

from __future__ import annotations

import csv
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, Final

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
    system_prompt_option,
    table_options,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.page_class import RunawayShare, page_class_options, runaway_option
from modelmeter.cli.page_kinds import asked_pages, tell_left_out
from modelmeter.documents import read_regular
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package

if TYPE_CHECKING:
    from collections.abc import Sequence

#: bytes of a trace
_MAX_TRACE: Final = 2**26

#: requests of a trace
MAX_REQUESTS: Final = 1_000_000


@click.command(short_help="How long requests take under a load that arrives.")
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
@system_prompt_option
@click.option("--rate", type=float, default=None, metavar="R", help="R requests a second, which arrive at random.")
@click.option(
    "--concurrency", type=int, default=None, metavar="N", help="N requests in flight, a new one whenever one ends."
)
@click.option(
    "--trace",
    type=click.Path(),
    default=None,
    metavar="FILE",
    help="Arrivals of a CSV file: its column arrival_s, seconds since the first one or any other moment.",
)
@click.option(
    "--requests", type=click.IntRange(1, MAX_REQUESTS), default=2000, show_default=True, metavar="N", help="How many."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of what is drawn at random.")
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="[GROUP=]N|N:WEIGHT,...|COLUMN",
    help="Decode steps of a page, as in modelmeter throughput.",
)
@page_class_options
@runaway_option
@by_option
@table_options
@dpi_option
@max_pixels_option
@model_option
@json_option
@debug_option
@with_system_prompt
def command(
    arguments: tuple[str, ...],
    name: str,
    engine: str | None,
    rate: float | None,
    concurrency: int | None,
    trace: str | None,
    requests: int,
    seed: int,
    output_tokens: tuple[str, ...],
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    runaway_share: RunawayShare,
    by: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    dpi: int,
    max_pixels: int,
    model: str | None,
    as_json: bool,
) -> None:
    """Simulate pages that arrive at one device: how long each waits and takes, at the median and in the tails.

    INPUT and KEY=VALUE are those of modelmeter throughput; pages are drawn by their counts. Give one of --rate,
    --concurrency and --trace. The engine's scheduler, its pool and the host's workers are simulated request by
    request, with the steps' predicted times; docs/simulation.md says how.
    """
    loads = {"--rate": rate, "--concurrency": concurrency, "--trace": trace}
    given = [option for option, value in loads.items() if value is not None]
    if len(given) != 1:
        raise ModelMeterError(
            f"simulate: {' and '.join(given) or 'no load'}; give one of --rate, --concurrency and --trace."
        )
    model, files, overrides = read_arguments(model, arguments)
    overrides = with_engine("simulate", engine, overrides)
    package = model_package(model)
    asked = asked_pages(
        "simulate",
        files,
        output_tokens,
        (page_class, language, text_format, tokenizers),
        (package, overrides),
        {"by": by, "width": width, "height": height, "unit": unit, "count": count},
        dpi=dpi,
        max_pixels=max_pixels,
    )
    arrivals = None if trace is None else read_trace(trace)
    from rich.text import Text

    from modelmeter.devices import load_device
    from modelmeter.devices.engine import timed_assumptions
    from modelmeter.models.common.engines import is_chosen, served
    from modelmeter.report import page_tables, simulation_tables, throughput_tables
    from modelmeter.report.json_document import json_text
    from modelmeter.simulation.load import simulate

    device = load_device(name)
    cost_model = package.load_cost_model(served(overrides, package.EXECUTIONS))
    kinds, counted = asked.read(cost_model)
    result = simulate(
        cost_model,
        device,
        kinds,
        rate=rate,
        in_flight=concurrency,
        arrivals=arrivals,
        requests=requests,
        seed=seed,
        runaway_share=runaway_share.share,
    )
    assumptions = [*timed_assumptions(cost_model), *asked.assumptions(counted), *runaway_share.assumptions()]
    if as_json:
        content: dict[str, Any] = cost_model.to_dict() | {
            "settings": dict(cost_model.for_times().settings()),
            "assumptions": [vars(each) for each in assumptions],
            "engine": cost_model.engine.name,
            "device": device.name,
            "runaway_share": runaway_share.share,
        }
        write(json_text("simulate", content | simulation_tables.simulation_content(result)))
        tell_left_out(counted)
        return
    write(
        rendered(
            f"{device.titled(cost_model.devices)}, {simulation_tables.load_words(result)}"
            f"{page_tables.runaway_words(runaway_share.share)}",
            page_tables.model_lines(
                cost_model.for_times(),
                overrides,
                throughput_tables.engine_line(cost_model.engine.name, default=not is_chosen(overrides)),
            ),
            "",
            simulation_tables.times_table(result),
            "",
            Text("\n".join(simulation_tables.served_lines(result))),
            "",
            page_tables.assumption_lines(assumptions),
        )
    )
    tell_left_out(counted)


def read_trace(path: str) -> Sequence[float]:
    """Seconds of each arrival since the first one; raises `ModelMeterError` for what is no trace."""
    who = f"simulate: {path}"
    text = read_regular(who, path, _MAX_TRACE).decode("utf-8-sig", errors="replace")
    rows = csv.DictReader(text.splitlines())
    if "arrival_s" not in (rows.fieldnames or ()):
        raise ModelMeterError(f"{who} has no column arrival_s; its first line names its columns.")
    times: list[float] = []
    for row in rows:
        came = row["arrival_s"]
        try:
            time = float(came)
        except (TypeError, ValueError):
            time = nan
        if not isfinite(time):
            raise ModelMeterError(f"{who}, line {rows.line_num}: arrival_s {came!r} is no number of seconds.")
        if times and time < times[-1]:
            raise ModelMeterError(
                f"{who}, line {rows.line_num}: arrival_s {time:g} is before the {times[-1]:g} of the line above; order "
                "the lines by their time."
            )
        times.append(time)
        if len(times) > MAX_REQUESTS:
            raise ModelMeterError(f"{who} has more than {MAX_REQUESTS:,} requests; give fewer.")
    if not times:
        raise ModelMeterError(f"{who} has no request.")
    return [each - times[0] for each in times]
