"""What rich prints on a terminal: nothing of a name, a cell or an option reaches it that does not print."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from modelmeter.errors import printable


class PrintableConsole(Console):
    """A console on which a text is one line that prints as it is: control and format characters are escaped.

    A text of several lines is several texts, or a rich `Text` of our own words.
    """

    def render_str(self, text: str, **keywords: Any) -> Text:
        """Turn a text, a table's title or a cell into rich's own form."""
        return super().render_str(printable(text), **keywords)
