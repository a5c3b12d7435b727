"""The report and the device file of a folder that `measure` wrote; needs the package, and no GPU.

    python -m benchmarks.gpu.report reports/calibration/nvidia-h100-80gb-hbm3 [--peaks H100-SXM]

`device.yaml` is the fit of `modelmeter calibrate` on the table's times of the page's GEMMs and of the copies, those
of CUDA graphs: its overhead is that between two kernels of a graph, without a host. Under `kernels` stand the constants
of each class of kernels, fitted on the table but for the shapes that the split leaves out; of a class with too few
shapes they are the bundled device's. `report.md` puts predictions beside measurements; each sentence that says a figure
is made from the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from benchmarks.gpu.measure import read_table
from modelmeter.calibration.device_file import Card, device_content, device_text, fitted_kernels, peaks_of
from modelmeter.calibration.fit import Fit, TimedCopy, TimedProduct, fit_device
from modelmeter.calibration.kernel_judgement import Judgement, constants_of, judge
from modelmeter.calibration.kernel_measured import rows_table
from modelmeter.devices import Device, Roofline, load_device
from modelmeter.devices.device import PEAK_OF_DTYPE
from modelmeter.devices.stage_time import OPERATOR_S, Estimate, IssuedTime, NoConstants, StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.memory import GPU
from modelmeter.models.deepseek_ocr import load_cost_model
from modelmeter.walk import OperatorRecord, Walk

Row = dict[str, Any]

#: bundled devices by a part of the name that a card bears
BUNDLED: Final = {
    "H100 80GB HBM3": "H100-SXM",
    "H100 PCIe": "H100-PCIe",
    "H200": "H200",
    "A100-SXM4-80GB": "A100-80G",
    "A100-SXM4-40GB": "A100-40G",
    "L40S": "L40S",
    "L4": "L4",
    "RTX 4090": "RTX-4090",
    "RTX 5090": "RTX-5090",
    "RTX 3090": "RTX-3090",
}
#: stages of the report: title, key of its measurements, and the walks that it is: stage and batch
STAGES: Final = (
    ("vision", "vision", (("vision", 1),)),
    ("decoder's prefill", "text", (("prefill", 1),)),
    ("prefill, with vision", "prefill", (("vision", 1), ("prefill", 1))),
    ("decode step, 1 page", "decode 1", (("decode", 1),)),
    ("decode step, 16 pages", "decode 16", (("decode", 16),)),
    ("decode step, 64 pages", "decode 64", (("decode", 64),)),
    ("decode step, 256 pages", "decode 256", (("decode", 256),)),
)
Walks = Sequence[tuple[str, int]]
#: the code that the stages of the real modules run
EXECUTION: Final = "transformers"
CALIBRATION: Final = Path("reports/calibration")
CLASSES: Final = (
    "gemm",
    "moe",
    "convolution",
    "context_attention",
    "encoder_attention",
    "bias_attention",
    "generation_attention",
    "elementwise",
    "copy",
    "strided",
)


def uses(row: Row) -> list[tuple[str, str, int, int]]:
    """(execution, stage, batch, how often the stage runs it) of a row."""
    parsed = []
    for use in filter(None, row["uses"].split("; ")):
        execution, stage, batch, count = use.split(" ")
        parsed.append((execution, stage, int(batch), int(count)))
    return parsed


def best_ms(row: Row) -> float | None:
    """The device's time of a shape: the graph's, or the eager one where no graph could be made."""
    value: float | None = row["graph_ms"] if row["graph_ms"] is not None else row["eager_ms"]
    return value


# -- the device file -------------------------------------------------------------------------------------------------

_PRODUCTS: Final = frozenset(CLASSES) - {"elementwise", "copy", "strided"}


def fitted(rows: Sequence[Row], known: Device | None) -> Fit:
    """The fit of `calibrate`, to the peaks of a known device.

    Raises `ModelMeterError` where the table does not hold what it needs.
    """
    products: list[TimedProduct] = []
    copies: list[TimedCopy] = []
    for row in rows:
        milliseconds = best_ms(row)
        if milliseconds is None:
            continue
        seconds = Fraction(milliseconds) / 1000
        counts = [
            count for execution, stage, _, count in uses(row) if execution == "transformers" and stage != "decode"
        ]
        probe = not row["uses"] and row["group"] == "page"
        if row["class"] in _PRODUCTS and row["dtype"] in PEAK_OF_DTYPE and (counts or probe):
            products.append(
                TimedProduct(
                    name=f"{row['name'].split('.')[1].lstrip('_')} {row['inputs']} -> {row['output']}",
                    peak=PEAK_OF_DTYPE[row["dtype"]],
                    flops=row["flops"],
                    nbytes=row["bytes"],
                    count=sum(counts),
                    seconds=seconds,
                )
            )
        elif row["class"] == "copy" and probe:
            copies.append(TimedCopy(nbytes=row["bytes"], seconds=seconds))
    return fit_device(products, copies, None if known is None else peaks_of(known))


def write_device(folder: Path, results: Any, rows: Sequence[Row], known: Device | None) -> str:
    """Write device.yaml; the path, or why there is none."""
    machine = results["machine"]
    card = None
    if "multiprocessors" in machine:
        card = Card(multiprocessors=machine["multiprocessors"], l2_bytes=machine["l2_bytes"])
    try:
        fit = fitted(rows, known)
    except ModelMeterError as error:
        (folder / "device.yaml").unlink(missing_ok=True)
        return f"no device file: {error}"
    where = f"{machine['device']}, {results['run']['date']}; {_versions(machine)}; CUDA graphs, operands beyond the L2"
    notes = [
        f"Measured by benchmarks.gpu on {where}.",
        "GEMMs of a letter page's prefill, and copies; the overhead is that between two kernels of a CUDA graph.",
    ]
    source = f"make gpu, {results['run']['date']}: kernels.parquet of {CALIBRATION / folder.name}"
    content = device_content(
        fit,
        name=machine["name"],
        kind=GPU,
        memory_bytes=machine["memory_bytes"],
        where=where,
        known=known,
        card=card,
        kernels=None if card is None else fitted_kernels(rows_table(rows), fit, card, known, source),
    )
    (folder / "device.yaml").write_text(device_text(content, fit, notes), encoding="utf-8")
    return ""


def _versions(machine: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())


# -- predictions -----------------------------------------------------------------------------------------------------


class Predicted:
    """Times of the page's stages on a described device, as the roofline and the constants of its kernels have them."""

    def __init__(self, overrides: Sequence[str], page: Any, device: Device) -> None:
        self.device = device
        self.roofline = Roofline(device)
        self.overrides = list(overrides)
        self.size = page["width"], page["height"]
        model = load_cost_model([f"execution={EXECUTION}", *self.overrides])
        self._layout = model.workload.layout(*self.size)
        self._positions = model.seq_len(self._layout)
        self._times: StageTimes | None = None
        try:
            self._times = StageTimes(model, device)
        except NoConstants:
            return

    def estimate(self, walks: Walks) -> Estimate | None:
        """Of a stage of `STAGES` of the real modules; None where the device's file has too few constants."""
        if self._times is None:
            return None
        stages = [stage for stage, _ in walks]
        if stages == ["decode"]:
            return self._times.step(self._positions, batch=walks[0][1])
        if stages == ["prefill"]:
            return self._times.prompt(self._positions)
        return self._times.stage(stages[-1], self._layout)

    def eager(self, walks: Walks) -> IssuedTime | None:
        """The same with the host that issues the stage's operators."""
        estimate = self.estimate(walks)
        if self._times is None or estimate is None:
            return None
        return self._times.issued(walks[-1][0], estimate)

    def milliseconds(self, execution: str, walks: Walks) -> float:
        """Of a stage of `STAGES`."""
        return sum(self._walk(execution, stage, batch) for stage, batch in walks)

    def _walk(self, execution: str, stage: str, batch: int) -> float:
        """Prefill is the decoder's alone."""
        model = load_cost_model([f"execution={execution}", *self.overrides])
        page = model.page(*self.size)
        if stage == "decode":
            walk = model.batched(batch).stage_walk("decode", context=page.seq_len)
            return self.roofline.stage(walk).seconds * 1e3
        seconds = self.roofline.stage(model.stage_walk(stage, page=page)).seconds
        if stage == "prefill":
            seconds -= self.roofline.stage(model.stage_walk("vision", page=page)).seconds
        return seconds * 1e3


def kernel_sum(rows: Iterable[Row], execution: str, walks: Walks) -> tuple[float, int, int]:
    """Milliseconds of a stage's kernels, each times how often it runs; kernels with a time; kernels without."""
    total, timed, untimed = 0.0, 0, 0
    for row in rows:
        for use in uses(row):
            if use[0] != execution or use[1:3] not in walks:
                continue
            milliseconds = best_ms(row)
            if milliseconds is None:
                untimed += use[3]
            else:
                total += milliseconds * use[3]
                timed += use[3]
    return total, timed, untimed


# -- the report ------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], body: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table; figures stand to the right."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---', *['---:'] * (len(header) - 1)])}|"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in body), ""]


def ms(value: float | None) -> str:
    """Milliseconds in three digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def whole(value: int | None) -> str:
    """A whole number with its thousands apart."""
    return "–" if value is None else f"{value:,}"


def _measured(results: Any, stage: str, what: str, figure: str = "median_ms") -> Any:
    return results.get("stages", {}).get(stage, {}).get(what, {}).get(figure)


def device_ms(results: Any, stage: str) -> float | None:
    """What the device took for a stage of the real modules: as a graph or, without one, by the profiler."""
    value: float | None = _measured(results, stage, "graph") or _measured(results, stage, "profile", "device_ms")
    return value


def held(predicted: Estimate | IssuedTime, measured_ms: float) -> bool:
    """Whether the interval contains what was measured."""
    return predicted.low * 1e3 <= measured_ms <= predicted.high * 1e3


def _estimate(predicted: Estimate | IssuedTime | None, measured_ms: float | None) -> str:
    if predicted is None:
        return "–"
    low, high = ms(predicted.low * 1e3), ms(predicted.high * 1e3)
    said = "" if measured_ms is None else ", holds" if held(predicted, measured_ms) else ", misses"
    return f"{ms(predicted.value * 1e3)} ({low} to {high}{said})"


def machine_lines(results: Any) -> list[str]:
    """What was measured on."""
    machine = results["machine"]
    card = machine.get("card", {})
    body = [
        ("device", machine.get("name", "")),
        ("driver", card.get("driver_version", "–")),
        ("memory, nvidia-smi / PyTorch", f"{card.get('memory.total', '–')} / {machine.get('memory_bytes', 0):,} bytes"),
        ("multiprocessors, L2", f"{machine.get('multiprocessors', '–')}, {machine.get('l2_bytes', 0):,} bytes"),
        ("power limit", card.get("power.limit", "–")),
        ("clocks at most: SM, memory", f"{card.get('clocks.max.sm', '–')}, {card.get('clocks.max.memory', '–')}"),
        ("state under load", ", ".join(f"{k} {v}" for k, v in machine.get("state_under_load", {}).items()) or "–"),
        ("versions", _versions(machine)),
        ("CUDA, cuDNN", f"{machine.get('cuda', '–')}, {machine.get('cudnn', '–')}"),
        ("date, host cores", f"{results['run']['date']}, {machine.get('host_cores', '–')}"),
    ]
    lines = ["## The machine", "", *table(("what", "reported"), body)]
    for name, part in results["run"]["parts"].items():
        lines.append(f"- part {name}: {part['ended']}, {part.get('seconds', 0):.0f} s")
    return [*lines, ""]


def stage_lines(results: Any, rows: Sequence[Row], devices: dict[str, Predicted]) -> list[str]:
    """Predicted and measured times by stage."""
    lines = ["## Times by stage", ""]
    if "not_run" in results:
        lines += [f"The stages of the real modules were not run: {results['not_run']}.", ""]
    sheet = next(iter(devices), "")
    header = ["stage, ms", *([f"roofline, {sheet}"] if sheet else []), *(f"estimate, {name}" for name in devices)]
    header += ["kernels", "graph", "device", "eager, predicted", "eager", "host, predicted", "host"]
    body = []
    for title, key, walks in STAGES:
        total, timed, _ = kernel_sum(rows, EXECUTION, walks)
        reached = device_ms(results, key)
        estimates = [each.estimate(walks) for each in devices.values()]
        issued = devices[sheet].eager(walks) if sheet else None
        body.append(
            (
                title,
                *([ms(devices[sheet].milliseconds(EXECUTION, walks))] if sheet else []),
                *(_estimate(each, reached) for each in estimates),
                ms(total) if timed else "–",
                ms(_measured(results, key, "graph")),
                ms(_measured(results, key, "profile", "device_ms")),
                _estimate(issued, _measured(results, key, "eager")),
                ms(_measured(results, key, "eager")),
                ms(None if issued is None else issued.host_s * 1e3),
                ms(_measured(results, key, "eager", "host_ms")),
            )
        )
    lines += table(header, body)
    lines += [
        f"roofline: the bound by the figures of {sheet or 'a device'}; estimate: by the constants of kernels, in its "
        "file and in device.yaml, with the interval that is meant to hold nine of ten, and whether it holds what was "
        "measured, as a graph or, without one, by the profiler; kernels: the sum of the stage's shapes, each timed for "
        "itself in a CUDA graph; graph: the real modules replayed as one; device: kernels of an eager pass by the "
        "profiler; eager: the pass as transformers runs it, synchronised before and after, predicted as the longer of "
        "host and device by the first of these files; host: until the host had issued it.",
        "",
    ]
    serving = []
    for title, _, walks in STAGES:
        total, timed, untimed = kernel_sum(rows, "serving", walks)
        predicted = [ms(each.milliseconds("serving", walks)) for each in devices.values()]
        serving.append((title, *predicted, ms(total) if timed else "–", whole(timed), whole(untimed)))
    lines += ["The same for `execution=serving`, which no code here runs as a whole:", ""]
    lines += table(
        ["stage, ms", *(f"roofline, {name}" for name in devices), "kernels", "calls timed", "calls without a time"],
        serving,
    )
    errors = [
        f"- {stage}, {what}: {value['error']}"
        for stage, measured in results.get("stages", {}).items()
        for what, value in measured.items()
        if isinstance(value, dict) and value.get("error")
    ]
    return [*lines, *(["Not measured:", "", *errors, ""] if errors else [])]


def memory_lines(results: Any) -> list[str]:
    """Predicted and measured peaks."""
    predicted = results["predicted"]
    costs = {
        "vision": predicted["vision"],
        "prefill": predicted["prefill"],
        "text": predicted["text"],
        **{f"decode {batch}": cost for batch, cost in predicted["decode"].items()},
    }
    lines = ["## Memory", ""]
    weights = results.get("weights")
    if weights:
        want = predicted["decode"]["1"]["weight_bytes"]
        lines += [f"Weights: predicted {want:,} bytes, of the real model {weights['bytes']:,}.", ""]
    body = []
    differences: list[str] = []
    for stage, cost in costs.items():
        measured = results.get("stages", {}).get(stage, {}).get("memory", {})
        if "requested_by_pass" not in measured:
            continue
        want, requested = int(cost["activation_peak_bytes"]), measured["requested_by_pass"]
        body.append(
            (
                stage,
                whole(want),
                whole(requested),
                f"{requested - want:+,}",
                whole(measured["allocated_by_pass"]),
                whole(measured["max_memory_allocated"]),
                whole(measured["peak"]["reserved"]),
            )
        )
        if requested != want:
            differences.append(_difference(stage, cost, results))
    if not body:
        return [*lines, "Not measured here: it needs a CUDA device.", ""]
    lines += table(
        ("stage, bytes", "predicted", "requested", "difference", "allocated", "max_memory_allocated", "reserved"), body
    )
    lines += [
        "predicted: what a pass holds at its largest beside weights and the cache that it was given. requested: the "
        "same, as the allocator was asked for it. allocated: each tensor rounded up to a multiple of 512 bytes, as "
        "PyTorch's allocator does; blocks of up to 1 MiB are cut from segments of 2 MiB, larger ones from segments of "
        "20 MiB or of their own size in steps of 2 MiB, which `reserved` holds. max_memory_allocated: with everything "
        "before the pass: weights, inputs, the cache, and the workspace of GEMMs.",
        "",
        *differences,
    ]
    outside = results.get("device_memory", {}).get("outside_the_allocator")
    if outside:
        lines += ["", f"Outside the allocator (the device's context and its libraries' code): {outside:,} bytes."]
    return [*lines, ""]


def _difference(stage: str, cost: Any, results: Any) -> str:
    """Where predicted and requested peak lie apart: what was alive, by the lines that made it."""
    measured = results["stages"][stage].get("holders", {})
    text = f"- {stage}: predicted at `{cost['peak_operator']}` in `{cost['peak_path']}`"
    holders = measured.get("holders", [])
    if not holders:
        return text
    listed = "; ".join(f"{each['bytes']:,} {each['line']}" for each in holders[:8])
    return f"{text}; the largest of {measured['allocations']} allocations at the measured peak: {listed}"


def judgement_lines(folder: str, rows: Sequence[Row], devices: dict[str, Predicted]) -> list[str]:
    """How far the constants are from shapes that the fit left out, by class."""
    verdicts = judgements(rows, devices)
    if not verdicts:
        return []
    lines = ["## Constants, on the shapes that the fit left out", ""]
    names = list(next(iter(verdicts.values())).classes)
    header = ["class", "shapes", *(f"{name}: median, p90" for name in verdicts), "roofline: median", "in device.yaml"]
    own = devices["device.yaml"].device.kernels if "device.yaml" in devices else {}
    body = []
    for name in names:
        each = [judgement.classes[name] for judgement in verdicts.values()]
        constants = own.get(name)
        source = "–" if constants is None else f"{constants.origin}, {constants.fitted_rows} shapes"
        body.append(
            (
                name,
                each[0].rows,
                *(f"{verdict.median:.1%}, {verdict.p90:.1%}" for verdict in each),
                f"{each[0].roofline_median:.1%}",
                source if constants is None or constants.fitted_rows else constants.origin,
            )
        )
    lines += table(header, body)
    left_out = next(iter(verdicts.values())).left_out
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    for device, predicted in devices.items():
        kernels = predicted.device.kernels
        seen = [name for name in names if name in kernels and folder in kernels[name].source]
        if device in verdicts and device != "device.yaml" and seen:
            lines += [
                f"{device} has its constants of {', '.join(seen)} from this card: no errors on unseen shapes.",
                "",
            ]
    return [*lines, f"Not judged: {reasons}.", ""]


def judgements(rows: Sequence[Row], devices: dict[str, Predicted]) -> dict[str, Judgement]:
    """Every device that has constants, held against the shapes that the fit left out."""
    if not rows:
        return {}
    kernels = rows_table(rows)
    found = {}
    for name, each in devices.items():
        constants = constants_of(each.device)
        if constants and each.device.multiprocessors:
            verdict = judge([kernels], each.device, constants, held_out_only=True, may_be_empty=True)
            if verdict.classes:
                found[name] = verdict
    return found


def class_lines(results: Any, rows: Sequence[Row], devices: dict[str, Predicted]) -> list[str]:
    """How far the roofline is from single shapes that no cache holds, by class."""
    l2_bytes = results["machine"].get("l2_bytes", 0)
    lines = [
        "## Kernels by class",
        "",
        f"Shapes of which a round moved more than twice the L2 cache ({2 * l2_bytes:,} bytes); the table has all.",
        "",
    ]
    header = ["class", "shapes", *(f"measured / roofline, {name}: median, p10, p90" for name in devices), "best rate"]
    body = []
    for name in CLASSES:
        own = [row for row in rows if row["class"] == name and best_ms(row) and not row["name"].startswith("block.")]
        own = [row for row in own if row["footprint_bytes"] > 2 * l2_bytes]
        if not own:
            continue
        ratios = []
        for each in devices.values():
            pairs = [(best_ms(row) or 0.0, roofline_ms(each.roofline, row)) for row in own]
            found = [measured / bound for measured, bound in pairs if bound]
            ratios.append(_spread(found))
        body.append((name, len(own), *ratios, _best_rate(own)))
    lines += table(header, body)
    failed = defaultdict(list)
    for row in rows:
        if row["error"] or row["graph_error"]:
            failed[(row["error"] or f"no graph: {row['graph_error']}")[:160]].append(row["name"])
    if failed:
        lines += ["Shapes without a time, or without a graph's:", ""]
        lines += [f"- {len(names)} ({', '.join(sorted(set(names))[:4])}): {why}" for why, names in failed.items()]
    return [*lines, ""]


def roofline_ms(roofline: Roofline, row: Row) -> float:
    """The bound of one shape, as the roofline has it of an operator of a walk."""
    figures = {
        "tensor_core_flops": row["flops"],
        "cuda_core_flops": row["vector_flops"],
        "bytes_read": row["bytes_read"],
        "bytes_written": row["bytes_written"],
        "weight_bytes": 0,
        "kv_bytes": 0,
    }
    record = OperatorRecord(
        path=row["path"],
        name=row["name"],
        aten=row["name"],
        kind=row["class"],
        dtype=row["dtype"],
        inputs=(),
        outputs=(),
        elements=0,
        live_bytes=0,
        **figures,
    )
    walk = Walk(
        entries=(record,),
        peak_bytes=0,
        resident_peak_bytes=0,
        peak_path="",
        peak_operator="",
        operator_count=1,
        **figures,
    )
    return roofline.stage(walk).seconds * 1e3


def _spread(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return "–"
    tenths = quantiles(ratios, n=10, method="inclusive")
    return f"{median(ratios):.2f}, {tenths[0]:.2f}, {tenths[-1]:.2f}"


def _best_rate(rows: Sequence[Row]) -> str:
    times = [(row, best_ms(row) or 0.0) for row in rows]
    cold = [(row, time) for row, time in times if time]
    flops = max(row["flops"] / time for row, time in cold) / 1e9
    moved = max(row["bytes"] / time for row, time in cold) / 1e9
    return f"{flops:,.0f} TFLOP/s" if flops > 20 * moved else f"{moved:,.2f} TB/s"


def longest_lines(rows: Sequence[Row], count: int = 12) -> list[str]:
    """Which shapes a page's stages spend their time in."""
    lines = ["## Where the page's time goes", ""]
    for title, _, walks in (STAGES[0], STAGES[1], *STAGES[3:5]):
        own = []
        for row in rows:
            runs = sum(use[3] for use in uses(row) if use[0] == "transformers" and use[1:3] in walks)
            if runs and best_ms(row):
                own.append((runs * (best_ms(row) or 0.0), runs, row))
        if not own:
            continue
        own.sort(key=lambda each: -each[0])
        total = sum(each[0] for each in own)
        lines += [f"{title}: {total:.3g} ms of kernels", ""]
        body = [
            (f"`{row['name']}` {row['inputs'][:60]}", runs, ms(time), f"{time / total:.0%}")
            for time, runs, row in own[:count]
        ]
        lines += table(("shape", "calls", "ms together", "share"), body)
    return lines


def findings(results: Any, rows: Sequence[Row], devices: dict[str, Predicted]) -> list[str]:
    """What the figures say, a sentence each."""
    lines = ["## What it says", ""]
    for name, each in devices.items():
        lines += _estimates_said(results, name, each)
    for name, judgement in judgements(rows, devices).items():
        medians = "; ".join(f"{kind} {verdict.median:.0%}" for kind, verdict in judgement.classes.items())
        lines.append(f"- Constants of {name} on the shapes that the fit left out, median error: {medians}.")
    for name, each in devices.items():
        ratios = []
        for title, key, walks in STAGES:
            reached = device_ms(results, key)
            if reached:
                ratio = reached / each.milliseconds(EXECUTION, walks)
                ratios.append(f"{title} {ratio:.2f}")
        if ratios:
            lines.append(
                f"- The device's own time over the roofline's with the figures of {name}: {'; '.join(ratios)}."
            )
    hosts = []
    for title, key, _ in STAGES:
        eager, device = _measured(results, key, "eager"), _measured(results, key, "profile", "device_ms")
        if eager and device:
            hosts.append(f"{title} {eager / device:.1f}")
    if hosts:
        lines.append(f"- An eager pass takes so many times what its kernels take: {'; '.join(hosts)}.")
    sums = []
    for title, key, walks in STAGES:
        total, timed, _ = kernel_sum(rows, "transformers", walks)
        reached = _measured(results, key, "graph")
        if timed and reached:
            sums.append(f"{title} {total / reached:.2f}")
    if sums:
        lines.append(f"- The kernels' times, summed, over the graph's of the whole stage: {'; '.join(sums)}.")
    for device in list(devices.values())[:1]:
        counted = [
            (_measured(results, key, "eager", "host_ms"), device.estimate(walks))
            for key, walks in (("vision", STAGES[0][2]), ("text", STAGES[1][2]), ("decode 1", STAGES[3][2]))
        ]
        both = [(host, estimate.launches) for host, estimate in counted if host and estimate]
        if both:
            a_launch = sum(host for host, _ in both) / sum(launches for _, launches in both)
            lines.append(
                f"- The host of an eager pass takes {a_launch * 1e3:.1f} µs for each operator that is counted, over "
                f"{len(both)} stages; estimates take {OPERATOR_S * 1e6:g}."
            )
    lines += _answers_said(results)
    issued = [row for row in rows if row["host_ms"] and row["eager_ms"] and row["graph_ms"]]
    small = [row["host_ms"] * 1e3 for row in issued if row["graph_ms"] < row["host_ms"]]
    if small:
        lines.append(
            f"- The host issues one operator in {median(small):.1f} µs (median of {len(small)} shapes that the device "
            "finishes sooner)."
        )
    gaps = [row["graph_ms"] * 1e3 for row in issued if row["bytes"] < 2**16 and row["class"] in ("elementwise", "copy")]
    if gaps:
        lines.append(f"- A pointwise kernel of next to no bytes takes {median(gaps):.2f} µs in a graph.")
    return [*lines, ""] if len(lines) > 2 else [*lines, "Too little was measured to say anything.", ""]


def _estimates_said(results: Any, name: str, device: Predicted) -> list[str]:
    """How near a device's estimates of the stages are, and of eager passes."""
    pairs: list[tuple[str, list[tuple[Estimate | IssuedTime, float]]]] = [("device's own time", []), ("eager pass", [])]
    for _, key, walks in STAGES:
        for (_, found), predicted, reached in zip(
            pairs,
            (device.estimate(walks), device.eager(walks)),
            (device_ms(results, key), _measured(results, key, "eager")),
            strict=True,
        ):
            if predicted is not None and reached:
                found.append((predicted, reached))
    lines = []
    for what, found in pairs:
        if found:
            ratios = [predicted.value * 1e3 / reached for predicted, reached in found]
            within = sum(held(predicted, reached) for predicted, reached in found)
            lines.append(
                f"- Estimated by the constants of {name}, over the {what}: {min(ratios):.2f} to {max(ratios):.2f}; "
                f"{within} of {len(found)} stages are within the interval."
            )
    return lines


def _answers_said(results: Any) -> list[str]:
    """Whole answers by transformers' own loop."""
    lines = []
    for stage, measured in results.get("stages", {}).items():
        answer = measured.get("answer", {})
        if "step_ms" in answer:
            lines.append(
                f"- transformers' `generate`, {stage}: the first token after {ms(answer['first_ms'])} ms, then one "
                f"every {ms(answer['step_ms'])} ms (median of {answer['steps']})."
            )
    return lines


def write_report(folder: Path, peaks: str | None) -> None:
    """Write device.yaml and report.md of a folder."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rows = read_table(folder)
    machine = results["machine"]
    if not machine:
        raise ModelMeterError(f"report: {folder} holds no measurement of a machine; run benchmarks.gpu.measure first.")
    known = peaks or next((name for part, name in BUNDLED.items() if part in machine["name"]), None)
    sheet = None if known is None else load_device(known)
    reason = write_device(folder, results, rows, sheet)
    predicted = results["predicted"]
    found = [] if sheet is None else [(sheet.name, sheet)]
    if not reason:
        found.append(("device.yaml", load_device(folder / "device.yaml")))
    devices = {name: Predicted(predicted["overrides"], predicted["page"], each) for name, each in found}
    page = predicted["page"]
    lines = [
        f"# {machine['name']}: predicted beside measured",
        "",
        f"A page of {page['width']} x {page['height']} pixels, {page['seq_len']} positions, "
        f"{' '.join(predicted['overrides']) or 'default configuration'}, {predicted['dtype']}, random weights. Written "
        "by `python -m benchmarks.gpu.report` from `results.json` and the table of kernels beside it.",
        "",
        *findings(results, rows, devices),
        *machine_lines(results),
        *stage_lines(results, rows, devices),
        *memory_lines(results),
        *judgement_lines(folder.name, rows, devices),
        *class_lines(results, rows, devices),
        *longest_lines(rows),
    ]
    if reason:
        lines += ["## The device file", "", reason, ""]
    (folder / "report.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peaks", metavar="DEVICE", help="the bundled device that it is  [default: by its name]")
    chosen = parser.parse_args(arguments)
    try:
        write_report(chosen.folder, chosen.peaks)
    except ModelMeterError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"written: {chosen.folder / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
