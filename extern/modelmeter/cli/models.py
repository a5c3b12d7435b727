"""`modelmeter models`: the models whose cost is known."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

import click

from modelmeter import models
from modelmeter.cli.arguments import complete_model, debug_option, json_option
from modelmeter.cli.output import rendered, write
from modelmeter.units import MEGA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from modelmeter.models.common.configuration import CheckpointSchema
    from modelmeter.models.common.contract import ModelPackage
    from modelmeter.report.fitting import Fitting


#: the page whose tokens are told, pixels
LETTER: Final = (1275, 1650)
#: executions that have an engine's name
NAMED: Final = ("published", "vllm", "sglang")


@click.command(short_help="The known models: checkpoints, parameters, pages, executions.")
@click.argument("names", nargs=-1, metavar="[MODEL|CHECKPOINT]...", shell_complete=complete_model)
@json_option
@debug_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the checkpoints of all models, a line each; or of those that are named all that is known: what becomes of a
    page, its modes, what is proven, the sources.

    The parameters are those of the checkpoint that is named, or of the first.
    """
    from modelmeter.report.page_tables import label_lines

    if not names and not as_json:
        write(rendered(*_overview()))
        return
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


def _overview() -> Iterator[RenderableType | Fitting]:
    """A line for each checkpoint, those of a model one after another, and what the lines leave open."""
    from modelmeter.report.fitting import Fitting
    from modelmeter.report.page_tables import figures_table, label_lines

    table = figures_table("checkpoint", "*", "model", "million\nparams", "image\ntokens", "engines")
    for column in (2, 5):
        table.columns[column].justify = "left"
    for name in models.MODELS:
        package = models.model_package(name)
        engines = " ".join(each for each in NAMED if each in package.EXECUTIONS)
        for facts in _facts(package):
            cost_model = package.load_cost_model([f"checkpoint={facts.name}"])
            tokens = cost_model.workload.tokens(cost_model.workload.layout(*LETTER)).total
            millions = f"{round(cost_model.parameters / MEGA):,}"
            star = "*" if facts.unconfirmed else ""
            table.add_row(facts.name, star, name, millions, f"{tokens:,}", engines)
    yield Fitting(table=table)
    yield ""
    yield label_lines(
        ("image tokens", f"of a page of {LETTER[0]} x {LETTER[1]} pixels, letter@150, as the checkpoint is published"),
        ("engines", "beside engine=transformers"),
        ("*", "not all of its values are confirmed"),
        ("more", "modelmeter models NAME: what becomes of a page, its modes, what is proven, the sources"),
    )


def _facts(package: ModelPackage) -> list[CheckpointSchema]:
    """What the files of a model's checkpoints say of them."""
    return [package.CONFIGURATION.checkpoint_facts(name) for name in package.CHECKPOINTS]


def _words(facts: CheckpointSchema) -> str:
    """A checkpoint in a line."""
    parts = (facts.source, facts.revision and f"revision {facts.revision}", facts.unconfirmed)
    return f"{facts.name} ({'; '.join(part for part in parts if part)})"
