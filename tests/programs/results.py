"""How a program ended, and where its results are: below the working directory, as it is by default."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """Exit status, and what was printed."""

    status: int
    stdout: str
    stderr: str


RunMain = Callable[..., Done]


def result_file(folder: Path, program: str, name: str) -> Path:
    """The file that the one run in `folder` left, in its run directory."""
    (file,) = (folder / "outputs" / program).glob(f"*/{name}")
    return file


def job_folders(folder: Path, program: str) -> list[Path]:
    """The folders of the jobs of the one --multirun in `folder`, in their order."""
    (sweep,) = (folder / "multirun" / program).iterdir()
    return sorted((job for job in sweep.iterdir() if job.is_dir()), key=lambda job: int(job.name))
