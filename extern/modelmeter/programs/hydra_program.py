"""What the Hydra programs share: how they start, of which model, where they write, and how they end.

A program is of any model: `model=NAME` on its command line says which, before Hydra reads the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import secrets
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast

from modelmeter.errors import ModelMeterError, near
from modelmeter.models import find, model_package
from modelmeter.models.common.configuration import Configuration
from modelmeter.models.common.cost_model import CostModel
from modelmeter.models.common.prompt import count_prompt_tokens
from modelmeter.process import READER_GONE, as_program, tell_error

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from modelmeter.models.common.contract import ModelPackage

#: the cost model of any model
AnyCostModel: TypeAlias = CostModel[Any, Any, Any]

#: exit statuses: all is well; a difference or a bad page; nothing could be done; an error of ModelMeter's own;
#: 128 + SIGINT
AGREES: Final = 0
DISAGREES: Final = 1
UNUSABLE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130

#: environment variable that names the folder of the statuses of a run's jobs
_NOTES: Final = "MODELMETER_JOB_STATUSES"

#: a variable of Hydra's own: with it errors come as they are, not printed and turned into an exit status
_WHOLE_ERRORS: Final = "HYDRA_FULL_ERROR"

#: how the lines of Hydra's messages begin that tell of its insides, or advise to add keys: there are none to add
_LEFT_OUT: Final = ("To append to your config", "See https://", "full_key:", "object_type=")

#: what Hydra can do, of which a command line asks for one
_ACTIONS: Final = ("run", "multirun", "cfg", "info", "shell_completion")

#: options of Hydra that a program refuses, with the reason and what to do instead
_REFUSED: Final = {
    "config_name": "a program has one configuration; put files of its groups into a folder and say --config-dir",
    "config_path": "the configuration is a part of the package; put your files into a folder and say --config-dir",
    "experimental_rerun": "a pickle can run any code; give the overrides again",
}


def run(
    config_name: str,
    own_keys: Mapping[str, object],
    work: Callable[[ModelPackage, DictConfig], int],
    *,
    model: str | None = None,
) -> None:
    """Check the command line, then run `work` as a Hydra program; the worst status of its jobs is the process's.

    own_keys: the program's top-level keys beside the cost model's. model: whose program it is, where it is one model's
    own. Under --multirun a job that fails does not keep the others from running.
    """
    try:
        status = ended(lambda: _run(config_name, own_keys, work, model))
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status:
        raise SystemExit(status)


def _run(
    config_name: str,
    own_keys: Mapping[str, object],
    work: Callable[[ModelPackage, DictConfig], int],
    owner: str | None,
) -> int:
    """The worst status of the jobs; raises `ModelMeterError` where none could run."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    name, arguments = chosen_model(sys.argv[1:], owner)
    package = model_package(name)
    configuration = package.CONFIGURATION
    given = command_line(configuration.register_folder(arguments))
    if not given.shell_completion:
        _check(given, own_keys, configuration)
    register(configuration)

    @hydra.main(version_base="1.3", config_path=f"pkg://{configuration.module}", config_name=config_name)
    def job(config: DictConfig) -> None:
        try:
            status = ended(lambda: work(package, config), configuration.groups)
        except Exception:  # the jobs after this one still run
            traceback.print_exc()
            status = FAILED
        except SystemExit as end:
            if end.code != READER_GONE:
                raise
            status = READER_GONE
        _note(status)

    with tempfile.TemporaryDirectory(prefix="modelmeter-") as notes:
        try:
            with _launching(given, notes):
                job()
        except ModelMeterError:  # of standard output
            raise
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
            raise ModelMeterError(_in_words(error, configuration.groups)) from error  # a job raises nothing
        except SystemExit as end:  # how Hydra ends after its help
            if end.code:
                raise
        statuses = [int(note.read_text()) for note in Path(notes).iterdir()]
        if given.runs and not statuses:
            raise ModelMeterError(
                f"no job told how it ended: they ran where {notes} is not seen, as on other machines; "
                "set TMPDIR to a folder that they share, and look into their logs."
            )
    return max(statuses, default=AGREES)


def chosen_model(arguments: Sequence[str], owner: str | None = None) -> tuple[str, list[str]]:
    """The model that a program's arguments name, and what Hydra is told; `owner` where the program has but one.

    `model=NAME` is a model's or a checkpoint's name, or the folder of a user's own checkpoint; several checkpoints of
    one model are a sweep.
    """
    names = [each.partition("=")[2] for each in arguments if each.startswith("model=")]
    if len(names) > 1:
        raise ModelMeterError(f"model= is given {len(names)} times ({', '.join(names)}); a program is of one model.")
    if owner and names not in ([], [owner]):
        raise ModelMeterError(f"model={names[0]}: this program is {owner}'s own; leave model= out.")
    others = [each for each in arguments if not each.startswith("model=")]
    swept = [each for each in others if each.startswith("checkpoint=") and "," in each]
    found = find(names[0] if names else owner, [each for each in others if each not in swept])
    return found.model, [*found.overrides, *swept]


def register(configuration: Configuration[Any]) -> None:
    """What a program's configuration finds beside the files: a model's named workloads, and its defaults by one name.

    Those are `cost_model`, whatever the file is called that has them.
    """
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().repo.pop("workload", None)  # of the model that a program of this process was of before
    configuration.register_program()
    ConfigStore.instance().store(name="cost_model", node={"defaults": [configuration.name]})


def command_line(arguments: Sequence[str]) -> argparse.Namespace:
    """What Hydra's own parser reads in a program's arguments, and `options`: those that are no overrides.

    `runs`: whether jobs run; with the other options Hydra tells something instead.
    """
    from hydra._internal.utils import get_args_parser  # there is no public one; a list of options here would age

    parser = get_args_parser()
    parser.error = _refuse_options  # type: ignore[method-assign]
    given = parser.parse_intermixed_args(list(arguments))
    for option, reason in _REFUSED.items():
        if getattr(given, option) is not None:
            raise ModelMeterError(f"--{option.replace('_', '-')} is not taken: {reason}.")
    asked = [action for action in _ACTIONS if getattr(given, action) not in (None, False)]
    if len(asked) > 1:
        names = " and ".join(f"--{action.replace('_', '-')}" for action in asked)
        raise ModelMeterError(f"{names} do not go together; give one of them.")
    if given.resolve and not (given.cfg or given.help):
        raise ModelMeterError("--resolve goes with --cfg or --help alone; give one of them, or leave it out.")
    if given.shell_completion and not any(
        each.startswith(("install=", "uninstall=", "query=")) for each in given.overrides
    ):
        raise ModelMeterError(
            "--shell-completion goes with install=SHELL or uninstall=SHELL, as in install=bash; add it."
        )
    given.runs = not (given.help or given.hydra_help) and asked in ([], ["run"], ["multirun"])
    given.options = list(arguments)
    for override in given.overrides:
        given.options.remove(override)
    return given


def _refuse_options(message: str) -> NoReturn:
    raise ModelMeterError(f"{message}; --hydra-help lists the options.")


def _check(given: argparse.Namespace, own_keys: Mapping[str, object], configuration: Configuration[Any]) -> None:
    """Raise `ModelMeterError` for an override that names no key.

    Which choices a group has, Hydra knows: --config-dir and hydra.searchpath add to them.
    """
    choices = tuple(f"{group}=" for group in configuration.groups)
    configuration.check_overrides(
        [each for each in given.overrides if not each.startswith(choices)], own_keys, program=True
    )


@contextlib.contextmanager
def _launching(given: argparse.Namespace, notes: str) -> Iterator[None]:
    """What Hydra and the processes of its jobs find around them."""
    arguments, environment, complaining = sys.argv, dict(os.environ), logging.raiseExceptions
    sys.argv = [*arguments[:1], *given.overrides, *given.options]  # Hydra reads the overrides in one piece only
    os.environ.update({_NOTES: notes, _WHOLE_ERRORS: "1"})
    logging.raiseExceptions = False  # a line of Hydra's log that nobody reads any more is no error
    try:
        yield
    finally:
        sys.argv, logging.raiseExceptions = arguments, complaining
        for name in (_NOTES, _WHOLE_ERRORS):
            del os.environ[name]
            if name in environment:
                os.environ[name] = environment[name]


def _note(status: int) -> None:
    """Leave a job's status for the process that launched it: a launcher may run the job in another one.

    On another machine, as under Slurm, there is no such folder unless TMPDIR is shared; then the process says so.
    """
    notes = Path(os.environ.get(_NOTES, ""))
    if _NOTES in os.environ and notes.is_dir():
        (notes / secrets.token_hex(8)).write_text(str(status))


def ended(work: Callable[[], int], groups: Sequence[str] = ()) -> int:
    """The status of `work`; an error that a user is meant to read goes to standard error, and is `UNUSABLE`.

    groups: those of the configuration that `work` reads.
    """
    from omegaconf.errors import OmegaConfBaseException

    with as_program():
        try:
            return work()
        except ModelMeterError as error:
            told = error
        except OmegaConfBaseException as error:
            told = ModelMeterError(_in_words(error, groups))
        except OSError as error:
            if error.errno is None:
                told = ModelMeterError(f"config: {error}")  # Hydra's, of a file that holds no mapping
            else:
                told = ModelMeterError(f"{error.filename} cannot be used ({error.strerror}); give another place.")
        tell_error(told)
        return UNUSABLE


def _in_words(error: Exception, groups: Sequence[str]) -> str:
    """An error of what reads the configuration, in one line."""
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: there is no such {group}; {near(name, error.options or ())}"
    lines = [line.strip() for each in (error, error.__cause__) if each for line in str(each).splitlines()]
    said = " ".join(dict.fromkeys(line for line in lines if not line.startswith(_LEFT_OUT)))
    if isinstance(error, OverrideParseException):
        return f'override "{error.override}" cannot be read: {said}'
    key = getattr(error, "full_key", None)
    if isinstance(error, ConfigCompositionException) and said.startswith(
        tuple(f"Could not override '{group}." for group in groups)
    ):
        said += "; a file of your own must state what is overridden: add the key there."
    return f"config{f' key {key}' if key else ''}: {said}"


def cost_model_of(package: ModelPackage, config: DictConfig) -> AnyCostModel:
    """The cost model of a composed configuration."""
    resolved = package.CONFIGURATION.resolve(config)
    runtime = resolved.runtime
    counted = 0 if runtime.prompt is None else count_prompt_tokens(runtime.prompt, runtime.tokenizer_path)
    return cast("AnyCostModel", package.restore_cost_model(asdict(resolved), prompt_tokens=counted))


def output_folder() -> Path:
    """The run directory that Hydra made."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def console() -> Console:
    """Standard output; as wide as the tables need where it is no terminal."""
    from modelmeter.report.terminal import PrintableConsole

    return PrintableConsole(width=None if sys.stdout.isatty() else 120)
