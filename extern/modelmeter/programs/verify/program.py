"""What the verification programs share: their pages, their tables and verify.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, write_whole
from modelmeter.models.common.contract import ModelPackage, Workload
from modelmeter.models.common.cost_model import PageCost
from modelmeter.page_sizes import PageSize, read_page_sizes
from modelmeter.process import tell
from modelmeter.programs.hydra_program import (
    AGREES,
    DISAGREES,
    UNUSABLE,
    console,
    output_folder,
)
from modelmeter.progress import progress
from modelmeter.reference.comparison import Compared, Row, StageRow, worst_difference

#: of verify.json and verify_layers.json
SCHEMA_VERSION: Final = 1

#: the keys of configs/verify_pages.yaml
PAGE_KEYS: Final[Mapping[str, object]] = {"images": [], "sizes": [], "tolerance": 0}


#: where an operator stands that is in no module of its own
NO_MODULE: Final = "the model itself"

#: how the figures of a stage are called in tables, in the order in which they stand there
LABELS: Final[Mapping[str, str]] = {
    "tensor_core_flops": "tensor-core FLOPs",
    "cuda_core_flops": "vector FLOPs",
    "elements": "elements outside GEMMs",
    "io_weight_bytes": "bytes moved, weights",
    "io_activation_bytes": "bytes moved, activations",
    "io_kv_bytes": "bytes moved, KV cache",
    "io_bytes": "bytes moved",
    "weight_bytes": "weights, bytes",
    "activation_peak_bytes": "activation peak, bytes",
    "resident_peak_bytes": "resident peak, bytes",
    "kv_added_bytes": "KV cache added, bytes",
    "kv_bytes": "KV cache held, bytes",
    "seq_len": "sequence length",
}


@dataclass(frozen=True)
class BadPage:
    """A page that could not be read, and why."""

    source: str
    error: str


@dataclass(frozen=True, kw_only=True)
class PageResult:
    """One verified page: its entry in verify.json, what was compared, and what is printed."""

    entry: dict[str, Any]
    compared: Sequence[Row | StageRow]
    printed: Sequence[str | Table]


# -- pages ----------------------------------------------------------------------------------------------------------


def read_pages(images: Sequence[Any], sizes: Sequence[Any]) -> list[PageSize | BadPage]:
    """The pages to verify: image files, then [width, height] pairs. A bad one stands in its place with its error."""
    pages: list[PageSize | BadPage] = []
    for image in images:
        try:
            pages += read_page_sizes(str(image))
        except ModelMeterError as error:
            pages.append(BadPage(encodable(str(image)), str(error)))
    for size in sizes:
        source = f"sizes: {size}"
        if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != 2:
            pages.append(BadPage(source, f"{source} is no [width, height]; write sizes=[[1275,1650]]."))
            continue
        try:
            pages.append(PageSize(source=f"{size[0]}x{size[1]}", width=size[0], height=size[1]))
        except ModelMeterError as error:
            pages.append(BadPage(source, str(error)))
    if not pages:
        raise ModelMeterError("verify: there is no page; give images=[a.png,b.jpg] or sizes=[[1275,1650],[640,480]].")
    return pages


def page_entry(size: PageSize, page: PageCost) -> dict[str, Any]:
    """What every program writes about a page."""
    return {
        "source": encodable(size.source),
        "width": size.width,
        "height": size.height,
        "layout": page.layout._asdict(),
        "tokens": page.tokens._asdict(),
    }


def page_line(size: PageSize, page: PageCost, workload: Workload) -> str:
    """What every program prints above a page's tables, in rich's markup."""
    by_view = ", ".join(f"{name} {count}" for name, count in page.tokens.by_view().items())
    if len(page.tokens.by_view()) > 1:
        grid = f"grid {page.views[-1].columns}x{page.views[-1].rows}"
    else:
        grid = f"{workload.layout_title} {workload.layout_text(page.layout)}"
    return (
        f"{escape(size.source)}: {size.width} x {size.height} pixels, {grid}, "
        f"{sum(view.count for view in page.views)} views, {page.tokens.total} image tokens ({by_view})"
    )


def verify_pages(
    package: ModelPackage,
    config: DictConfig,
    verify: Callable[[PageSize], PageResult],
    notes: Sequence[str] = (),
) -> int:
    """`verify` every page of a composed configuration, print the tables, write verify.json; the exit status.

    notes: said once, and written down.
    """
    tolerance = config.tolerance
    check_tolerance(tolerance)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    path = output_folder() / "verify.json"
    check_output("verify", path, map(str, plain["images"]))
    pages = read_pages(plain["images"], plain["sizes"])
    out = console()
    entries: list[dict[str, Any]] = []
    bad: list[BadPage] = []
    compared: list[Row | StageRow] = []
    with progress("verify", "pages", len(pages)) as told:
        for number, size in enumerate(pages):
            told(number)
            if isinstance(size, BadPage):
                bad.append(size)
                continue
            try:
                result = verify(size)
            except ModelMeterError as error:
                bad.append(BadPage(size.source, str(error)))
                continue
            compared.extend(result.compared)
            entries.append(result.entry)
            out.print()
            for each in result.printed:
                out.print(each, soft_wrap=isinstance(each, str), highlight=False)
    summary = {
        "schema_version": SCHEMA_VERSION,
        "model": package.CONFIGURATION.name,
        "pages": entries,
        "bad_pages": [vars(each) for each in bad],
        "worst_difference": worst_difference(compared),
        "tolerance": float(tolerance),
        "notes": list(notes),
    }
    write_whole(path, json.dumps(summary, indent=2) + "\n")
    for refused in bad:
        tell(f"error: {refused.error}")
    for note in notes:
        out.print(f"note: {note}", soft_wrap=True, highlight=False)
    figures = sum(len(row.figures()) for row in compared)
    out.print(
        f"{len(entries)} of {len(pages)} pages verified, {figures} figures, "
        f"worst difference {summary['worst_difference']} (tolerance {tolerance}) -> {escape(str(path))}",
        soft_wrap=True,
    )
    if not entries:
        return UNUSABLE
    return AGREES if not bad and all(row.agrees(tolerance) for row in compared) else DISAGREES


def check_tolerance(tolerance: Any) -> None:
    """Raise `ModelMeterError` unless `tolerance` is a share of the measured value."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance >= 0:
        raise ModelMeterError(f"verify: tolerance={tolerance} is no share of the measured value; give 0 or more.")


# -- tables ---------------------------------------------------------------------------------------------------------


def figure_table(title: str, text_columns: Sequence[str], groups: Sequence[str], after: Sequence[str] = ()) -> Table:
    """An empty table: texts, then analytic, measured and difference for every group, further texts, and the verdict."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in text_columns:
        table.add_column(column, no_wrap=True)
    for group in groups:
        for column in (f"analytic {group}", f"measured {group}", "difference"):
            table.add_column(column.strip(), justify="right", no_wrap=True)
    for column in (*after, ""):
        table.add_column(column, no_wrap=True)
    return table


def cells(compared: Compared) -> tuple[str, str, str]:
    """A figure's three cells."""
    return f"{compared.analytic:,}", f"{compared.measured:,}", f"{compared.difference:,}"


def verdict(agrees: bool) -> str:
    """The last cell of a row."""
    return "ok" if agrees else "[bold red]differs[/]"


def flops_table(title: str, rows: Sequence[Row], tolerance: float) -> Table:
    """Analytic and measured FLOPs and output shapes, a row a module."""
    table = figure_table(title, ("module",), ("FLOPs",), ("output",))
    for row in rows:
        shape = "" if row.analytic_shape is None else "x".join(map(str, row.analytic_shape))
        if row.analytic_shape != row.measured_shape:
            shape += f" (measured {row.measured_shape})"
        flops = Compared(row.analytic_flops, row.measured_flops)
        agrees = flops.agrees(tolerance) and row.analytic_shape == row.measured_shape
        table.add_row(row.name, *cells(flops), shape, verdict(agrees))
    return table


def memory_table(title: str, rows: Sequence[Row], tolerance: float) -> Table:
    """Analytic and measured bytes, a row a module: what it moves, and what it holds at its peak."""
    table = figure_table(title, ("module", "bytes"), ("",))
    for row in rows:
        for name, compared in (("moved", row.io), ("peak", row.peak)):
            if compared is not None:
                agrees = compared.agrees(tolerance) and (name != "peak" or row.same_peak(tolerance))
                table.add_row(row.name, name, *cells(compared), verdict(agrees))
    return table


def stage_comparison_table(title: str, rows: Sequence[StageRow], tolerance: float) -> Table:
    """Analytic and measured figures of stages, elements in one line; without what is 0 on both sides."""
    table = figure_table(title, ("stage", "figure"), ("",))
    for row in rows:
        of_elements = list(row.elements.values())
        every = Compared(sum(each.analytic for each in of_elements), sum(each.measured for each in of_elements))
        figures = {**row.compared, "elements": every}
        for name, label in LABELS.items():
            compared = figures.get(name, Compared(0, 0))
            agrees = compared.agrees(tolerance)
            if name == "elements":
                agrees = all(each.agrees(tolerance) for each in of_elements)
            if compared.analytic or compared.measured:
                table.add_row(row.name, label, *cells(compared), verdict(agrees))
        table.add_section()
    return table


def stage_lines(row: StageRow, tolerance: float) -> list[str]:
    """Where a stage reaches its activation peak, by the cost model and as measured; operators whose elements differ."""
    (operator, measured_operator), (path, measured_path) = row.peak_operator, row.peak_path
    lines = [
        f"{row.name}: peak at {path or NO_MODULE} ({operator}), measured at {measured_path or NO_MODULE} "
        f"({measured_operator}): {verdict(row.same_peak(tolerance))}"
    ]
    for name, compared in row.elements.items():
        if not compared.agrees(tolerance):
            analytic, measured, difference = cells(compared)
            lines.append(
                f"{row.name}: elements of {name}: {analytic}, measured {measured}, difference {difference}: "
                f"{verdict(False)}"
            )
    return lines
