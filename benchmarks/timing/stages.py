"""Predicted beside measured stages of an H100 and an H200: reports/timing/stages.md.

    python -m benchmarks.timing.stages reports/timing/stages.md

Measured is what reports/calibration holds: a page's stages as transformers' modules run them, replayed as a CUDA graph
or, where that is not possible, the kernels of an eager pass by the profiler; and every kernel of these stages timed for
itself. No stage is in any fit; of kernels, those of the classes that nobody published (`constants.OURS_ALONE`) are.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import log, sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow.parquet as pq

from benchmarks.timing.ours import CALIBRATION, OURS
from modelmeter import kernel_classes as classes
from modelmeter import load_cost_model
from modelmeter.calibration.kernel_measured import classes_of
from modelmeter.devices import load_device
from modelmeter.devices.stage_time import OPERATOR_S, PASS_ERROR, Estimate, StageTimes

PAGE: Final = (1275, 1650)
BATCHES: Final = (1, 16, 64, 256)
EXECUTION: Final = "transformers"
#: of a measured stage, the stages whose kernels it runs
_KERNELS_OF: Final[Mapping[str, Sequence[str]]] = {"prefill, with vision": ("vision", "decoder's prefill")}


class Stage(NamedTuple):
    """A stage of one card: predicted; milliseconds as a graph, of its kernels in a pass and by themselves, and to issue
    it; and the latter by class, predicted (with all experts that can be hit, as they were timed) and measured."""

    name: str
    predicted: Estimate
    graph_ms: float | None
    device_ms: float
    host_ms: float
    by_class: Mapping[str, tuple[float, float, float]]

    @property
    def measured_ms(self) -> float:
        """As a graph, or the device's own time."""
        return self.device_ms if self.graph_ms is None else self.graph_ms

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted.value * 1e3 / self.measured_ms

    @property
    def held(self) -> bool:
        """Whether the interval contains the measured time."""
        return self.predicted.low * 1e3 <= self.measured_ms <= self.predicted.high * 1e3


def stages(device: str) -> list[Stage]:
    """The stages of a card."""
    folder = CALIBRATION / OURS[device]
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))["stages"]
    kernels = _kernels(folder)
    uniform, most = (dict(_predicted(device, hit)) for hit in ("uniform", "max"))
    keys = {"vision": "vision", "decoder's prefill": "text", "prefill, with vision": "prefill"}
    keys |= {f"decode step, {batch} at once": f"decode {batch}" for batch in BATCHES}
    found = []
    for name, key in keys.items():
        measured = results[key]
        timed = sum((kernels[part] for part in _KERNELS_OF.get(name, (name,))), Counter[str]())
        by_class = {
            each: (seconds * 1e3, timed[each], most[name].widths[each] * 1e3)
            for each, seconds in most[name].by_class.items()
            if timed[each]
        }
        found.append(
            Stage(
                name=name,
                predicted=uniform[name],
                graph_ms=measured["graph"].get("median_ms"),
                device_ms=measured["profile"]["device_ms"],
                host_ms=measured["eager"]["host_ms"],
                by_class=by_class,
            )
        )
    return found


def _predicted(device: str, experts_hit: str) -> Iterator[tuple[str, Estimate]]:
    model = load_cost_model([f"execution={EXECUTION}", f"runtime.experts_hit={experts_hit}"])
    times = StageTimes(model, load_device(device))
    layout = model.workload.layout(*PAGE)
    positions = model.seq_len(layout)
    yield "vision", times.stage("vision", layout)
    yield "decoder's prefill", times.prompt(positions)
    yield "prefill, with vision", times.stage("prefill", layout)
    for batch in BATCHES:
        yield f"decode step, {batch} at once", times.step(positions, batch=batch)


def _kernels(folder: Path) -> dict[str, Counter[str]]:
    """Milliseconds of a stage's kernels, each timed for itself, by class."""
    table = pq.read_table(folder / "kernels.parquet")
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}
    names = {"vision": "vision", "prefill": "decoder's prefill"}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for kernel_class, uses, graph_ms in zip(classes_of(columns), columns["uses"], columns["graph_ms"], strict=True):
        for use in filter(None, (each.strip() for each in uses.split(";"))):
            execution, stage, batch, count = use.split()
            if execution == EXECUTION and graph_ms == graph_ms:
                name = names.get(stage, f"decode step, {batch} at once")
                found[name][kernel_class or classes.COPY] += int(count) * graph_ms
    return found


# -- the report -----------------------------------------------------------------------------------------------------


def report(cards: Mapping[str, Sequence[Stage]]) -> str:
    """The report's text."""
    every = [stage for each in cards.values() for stage in each]
    lines = [
        "# Stages: predicted beside measured",
        "",
        f"A page of {PAGE[0]} x {PAGE[1]} pixels under `execution={EXECUTION}`, bfloat16. Written by "
        "`python -m benchmarks.timing.stages`, which says what is measured and what of it is in a fit.",
        "",
        f"- Of {len(every)} stages {sum(each.held for each in every)} are within their intervals: "
        + "; ".join(f"{name} {sum(s.held for s in each)} of {len(each)}" for name, each in cards.items())
        + ".",
        f"- {_errors(cards)} `PASS_ERROR` ({PASS_ERROR:g}) was chosen on the H100's.",
        f"- {_classes_held(every)}",
        f"- {_hosts(cards)} `OPERATOR_S` ({OPERATOR_S * 1e6:g} µs) was chosen on the H100's.",
    ]
    for name, each in cards.items():
        lines += ["", f"## {name}", "", "| stage | predicted, ms | as a graph | device | ratio | within |"]
        lines.append("|---|---:|---:|---:|---:|---|")
        for stage in each:
            p = stage.predicted
            lines.append(
                f"| {stage.name} | {_ms(p.value * 1e3)} ({_ms(p.low * 1e3)} to {_ms(p.high * 1e3)}) | "
                f"{'–' if stage.graph_ms is None else _ms(stage.graph_ms)} | {_ms(stage.device_ms)} | "
                f"{stage.ratio:.2f} | {'yes' if stage.held else 'no'} |"
            )
        lines += ["", "Kernels timed one by one, all experts hit that can be; ms predicted / measured:", ""]
        shown = [stage for stage in each if stage.name not in _KERNELS_OF]
        lines.append(f"| class | {' | '.join(stage.name for stage in shown)} |")
        lines.append(f"|---|{'---:|' * len(shown)}")
        for kernel_class in classes.CLASSES:
            cells = [stage.by_class.get(kernel_class) for stage in shown]
            if any(cells):
                texts = ["–" if cell is None else f"{_ms(cell[0])} / {_ms(cell[1])}" for cell in cells]
                lines.append(f"| {kernel_class} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _errors(cards: Mapping[str, Sequence[Stage]]) -> str:
    texts = []
    for name, each in cards.items():
        ratios = [stage.ratio for stage in each]
        spread = sqrt(sum(log(ratio) ** 2 for ratio in ratios) / len(ratios))
        texts.append(f"{name} {min(ratios):.2f} to {max(ratios):.2f}, root mean square {spread:.1%}")
    return f"Predicted over measured: {'; '.join(texts)}."


def _classes_held(every: Sequence[Stage]) -> str:
    cells = [cell for stage in every if stage.name not in _KERNELS_OF for cell in stage.by_class.values()]
    held = sum(1 / (1 + width / value) <= measured / value <= 1 + width / value for value, measured, width in cells)
    return f"Of {len(cells)} sums over a class of a stage's kernels, timed one by one, {held} are within its width."


def _hosts(cards: Mapping[str, Sequence[Stage]]) -> str:
    texts = []
    for name, each in cards.items():
        chosen = [stage for stage in each if stage.name in ("vision", "decoder's prefill", "decode step, 1 at once")]
        issued = sum(stage.predicted.launches for stage in chosen)
        texts.append(f"{name} {sum(stage.host_ms for stage in chosen) / issued * 1e3:.1f} µs")
    return f"The host of an eager pass takes for an operator, over vision, prefill and a step: {'; '.join(texts)}."


def _ms(value: float) -> str:
    return f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report."""
    given: list[Any] = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1:
        print(__doc__)
        return 2
    Path(given[0]).write_text(report({name: stages(name) for name in OURS}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
