"""`modelmeter keys`: every key that an override may set, with its default and what it is."""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import debug_option, json_option, model_option
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError, did_you_mean
from modelmeter.models import find, model_package

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.models.common.configuration import Configuration


#: what a choice of a group is
GROUPS: Final = {
    "workload": "a named mode: how a page is resized and cut",
    "execution": "the code whose operators are counted",
    "engine": "who serves the pages: its execution, limits, memory and host",
    "client": "who sends the pages",
    "precision": "the scheme that packs the decoder's weights; what it leaves is of the type runtime.dtype",
    "checkpoint": "whose weights the sizes are; or a folder with a config.json",
}


@click.command(short_help="Every KEY=VALUE: default, what it may be, what it is.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@model_option
@json_option
@debug_option
def command(patterns: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """List what KEY=VALUE may set of a model, with the default value, what else it may be, and what it is.

    PATTERN is a part of the key, in any case: those with one of them are listed. A choice of a group, such as
    workload=base, sets all keys of that group that its file or mode has.
    """
    name, overrides = find(model)
    configuration = model_package(name).CONFIGURATION
    values = asdict(configuration.compose(overrides))
    keys = configuration.overridable()
    listed = [key for key in keys if _is_asked(key, patterns)]
    if not listed:
        parts_of_keys = dict.fromkeys(part for key in keys for part in key.split("."))
        close = get_close_matches(patterns[0].lower(), parts_of_keys)
        named = next((each.partition("=")[2] for each in patterns if each.startswith("model=")), "")
        if named:
            hint = f"did you mean --model {named}?"
        else:
            hint = did_you_mean(close) if close else "without a pattern all are listed."
        raise ModelMeterError(f"keys: no key of {name} has {' or '.join(patterns)} in it; {hint}")
    entries = [_entry(configuration, values, key) for key in listed]
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("keys", {"model": name, "keys": entries}))
        return
    from modelmeter.report.page_tables import label_lines

    parts: list[RenderableType] = []
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry["key"].partition(".")[0] if not entry["is_group"] else "", []).append(entry)
    for group in groups.values():
        lines = [(f"{entry['key']}={entry['default']}", f"{entry['type']}: {entry['about']}") for entry in group]
        parts += [label_lines(*lines), ""]
    write(rendered(*parts[:-1]))


def _is_asked(key: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(pattern.strip().lower().rstrip("=") in key for pattern in patterns)


def _entry(configuration: Configuration[Any], values: dict[str, Any], key: str) -> dict[str, Any]:
    """A key or a group as JSON has it: its default as an override writes it."""
    from modelmeter.kinds import Said, takes

    kind = configuration.keys.get(key)
    choices = list(configuration.words(key))
    if kind is None:
        default = configuration.chosen(key, values)
        return {
            "key": key,
            "is_group": True,
            "default": default,
            "type": "|".join(choices),
            "choices": choices,
            "about": GROUPS[key],
        }
    node: Any = values
    for part in key.split("."):
        node = node[part]
    about = kind.about if isinstance(kind, Said) else ""
    return {
        "key": key,
        "is_group": False,
        "default": _written(node),
        "type": takes(kind),
        "choices": choices,
        "about": about,
    }


def _written(value: object) -> str:
    """A value as an override writes it."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
