"""Write the static snapshot: the reference's modules, one page and one decode step, as torchinfo sees them.

    python -m modelmeter.models.deepseek_ocr.scripts.snapshot.write_static_snapshot [OUTPUT_FOLDER]

Five files, the same bytes every time with the same versions of torch, transformers and torchinfo.
Exit status 0: written; 2: it could not be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr.reference.snapshot import snapshot_files
from modelmeter.programs.hydra_program import AGREES, ended

FOLDER: Final = Path("reports/20211117-dsorc-op-analysis/static-20251118-130533")


def write_snapshot(arguments: Sequence[str]) -> int:
    """Write the files into the folder that the command line names; the exit status."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise ModelMeterError(
            f"write_static_snapshot: {' '.join(arguments)!r} is no output folder; give one, or none for {FOLDER}."
        )
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, text in snapshot_files().items():
        write_whole(folder / name, text)
        print(folder / name)
    return AGREES


if __name__ == "__main__":
    sys.exit(ended(lambda: write_snapshot(sys.argv[1:])))
