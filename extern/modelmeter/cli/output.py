"""How the subcommands print: a result is whole before its first byte goes out."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final

import click

from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from rich.console import RenderableType

READER_GONE: Final = 141
"""Exit status of a program that a closed pipe ends: 128 + SIGPIPE."""

_NO_LIMIT: Final = 10_000


def write(text: str) -> None:
    """Write JSON or `rendered` text to standard output; a reader that has gone away ends the command quietly."""
    out = sys.stdout
    if out is None:
        raise ModelMeterError("standard output is closed; open it, or send it to a file.")
    try:
        out.write(text)
        out.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(READER_GONE) from None
        raise ModelMeterError(f"standard output cannot be written ({error.strerror}); send it elsewhere.") from error


def rendered(*parts: RenderableType) -> str:
    """Text and rich tables as standard output shows them; what its encoding lacks is escaped.

    A table whose columns may not wrap is as wide as it must be, beyond the terminal's width too: no digit is cut off.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    out = sys.stdout
    page = io.TextIOWrapper(io.BytesIO(), encoding=getattr(out, "encoding", None) or "utf-8", errors="backslashreplace")
    terminal = out is not None and out.isatty()
    console = Console(file=page, force_terminal=terminal, markup=False, highlight=False, emoji=False)
    width = console.width
    for part in parts:
        console.width = width
        if isinstance(part, Table) and all(column.no_wrap for column in part.columns):
            unlimited = console.options.update(width=_NO_LIMIT)
            console.width = max(width, Measurement.get(console, unlimited, part).maximum)
        console.print(part, soft_wrap=isinstance(part, str))
    page.seek(0)
    return "".join(f"{line.rstrip()}\n" for line in page)
