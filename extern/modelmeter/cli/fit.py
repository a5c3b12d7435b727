"""`modelmeter fit`: the best precision, the longest context and the most pages at once that a card holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from modelmeter.cli.arguments import (
    complete_device,
    complete_model,
    debug_option,
    dpi_option,
    engine_option,
    inputs_argument,
    json_option,
    max_pixels_option,
    read_inputs,
    system_prompt_option,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.several_models import NamesOption, asked_models, check_override, each_of, split_for
from modelmeter.errors import ModelMeterError, near

if TYPE_CHECKING:
    from modelmeter.cli.arguments import Input
    from modelmeter.devices import Device, PageKind
    from modelmeter.devices.precision_fit import PrecisionFit
    from modelmeter.models.common.contract import CostModel
    from modelmeter.sweep import Asked


@click.command(short_help="The best precision and longest context that a card holds.")
@inputs_argument
@click.option(
    "--device",
    "device_name",
    required=True,
    metavar="DEVICE",
    shell_complete=complete_device,
    help="A bundled device, or the path of a YAML file of your own.",
)
@click.option(
    "--models",
    "model_names",
    multiple=True,
    metavar="NAME,...",
    shell_complete=each_of(complete_model),
    help="Models, checkpoints, or folders with a checkpoint of your own.  [default: the first of modelmeter models]",
)
@click.option(
    "--precisions",
    "--precision",
    cls=NamesOption,
    multiple=True,
    metavar="NAME,...",
    help="Schemes that are asked for, as in precision=NAME.  [default: all]",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Decode steps of a page: its cache, and most of its time.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Tokens that one sequence must have room for.",
)
@engine_option("vllm")
@system_prompt_option
@dpi_option
@max_pixels_option
@json_option
@debug_option
@with_system_prompt
def command(
    arguments: tuple[str, ...],
    device_name: str,
    model_names: tuple[str, ...],
    precisions: tuple[str, ...],
    output_tokens: int | None,
    context: int | None,
    engine: str | None,
    dpi: int,
    max_pixels: int,
    as_json: bool,
) -> None:
    """Which precision is best for a card, and how long a context and how many pages it then holds.

    INPUT is an image file, a PDF, or a size such as 1275x1650. KEY=VALUE overrides the configuration, as in
    precision.kv=fp8, which halves the KV cache. Best is the most bits a weight that fits; * marks it. What a scheme
    packs and leaves is in docs/precision.md.
    """
    asked = asked_models(_listed(model_names))
    files, overrides = split_for(arguments, asked)
    overrides = with_engine("fit", engine, overrides)
    for override in overrides:
        check_override(asked, override)
        if override.partition("=")[0].strip() in ("precision", "precision.name"):
            raise ModelMeterError(f"fit: {override} chooses what is asked for; leave it out, or say --precisions.")
    if output_tokens is None:
        raise ModelMeterError(
            "fit: how many tokens does a page's text have? its cache and most of its time are made of them; add "
            "--output-tokens 1000."
        )
    inputs = read_inputs(files, dpi, max_pixels)

    from modelmeter.devices import load_device
    from modelmeter.models.common.precision import PRECISIONS

    names = _listed(precisions) or list(PRECISIONS)
    for name in names:
        if name not in PRECISIONS:
            raise ModelMeterError(f"fit: --precisions {name}: there is no such precision; {near(name, PRECISIONS)}")
    device = load_device(device_name)
    results = [(each, *_of_model(each, overrides, names, device, inputs, output_tokens, context)) for each in asked]
    if as_json:
        write(_json(results, device, inputs, output_tokens, context))
        return
    from modelmeter.report import page_tables, precision_tables

    parts: list[Any] = [f"{device.titled(results[0][1].devices)}, {device.memory_bytes / 2**30:.2f} GiB"]
    for each, model, found in results:
        parts += [
            "",
            page_tables.model_lines(model, [*each.overrides, *overrides]),
            "",
            precision_tables.answer_lines(found, device.name),
            "",
            precision_tables.precision_table(found),
        ]
        if any(one.refused for one in found):
            parts += ["", precision_tables.reason_lines(found)]
    write(rendered(*parts, "", page_tables.label_lines(*_notes(output_tokens))))


def _listed(names: Sequence[str]) -> list[str]:
    """Names that commas part, each once."""
    return list(dict.fromkeys(name.strip() for text in names for name in text.split(",")))


def _of_model(
    asked: Asked,
    overrides: Sequence[str],
    precisions: Sequence[str],
    device: Device,
    inputs: Sequence[Input],
    output_tokens: int,
    context: int | None,
) -> tuple[CostModel, list[PrecisionFit]]:
    """A model as it is unpacked, and what it is in each precision."""
    from modelmeter.devices.precision_fit import fits
    from modelmeter.models.common.engines import served

    chosen = served([*asked.overrides, *overrides], asked.package.EXECUTIONS)

    def load(precision: str) -> CostModel:
        model = asked.package.load_cost_model([*chosen, f"precision={precision}"]).lazy()
        model.request.check_one_page("fit")
        return model

    def kinds(model: CostModel) -> list[PageKind[Any]]:
        return _kinds(model, inputs, output_tokens)

    plain = load("unquantised")
    kinds(plain)  # a page that cannot be read at all is told once
    return plain, list(fits(precisions, load, device, kinds, context=context))


def _kinds(model: CostModel, inputs: Sequence[Input], output_tokens: int) -> list[PageKind[Any]]:
    from collections import Counter

    from modelmeter.devices import PageKind

    sizes = Counter((page.width, page.height) for each in inputs for page in each.pages)
    return [
        PageKind(page=model.page(width, height), output_tokens=output_tokens, count=count)
        for (width, height), count in sizes.items()
    ]


def _json(
    results: Sequence[tuple[Asked, CostModel, list[PrecisionFit]]],
    device: Device,
    inputs: Sequence[Input],
    output_tokens: int,
    context: int | None,
) -> str:
    from dataclasses import asdict

    from modelmeter.report.json_document import json_text
    from modelmeter.report.precision_tables import precision_content

    content = {
        "device": device.name,
        "memory_bytes": device.memory_bytes,
        "output_tokens": output_tokens,
        "context": context,
        "pages": [asdict(page) for each in inputs for page in each.pages],
        "models": [
            {"name": asked.name, "engine": model.engine.name, **model.to_dict(), **precision_content(found)}
            for asked, model, found in results
        ],
    }
    return json_text("fit", content)


def _notes(output_tokens: int) -> list[tuple[str, str]]:
    return [
        (
            "weights, left",
            "exact by the scheme's layout; what the engine leaves beside them for the KV cache",
        ),
        ("longest context", "tokens of one sequence, by memory and by the model's positions"),
        (
            "s/page, pages/s",
            f"one page of {output_tokens:,} output tokens alone, and as many at once as fit: estimates; those of "
            "GGUF and mxfp4 by the constants of int4 and nvfp4 (docs/precision.md)",
        ),
        ("best", "most bits a weight that fits: no figure is published of how much worse these read at fewer"),
    ]
