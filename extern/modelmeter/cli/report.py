"""`modelmeter report`: one file that says everything about pages, as HTML, Markdown or JSON."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import (
    Input,
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
from modelmeter.cli.scenario import is_scenario
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.models import model_package
from modelmeter.page_sizes import PageSize
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.cli.page_class import Options
    from modelmeter.devices import Device
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel, ModelPackage
    from modelmeter.report.document import Report
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
) -> int:
    """Write a report of pages, or of a plan, into one file.

    INPUT is an image file, a PDF, a size such as 1275x1650, or a corpus: a folder of images and PDFs, or a table of
    sizes (.csv, .tsv, .jsonl, .parquet). All pages are reported together. KEY=VALUE overrides the configuration, as in
    workload=base. Or INPUT is one scenario of a plan (.yaml), as modelmeter plan -o saves it: the decision comes first,
    then its pages by the best way. The HTML file loads nothing; how to read it is in docs/report.md.
    A file is written whole or not at all. --json is --format json -o -.
    """
    if as_json:
        if output not in (None, "-") or form not in (None, "json"):
            raise ModelMeterError("report: --json is --format json on standard output; leave -o and --format out.")
        output, form = "-", "json"
    if output is not None and is_standard_output(Path(output)):
        output = "-"
    written = report_format("report", output, form)
    path = None if output == "-" else Path(output or f"report{_suffix(written)}")
    if any(map(is_scenario, arguments)):
        from modelmeter.cli.plan_report import report_of_file

        planned = report_of_file(click.get_current_context(), arguments, path, title=title, by=by)
        write_report(planned.report, written, path, planned.told)
        return 0 if planned.holds else 1
    model, files, overrides = read_arguments(model, arguments)
    overrides = with_engine("report", engine, overrides)
    package = model_package(model)
    asked = AskedOfReport(
        files=files,
        output_tokens=output_tokens,
        texts=(page_class, language, text_format, tokenizers),
        table={"width": width, "height": height, "unit": unit, "count": count},
        dpi=dpi,
        max_pixels=max_pixels,
    )
    asked.check()
    if path is not None:
        check_output("report", path, asked.input_files(name))

    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.report.content import TITLE, Request, build_report
    from modelmeter.report.parts import BY

    device, devices = load_device(name or DEFAULT_DEVICE), bundled_devices()
    pages, assumed, notes = asked.read(package, overrides)
    subject = _subject([asked.sent.name(each) for each in files], pages)
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
            assumed=assumed,
        )
    )
    write_report(report, written, path, notes)
    return 0


def write_report(report: Report, written: str, path: Path | None, notes: Iterable[str]) -> None:
    """A report in a format to a file, or to standard output; and lines about its pages."""
    text = report_text(report, written)
    if path is None:
        write_document(text)
    else:
        content = encodable(text).encode()
        write_whole(path, content)
        write(rendered(f"{path}: {report.subject}, {len(content):,} bytes"))
    for line in notes:
        tell(line)


@dataclass(frozen=True, kw_only=True)
class AskedOfReport:
    """Pages as the options of a report say them. table: what the columns of tables mean."""

    files: Sequence[str]
    output_tokens: str | None
    texts: Options
    table: Mapping[str, str | None]
    dpi: int
    max_pixels: int

    @cached_property
    def corpora(self) -> list[str]:
        """Folders and tables."""
        return [name for name in self.files if is_corpus(name)]

    @cached_property
    def others(self) -> list[str]:
        """Inputs that are none."""
        return [name for name in self.files if name not in self.corpora]

    @cached_property
    def inputs(self) -> list[Input]:
        """The pages of these."""
        return read_inputs(self.others, self.dpi, self.max_pixels) if self.others or not self.corpora else []

    @cached_property
    def sent(self) -> SentNames:
        """What inputs are called in the report."""
        return SentNames(self.files)

    def check(self) -> None:
        """Refuse what does not go together, before anything is counted."""
        check_table_options("report", self.corpora, **self.table)
        _ = self.inputs

    def input_files(self, device: str | None) -> Iterator[str]:
        """What the report is made from, and must not be written over."""
        yield from self.others
        if device is not None:
            yield device
        if self.corpora:
            try:
                from modelmeter.corpus.sources import input_files
            except ImportError:  # told where they are read
                return
            for source in self.corpora:
                yield from input_files(source)

    def read(
        self, package: ModelPackage, overrides: Sequence[str]
    ) -> tuple[list[ReportPage], Sequence[Assumption], list[str]]:
        """(the pages, what is assumed of them, lines about what was not taken), as a model has them."""
        from modelmeter.models.common.engines import served
        from modelmeter.report.layout_pages import ReportPage

        classes = parse_page_class("report", self.texts, self.output_tokens, self.others, package, overrides)
        steps = _steps(self.output_tokens or "0", self.others) if classes is None else classes.steps
        single = [page for each in self.inputs for page in each.pages]
        pages = [ReportPage(self.sent.page(page), 1, steps) for page in single if isinstance(steps, int)]
        columns: dict[str, Any] = {**self.table, "dpi": self.dpi, "output_tokens": steps}
        columns["class_steps"] = () if classes is None else classes.class_steps
        cost_model = package.load_cost_model(served(overrides, package.EXECUTIONS))
        more, notes = _corpus_pages(self.corpora, cost_model, self.max_pixels, columns)
        pages += [page._replace(size=self.sent.page(page.size)) for page in more]
        if not pages:
            raise ModelMeterError(f"report: there is no page in {', '.join(self.corpora)}; give tables that have rows.")
        return pages, () if classes is None else classes.assumptions(), notes


def _suffix(written: str) -> str:
    return next(suffix for suffix, each in SUFFIXES.items() if each == written)


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
