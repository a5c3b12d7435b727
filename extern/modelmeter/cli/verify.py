"""`modelmeter verify`: the programs that hold the cost model against the real modules."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from modelmeter.cli.arguments import debug_option, json_option, model_option
from modelmeter.cli.output import write
from modelmeter.errors import ModelMeterError
from modelmeter.models import find

#: module of each program, and the result that it leaves in its run directory
PROGRAMS: Final = {
    "vision": ("modelmeter.programs.verify.vision", "verify.json"),
    "end2end": ("modelmeter.programs.verify.end2end", "verify.json"),
    "layers": ("modelmeter.programs.verify.layers", "verify_layers.json"),
}
#: what the reference measurements import
NEEDED: Final = ("torch", "transformers")

_RUN_DIR: Final = "hydra.run.dir="


@click.command(
    short_help="The cost model against the real modules.",
    context_settings={"ignore_unknown_options": True},
)
@model_option
@json_option
@debug_option
@click.argument("program", type=click.Choice(list(PROGRAMS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[KEY=VALUE]...")
def command(program: str, arguments: tuple[str, ...], model: str | None, as_json: bool) -> int:
    """Run a verification program with its own arguments.

    They are KEY=VALUE, as in sizes=[[1275,1650]] or images=[a.png] or workload=base, and Hydra's own options. Exit
    status 1: a difference beyond the tolerance, or a bad page; 2: nothing could be verified.
    """
    model, own = find(model, arguments)
    module, result_name = PROGRAMS[program]
    missing = [each for each in NEEDED if find_spec(each) is None]
    if missing:
        raise ModelMeterError(
            f"verify runs the real modules and needs {' and '.join(missing)}; pip install {' '.join(missing)}."
        )
    own = [f"model={model}", *own]
    if not as_json:
        return _run(module, own)

    from modelmeter.report.json_document import json_text

    given = [argument.removeprefix(_RUN_DIR) for argument in own if argument.startswith(_RUN_DIR)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given[-1] if given else temporary)
        result = folder / result_name
        before = _stamp(result)
        with contextlib.redirect_stdout(sys.stderr):
            status = _run(module, own if given else (*own, f"{_RUN_DIR}{folder}"))
        if status not in (0, 1):
            return status
        if _stamp(result) == before:  # there is none, or it is an earlier run's
            raise ModelMeterError(
                f"verify: --json shows the {result_name} of one run, and there is none; leave --json out with "
                "--multirun, whose jobs leave theirs below multirun/, and with options that only tell something."
            )
        content = {"model": model, "program": program, "exit_status": status, "result": json.loads(result.read_text())}
    write(json_text("verify", content))
    return status


def _stamp(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None for no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _run(module: str, arguments: Sequence[str]) -> int:
    """Exit status of a program that reads `sys.argv`."""
    own = sys.argv
    sys.argv = [module, *arguments]
    try:
        import_module(module).main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = own
    return 0
