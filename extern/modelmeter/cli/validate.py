"""`modelmeter validate`: predicted beside measured times of the real model on the machine at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from modelmeter.cli.arguments import (
    complete_device,
    debug_option,
    inputs_argument,
    json_option,
    model_option,
    read_arguments,
)
from modelmeter.cli.measuring import check_installed, device_option, one_page, repeats_option, threads_option
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError, printable
from modelmeter.models import model_package

if TYPE_CHECKING:
    from rich.text import Text

#: modes that are run where none is asked for
DEFAULT_MODES: Final = {"cpu": ("eager",), "cuda": ("eager", "graph")}


@click.command(short_help="Predicted beside measured times, by stage.")
@inputs_argument
@device_option
@click.option(
    "--against",
    shell_complete=complete_device,
    required=True,
    metavar="DEVICE",
    help="The description that predicts: a bundled device, or a file, as `modelmeter calibrate` writes it.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["eager", "graph", "compile"]),
    multiple=True,
    help="How the real model runs: eagerly, as a CUDA graph, under torch.compile; may be repeated.  "
    "[default: eager; on cuda also graph]",
)
@click.option("--float32", default="fp32", show_default=True, help="Peak of float32 GEMMs: fp32 or tf32.")
@repeats_option
@threads_option
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    device: str,
    against: str,
    modes: tuple[str, ...],
    float32: str,
    repeats: int,
    threads: int | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Run the real model with random weights on this machine, and compare its times with the roofline's.

    One page of INPUT's size (1275x1650 by default): vision, prefill with vision, and one decode step after it.
    KEY=VALUE overrides the configuration, as in decoder.num_hidden_layers=2 for a model that fits. A mode that cannot
    run a stage here is reported, and the others go on.
    """
    check_installed("validate")
    model, names, overrides = read_arguments(model, arguments)
    package = model_package(model)
    size = one_page("validate", names)
    cost_model = package.load_cost_model(overrides)
    page = cost_model.page(size.width, size.height)

    from modelmeter.calibration.validation import StageComparison, predicted_stages
    from modelmeter.devices import Roofline, load_device
    from modelmeter.models.common.stage_cost import STAGES
    from modelmeter.reference.timing import machine, time_call, use_threads

    described = load_device(against)
    predicted = predicted_stages(cost_model, page, Roofline(described, float32=float32))
    use_threads(threads)
    here = machine(device)
    real = package.real_page(cost_model, page, device)
    rows: list[StageComparison] = []
    refused: list[str] = []
    for mode in modes or DEFAULT_MODES[device]:
        for stage in STAGES:
            try:
                call = real.stage(stage, mode)
            except ModelMeterError as error:
                refused.append(str(error))
                continue
            times = time_call(call, device, repeats=repeats)
            rows.append(
                StageComparison(
                    stage=stage,
                    mode=mode,
                    predicted=predicted[stage],
                    measured_s=times.median_s,
                    spread=times.spread,
                    repeats=repeats,
                )
            )
    if not rows:
        raise ModelMeterError(f"validate: nothing could be run. {' '.join(refused)}")
    if as_json:
        from modelmeter.report.json_document import json_text

        content = {
            "model": model,
            "device": device,
            "against": described.name,
            "page": asdict(size) | {"prefill_tokens": page.seq_len},
            "overrides": overrides,
            "settings": dict(cost_model.settings()),
            "machine": asdict(here),
            "stages": [row.content() for row in rows],
            "refused": refused,
        }
        write(json_text("validate", content))
        return

    from modelmeter.report.calibration_tables import validation_table

    versions = " ".join(f"{name} {version}" for name, version in here.versions.items())
    title = [
        f"{size.width} x {size.height} pixels, {page.seq_len} positions, {' '.join(overrides) or 'no overrides'}",
        f"measured on {device}: {here.name}, {here.threads} host thread{'s' * (here.threads > 1)}, {versions}",
        f"predicted with {described.name}: {', '.join(described.assumptions()) or 'all figures measured'}",
    ]
    write(rendered(*_folded(title), "", validation_table(rows), *_folded(refused)))


def _folded(lines: Iterable[str]) -> Iterator[Text]:
    """Lines that fold where the terminal ends."""
    from rich.text import Text

    return (Text(printable(line)) for line in lines)
