"""A report as one HTML file that loads nothing: style, script and charts are in it.

The page is `templates/report.html.j2`; jinja2 fills it in (the extra `report`) and escapes every text, characters that
do not print too. Without a script everything can be read; the script sorts tables, and opens and folds the trees.
"""

from __future__ import annotations

from importlib import resources

from modelmeter.errors import ModelMeterError, printable
from modelmeter.report.document import (
    Chart,
    Fold,
    Pairs,
    Quantity,
    Report,
    Table,
    Text,
    Tree,
    cell_text,
    holds_figures,
)


def report_html(report: Report) -> str:
    """The HTML text of a report."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ModelMeterError(
            "report: HTML needs jinja2; pip install jinja2, or take --format markdown or json."
        ) from error
    environment = Environment(
        loader=PackageLoader("modelmeter.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = cell_text
    environment.globals["holds_figures"] = holds_figures
    kinds = {"text": Text, "pairs": Pairs, "table": Table, "tree": Tree, "chart": Chart, "fold": Fold}
    environment.tests |= {
        name: lambda block, kind=kind: isinstance(block, kind) for name, kind in (kinds | {"figure": Quantity}).items()
    }
    folder = resources.files("modelmeter.report") / "templates"
    return environment.get_template("report.html.j2").render(
        report=report,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
    )
