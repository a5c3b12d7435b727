"""What the verification programs share: their pages, their tables, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.schema import check_overrides, register_workloads
from modelmeter.models.deepseek_ocr.scripts.verify.comparison import Row
from modelmeter.page_sizes import PageSize, read_page_size

#: exit statuses: all agrees; a difference or a bad page; nothing could be verified
AGREES: Final = 0
DISAGREES: Final = 1
UNUSABLE: Final = 2


@dataclass(frozen=True)
class BadPage:
    """A page that could not be read, and why."""

    source: str
    error: str


def read_pages(images: Sequence[Any], sizes: Sequence[Any]) -> list[PageSize | BadPage]:
    """The pages to verify: image files, then [width, height] pairs. A bad one stands in its place with its error."""
    pages: list[PageSize | BadPage] = []
    for image in images:
        try:
            pages.append(read_page_size(str(image)))
        except ModelMeterError as error:
            pages.append(BadPage(str(image), str(error)))
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


def comparison_table(title: str, rows: Sequence[Row], tolerance: float) -> Table:
    """Analytic and measured FLOPs and output shapes, a row a module."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("module", "analytic FLOPs", "measured FLOPs", "difference", "output", ""):
        table.add_column(column, justify="left" if column in ("module", "output") else "right", no_wrap=True)
    for row in rows:
        shape = "" if row.analytic_shape is None else "x".join(map(str, row.analytic_shape))
        if row.analytic_shape != row.measured_shape:
            shape += f" (measured {row.measured_shape})"
        table.add_row(
            row.name,
            f"{row.analytic_flops:,}",
            f"{row.measured_flops:,}",
            f"{row.difference:,}",
            shape,
            "ok" if row.agrees(tolerance) else "[bold red]differs[/]",
        )
    return table


def console() -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 120)


def run(main: Callable[[], Any], own_keys: Mapping[str, object]) -> None:
    """Check the command line, then run a Hydra program."""
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]

    def checked() -> int:
        check_overrides(overrides, own_keys)
        register_workloads()
        main()
        return AGREES

    status = ended(checked)
    if status:
        raise SystemExit(status)


def ended(work: Callable[[], int]) -> int:
    """The status of `work`; an error that a user is meant to read is one line on standard error and `UNUSABLE`."""
    try:
        return work()
    except ModelMeterError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE


def output_folder() -> Path:
    """The run directory that Hydra made."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)
