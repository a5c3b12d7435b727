"""`modelmeter host`: what preparing a page takes this machine, for `host.seconds_per_page`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

import click

from modelmeter.cli.arguments import (
    Input,
    debug_option,
    dpi_option,
    json_option,
    max_pixels_option,
    model_option,
    read_arguments,
    read_inputs,
)
from modelmeter.cli.measuring import repeats_option
from modelmeter.cli.output import rendered, write
from modelmeter.models import model_package

if TYPE_CHECKING:
    from rich.table import Table

    from modelmeter.calibration.page_preparation import Preparation
    from modelmeter.models.common.contract import CostModel

#: pages of one PDF that are rendered: enough for a median
MOST_PAGES: Final = 8

LEFT_OUT: Final = (
    "padding, tokenising, HTTP, the engine's own Python, several cores at once; of a PDF, all but its first "
    f"{MOST_PAGES} pages, and of a TIFF all but its first"
)


@click.command(short_help="What preparing a page takes this machine.")
@click.argument("arguments", nargs=-1, type=click.Path(), metavar="INPUT... [KEY=VALUE]...")
@repeats_option
@dpi_option
@max_pixels_option
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...], repeats: int, dpi: int, max_pixels: int, model: str | None, as_json: bool
) -> None:
    """Measure on this machine what a page takes before a model sees it: seconds of one core.

    INPUT is an image file, a PDF, or a size such as 1275x1650, of which a page is drawn. The page is decoded or
    rendered, resized to the model's views and made tensors, with Pillow and NumPy. KEY=VALUE overrides the
    configuration, as in workload=base. What comes out is host.seconds_per_page of modelmeter throughput.
    """
    model, files, overrides = read_arguments(model, arguments)
    package = model_package(model)
    inputs = read_inputs(files, dpi, max_pixels)
    cost_model = package.load_cost_model(overrides)
    measured = list(_measured(inputs, cost_model, repeats, max_pixels))
    seconds = median(each.seconds for each in measured)
    if as_json:
        from modelmeter.report.json_document import json_text

        pages = [asdict(each) | {"seconds": each.seconds, "pages_per_s": each.pages_per_s} for each in measured]
        content = {"repeats": repeats, "pages": pages, "seconds_per_page": seconds, "left_out": LEFT_OUT}
        write(json_text("host", cost_model.to_dict() | content))
        return

    from modelmeter.report.page_tables import label_lines

    write(
        rendered(
            _table(measured),
            "",
            label_lines(
                ("median", f"host.seconds_per_page={seconds:.3g}: {1 / seconds:.3g} pages a second and core"),
                ("left out", LEFT_OUT),
            ),
        )
    )


def _measured(inputs: Sequence[Input], cost_model: CostModel, repeats: int, max_pixels: int) -> Iterator[Preparation]:
    """Every page that is prepared, one after another."""
    from pathlib import Path

    from modelmeter.calibration.page_preparation import drawn_page, measure
    from modelmeter.page_sizes import read_page
    from modelmeter.pdf_pages import render_pdf_page

    for each in inputs:
        pages = each.pages[:MOST_PAGES] if each.dpi is not None else each.pages[:1]
        for index, page in enumerate(pages):
            views = cost_model.page(page.width, page.height).views
            if each.dpi is not None:
                render = partial(render_pdf_page, each.name, index, each.dpi)
                yield measure(page.source, render, views, repeats=repeats, rendered=True)
            elif Path(each.name).exists():
                read = partial(read_page, each.name, max_pixels=max_pixels)
                yield measure(page.source, read, views, repeats=repeats)
            else:
                yield measure(page.source, drawn_page(page.width, page.height), views, repeats=repeats)


def _table(measured: Sequence[Preparation]) -> Table:
    from modelmeter.quantities import estimated
    from modelmeter.report.page_tables import figures_table

    table = figures_table(
        "page", "pixels", "read\nms", "resize\nms", "tensors\nms", "together\nms", "pages/s\nand core"
    )
    for each in measured:
        times = (each.read_s, each.resize_s, each.tensors_s, each.seconds)
        table.add_row(
            each.source,
            f"{each.width} x {each.height}",
            *(estimated(1000 * seconds) for seconds in times),
            estimated(each.pages_per_s),
        )
    return table
