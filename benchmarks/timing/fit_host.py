"""What SGLang's host takes, fitted to published cells: the defaults of models/common/configs/engine/sglang.yaml.

    python benchmarks/timing/fit_host.py

Two figures of the host are fitted, each to what shows it:

- `host.seconds_per_prefill` to the time per output token of DeepSeek-OCR's text with 86 requests in flight on an
  MI300X, where prefills are short and many (SGLang cookbook, 5.1.2);
- `host.seconds_per_page` and `host.workers` to the times to first token of the three cells of Jina-OCR at 1275x1650
  (sgl-project/sglang#40112): the sum of squares of the logarithms of predicted / published.

Everything else of reports/published.md is held out. A page's seconds do not change what a text takes, and the other way
round a prefill's seconds are a few percent of a page's time to first token: two rounds settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final

from modelmeter.models.deepseek_ocr.scripts.published.measurements import FITTED, RUNS, TPOT, TTFT, Cell, Run
from modelmeter.models.deepseek_ocr.scripts.published.write_published import value_of

#: seconds a page that are tried, and workers
PAGES: Final = [round(0.15 + 0.005 * step, 3) for step in range(21)]
WORKERS: Final = (1, 2, 3, 4)
#: halvings of the seconds a prefill
HALVINGS: Final = 14


def error(run: Run, cell: Cell, figure: str, host: Sequence[str]) -> float:
    """The logarithm of predicted / published."""
    return log(value_of(run, cell, figure, host).value / float(cell.figures[figure]))


def prefill_seconds(run: Run, cell: Cell) -> float:
    """Where the time per output token is the published one."""
    low, high = 0.0, 0.05
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if error(run, cell, TPOT, [f"host.seconds_per_prefill={middle}"]) < 0:
            low = middle
        else:
            high = middle
    return low


def main() -> None:
    """Print both fits, and the errors that they leave."""
    pages, texts = RUNS[0], RUNS[1]
    (many,) = (cell for cell in texts.cells if cell.used == FITTED)
    prefill = round(prefill_seconds(texts, many), 4)
    print(f"host.seconds_per_prefill={prefill}")
    cells = [cell for cell in pages.cells if cell.used == FITTED]

    def squares(host: Sequence[str]) -> float:
        return sum(error(pages, cell, TTFT, host) ** 2 for cell in cells)

    _, seconds, workers = min(
        (
            squares(
                [f"host.seconds_per_page={seconds}", f"host.workers={workers}", f"host.seconds_per_prefill={prefill}"]
            ),
            seconds,
            workers,
        )
        for seconds in PAGES
        for workers in WORKERS
    )
    print(f"host.seconds_per_page={seconds} host.workers={workers}")
    host = [f"host.seconds_per_page={seconds}", f"host.workers={workers}", f"host.seconds_per_prefill={prefill}"]
    for cell in pages.cells:
        errors = ", ".join(f"{figure} {error(pages, cell, figure, host):+.3f}" for figure in cell.figures)
        print(f"{cell.name} ({cell.used}): {errors}")


if __name__ == "__main__":
    main()
