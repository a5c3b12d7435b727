"""Scenario files: a command with its inputs and options by their names; of a saved plan its answer too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, near, shown
from modelmeter.kinds import Choice, ListOf, Maybe, Record, Text

PLAN: Final = "plan"
#: commands that a scenario may be of
KINDS: Final = ("page", "corpus", "compare", PLAN)
#: what stands in the way of a file alone saying what happens
_NO_OPTIONS: Final = ("debug", "help")

_MOST_BYTES: Final = 2**24
_SCENARIO: Final = Record(
    {
        "kind": Choice(KINDS),
        "inputs": ListOf(Text(4096, least=1), 1, 10_000),
        "options": Maybe(Record({}, "the options", others=True)),
        "saved": Maybe(Record({"date": Text(10), "modelmeter": Text(100)}, "what a saved plan is of")),
        "result": Maybe(Record({}, "a saved result", others=True)),
    },
    "a scenario",
)


def is_scenario(name: str) -> bool:
    """Whether an input is a scenario file by its name."""
    return name.endswith((".yaml", ".yml")) and "=" not in name


class Scenario(NamedTuple):
    """A file's words. saved: when a plan was answered and by which version. result: its answer; None: there is none."""

    file: str
    kind: str
    inputs: Sequence[str]
    options: Mapping[str, Any]
    saved: Mapping[str, str]
    result: Mapping[str, Any] | None

    @property
    def of(self) -> str:
        """A saved plan by its file, its day and the version that answered it."""
        return (
            f"{self.file}, of {self.saved.get('date', 'an unknown day')} by ModelMeter "
            f"{self.saved.get('modelmeter', '?')}"
        )

    def context(self, parent: click.Context) -> click.Context:
        """The command that the file is of, called with what it says. parent: of any other command."""
        asked = command_of(parent, self.kind)
        who = f"scenario {self.file}: {self.kind}"
        words = (word for key, value in self.options.items() for word in _words(who, asked, key, value))
        return asked.make_context(self.kind, [*self.inputs, *words], parent=parent)


def read_scenario(path: str) -> Scenario:
    """A file's scenario; raises `ModelMeterError` for what is none."""
    who = f"scenario {path}"
    content = read_yaml(who, path, _MOST_BYTES)
    values = _SCENARIO.read(f"{who}: ", content)
    if values["result"] is not None and values["kind"] != PLAN:
        raise ModelMeterError(f"{who}: a result is kept of a plan alone; leave result out.")
    return Scenario(
        file=path,
        kind=values["kind"],
        inputs=values["inputs"],
        options=content.get("options") or {},
        saved=values["saved"] or {},
        result=None if values["result"] is None else content["result"],
    )


def command_of(context: click.Context, kind: str) -> click.Command:
    """The command of a kind."""
    group = context.find_root().command
    assert isinstance(group, click.Group)
    found = group.get_command(context, kind)
    assert found is not None
    return found


def names_of_option(option: click.Option) -> list[str]:
    """What an option is called in a file, by its long names: the one that its help shows first."""
    return [each.removeprefix("--") for each in option.opts if each.startswith("--")]


def options_of(asked: click.Command) -> dict[str, click.Option]:
    """The options of a command by every long name."""
    return {
        name: each
        for each in asked.params
        if isinstance(each, click.Option) and each.name not in _NO_OPTIONS
        for name in names_of_option(each)
    }


def _words(who: str, asked: click.Command, key: str, value: object) -> list[str]:
    """An option of a file as words of a command line."""
    options = options_of(asked)
    if key not in options:
        raise ModelMeterError(f"{who} has no option {key}, which options holds; {near(str(key), list(options))}")
    option = options[key]
    if option.is_flag:
        if not isinstance(value, bool):
            raise ModelMeterError(f"{who}: options.{key}={shown(value)} is neither true nor false.")
        return [f"--{key}"] if value else []
    if isinstance(value, list) and not option.multiple:
        raise ModelMeterError(f"{who}: options.{key} takes one value, and there are {len(value)}.")
    given = value if isinstance(value, list) else [value]
    for each in given:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise ModelMeterError(f"{who}: options.{key}={shown(each)} is neither text nor a number.")
    return [word for each in given for word in (f"--{key}", str(each))]


def given_options(context: click.Context) -> Iterator[tuple[click.Option, Any]]:
    """The options that a command was called with, and what each was given."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if isinstance(parameter, click.Option) and source is ParameterSource.COMMANDLINE:
            yield parameter, context.params.get(str(parameter.name))


def _plain(value: Any) -> Any:
    """What an option was given, as YAML has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | bool | int | float) else str(value)


def scenario_text(context: click.Context, left_out: Sequence[str], result: Mapping[str, Any]) -> str:
    """Question and answer of a command as a scenario. left_out: options that are no part of the question."""
    from datetime import date
    from importlib.metadata import version

    import yaml

    saved: dict[str, Any] = {
        "kind": context.info_name,
        "inputs": list(context.params["arguments"]),
        "options": {
            names_of_option(option)[0]: _plain(value)
            for option, value in given_options(context)
            if option.name not in left_out
        },
        "saved": {"date": date.today().isoformat(), "modelmeter": version("modelmeter")},
        "result": result,
    }
    text: str = yaml.safe_dump(saved, sort_keys=False, allow_unicode=True, width=110)
    return text
