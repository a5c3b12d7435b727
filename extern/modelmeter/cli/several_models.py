"""What commands about several models share: which are asked for, and overrides that not all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from modelmeter import models
from modelmeter.cli.arguments import complete_device, complete_engine, complete_model, split_arguments
from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from modelmeter.sweep import Asked

#: of an option of names: everything that there is
ALL: Final = "all"


class NamesOption(click.Option):
    """An option of several names, called in the singular or the plural; its help has the first of the two."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Click's, of one of the two."""
        shown = copy(self)
        shown.opts = self.opts[:1]
        return super(NamesOption, shown).get_help_record(ctx)


def names_of(who: str, option: str, given: Sequence[str], everything: Collection[str] = ()) -> list[str]:
    """The names of an option that commas part; `all` is everything, where that is known here."""
    names = [name.strip() for text in given for name in text.split(",")]
    for name, times in Counter(names).items():
        if not name:
            raise ModelMeterError(f"{who}: {option} has an empty name; give names parted by commas, or {ALL}.")
        if times > 1:
            raise ModelMeterError(f"{who}: {option} {name} is given {times} times; give it once.")
    if everything and ALL in names:
        return list(dict.fromkeys(each for name in names for each in (everything if name == ALL else [name])))
    return names


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


# -- for the shell ---------------------------------------------------------------------------------------------------

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def each_of(complete: Completion) -> Completion:
    """For the shell: the last of several values that commas part, be it behind a key."""

    def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        key, equals, value = incomplete.partition("=")
        key = key + equals if equals else ""
        before, comma, last = (value if equals else incomplete).rpartition(",")
        given = _BY_KEY.get(key)
        found = given(context, parameter, last) if given else complete(context, parameter, key + last)
        values = [(item.value.removeprefix(key), item.type) for item in found if item.type == "plain" or not comma]
        return [CompletionItem(f"{key}{before}{comma}{each}", type=kind) for each, kind in values]

    return completed


#: what completes the values of keys that are none of the configuration
_BY_KEY: Final[Mapping[str, Completion]] = {
    "device=": complete_device,
    "model=": complete_model,
    "checkpoint=": complete_model,
    "engine=": complete_engine,
}
