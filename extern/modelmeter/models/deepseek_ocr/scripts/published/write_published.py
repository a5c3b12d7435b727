"""Write reports/published.md: published measurements, and beside each what the roofline predicts.

    python -m modelmeter.models.deepseek_ocr.scripts.published.write_published [OUTPUT_FILE]

The same bytes every time. Exit status 0: written; 2: it could not be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

from modelmeter.devices import NOT_MODELLED, PageKind, Throughput, compute_throughput, load_device
from modelmeter.errors import ModelMeterError
from modelmeter.files import write_whole
from modelmeter.models.deepseek_ocr.cost_model import CostModel, load_cost_model
from modelmeter.models.deepseek_ocr.scripts.published.measurements import NOT_USED, RUNS, Case, Published, Run
from modelmeter.programs.hydra_program import AGREES, ended

FILE: Final = Path("reports/published.md")

HEAD: Final = """\
# Published measurements and predictions

Every measurement of this model that was found published with its device, workload and metric, and beside it what the
roofline over the operators predicts; docs/throughput.md has the definitions. Nothing is fitted: the devices' published
dense peaks, reached in full, and no launch overhead. So a prediction says what the device allows the modelled
operators, and "reached" how much of that was: published / predicted for a rate, predicted / published for a time.
Where a source leaves the workload open, several workloads are shown, each with what is assumed. Where the software is
an inference engine, the prediction is that of execution=serving; where it is not stated, the modules of transformers
are shown too.

Published figures are measured; predictions are analytic, from the assumptions beside them.
Written by `modelmeter.models.deepseek_ocr.scripts.published.write_published`.
"""

#: what stands between every prediction here and its measurement, beside NOT_MODELLED
LEFT_OUT: Final = (
    "how much of the peaks kernels reach (products of few rows in decode, partly filled tiles): every derating is 1.0",
    "kernel launches, and what the engine's own code takes between steps: they count most where a step is short",
    "caches: a tensor that one operator writes and the next reads is counted as moved twice",
)
#: what an execution adds to that
OF_EXECUTION: Final = {
    "transformers": "the operators are those of transformers' modules: norms and activations unfused, and a KV cache "
    "that is copied in every step. An engine moves less, so it may reach more than 100 % of this",
    "serving": "the operators are those of an engine at its best: fused chains, a paged cache, experts grouped. Still "
    "no cache between kernels is counted, and all of causal attention, so it is no proof that nothing is faster",
}


@cache
def cost_model_of(overrides: tuple[str, ...]) -> CostModel:
    """The cost model of a configuration, composed once."""
    return load_cost_model(overrides)


@cache
def predicted(case: Case, device: str, execution: str) -> Throughput:
    """What the roofline says of a case."""
    cost_model = cost_model_of((*case.overrides, f"execution={execution}"))
    page = cost_model.text(case.text_tokens) if case.page is None else cost_model.page(*case.page)
    kind = PageKind(page=page, output_tokens=case.output_tokens)
    return compute_throughput(cost_model, load_device(device), [kind], batch_size=case.batch_size)


def value_and_reached(figure: Published, result: Throughput) -> tuple[Fraction, Fraction]:
    """The prediction in the figure's unit, and how much of it the measurement reached."""
    value: Fraction = getattr(result, figure.metric) * figure.scale
    return value, value / figure.value if figure.is_time else figure.value / value


def number(value: Fraction) -> str:
    """With three decimals below 100, else whole."""
    return f"{float(value):,.3f}" if value < 100 else f"{float(value):,.0f}"


def span(numbers: Sequence[str]) -> str:
    """The first and the last of ascending numbers, or the only one."""
    return numbers[0] if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def summary() -> list[str]:
    """A row for every figure and execution, over all its cases."""
    lines = [
        "| figure | device | published | execution | predicted | reached |",
        "|---|---|---:|---|---:|---:|",
    ]
    for run in RUNS:
        for figure in run.figures:
            for execution in run.executions:
                pairs = [value_and_reached(figure, predicted(case, run.device, execution)) for case in run.cases]
                values = [number(value) for value in sorted(value for value, _ in pairs)]
                reached = [f"{float(share):.0%}" for share in sorted(share for _, share in pairs)]
                cells = (
                    f"{run.title}: {figure.name}",
                    run.device,
                    f"{number(figure.value)} {figure.unit}",
                    execution,
                    f"{span(values)} {figure.unit}",
                    span(reached),
                )
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def section(run: Run) -> list[str]:
    """One run: its source, and a row for every case and execution."""
    lines = [
        f"## {run.title}",
        "",
        f"{load_device(run.device).title}; software: {run.software}. Stated: {run.stated}.",
        f"Source: {run.source}, <{run.url}>.",
        "",
        *(f"- {figure.name}: {number(figure.value)} {figure.unit} ({figure.where})" for figure in run.figures),
        "",
        f"| assumed | execution | batch |{''.join(f' {figure.name} | reached |' for figure in run.figures)}",
        f"|---|---|---:|{'---:|---:|' * len(run.figures)}",
    ]
    for case in run.cases:
        for execution in run.executions:
            result = predicted(case, run.device, execution)
            cells = [case.assumed, execution, str(result.batch_size)]
            for figure in run.figures:
                value, reached = value_and_reached(figure, result)
                cells += [f"{number(value)} {figure.unit}", f"{float(reached):.0%}"]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def published_text() -> str:
    """The whole report."""
    lines = [HEAD, *summary()]
    for run in RUNS:
        lines += section(run)
    lines += ["## What the predictions leave out", ""]
    lines += [f"- {each}" for each in (*NOT_MODELLED, *LEFT_OUT)]
    lines += [f"- execution={name}: {text}" for name, text in OF_EXECUTION.items()]
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
    return AGREES


if __name__ == "__main__":
    sys.exit(ended(lambda: write_published(sys.argv[1:])))
