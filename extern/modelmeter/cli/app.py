"""The subcommands of `modelmeter`; `modelmeter.cli.main` starts and ends them.

A subcommand is a module here whose `command` is a click command; one line in `COMMANDS` registers it, and it is
imported when it is called. It takes heavy imports inside its function, prints through `modelmeter.cli.output`,
and returns its exit status, or None for 0. It raises `ModelMeterError` for what a user can mend.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from modelmeter.cli.arguments import debug_option, is_corpus
from modelmeter.cli.output import write
from modelmeter.errors import did_you_mean, near, printable
from modelmeter.page_sizes import is_size

#: module of each subcommand, by what it is for, in the order of the help
GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Cost of pages": {
        "page": "modelmeter.cli.page",
        "modes": "modelmeter.cli.modes",
        "compare": "modelmeter.cli.compare",
        "corpus": "modelmeter.cli.corpus",
        "diff": "modelmeter.cli.diff",
        "report": "modelmeter.cli.report",
        "sweep": "modelmeter.cli.sweep",
        "laws": "modelmeter.cli.laws",
    },
    "Time and money": {
        "throughput": "modelmeter.cli.throughput",
        "fit": "modelmeter.cli.fit",
        "limits": "modelmeter.cli.limits",
        "simulate": "modelmeter.cli.simulate",
        "plan": "modelmeter.cli.plan",
        "run": "modelmeter.cli.run",
        "host": "modelmeter.cli.host",
    },
    "What there is": {
        "models": "modelmeter.cli.models",
        "keys": "modelmeter.cli.keys",
        "devices": "modelmeter.cli.devices",
    },
    "Proof and measurements": {
        "verify": "modelmeter.cli.verify",
        "calibrate": "modelmeter.cli.calibrate",
        "validate": "modelmeter.cli.validate",
        "judge": "modelmeter.cli.judge",
    },
}

#: module of each subcommand, in the order of the help
COMMANDS: Final[Mapping[str, str]] = {name: module for group in GROUPS.values() for name, module in group.items()}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when the subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The `command` of the module that is registered for a name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's, with our words for a name that does not exist."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            hint = _command_for(args[0]) or near(args[0], COMMANDS)
            raise click.UsageError(f"there is no command {printable(args[0])}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for, with a line each."""
        width = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width))
                for name, command in commands
                if command
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def _command_for(name: str) -> str | None:
    """The hint where a page stands in the place of a command."""
    if is_corpus(name):
        return did_you_mean([f"modelmeter corpus {printable(name)}"])
    if is_size(name) or os.path.isfile(name):
        return did_you_mean([f"modelmeter page {printable(name)}"])
    return None


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@debug_option
@click.version_option(package_name="modelmeter", message="%(prog)s %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """What OCR with a vision-language model computes, moves and holds, from the size of a page.

    \b
    modelmeter page 1275x1650
    modelmeter throughput A4@200 --output-tokens 1000 --device H100-SXM
    """
    if context.invoked_subcommand is None:
        write(f"{context.get_help()}\n")
