"""How the subcommands print: a result is whole before its first byte goes out."""

from __future__ import annotations

import io
import sys
from itertools import chain
from typing import TYPE_CHECKING, Final

from modelmeter.files import encodable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.report.fitting import Fitting

_NO_LIMIT: Final = 10_000


def write(text: str) -> None:
    """Write JSON or `rendered` text to standard output."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_document(text: str) -> None:
    """Write what would be a file to standard output, byte for byte: UTF-8, whatever the terminal speaks."""
    text = encodable(text)
    if not hasattr(sys.stdout, "buffer"):  # a caller's own stream, of texts alone
        write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def rendered(*parts: RenderableType | Fitting) -> str:
    """Lines and rich tables as standard output shows them; what it cannot show is escaped.

    A table of figures is as wide as it must be, beyond the terminal's width too: no digit is cut off.
    """
    from rich.measure import Measurement
    from rich.table import Table

    from modelmeter.report.fitting import Fitting
    from modelmeter.report.terminal import PrintableConsole

    out = sys.stdout
    page = io.TextIOWrapper(io.BytesIO(), encoding=getattr(out, "encoding", None) or "utf-8", errors="backslashreplace")
    console = PrintableConsole(file=page, force_terminal=out.isatty(), markup=False, highlight=False, emoji=False)
    width = console.width
    for part in chain.from_iterable(each.at(width) if isinstance(each, Fitting) else [each] for each in parts):
        console.width = width
        if isinstance(part, Table) and part.box is not None:
            needed = Measurement.get(console, console.options.update(width=_NO_LIMIT), part)
            console.width = max(width, needed.maximum if all(each.no_wrap for each in part.columns) else needed.minimum)
        console.print(part, soft_wrap=isinstance(part, str))
    page.seek(0)
    return "".join(f"{line.rstrip()}\n" for line in page)
