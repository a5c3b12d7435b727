"""What the Hydra programs share: how they start, where they write, and how they end."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.schema import CONFIG_MODULE, check_overrides, register_workloads
from modelmeter.process import as_program, tell_error

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console
    from rich.progress import Progress

#: exit statuses: all is well; a difference or a bad page; nothing could be done; 128 + SIGINT
AGREES: Final = 0
DISAGREES: Final = 1
UNUSABLE: Final = 2
INTERRUPTED: Final = 130

#: environment variable that names the folder of the statuses of a run's jobs
_NOTES: Final = "MODELMETER_JOB_STATUSES"

#: flags of Hydra with which no job runs: they tell something instead
_TELLING: Final = frozenset(
    ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
)


def run(config_name: str, own_keys: Mapping[str, object], work: Callable[[DictConfig], int]) -> None:
    """Check the command line, then run `work` as a Hydra program; the worst status of its jobs is the process's.

    own_keys: the program's top-level keys beside the cost model's. Under --multirun a job that fails does not keep
    the others from running.
    """
    import hydra

    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]

    @hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=config_name)
    def job(config: DictConfig) -> None:
        _note(ended(lambda: work(config)))

    def checked() -> int:
        check_overrides(overrides, own_keys, program=True)
        register_workloads()
        with tempfile.TemporaryDirectory(prefix="modelmeter-") as notes:
            os.environ[_NOTES] = notes
            try:
                job()
            finally:
                del os.environ[_NOTES]
            statuses = [int(note.read_text()) for note in Path(notes).iterdir()]
            if not statuses and not _TELLING.intersection(argument.partition("=")[0] for argument in sys.argv):
                raise ModelMeterError(
                    f"no job told how it ended: they ran where {notes} is not seen, as on other machines; "
                    "set TMPDIR to a folder that they share, and look into their logs."
                )
            return max(statuses, default=AGREES)

    try:
        status = ended(checked)
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status:
        raise SystemExit(status)


def _note(status: int) -> None:
    """Leave a job's status for the process that launched it: a launcher may run the job in another one.

    On another machine, as under Slurm, there is no such folder unless TMPDIR is shared; then the process says so.
    """
    notes = Path(os.environ.get(_NOTES, ""))
    if _NOTES in os.environ and notes.is_dir():
        (notes / secrets.token_hex(8)).write_text(str(status))


def ended(work: Callable[[], int]) -> int:
    """The status of `work`; an error that a user is meant to read goes to standard error, and is `UNUSABLE`."""
    with as_program():
        try:
            return work()
        except ModelMeterError as error:
            tell_error(error)
            return UNUSABLE


def progress_bar() -> Progress:
    """A bar on standard error, silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def output_folder() -> Path:
    """The run directory that Hydra made."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def console() -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    from modelmeter.report.terminal import PrintableConsole

    return PrintableConsole(width=None if sys.stdout.isatty() else 120)
