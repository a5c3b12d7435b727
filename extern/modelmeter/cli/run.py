"""`modelmeter run`: a command and its options from a file, and what a saved plan says otherwise today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any, Final

import click

from modelmeter.cli.arguments import debug_option
from modelmeter.cli.output import rendered, write
from modelmeter.documents import read_yaml
from modelmeter.errors import ModelMeterError, near, shown
from modelmeter.kinds import Choice, ListOf, Maybe, Record, Text

#: commands that a scenario may be of
KINDS: Final = ("page", "corpus", "compare", "plan")
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
#: differences that are told
_TOLD: Final = 20
#: of a figure, below which it is the same
_SAME: Final = 1e-9


@click.command(short_help="Run a scenario file; say what a saved plan has otherwise.")
@click.argument("file", type=click.Path(), metavar="FILE", required=False)
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON Schema of scenario files, and run nothing.")
@debug_option
@click.pass_context
def command(context: click.Context, file: str | None, as_schema: bool) -> int:
    """Run what a YAML file says: kind (page, corpus, compare or plan), inputs, and options by their names.

    A plan that was saved by modelmeter plan -o holds its result, which is compared with that of today: exit status 1
    if they differ. Paths in the file are those of the working directory. docs/plan.md has an example of each kind.
    """
    if as_schema:
        if file is not None:
            raise ModelMeterError(f"run: --schema runs nothing, and {file} is given; leave one of them out.")
        write(json.dumps(schema(context), indent=2) + "\n")
        return 0
    if file is None:
        raise ModelMeterError("run: there is no file; give a scenario, as docs/plan.md has it, or --schema.")
    who = f"scenario {file}"
    content = read_yaml(who, file, _MOST_BYTES)
    values = _SCENARIO.read(f"{who}: ", content)
    options = content.get("options") or {}
    kind = values["kind"]
    asked = _command(context, kind)
    words = (word for key, value in options.items() for word in _words(f"{who}: {kind}", asked, key, value))
    arguments = [*values["inputs"], *words]
    with asked.make_context(kind, arguments, parent=context) as inner:
        if values["result"] is None:
            return asked.invoke(inner) or 0
        if kind != "plan":
            raise ModelMeterError(f"{who}: a result is kept of a plan alone; leave result out.")
        return _again(inner, file, content["result"], values["saved"] or {})


def _command(context: click.Context, kind: str) -> click.Command:
    """The command of a kind."""
    group = context.find_root().command
    assert isinstance(group, click.Group)
    found = group.get_command(context, kind)
    assert found is not None
    return found


def _options(asked: click.Command) -> dict[str, click.Option]:
    """The options of a command by their long names."""
    return {
        max(each.opts, key=len).lstrip("-"): each
        for each in asked.params
        if isinstance(each, click.Option) and each.name not in _NO_OPTIONS
    }


def schema(context: click.Context) -> dict[str, Any]:
    """What a scenario may hold, as a JSON Schema: of each kind its command's own options."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of modelmeter run",
        "type": "object",
        "required": ["kind", "inputs"],
        "oneOf": [
            {
                "properties": {
                    "kind": {"const": kind},
                    "inputs": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    "options": {
                        "type": "object",
                        "properties": {
                            key: _of_option(each) for key, each in _options(_command(context, kind)).items()
                        },
                        "additionalProperties": False,
                    },
                    **({"saved": {"type": "object"}, "result": {"type": "object"}} if kind == "plan" else {}),
                },
                "additionalProperties": False,
            }
            for kind in KINDS
        ],
    }


def _of_option(option: click.Option) -> dict[str, Any]:
    """One option: true or false, or text or a number, or several of these; its help."""
    one: dict[str, Any] = {"type": "boolean"} if option.is_flag else {"type": ["string", "number"]}
    if option.multiple:
        one = {"anyOf": [one, {"type": "array", "items": one}]}
    return one | {"description": " ".join((option.help or "").split())}


def _words(who: str, asked: click.Command, key: str, value: object) -> list[str]:
    """An option of a file as words of a command line."""
    options = _options(asked)
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


# -- a saved plan ---------------------------------------------------------------------------------------------------


def _again(context: click.Context, file: str, before: Mapping[str, Any], saved: Mapping[str, Any]) -> int:
    """Answer a saved plan anew, and say what differs."""
    from modelmeter.cli.plan import OUTPUTS, answered

    answer = answered(**{name: value for name, value in context.params.items() if name not in OUTPUTS})
    lines = list(differences(before, answer.content))
    of = f"{file}, of {saved.get('date', 'an unknown day')} by ModelMeter {saved.get('modelmeter', '?')}"
    more = [f"and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    told = [f"{len(lines)} figures differ from {of}:", *lines[:_TOLD], *more] if lines else [f"the same as {of}"]
    write(rendered(*answer.screen(explain=False), "", *told))
    return 1 if lines or answer.plan.best is None else 0


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two plans' contents, a line a figure."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            side = "it was not there" if name not in old else f"it was {shown(old[name])}"
            yield f"{name}: {side}, now {'gone' if name not in new else shown(new[name])}"
        elif not _same(old[name], new[name]):
            yield f"{name}: {shown(old[name])}, now {shown(new[name])}{_change(old[name], new[name])}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping and no list, by its place; rows by what they are told apart by."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{name}[{_row_name(each, number)}]")
    else:
        yield name, value


def _row_name(row: Any, number: int) -> str:
    """A row by what it is told apart by, anything else by its place."""
    from modelmeter.report.plan_tables import KEYS

    if isinstance(row, Mapping) and all(key in row for key in KEYS):
        return " ".join(str(row[key]) for key in KEYS)
    return str(number)


def _same(old: Any, new: Any) -> bool:
    if _is_number(old) and _is_number(new):
        return isclose(old, new, rel_tol=_SAME)
    return bool(old == new)


def _change(old: Any, new: Any) -> str:
    return f" ({new / old - 1:+.2%})" if _is_number(old) and _is_number(new) and old else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
