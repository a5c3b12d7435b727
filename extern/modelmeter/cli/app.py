"""The subcommands of `modelmeter`; `modelmeter.cli.main` starts and ends them.

A subcommand is a module here whose `command` is a click command; one line in `COMMANDS` registers it, and it is
imported when it is called. It takes heavy imports inside its function, prints through `modelmeter.cli.output`,
and returns its exit status, or None for 0. It raises `ModelMeterError` for what a user can mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from modelmeter.cli.arguments import debug_option
from modelmeter.errors import near, printable

#: module of each subcommand, in the order of the help
COMMANDS: Final[Mapping[str, str]] = {
    "page": "modelmeter.cli.page",
    "modes": "modelmeter.cli.modes",
    "corpus": "modelmeter.cli.corpus",
    "models": "modelmeter.cli.models",
    "devices": "modelmeter.cli.devices",
    "throughput": "modelmeter.cli.throughput",
    "host": "modelmeter.cli.host",
    "report": "modelmeter.cli.report",
    "diff": "modelmeter.cli.diff",
    "verify": "modelmeter.cli.verify",
    "calibrate": "modelmeter.cli.calibrate",
    "validate": "modelmeter.cli.validate",
    "judge": "modelmeter.cli.judge",
}


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
            raise click.UsageError(f"there is no command {printable(args[0])}; {near(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@debug_option
@click.version_option(package_name="modelmeter", message="%(prog)s %(version)s")
def app() -> None:
    """What OCR with a vision-language model computes, moves and holds, from the size of a page."""
