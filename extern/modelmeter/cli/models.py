"""`modelmeter models`: the models whose cost is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelmeter import models
from modelmeter.cli.arguments import complete_model, debug_option, json_option
from modelmeter.cli.output import rendered, write

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command(short_help="The known models: checkpoints, parameters, pages, executions.")
@click.argument("names", nargs=-1, metavar="[MODEL]...", shell_complete=complete_model)
@json_option
@debug_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the models, or those that are named: their checkpoints and size, what becomes of a page, what is proven."""
    from modelmeter.report.page_tables import label_lines

    packages = {name: models.model_package(name) for name in names or models.MODELS}
    parameters = {name: package.load_cost_model().parameters for name, package in packages.items()}
    if as_json:
        from modelmeter.report.json_document import json_text

        content = [
            {
                "name": name,
                "title": package.TITLE,
                "checkpoints": list(package.CHECKPOINTS),
                "parameters": parameters[name],
                "image_rule": package.IMAGE_RULE,
                "modes": list(package.MODES),
                "executions": list(package.EXECUTIONS),
                "proven": package.PROVEN,
                "sources": list(package.SOURCES),
            }
            for name, package in packages.items()
        ]
        write(json_text("models", {"models": content}))
        return
    lines: list[RenderableType] = []
    for name, package in packages.items():
        lines += [
            label_lines(
                (name, package.TITLE),
                ("  checkpoints", ", ".join(package.CHECKPOINTS)),
                ("  parameters", f"{parameters[name]:,}"),
                ("  a page", package.IMAGE_RULE),
                ("  modes", ", ".join(package.MODES)),
                ("  executions", ", ".join(package.EXECUTIONS)),
                ("  proven", package.PROVEN),
                ("  sources", ", ".join(package.SOURCES)),
            ),
            "",
        ]
    write(rendered(*lines[:-1]))
