"""All models on the bundled pages, and on a corpus of 1,000,000 sizes: reports/compare.md.

    python -m benchmarks.compare_models

The sizes are drawn anew from a fixed seed: scans of A4 and letter pages at 100 to 300 dpi, each side off by up to 3 %,
so nearly all of them differ. CPU seconds are this machine's.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelmeter.cli.main import main as modelmeter
from modelmeter.files import write_whole

ROOT: Final = Path(__file__).parents[1]
REPORT: Final = ROOT / "reports" / "compare.md"
PAGES: Final = 1_000_000
#: on a terminal of so many columns
COLUMNS: Final = "200"
BUNDLED: Final = (
    "compare examples/pages --page-class letter --device H100-SXM,L40S --price H100-SXM=2.5 --price L40S=0.9 "
    "host.workers=64"
)
CORPUS: Final = "compare sizes.parquet --page-class letter --device H100-SXM --price 2.5 host.workers=64"
PRICES: Final = "The prices are examples."


def sizes(pages: int = PAGES) -> pa.Table:
    """Widths and heights of scans."""
    random = np.random.default_rng(17)
    inches = np.array([[8.27, 11.69], [8.5, 11.0]])[random.integers(0, 2, pages)]
    dpi = random.choice([100, 150, 200, 300], pages, p=[0.1, 0.3, 0.4, 0.2])[:, None]
    pixels = (inches * dpi * random.uniform(0.97, 1.03, (pages, 2))).astype(np.int64)
    return pa.table({"width": pixels[:, 0], "height": pixels[:, 1]})


def printed(command: str) -> tuple[str, float]:
    """What a command prints in the current folder, and its CPU seconds."""
    os.environ["COLUMNS"] = COLUMNS
    out, start = io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(out):
        status = modelmeter(command.split())
    assert status == 0, command
    return out.getvalue(), time.process_time() - start


def bundled() -> str:
    """The part of the report on the bundled pages."""
    with contextlib.chdir(ROOT):
        text, _ = printed(BUNDLED)
    return f"## The bundled pages together\n\n{_console(BUNDLED, text)}"


def corpus() -> str:
    """The part on the corpus."""
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        table = sizes()
        pq.write_table(table, "sizes.parquet")
        distinct = table.group_by(["width", "height"]).aggregate([]).num_rows
        text, seconds = printed(CORPUS)
    return (
        f"## A corpus of {PAGES:,} sizes\n\n{distinct:,} of them differ. The command took {seconds:.0f} CPU seconds, "
        f"reading included.\n\n{_console(CORPUS, text)}"
    )


def _console(command: str, text: str) -> str:
    return f"```console\n$ modelmeter {command}\n{text}```\n"


def main() -> None:
    """Write the report."""
    head = f"# Models side by side\n\nWritten by `python -m benchmarks.compare_models`. {PRICES}\n"
    large = corpus()  # first, so that no model has been walked before its time is taken
    write_whole(REPORT, f"{head}\n{bundled()}\n{large}")


if __name__ == "__main__":
    main()
