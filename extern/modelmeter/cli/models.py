"""`modelmeter models`: the models whose cost is known."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain, repeat
from typing import TYPE_CHECKING

import click

from modelmeter import models
from modelmeter.cli.arguments import complete_model, debug_option, json_option
from modelmeter.cli.output import rendered, write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.models.common.configuration import CheckpointSchema
    from modelmeter.models.common.contract import ModelPackage


@click.command(short_help="The known models: checkpoints, parameters, pages, executions.")
@click.argument("names", nargs=-1, metavar="[MODEL|CHECKPOINT]...", shell_complete=complete_model)
@json_option
@debug_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the models, or those that are named: their checkpoints and size, what becomes of a page, what is proven.

    The parameters are those of the checkpoint that is named, or of the first.
    """
    from modelmeter.report.page_tables import label_lines

    choices = dict.fromkeys((name, tuple(overrides)) for name, overrides in map(models.find, names or models.MODELS))
    packages = [(name, models.model_package(name), overrides) for name, overrides in choices]
    parameters = [package.load_cost_model(overrides).parameters for _, package, overrides in packages]
    if as_json:
        from modelmeter.report.json_document import json_text

        content = [
            {
                "name": name,
                "title": package.TITLE,
                "checkpoints": list(package.CHECKPOINTS),
                "checkpoint_facts": [asdict(facts) for facts in _facts(package)],
                "parameters": count,
                "image_rule": package.IMAGE_RULE,
                "modes": list(package.MODES),
                "executions": list(package.EXECUTIONS),
                "proven": package.PROVEN,
                "sources": list(package.SOURCES),
            }
            for (name, package, _), count in zip(packages, parameters, strict=True)
        ]
        write(json_text("models", {"models": content}))
        return
    lines: list[RenderableType] = []
    for (name, package, overrides), count in zip(packages, parameters, strict=True):
        of = f" ({' '.join(overrides)})" if overrides else ""
        lines += [
            label_lines(
                (name, package.TITLE),
                *zip(chain(["  checkpoints"], repeat("")), map(_words, _facts(package)), strict=False),
                ("  parameters", f"{count:,}{of}"),
                ("  a page", package.IMAGE_RULE),
                ("  modes", ", ".join(package.MODES)),
                ("  executions", ", ".join(package.EXECUTIONS)),
                ("  proven", package.PROVEN),
                ("  sources", ", ".join(package.SOURCES)),
            ),
            "",
        ]
    write(rendered(*lines[:-1]))


def _facts(package: ModelPackage) -> list[CheckpointSchema]:
    """What the files of a model's checkpoints say of them."""
    return [package.CONFIGURATION.checkpoint_facts(name) for name in package.CHECKPOINTS]


def _words(facts: CheckpointSchema) -> str:
    """A checkpoint in a line."""
    parts = (facts.source, facts.revision and f"revision {facts.revision}", facts.unconfirmed)
    return f"{facts.name} ({'; '.join(part for part in parts if part)})"
