"""What commands about several models share: which are asked for, and overrides that not all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelmeter import models
from modelmeter.cli.arguments import split_arguments
from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.sweep import Asked


def asked_models(names: Sequence[str]) -> list[Asked]:
    """The models, checkpoints and folders of that name, or the default one; raises for what does not exist."""
    from modelmeter.sweep import Asked

    found = [(name, models.find(name)) for name in names or [models.DEFAULT_MODEL]]
    return [Asked(name, models.model_package(each.model), each.overrides) for name, each in found]


def split_for(arguments: Sequence[str], asked: Sequence[Asked]) -> tuple[list[str], list[str]]:
    """(pages, overrides), where some model has each override's group."""
    first: ModelMeterError | None = None
    for each in asked:
        try:
            return split_arguments(arguments, each.package.CONFIGURATION)
        except ModelMeterError as error:
            first = first or error
    assert first is not None
    raise first


def check_override(asked: Sequence[Asked], override: str) -> None:
    """Refuse an override that no model has; where one has it, the others refuse what they are asked."""
    refusals = []
    for each in asked:
        try:
            each.package.CONFIGURATION.check_overrides([override])
            return
        except ModelMeterError as error:
            refusals.append(error)
    raise refusals[0]
