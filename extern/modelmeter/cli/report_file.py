"""Reports as files: HTML, Markdown or JSON, as the file's suffix says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.report.document import Report

#: the file's suffixes that mean a format
SUFFIXES: Final = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json"}
FORMATS: Final = ("html", "markdown", "json")


def report_text(report: Report, written: str) -> str:
    """A report in one of `FORMATS`."""
    if written == "html":
        from modelmeter.report.html import report_html

        return report_html(report)
    if written == "markdown":
        from modelmeter.report.markdown import report_markdown

        return report_markdown(report)
    from modelmeter.report.report_json import report_json

    return report_json(report)


def report_format(who: str, output: str | None, form: str | None = None, others: Sequence[str] = ()) -> str:
    """The format that was asked for, or that the file's suffix says. who: the command that errors begin with.

    others: suffixes that say something else there.
    """
    if form is not None:
        return form
    if output is None or output == "-":
        return "html"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelMeterError(
            f"{who}: the name {output} does not say the format; end it in one of {', '.join((*others, *SUFFIXES))}"
            f"{', or give --format ' + ', '.join(FORMATS) if who == 'report' else ''}."
        )
    return SUFFIXES[suffix]
