"""Write reports/published.md: published measurements, and beside each what is predicted with its engine.

    python -m modelmeter.models.deepseek_ocr.scripts.published.write_published [OUTPUT_FILE]

Without a file it writes reports/published.md, and the line that `modelmeter throughput` and `report` print of it, into
the package. The same bytes every time. Exit status 0: written; 2: it could not be.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from modelmeter import load_cost_model
from modelmeter.devices import NOT_MODELLED, Interval, PageKind, Throughput, compute_throughput, load_device
from modelmeter.devices.pages import PageFigures
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models.common.contract import CostModel
from modelmeter.models.deepseek_ocr.cost_model import CostModel as DeepSeekOcr
from modelmeter.models.deepseek_ocr.scripts.published.measurements import (
    FITTED,
    HELD_OUT,
    NOT_USED,
    POOL,
    REQUESTS,
    RUNS,
    TPOT,
    TTFT,
    Cell,
    Run,
)
from modelmeter.programs.hydra_program import AGREES, ended
from modelmeter.quantities import estimated
from modelmeter.report.throughput_tables import PUBLISHED_FILE

FILE: Final = Path("reports/published.md")

HEAD: Final = """\
# Published measurements and predictions

Every measurement of DeepSeek-OCR's network that was found published with its device, workload and metric, and of other
models those that say enough, and beside each what is predicted with its engine:
[docs/throughput.md](../docs/throughput.md) has the definitions. The ratio is predicted / published: above 1, too much
was predicted. An interval is the estimate's, from the errors of the kernels' constants on rows that no fit has seen and
from the host's spread. "fitted" says that a constant of the host or of memory was fitted to that figure, "held out"
that none was; no kernel constant was fitted to any of them. Where a source leaves the workload open, several are shown,
each with what is assumed, and the ratio says nothing of the prediction alone.

Written by `modelmeter.models.deepseek_ocr.scripts.published.write_published`.
"""

#: what each figure is called, and by what its value is multiplied to be shown
WORDS: Final = {
    "requests_per_s": ("requests/s", 1),
    "ttft_s": ("time to first token, s", 1),
    "tpot_s": ("time per output token, ms", 1000),
    "latency_s": ("latency, s", 1),
    "output_tokens_per_s": ("output tokens/s", 1),
    "pages_per_s": ("pages/s", 1),
    "pages_per_day": ("pages a day", 1),
    "kv_pool_tokens": ("KV cache, tokens", 1),
}
#: the error that is aimed at for the cells of Jina-OCR
AIMS: Final = {REQUESTS: 0.12, TPOT: 0.20, TTFT: 0.30}


class Judged(NamedTuple):
    """A published figure beside its prediction."""

    run: Run
    cell: Cell
    figure: str
    published: float
    predicted: Interval

    @property
    def ratio(self) -> float:
        """Predicted / published."""
        return self.predicted.value / self.published

    @property
    def inside(self) -> bool:
        """Whether the interval holds the published figure."""
        return self.predicted.low <= self.published <= self.predicted.high


@cache
def cost_model_of(overrides: tuple[str, ...]) -> CostModel:
    """The cost model of a configuration, composed once; of another model where `checkpoint=` says so."""
    return load_cost_model(overrides)


def kind_of(cost_model: CostModel, cell: Cell) -> PageKind[PageFigures]:
    """What a cell sends: a page, or, to this model alone, a prompt without an image."""
    if cell.page is not None:
        return PageKind(page=cost_model.page(*cell.page), output_tokens=cell.steps)
    assert isinstance(cost_model, DeepSeekOcr)
    return PageKind(page=cost_model.text(cell.text_tokens), output_tokens=cell.steps)


def predicted(run: Run, cell: Cell, more: Sequence[str] = ()) -> Throughput:
    """What is predicted for a cell, with more overrides."""
    cost_model = cost_model_of((*run.overrides, *cell.overrides, *more))
    kind = kind_of(cost_model, cell)
    return compute_throughput(cost_model, load_device(run.device), [kind], in_flight=cell.in_flight)


def judged(run: Run) -> list[Judged]:
    """The figures of a run beside what is predicted for them."""
    rows = []
    for cell in run.cells:
        result = predicted(run, cell)
        for figure, published in cell.figures.items():
            rows.append(Judged(run, cell, figure, float(published), _value(result, figure)))
    return rows


def value_of(run: Run, cell: Cell, figure: str, more: Sequence[str]) -> Interval:
    """What is predicted for one figure of a cell, with more overrides."""
    return _value(predicted(run, cell, more), figure)


def _value(result: Throughput, figure: str) -> Interval:
    if figure == POOL:
        assert result.memory.pool is not None
        tokens = float(result.memory.pool.tokens)
        return Interval(tokens, tokens, tokens)
    if result.concurrency is None:
        return result.interval(figure)
    (found,) = (each for each in result.concurrency.figures(result.origin) if each.name == figure)
    assert isinstance(found.value, float) and found.low is not None and found.high is not None
    return Interval(found.value, found.low, found.high)


def shown(figure: str, value: float) -> str:
    """A figure in the unit that it is shown in: all digits of a capacity, three of an estimate."""
    return f"{value:,.0f}" if figure == POOL else estimated(value * WORDS[figure][1])


def line_of(each: Judged) -> str:
    """A row of a run's table."""
    value, low, high = (shown(each.figure, number) for number in each.predicted)
    cells = (
        each.cell.name,
        WORDS[each.figure][0],
        shown(each.figure, each.published),
        value,
        "" if each.figure == POOL else f"{low} to {high}",
        f"{each.ratio:.2f}",
        each.cell.used if each.run.judged or each.figure == POOL else "assumed",
    )
    return f"| {' | '.join(cells)} |"


def section(run: Run, rows: Sequence[Judged]) -> list[str]:
    """One run: its source, what is assumed, and a row a figure."""
    return [
        f"## {run.title}",
        "",
        f"{load_device(run.device).title}; {run.software}; predicted with `{' '.join(run.overrides)}`.",
        f"Source: {run.source}, <{run.url}>.",
        f"Stated: {run.stated}.",
        f"Assumed: {run.assumed}.",
        "",
        "| workload | figure | published | predicted | interval | ratio | |",
        "|---|---|---:|---:|---:|---:|---|",
        *map(line_of, rows),
        "",
    ]


def _errors(rows: Iterable[Judged]) -> list[float]:
    return [abs(each.ratio - 1) for each in rows]


def aims_table(rows: Sequence[Judged]) -> list[str]:
    """How far the cells of Jina-OCR are off, fitted and held out, by figure."""
    lines = [
        "| Jina-OCR's cells | aim | fitted: median, largest | held out: median, largest | of nine within the aim |",
        "|---|---:|---:|---:|---:|",
    ]
    for figure, aim in AIMS.items():
        of_figure = [each for each in rows if each.figure == figure and each.cell.page is not None]
        cells = [WORDS[figure][0], f"{aim:.0%}"]
        for used in (FITTED, HELD_OUT):
            errors = _errors(each for each in of_figure if each.cell.used == used)
            cells.append(f"{median(errors):.0%}, {max(errors):.0%}")
        within = sum(error <= aim for error in _errors(of_figure))
        lines.append(f"| {' | '.join((*cells, f'{within} of {len(of_figure)}'))} |")
    return [*lines, ""]


def held_out() -> list[Judged]:
    """The figures of engines that nothing was fitted to."""
    rows = [each for rows in judged_runs().values() for each in rows]
    return [each for each in rows if each.run.judged and each.cell.used == HELD_OUT]


def summary() -> str:
    """In a sentence, how predictions compare to what was published: the line that the commands print."""
    errors = _errors(held_out())
    inside = sum(each.inside for each in held_out())
    return (
        f"of {len(errors)} published figures of engines that nothing was fitted to, predictions are off by "
        f"{median(errors):.0%} at the median and {max(errors):.0%} at most; the interval holds {inside} "
        "(reports/published.md)"
    )


@cache
def judged_runs() -> dict[str, list[Judged]]:
    """Every run's figures, by its title."""
    return {run.title: judged(run) for run in RUNS}


def told() -> str:
    """What commands print of the report: the sentence, and of which model how many of its figures are."""
    models = Counter(cost_model_of((*each.run.overrides, *each.cell.overrides)).name for each in held_out())
    return json.dumps({"told": summary(), "figures": dict(models.most_common())}, indent=2) + "\n"


def published_text() -> str:
    """The whole report."""
    by_run, short = judged_runs(), summary().removesuffix(" (reports/published.md)")
    lines = [HEAD, "## In short", "", f"{short[0].upper()}{short[1:]}.", ""]
    lines += aims_table(by_run[RUNS[0].title])
    for run in RUNS:
        lines += section(run, by_run[run.title])
    lines += ["## What the predictions leave out", ""]
    lines += [f"- {each}" for each in NOT_MODELLED]
    lines += ["", "## Found, and not used", ""]
    lines += [f"- {each.figure}. {each.source}: {each.reason}." for each in NOT_USED]
    return "\n".join(lines) + "\n"


def write_published(arguments: Sequence[str]) -> int:
    """Write the report into the file that the command line names; the exit status."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise ModelMeterError(
            f"write_published: {' '.join(arguments)!r} is no output file; give one, or none for {FILE}."
        )
    file = Path(arguments[0]) if arguments else FILE
    write_whole(file, published_text())
    print(file)
    if not arguments:
        write_whole(PUBLISHED_FILE, told())
        print(PUBLISHED_FILE)
    return AGREES


if __name__ == "__main__":
    sys.exit(ended(lambda: write_published(sys.argv[1:])))
