"""`modelmeter run`: a command and its options from a file, and what a saved plan says otherwise today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any, Final

import click

from modelmeter.cli.arguments import debug_option
from modelmeter.cli.output import rendered, write
from modelmeter.cli.scenario import KINDS, PLAN, Scenario, command_of, options_of, read_scenario
from modelmeter.errors import ModelMeterError, shown

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
    scenario = read_scenario(file)
    with scenario.context(context) as inner:
        if scenario.result is None:
            return inner.command.invoke(inner) or 0
        return _again(inner, scenario, scenario.result)


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
                            key: _of_option(each) for key, each in options_of(command_of(context, kind)).items()
                        },
                        "additionalProperties": False,
                    },
                    **({"saved": {"type": "object"}, "result": {"type": "object"}} if kind == PLAN else {}),
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


# -- a saved plan ---------------------------------------------------------------------------------------------------


def _again(context: click.Context, scenario: Scenario, before: Mapping[str, Any]) -> int:
    """Answer a saved plan anew, and say what differs."""
    from modelmeter.cli.plan import answered_in

    answer = answered_in(context)
    lines = list(differences(before, answer.content))
    more = [f"and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    told = (
        [f"{differ(len(lines))} from {scenario.of}:", *lines[:_TOLD], *more]
        if lines
        else [f"the same as {scenario.of}"]
    )
    write(rendered(*answer.screen(explain=False), "", *told))
    return 1 if lines or answer.plan.best is None else 0


def differ(count: int) -> str:
    """How many figures differ."""
    return "1 figure differs" if count == 1 else f"{count} figures differ"


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
