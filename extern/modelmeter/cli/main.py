"""How the command `modelmeter` starts, and how every run of it ends; `modelmeter.cli.app` has its subcommands.

Exit status: 0, done; 2, the command line or an input is wrong, and nothing was printed; 3, an error of ModelMeter's
own; 129, 130, 143, ended by SIGHUP, SIGINT or SIGTERM; 141, the reader of the output went away. `verify` adds 1: a
difference was found. A refusal takes at most three lines on standard error.

Almost nothing is imported before `main` is at work: a signal that comes while the others are is no traceback.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would be imported before `main` is at work
if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
OWN_ERROR = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default); the exit status."""
    try:
        from modelmeter.process import as_program

        with as_program():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:  # a signal; a reader that has gone away; the shell's completion
        return end.code if isinstance(end.code, int) else OWN_ERROR if end.code else 0


def _run(arguments: Sequence[str]) -> int:
    import warnings

    import click

    from modelmeter.cli.app import app
    from modelmeter.cli.arguments import Invocation, option_or_key
    from modelmeter.errors import ModelMeterError
    from modelmeter.process import tell_error

    def end(status: int, error: ModelMeterError) -> int:
        if invocation.debug:
            import traceback

            traceback.print_exc()
        tell_error(error)
        return status

    invocation = Invocation()
    try:
        _check_arguments(arguments)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of damage that is then read over, or refused in our words
            status = app.main(list(arguments), "modelmeter", standalone_mode=False, obj=invocation)
        return int(status or 0)
    except ModelMeterError as error:
        return end(BAD_INPUT, error)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "modelmeter"
        words = " ".join(error.format_message().split())  # the choices of an argument are lines of its own
        if isinstance(error, click.NoSuchOption) and (hint := option_or_key(error, arguments)):
            words = f"there is no option {error.option_name}; {hint}"
        return end(BAD_INPUT, ModelMeterError(f"{words} ({command} --help)"))
    except click.Abort:
        return INTERRUPTED
    except MemoryError:
        text = "the memory that this process may have is used up; give it more, or fewer pages at a time."
        return end(BAD_INPUT, ModelMeterError(text))
    except Exception as error:
        text = (
            f"ModelMeter itself failed ({type(error).__name__}: {error}); run it again with --debug, and report that."
        )
        return end(OWN_ERROR, ModelMeterError(text))


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what no shell hands over, and no name of a file holds; and a working directory that is no more."""
    import os

    from modelmeter.errors import ModelMeterError

    for argument in arguments:
        try:
            argument.encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise ModelMeterError(f"argument {argument} is no text; leave the lone surrogate out.") from error
        if "\0" in argument:
            raise ModelMeterError(f"argument {argument} holds a NUL character, which no file name has; leave it out.")
    try:
        os.getcwd()
    except OSError as error:
        raise ModelMeterError(
            f"the working directory cannot be told ({error.strerror}); change to one that exists."
        ) from error
