"""Programs run in this process."""

from tests.programs.fixtures import no_run_before, program, run_main

__all__ = ["no_run_before", "program", "run_main"]
