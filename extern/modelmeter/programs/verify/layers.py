"""Every layer class, analytic against its real module, at several sizes and types.

    python -m modelmeter.programs.verify.layers model=NAME 'layers=[MixtureOfExperts,Block]'

Each line of the model's layer cases is walked on shapes and run on the meta device: FLOPs, traffic and activation peak
are compared, and the operators one by one, the one at the peak among them. Without `layers` every class that the model
holds is verified, and one that is neither verified nor excused is an error. `verify_layers.json` lands in the run
directory.
Exit status 0: all lines agree within `tolerance`; 1: one does not, or a class is left out; 2: nothing could be
verified.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from modelmeter.errors import ModelMeterError, near
from modelmeter.files import write_whole
from modelmeter.layers import BaseLayer
from modelmeter.models.common.contract import ModelPackage
from modelmeter.models.common.stage_cost import json_number
from modelmeter.process import tell
from modelmeter.programs.hydra_program import AGREES, DISAGREES, console, output_folder, run
from modelmeter.programs.verify.program import (
    SCHEMA_VERSION,
    cells,
    check_tolerance,
    figure_table,
    verdict,
)
from modelmeter.progress import progress
from modelmeter.reference.comparison import Compared, check_measured
from modelmeter.reference.layer import LayerRun, OperatorRun, measure_layer
from modelmeter.reference.layer_case import LayerCase, LayerVerification
from modelmeter.shape_tensor import ShapeTensor, Tape
from modelmeter.walk import Call

#: the keys of this program beside the cost model's
OWN_KEYS: Final = {"layers": [], "tolerance": 0}

#: figures of a `LayerRun` that are compared as numbers, with their headings
FIGURES: Final = {"flops": "FLOPs", "traffic_bytes": "bytes moved", "peak_bytes": "peak bytes"}


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One line: what the walk says of a call, and what was measured of it."""

    case: LayerCase
    analytic: LayerRun
    measured: LayerRun

    def compared(self, figure: str) -> Compared:
        """One of `FIGURES`, both sides."""
        return Compared(getattr(self.analytic, figure), getattr(self.measured, figure))

    def agrees(self, tolerance: float) -> bool:
        """Whether every number is within `tolerance` of the measured one, and names and shapes are the same.

        The operator at the peak may differ where the tolerance lets the peaks differ.
        """
        ours, theirs = self.analytic, self.measured
        return (
            all(self.compared(figure).agrees(tolerance) for figure in FIGURES)
            and ours.shapes == theirs.shapes
            and (ours.peak_operator == theirs.peak_operator or tolerance > 0)
            and not self.first_difference(tolerance)
        )

    def first_difference(self, tolerance: float) -> str:
        """The first operator in which walk and module differ, in words; "" where there is none."""
        pairs = zip_longest(self.analytic.operators, self.measured.operators)
        for number, (ours, theirs) in enumerate(pairs, 1):
            if ours is None or theirs is None or not _same(ours, theirs, tolerance):
                return f"operator {number}: the layer runs {_said(ours)}, the module {_said(theirs)}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A line that could not be compared, and why."""

    case: LayerCase
    error: str


def _same(ours: OperatorRun, theirs: OperatorRun, tolerance: float) -> bool:
    numbers = (
        Compared(ours.elements, theirs.elements),
        Compared(ours.read_bytes, theirs.read_bytes),
        Compared(ours.written_bytes, theirs.written_bytes),
        Compared(ours.live_bytes, theirs.live_bytes),
    )
    return ours.operator == theirs.operator and all(each.agrees(tolerance) for each in numbers)


def _said(run: OperatorRun | None) -> str:
    if run is None:
        return "nothing more"
    moved = f"{run.read_bytes:,} bytes read, {run.written_bytes:,} written"
    return f"{run.operator} ({run.elements:,} elements, {moved}, {run.live_bytes:,} alive after it)"


def walk_layer(case: LayerCase) -> LayerRun:
    """What the layer's walk says of a case."""
    tape = Tape()
    result = case.layer.call_remembered("", *case.on_shapes(tape))
    call = tape.entries[-1]
    assert isinstance(call, Call)
    walk = call.walk
    returned = result if isinstance(result, tuple) else (result,)
    return LayerRun(
        flops=walk.tensor_core_flops,
        traffic_bytes=walk.bytes_read + walk.bytes_written,
        peak_bytes=walk.peak_bytes,
        peak_operator=walk.peak_operator,
        operators=tuple(
            OperatorRun(
                operator=each.aten,
                elements=each.elements,
                read_bytes=each.bytes_read,
                written_bytes=each.bytes_written,
                live_bytes=each.live_bytes,
            )
            for each in walk.records()
        ),
        shapes=tuple(tensor.shape for tensor in returned[case.outputs] if isinstance(tensor, ShapeTensor)),
    )


def compare_layer(case: LayerCase) -> LayerRow | Failure:
    """Walk and measure one case."""
    try:
        return LayerRow(case=case, analytic=walk_layer(case), measured=measure_layer(case.prepare(), case.experts_hit))
    except ModelMeterError as error:
        return Failure(case=case, error=str(error))


def excuses(verification: LayerVerification, execution: str) -> dict[str, str]:
    """The layer classes that need no case in an execution, and why: "it ..."."""
    return {**verification.stateless, **verification.not_run.get(execution, {})}


def select_cases(verification: LayerVerification, execution: str, layers: Sequence[str]) -> list[LayerCase]:
    """The cases of an execution, class by class; of the classes named in `layers` only, where any is."""
    check_measured(execution, verification.executions)
    names = [each.__name__ for each in verification.classes()]
    excused = excuses(verification, execution)
    for name in layers:
        if name in excused:
            raise ModelMeterError(f"verify: layers: {name} cannot be verified: it {excused[name]}.")
        if name not in names:
            raise ModelMeterError(f"verify: layers: there is no layer {name}; {near(name, names)}")
    cases = list(verification.cases(execution))
    order = list(dict.fromkeys(case.name for case in cases))
    cases.sort(key=lambda case: order.index(case.name))
    return [case for case in cases if not layers or case.name in layers]


def gaps(
    classes: Sequence[type[BaseLayer]],
    results: Sequence[LayerRow | Failure],
    stateless: Mapping[str, str],
    not_run: Mapping[str, str],
) -> Iterator[str]:
    """What keeps `classes` from being verified or rightly excused, all of them, beside a difference."""
    compared = {result.case.name for result in results}
    measured = {row.case.name for row in results if isinstance(row, LayerRow) and row.measured.traffic_bytes}
    for each in classes:
        name, where = each.__name__, f"{each.__name__} ({each.__module__})"
        excused = name in stateless or name in not_run
        if excused and (name in compared or (name in stateless and each.forward is not BaseLayer.forward)):
            yield f"{where} is excused, but it states a forward pass or has cases; take the excuse away."
        elif not excused and name not in compared:
            yield f"{where} is neither verified nor excused; give it cases in layer_cases.py, or an excuse there."
        elif name in compared and name not in measured:
            yield f"{where}: in none of its lines anything was measured, which verifies nothing."


@dataclass(frozen=True, kw_only=True)
class LayerResults:
    """All lines of a run. missing: why a class is not verified; excused: classes that need not be, and why."""

    model: str
    execution: str
    tolerance: float
    rows: Sequence[LayerRow]
    failures: Sequence[Failure]
    missing: Sequence[str]
    excused: Mapping[str, str]

    @property
    def differing(self) -> list[LayerRow]:
        """The lines that do not agree."""
        return [row for row in self.rows if not row.agrees(self.tolerance)]

    @property
    def agrees(self) -> bool:
        """Whether every class is verified or excused."""
        return bool(self.rows) and not (self.differing or self.failures or self.missing)

    @property
    def verified(self) -> set[str]:
        """The classes all of whose lines agree."""
        wrong = {row.case.name for row in self.differing} | {failure.case.name for failure in self.failures}
        return {row.case.name for row in self.rows} - wrong

    def worst_difference(self, figure: str) -> int:
        """The largest difference, without its sign."""
        return max((abs(row.compared(figure).difference) for row in self.rows), default=0)

    def as_dict(self) -> dict[str, Any]:
        """The content of verify_layers.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "execution": self.execution,
            "tolerance": self.tolerance,
            "worst_difference": {name: json_number(self.worst_difference(name)) for name in FIGURES},
            "lines": [row_entry(row, self.tolerance) for row in self.rows],
            "failures": [{**case_entry(failure.case), "error": failure.error} for failure in self.failures],
            "missing": list(self.missing),
            "excused": dict(self.excused),
        }

    def complaints(self) -> Iterator[str]:
        """Everything that is wrong, a line each."""
        for row in self.differing:
            what = row.first_difference(self.tolerance) or "the operators are the same, the figures or shapes are not"
            yield f"{row.case}: {what}"
        for failure in self.failures:
            yield f"{failure.case}: {failure.error}"
        yield from self.missing


def row_entry(row: LayerRow, tolerance: float) -> dict[str, Any]:
    """One line of verify_layers.json."""
    ours, theirs = row.analytic, row.measured
    return {
        **case_entry(row.case),
        **{
            figure: {
                "analytic": json_number(compared.analytic),
                "measured": json_number(compared.measured),
                "difference": json_number(compared.difference),
            }
            for figure, compared in ((figure, row.compared(figure)) for figure in FIGURES)
        },
        "operators": {"analytic": len(ours.operators), "measured": len(theirs.operators)},
        "peak_operator": {"analytic": ours.peak_operator, "measured": theirs.peak_operator},
        "output_shapes": {"analytic": ours.shapes, "measured": theirs.shapes},
        "agrees": row.agrees(tolerance),
    }


def case_entry(case: LayerCase) -> dict[str, Any]:
    """What a line is about, for verify_layers.json."""
    return {
        "layer": case.name,
        "module": case.module,
        "first_input": case.size,
        "dtype": case.dtype,
        "attention": case.attention,
    }


def layer_table(rows: Sequence[LayerRow], tolerance: float) -> Table:
    """All lines."""
    table = figure_table(
        "",
        ("layer", "module", "first input", "type"),
        tuple(FIGURES.values()),
        ("operators", "operator at the peak", "output"),
    )
    table.box, table.title = SIMPLE_HEAD, None
    table.pad_edge, table.collapse_padding = False, True
    for row in rows:
        ours, theirs = row.analytic, row.measured
        table.add_row(
            row.case.name,
            row.case.module,
            row.case.size,
            row.case.type,
            *(cell for figure in FIGURES for cell in cells(row.compared(figure))),
            _both(len(ours.operators), len(theirs.operators)),
            _both(ours.peak_operator, theirs.peak_operator),
            _both(_shapes(ours), _shapes(theirs)),
            verdict(row.agrees(tolerance)),
        )
    return table


def _both(ours: object, theirs: object) -> str:
    return f"{ours}" if ours == theirs else f"{ours} (measured {theirs})"


def _shapes(result: LayerRun) -> str:
    return " ".join("x".join(map(str, shape)) for shape in result.shapes)


def verify(package: ModelPackage, config: DictConfig) -> int:
    """Verify the layers of a composed configuration, print the table, write verify_layers.json; the exit status."""
    check_tolerance(config.tolerance)
    verification: LayerVerification = package.layer_verification()
    configuration = package.CONFIGURATION
    model = configuration.resolve(config)
    if model != replace(configuration.compose([]), execution=model.execution):
        raise ModelMeterError(
            "verify: the layers are compared in the published architecture, at the sizes and types of layer_cases.py; "
            "of the cost model's configuration leave everything but execution= as it is."
        )
    layers = _names(OmegaConf.to_container(config, resolve=True))
    execution = model.execution.name
    cases = select_cases(verification, execution, layers)
    results = []
    with progress("verify", "layers", len(cases)) as told:
        for case in cases:
            results.append(compare_layer(case))
            told(len(results))
    classes = [each for each in verification.classes() if not layers or each.__name__ in layers]
    missing = gaps(classes, results, verification.stateless, verification.not_run.get(execution, {}))
    report = LayerResults(
        model=configuration.name,
        execution=execution,
        tolerance=float(config.tolerance),
        rows=[result for result in results if isinstance(result, LayerRow)],
        failures=[result for result in results if isinstance(result, Failure)],
        missing=list(missing),
        excused={} if layers else excuses(verification, execution),
    )
    path = output_folder() / "verify_layers.json"
    write_whole(path, json.dumps(report.as_dict(), indent=2) + "\n")
    out = console()
    _print_wide(out, layer_table(report.rows, report.tolerance))
    for name, reason in report.excused.items():
        out.print(f"{name} is excused: it {reason}", soft_wrap=True, highlight=False)
    for complaint in report.complaints():
        tell(f"error: {complaint}")
    worst = ", ".join(f"{report.worst_difference(name):,} {heading}" for name, heading in FIGURES.items())
    out.print(
        f"{len(report.verified)} of {len(classes)} layer classes verified, {len(report.excused)} excused, "
        f"{len(report.rows)} lines, worst difference {worst} (tolerance {config.tolerance}) -> {escape(str(path))}",
        soft_wrap=True,
        highlight=False,
    )
    return AGREES if report.agrees else DISAGREES


def _names(plain: Any) -> list[str]:
    layers = plain["layers"]
    if not isinstance(layers, list):
        raise ModelMeterError(f"verify: layers={layers} is no list of classes; write layers=[MixtureOfExperts,Block].")
    return [str(name) for name in layers]


def _print_wide(out: Console, table: Table) -> None:
    """Print a table in full lines, however narrow the terminal is."""
    wanted = Measurement.get(out, out.options.update(width=sys.maxsize), table).maximum
    out.width = max(out.width, wanted)
    out.print(table)


def main() -> None:
    """The program."""
    run("verify_layers", OWN_KEYS, verify)


if __name__ == "__main__":
    main()
