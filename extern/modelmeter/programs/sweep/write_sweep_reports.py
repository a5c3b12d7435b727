"""Write the results of every sweep as configured, without overrides, and one README.md over them all.

python -m modelmeter.programs.sweep.write_sweep_reports reports/sweep

--model: of which model; a sweep that it has nothing for is left out, and said.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.models import DEFAULT_MODEL, model_package
from modelmeter.models.common.contract import ModelPackage
from modelmeter.process import tell
from modelmeter.programs.hydra_program import AGREES, ended, register
from modelmeter.programs.sweep import attention, batches, grids, lengths, modes
from modelmeter.programs.sweep.sweep import Result, SweepProgram, compute, write
from modelmeter.report.plotting import check_matplotlib

PROGRAMS: Final = tuple(module.PROGRAM for module in (grids, modes, lengths, batches, attention))


def default_result(program: SweepProgram, package: ModelPackage) -> Result:
    """A sweep as its configuration file states it."""
    register(package.CONFIGURATION)
    return compute(program, package, package.CONFIGURATION.compose_config(f"sweep_{program.name}"))


def default_results(package: ModelPackage) -> Iterator[Result]:
    """Every sweep that the model has points for."""
    for program in PROGRAMS:
        try:
            yield default_result(program, package)
        except ModelMeterError as error:
            tell(f"{program.name} is left out: {error}")


def write_reports(folder: Path, package: ModelPackage, *, figures: bool) -> None:
    """Write all sweeps' files into `folder`."""
    write(folder, list(default_results(package)), figures=figures)


def main() -> int:
    """The program; its exit status."""
    parser = ArgumentParser(description="Write the results of every sweep as configured.")
    parser.add_argument("folder", type=Path, help="where the files land")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="of which model (default: %(default)s)")
    arguments = parser.parse_args()

    def work() -> int:
        check_matplotlib("say figures=false")
        write_reports(arguments.folder, model_package(arguments.model), figures=True)
        return AGREES

    return ended(work)


if __name__ == "__main__":
    raise SystemExit(main())
