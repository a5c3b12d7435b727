"""`modelmeter corpus`: the cost of many pages together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import (
    Order,
    by_option,
    complete_input,
    debug_option,
    json_option,
    max_pixels_option,
    model_option,
    read_arguments,
    table_options,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.page_class import page_class_options, parse_page_class
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.page_sizes import MAX_DPI
from modelmeter.pdf_pages import DEFAULT_DPI
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.corpus.tally import Tally
    from modelmeter.corpus.totals import Group

#: of (layout or group, its pages)
ORDER: Final[Order[tuple[Any, Group]]] = Order(
    {
        "pages": (lambda part: part[1].totals.pages, True),
        "tokens": (lambda part: part[1].totals.image_tokens, True),
        "flops": (lambda part: part[1].totals.total.tensor_core_flops, True),
        "traffic": (lambda part: part[1].totals.total.io_bytes, True),
        "kv": (lambda part: part[1].totals.total.kv_bytes, True),
        "name": (lambda part: part[0], False),
    },
    "pages",
)


@click.command(short_help="Many pages together: folders, PDFs, tables of sizes.")
@click.argument(
    "arguments", nargs=-1, type=click.Path(), metavar="SOURCE... [KEY=VALUE]...", shell_complete=complete_input
)
@model_option
@by_option
@table_options
@click.option(
    "--dpi",
    type=click.IntRange(1, MAX_DPI),
    default=DEFAULT_DPI,
    show_default=True,
    help="Resolution at which points and the pages of PDFs become pixels.",
)
@click.option(
    "--output-tokens",
    metavar="N|COLUMN",
    default=None,
    help="Decode steps after each prefill, so N + 1 output tokens with the prefill's; or the tables' column of them.  "
    "[default: 0]",
)
@page_class_options
@click.option("--rows", type=click.Path(path_type=Path), metavar="FILE", help="Write a row a page into a Parquet file.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Remember in a folder how far the run came; the same command goes on there.",
)
@max_pixels_option
@click.option("--strict", is_flag=True, help="Stop at the first page that cannot be counted.")
@click.option("--engine", default="local", show_default=True, help="Where it runs: local or ray.")
@ORDER.option
@click.option("--exact", is_flag=True, help="Print every integer with all its digits.")
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    model: str | None,
    by: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    dpi: int,
    output_tokens: str | None,
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    rows: Path | None,
    resume: Path | None,
    max_pixels: int,
    strict: bool,
    engine: str,
    sort: str,
    exact: bool,
    as_json: bool,
) -> None:
    """What many pages cost together, by layout and by group.

    SOURCE is an image, a PDF, a folder of both, a table of sizes (.csv, .tsv, .jsonl, .parquet), a quoted glob, or -
    for a table on standard input. KEY=VALUE overrides the configuration. Of images only the headers are read. Pages
    that cannot be counted are left out, counted and listed on standard error; files of other kinds in folders are
    counted by suffix.
    """
    try:
        from modelmeter.corpus import CorpusOptions, ModelLoader, SizeColumns, run_corpus
    except ImportError as error:
        raise ModelMeterError(f"corpus needs pyarrow ({error}); pip install pyarrow.") from error

    model, sources, overrides = read_arguments(model, arguments)
    package = model_package(model)
    texts = (page_class, language, text_format, tokenizers)
    classes = parse_page_class("corpus", texts, output_tokens, (), package, overrides)
    columns = SizeColumns(
        width=width,
        height=height,
        unit=unit,
        dpi=dpi,
        output_tokens=_number_or_column(output_tokens or "0") if classes is None else classes.steps,
        class_steps=() if classes is None else classes.class_steps,
        count=count,
    )
    options = CorpusOptions(
        columns=columns, group=by, max_pixels=max_pixels, strict=strict, rows=rows, resume=resume, engine=engine
    )
    load_model = ModelLoader(partial(package.load_cost_model, overrides))
    with _progress() as progress:
        cost = run_corpus(sources, load_model, options, progress)
    cost_model = load_model()

    from rich.text import Text

    from modelmeter.report import corpus_tables, page_tables

    if as_json:
        from modelmeter.report.json_document import json_text

        asked = {"sources": sources, "columns": vars(columns), "by": by}
        content = cost_model.to_dict() | asked | corpus_tables.corpus_content(cost, by)
        write(json_text("corpus", content))
    else:
        show = page_tables.exact_figure if exact else page_tables.readable_figure
        layouts, groups = (dict(ORDER.sorted(parts.items(), sort)) for parts in (cost.layouts, cost.groups))
        cost = replace(cost, layouts=layouts, groups=groups)
        assumptions = [each for each in cost_model.assumptions() if each.figure not in corpus_tables.NOT_SHOWN]
        if classes is not None:
            assumptions += classes.assumptions({cell.decode_steps for cell in cost.cells})
        write(
            rendered(
                corpus_tables.pages_line(cost, sources),
                page_tables.model_lines(cost_model, overrides),
                "",
                page_tables.stage_table(cost.everything.totals, assumptions, show),
                "",
                Text(" ".join(page_tables.MEANING.split())),
                "",
                *corpus_tables.corpus_tables(cost, by, show),
                "",
                page_tables.assumption_lines(assumptions),
            )
        )
    for line in (*corpus_tables.left_out_lines(cost), *corpus_tables.hint_lines(cost.notes)):
        tell(line)


def _number_or_column(text: str) -> int | str:
    """Decode steps, or the name of the column that has them."""
    try:
        return int(text)
    except ValueError:  # of more digits than Python reads, too
        return text


@contextmanager
def _progress() -> Iterator[Callable[[Tally], None]]:
    """A function that shows on standard error how many pages are done and how fast; silent where it is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
    from rich.text import Text

    class Pages(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = f", {task.speed:,.0f} a second" if task.speed else ""
            left_out = f", {task.fields['left_out']:,} left out" if task.fields["left_out"] else ""
            return Text(f"{int(task.completed):,} pages{rate}{left_out}")

    bar = Progress(SpinnerColumn(), Pages(), TimeElapsedColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("", total=None, left_out=0)
        yield lambda tally: bar.update(task, completed=tally.counted, left_out=tally.left_out)
