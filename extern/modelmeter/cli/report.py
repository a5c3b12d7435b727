"""`modelmeter report`: one file that says everything about pages, as HTML, Markdown or JSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import (
    check_table_options,
    complete_device,
    debug_option,
    dpi_option,
    engine_option,
    inputs_argument,
    is_corpus,
    json_option,
    max_pixels_option,
    model_option,
    parse_prices,
    read_arguments,
    read_inputs,
    table_options,
    with_engine,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.cli.page_class import page_class_options, parse_page_class
from modelmeter.cli.report_file import FORMATS, SUFFIXES, report_format, report_text
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.models import model_package
from modelmeter.page_sizes import PageSize
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.devices import Device
    from modelmeter.models.common.contract import CostModel
    from modelmeter.report.layout_pages import ReportPage

DEFAULT_DEVICE: Final = "H100-SXM"

#: inputs that the report's title names
_NAMED: Final = 3


@click.command(short_help="All of that in one HTML, Markdown or JSON file.")
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
@click.option("--title", default=None, metavar="TEXT", help="What the report is called.  [default: ModelMeter report]")
@click.option(
    "--output-tokens",
    default=None,
    metavar="N|COLUMN",
    help="Decode steps of each page, so N + 1 output tokens with the prefill's; or the tables' column of them.  "
    "[default: 0]",
)
@page_class_options
@click.option(
    "--device",
    "name",
    shell_complete=complete_device,
    default=None,
    metavar="DEVICE",
    help=f"Device of the times and the roofline, or a YAML file of your own.  [default: {DEFAULT_DEVICE}]",
)
@engine_option("vllm")
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="PRICE|DEVICE=PRICE",
    help="Of an hour of the report's device, or of another; may be repeated.",
)
@click.option(
    "--by",
    "by",
    multiple=True,
    metavar="WHAT",
    help="Break the costs of stages down by module, operator or kernel-class; may be repeated.  [default: all three]",
)
@table_options
@dpi_option
@max_pixels_option
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    output: str | None,
    form: str | None,
    title: str | None,
    output_tokens: str | None,
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    name: str | None,
    engine: str | None,
    prices: tuple[str, ...],
    by: tuple[str, ...],
    width: str,
    height: str,
    unit: str,
    count: str | None,
    dpi: int,
    max_pixels: int,
    model: str | None,
    as_json: bool,
) -> None:
    """Write a report of pages into one file.

    INPUT is an image file, a PDF, a size such as 1275x1650, or a corpus: a folder of images and PDFs, or a table of
    sizes (.csv, .tsv, .jsonl, .parquet). All pages are reported together. KEY=VALUE overrides the configuration, as in
    workload=base. The HTML file loads nothing; how to read it is in docs/report.md.
    A file is written whole or not at all. --json is --format json -o -.
    """
    if as_json:
        if output not in (None, "-") or form not in (None, "json"):
            raise ModelMeterError("report: --json is --format json on standard output; leave -o and --format out.")
        output, form = "-", "json"
    model, files, overrides = read_arguments(model, arguments)
    overrides = with_engine("report", engine, overrides)
    package = model_package(model)
    if output is not None and is_standard_output(Path(output)):
        output = "-"
    written = report_format("report", output, form)
    corpora = [name for name in files if is_corpus(name)]
    check_table_options("report", corpora, width=width, height=height, unit=unit, count=count)
    others = [name for name in files if name not in corpora]
    inputs = read_inputs(others, dpi, max_pixels) if others or not corpora else []
    path = None if output == "-" else Path(output or f"report{_suffix(written)}")
    if path is not None:
        check_output("report", path, _input_files(others, corpora, name))

    texts = (page_class, language, text_format, tokenizers)
    classes = parse_page_class("report", texts, output_tokens, others, package, overrides)
    steps = _steps(output_tokens or "0", others) if classes is None else classes.steps

    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.models.common.engines import served
    from modelmeter.report.content import TITLE, Request, build_report
    from modelmeter.report.layout_pages import ReportPage
    from modelmeter.report.parts import BY

    device, devices = load_device(name or DEFAULT_DEVICE), bundled_devices()
    device = replace(device, file=Path(device.file).name)
    sent = SentNames(files)
    pages = [ReportPage(sent.page(page), 1, steps) for each in inputs for page in each.pages if isinstance(steps, int)]
    columns: dict[str, Any] = {"width": width, "height": height, "unit": unit, "dpi": dpi, "count": count}
    columns["output_tokens"] = steps
    columns["class_steps"] = () if classes is None else classes.class_steps
    cost_model = package.load_cost_model(served(overrides, package.EXECUTIONS))
    more, notes = _corpus_pages(corpora, cost_model, max_pixels, columns)
    pages += [page._replace(size=sent.page(page.size)) for page in more]
    if not pages:
        raise ModelMeterError(f"report: there is no page in {', '.join(corpora)}; give tables that have rows.")
    subject = _subject([sent.name(each) for each in files], pages)
    report = build_report(
        Request(
            model=model,
            package=package,
            overrides=overrides,
            subject=subject,
            pages=pages,
            device=device,
            chosen=name is not None,
            devices=devices,
            prices=_prices(prices, device, devices),
            title=title or TITLE,
            by=by or BY,
            assumed=() if classes is None else classes.assumptions(),
        )
    )
    text = report_text(report, written)
    if path is None:
        write_document(text)
    else:
        content = encodable(text).encode()
        write_whole(path, content)
        write(rendered(f"{path}: {subject}, {len(content):,} bytes"))
    for line in notes:
        tell(line)


def _suffix(written: str) -> str:
    return next(suffix for suffix, each in SUFFIXES.items() if each == written)


def _input_files(pages: Sequence[str], corpora: Sequence[str], device: str | None) -> Iterator[str]:
    """What the report is made from, and must not be written over."""
    yield from pages
    if device is not None:
        yield device
    if corpora:
        try:
            from modelmeter.corpus.sources import input_files
        except ImportError:  # told where they are read
            return
        for source in corpora:
            yield from input_files(source)


def _steps(text: str, pages: Sequence[str]) -> int | str:
    """The decode steps of every page, or the tables' column that has them; pages: inputs that are no corpus."""
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if text.startswith("-"):
            raise ModelMeterError(f"report: --output-tokens {text} is negative; give 0 or more decode steps a page.")
        return int(text)
    if pages:
        raise ModelMeterError(
            f"report: --output-tokens {text} is no whole number, and {pages[0]} is no table with such a column; give a "
            "number for all pages, or tables alone."
        )
    return text


def _prices(given: Sequence[str], device: Device, devices: Sequence[Device]) -> dict[str, float]:
    """Prices of an hour by the device's name; a price alone is the report's device's."""
    named = [text if "=" in text else f"{device.name}={text}" for text in given]
    everyone = list({each.name: each for each in (*devices, device)}.values())
    return parse_prices("report", named, everyone)


class SentNames:
    """What inputs are called in a file that is sent on: nothing of where they lie on this machine.

    An absolute path is told from the current folder on, where it is below it; else from the folder that all such
    inputs have in common.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        here = os.getcwd()
        absolute = [os.path.normpath(each) for each in inputs if os.path.isabs(each)]
        outside = [os.path.dirname(each) for each in absolute if not f"{each}{os.sep}".startswith(f"{here}{os.sep}")]
        self.folders = [here, *([os.path.commonpath(outside)] if outside else [])]

    def name(self, source: str) -> str:
        """An input, or a page of one."""
        if os.path.isabs(source):
            path = os.path.normpath(source)
            for folder in self.folders:
                inside = path.removeprefix(folder.rstrip(os.sep) + os.sep)
                if inside != path:
                    return inside
            return os.path.basename(path) or path
        return source

    def page(self, page: PageSize) -> PageSize:
        """The page under that name."""
        return replace(page, source=self.name(page.source))


def _corpus_pages(
    sources: Sequence[str], model: CostModel, max_pixels: int, columns: Mapping[str, Any]
) -> tuple[list[ReportPage], list[str]]:
    """The pages of corpora, those of one size and as many decode steps together, and lines about what was not taken.

    Raises for the first page that has no size.
    """
    if not sources:
        return [], []
    try:
        from modelmeter.corpus import CorpusOptions, SizeColumns
        from modelmeter.corpus.page_costs import PAGE_COUNT
        from modelmeter.corpus.run import CorpusTask
        from modelmeter.corpus.sources import list_items
        from modelmeter.corpus.tally import LeftOut
        from modelmeter.report.corpus_tables import hint_lines, not_read
        from modelmeter.report.layout_pages import ReportPage
    except ImportError as error:
        raise ModelMeterError(f"report: a corpus needs pyarrow ({error}); pip install pyarrow.") from error
    task = CorpusTask(lambda: model, CorpusOptions(columns=SizeColumns(**columns), max_pixels=max_pixels))
    first: dict[tuple[int, int, int], PageSize] = {}
    counts: Counter[tuple[int, int, int]] = Counter()
    for item in list_items(sources, task.notes):
        for sized in task(item):
            names = ("source", "page_number", "width_px", "height_px", "decode_steps", "error")
            values = (sized.column(name).to_pylist() for name in names)
            times = sized.column(PAGE_COUNT).to_pylist() if columns["count"] else [1] * sized.num_rows
            for source, number, wide, high, steps, reason, count in zip(*values, times, strict=True):
                where = source if item.kind == "images" or number is None else f"{source}#{number}"
                if reason is not None:
                    bad = str(LeftOut(source, number, reason)).removesuffix(".")
                    raise ModelMeterError(f"report: {bad}; a report needs every page.")
                if not count:
                    continue
                page = wide, high, steps
                if page not in first:
                    first[page] = PageSize(source=where, width=wide, height=high)
                counts[page] += count
    told = [f"{', '.join(sources)}: {line}" for line in not_read(task.notes)]
    pages = [ReportPage(size, counts[page], page[2]) for page, size in first.items()]
    return pages, [*told, *hint_lines(task.notes)]


def _subject(names: Sequence[str], pages: Sequence[ReportPage]) -> str:
    """The inputs in words: their names, or the first of many, and the number of pages."""
    listed = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    total = sum(page.times for page in pages)
    if total == 1:
        page = pages[0].size
        size = f"{page.width} x {page.height} pixels"
        return f"{listed}: {size}" if page.source != f"{page.width}x{page.height}" else f"a page of {size}"
    return f"{total:,} pages: {listed}{more}"
