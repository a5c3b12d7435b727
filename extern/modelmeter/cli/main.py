"""The command `modelmeter`: its subcommands, and how every one of them ends.

A subcommand is a module here whose `command` is a click command; one line in `COMMANDS` registers it, and it is
imported when it is called. It takes heavy imports inside its function, prints through `modelmeter.cli.output`,
and returns its exit status, or None for 0. It raises `ModelMeterError` for what a user can mend.

Exit status: 0, done; 2, the command line or an input is wrong, and nothing was printed; 3, an error of ModelMeter's
own; 130, interrupted; 141, the reader of the output went away. `verify` adds 1: a difference was found.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import click

from modelmeter.cli.arguments import Invocation, debug_option
from modelmeter.errors import ModelMeterError, near

#: module of each subcommand, in the order of the help
COMMANDS: Final[Mapping[str, str]] = {
    "page": "modelmeter.cli.page",
    "modes": "modelmeter.cli.modes",
    "corpus": "modelmeter.cli.corpus",
    "devices": "modelmeter.cli.devices",
    "throughput": "modelmeter.cli.throughput",
    "report": "modelmeter.cli.report",
    "diff": "modelmeter.cli.diff",
    "verify": "modelmeter.cli.verify",
    "calibrate": "modelmeter.cli.calibrate",
    "validate": "modelmeter.cli.validate",
}

BAD_INPUT: Final = 2
OWN_ERROR: Final = 3
INTERRUPTED: Final = 130


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
            raise click.UsageError(f"there is no command {args[0]}; {near(args[0], COMMANDS)}", ctx)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default); the exit status."""
    invocation = Invocation()
    try:
        status = app.main(
            None if arguments is None else list(arguments), "modelmeter", standalone_mode=False, obj=invocation
        )
        return int(status or 0)
    except ModelMeterError as error:
        return _end(invocation, BAD_INPUT, error.lines)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "modelmeter"
        return _end(invocation, BAD_INPUT, [f"{error.format_message()} ({command} --help)"])
    except click.Abort:
        return INTERRUPTED
    except Exception as error:
        text = (
            f"ModelMeter itself failed ({type(error).__name__}: {error}); run it again with --debug, and report that."
        )
        return _end(invocation, OWN_ERROR, [text])


def _end(invocation: Invocation, status: int, lines: Sequence[str]) -> int:
    """Say on standard error, a line each, what went wrong."""
    if invocation.debug:
        traceback.print_exc()
    for line in lines:
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
    return status
