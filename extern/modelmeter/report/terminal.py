"""What rich prints on a terminal: nothing of a name, a cell or an option reaches it that does not print."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from modelmeter.errors import printable

#: characters of a cut text that still tell something
LEAST: Final = 12


class PrintableConsole(Console):
    """A console on which a text is one line that prints as it is: control and format characters are escaped.

    A text of several lines is several texts, or a rich `Text` of our own words.
    """

    def render_str(self, text: str, **keywords: Any) -> Text:
        """Turn a text, a table's title or a cell into rich's own form."""
        return super().render_str(printable(text), **keywords)


class OneLine:
    """A text in one line: where a table has less room than it takes, it is cut in its middle."""

    def __init__(self, text: str) -> None:
        self.text = printable(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the line, in the room that there is."""
        yield Text(printable(self.text, options.max_width), no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Say which room it takes, at least and at most."""
        length = Text(self.text).cell_len
        return Measurement(min(LEAST, length), length)
