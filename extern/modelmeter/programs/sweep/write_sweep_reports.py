"""Write the results of every sweep as configured, without overrides, and one README.md over them all.

python -m modelmeter.programs.sweep.write_sweep_reports reports/sweep
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from modelmeter.models.deepseek_ocr.config import CONFIGURATION
from modelmeter.programs.hydra_program import AGREES, ended, register
from modelmeter.programs.sweep import attention, batches, grids, lengths, modes
from modelmeter.programs.sweep.sweep import Result, Sweep, check_matplotlib, compute, write

SWEEPS: Final = tuple(module.SWEEP for module in (grids, modes, lengths, batches, attention))


def default_result(sweep: Sweep) -> Result:
    """A sweep as its configuration file states it."""
    register(CONFIGURATION)
    return compute(sweep, CONFIGURATION.compose_config(f"sweep_{sweep.name}"))


def write_reports(folder: Path, *, figures: bool) -> None:
    """Write all sweeps' files into `folder`."""
    write(folder, [default_result(sweep) for sweep in SWEEPS], figures=figures)


def main() -> int:
    """The program; its exit status."""
    parser = ArgumentParser(description="Write the results of every sweep as configured.")
    parser.add_argument("folder", type=Path, help="where the files land")
    folder = parser.parse_args().folder

    def work() -> int:
        check_matplotlib()
        write_reports(folder, figures=True)
        return AGREES

    return ended(work)


if __name__ == "__main__":
    raise SystemExit(main())
