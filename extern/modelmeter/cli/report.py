"""`modelmeter report`: one file that says everything about pages, as HTML, Markdown or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelmeter.cli.arguments import (
    Input,
    debug_option,
    dpi_option,
    inputs_argument,
    model_option,
    parse_prices,
    read_inputs,
    split_arguments,
)
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package

if TYPE_CHECKING:
    from modelmeter.report.document import Report

#: the file's suffixes that mean a format
SUFFIXES: Final = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json"}
FORMATS: Final = ("html", "markdown", "json")

DEFAULT_DEVICE: Final = "H100-SXM"

#: inputs that the report's title names
_NAMED: Final = 3


@click.command(short_help="One file about pages: tokens, stages, modules, memory, modes, devices.")
@inputs_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default=None,
    metavar="FILE",
    help="File to write; - is standard output.  [default: report.html, .md or .json]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=None,
    help="What to write.  [default: by the suffix of FILE, else html]",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(0),
    default=None,
    metavar="N",
    help="Decode steps of each page after its prefill.  [default: 0]",
)
@click.option(
    "--device",
    "name",
    default=None,
    metavar="DEVICE",
    help=f"Device of the times and the roofline, or a YAML file of your own.  [default: {DEFAULT_DEVICE}]",
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="DEVICE=PRICE",
    help="Of an hour of a device; may be repeated.",
)
@dpi_option
@model_option
@debug_option
def command(
    arguments: tuple[str, ...],
    output: str | None,
    form: str | None,
    output_tokens: int | None,
    name: str | None,
    prices: tuple[str, ...],
    dpi: int,
    model: str,
) -> None:
    """Write a report of pages into one file.

    INPUT is an image file, a PDF, or a size such as 1275x1650; several of them, or a PDF of several pages, are reported
    together. KEY=VALUE overrides the configuration, as in workload=base. The HTML file loads nothing; how to read it is
    in docs/report.md. A file is written whole or not at all.
    """
    package = model_package(model)
    files, overrides = split_arguments(arguments, package.CONFIG_GROUPS)
    written = _format(output, form)
    inputs = read_inputs(files, dpi)
    path = None if output == "-" else Path(output or f"report{_suffix(written)}")
    _check_output(path, inputs)

    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.report.content import Request, build_report
    from modelmeter.report.files import write_whole

    device, devices = load_device(name or DEFAULT_DEVICE), bundled_devices()
    names = {each.name: each for each in (*devices, device)}
    report = build_report(
        Request(
            model=model,
            package=package,
            overrides=overrides,
            subject=_subject(inputs),
            pages=[page for each in inputs for page in each.pages],
            output_tokens=output_tokens or 0,
            device=device,
            chosen=name is not None,
            devices=devices,
            prices=parse_prices("report", prices, list(names.values())),
        )
    )
    text = _text(report, written)
    if path is None:
        write(text)
        return
    write_whole(path, text)
    write(rendered(f"{path}: {_subject(inputs)}, {len(text.encode()):,} bytes"))


def _text(report: Report, written: str) -> str:
    if written == "html":
        from modelmeter.report.html import report_html

        return report_html(report)
    if written == "markdown":
        from modelmeter.report.markdown import report_markdown

        return report_markdown(report)
    from modelmeter.report.report_json import report_json

    return report_json(report)


def _format(output: str | None, form: str | None) -> str:
    """The format that was asked for, or that the file's suffix says."""
    if form is not None:
        return form
    if output is None or output == "-":
        return "html"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelMeterError(
            f"report: the name {output} does not say the format; end it in one of {', '.join(SUFFIXES)}, "
            f"or give --format {', '.join(FORMATS)}."
        )
    return SUFFIXES[suffix]


def _suffix(written: str) -> str:
    return next(suffix for suffix, each in SUFFIXES.items() if each == written)


def _check_output(path: Path | None, inputs: list[Input]) -> None:
    """Refuse to write over a page."""
    if path is None or not path.exists():
        return
    if path.is_dir():
        raise ModelMeterError(f"report: {path} is a directory; give the name of a file.")
    for each in inputs:
        if Path(each.name).exists() and path.samefile(each.name):
            raise ModelMeterError(f"report: {path} is one of the pages; give the report another name.")


def _subject(inputs: list[Input]) -> str:
    """The inputs in words: their names, or the first of many, and the number of pages."""
    names = ", ".join(each.name for each in inputs[:_NAMED])
    more = f" and {len(inputs) - _NAMED} more" if len(inputs) > _NAMED else ""
    pages = sum(len(each.pages) for each in inputs)
    if pages == 1:
        page = inputs[0].pages[0]
        size = f"{page.width} x {page.height} pixels"
        return f"{names}: {size}" if page.source != f"{page.width}x{page.height}" else f"a page of {size}"
    return f"{pages:,} pages: {names}{more}"
