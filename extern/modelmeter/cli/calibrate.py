"""`modelmeter calibrate`: the machine at hand as a device file."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import debug_option, inputs_argument, json_option, model_option, read_arguments
from modelmeter.cli.measuring import (
    check_installed,
    check_tables_installed,
    device_option,
    one_page,
    repeats_option,
    threads_option,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, is_standard_output, write_whole
from modelmeter.models import model_package
from modelmeter.progress import progress

if TYPE_CHECKING:
    from modelmeter.calibration.fit import Fit, TimedCopy, TimedProduct
    from modelmeter.models.common.contract import CostModel
    from modelmeter.reference.timing import Machine

#: bytes that a copy reads: next to nothing, for the overhead; far beyond the caches, for the bandwidth
COPIES: Final = (256, 1024, 4096, 2**27, 2**28)
#: side of the square GEMMs that probe the peaks of the type and of float32
PROBE_SIDE: Final = {"cpu": 1024, "cuda": 8192}
#: pages at once of the decode steps whose kernels are timed
BATCHES: Final = (1, 16, 64)


@click.command(short_help="The machine at hand as a device file, measured.")
@inputs_argument
@partial(device_option, required=False)
@click.option(
    "--from",
    "tables",
    type=click.Path(path_type=Path),
    metavar="TABLES",
    help="Fit the constants of kernels on tables, as judge reads them; nothing is measured. Needs --peaks.",
)
@click.option("--source", metavar="TEXT", help="Where TABLES come from, written beside them.  [default: their path]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The device file to write.  [default: print it]")
@click.option("--name", help="The device's name.  [default: the machine's own]")
@click.option(
    "--peaks",
    "known",
    metavar="DEVICE",
    help="A bundled device, or a file, whose peaks are the machine's; the efficiencies are shares of them.  "
    "[default: the best rates that were measured]",
)
@click.option(
    "--output-tokens",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Decode steps of the page, so N + 1 output tokens with the prefill's.  [default: 0]",
)
@repeats_option
@threads_option
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    device: str | None,
    tables: Path | None,
    source: str | None,
    output: Path | None,
    name: str | None,
    known: str | None,
    output_tokens: int,
    repeats: int,
    threads: int | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Measure what this machine reaches, and write it as a device file.

    Every distinct GEMM of a page of INPUT's size (1275x1650 by default) is run for itself, and so are copies and
    operators too small to compute anything; docs/calibration.md says how the rates are fitted. On --device cuda the
    page's kernels are run too, and others like them, and the constants of each class of kernels are fitted. KEY=VALUE
    overrides the configuration.

    With --from nothing is measured: TABLES are measured times of kernels as `modelmeter judge` reads them, and what is
    written is the part kernels of a device's file, with the errors on the sites that the fit left out.
    """
    if tables is not None:
        return _fit_tables(tables, known, source, output, arguments, device, as_json)
    if device is None:
        raise ModelMeterError("calibrate: give --device, to measure here, or --from, to fit tables of kernels.")
    if source is not None:
        raise ModelMeterError("calibrate: --source says where the tables of --from come from; leave it out.")
    check_installed("calibrate")
    model, names, overrides = read_arguments(model, arguments)
    package = model_package(model)
    if output is not None and is_standard_output(output) and not as_json:
        output = None
    if output is not None:
        check_output("calibrate", output, [*names, *([] if known is None else [known])])
    size = one_page("calibrate", names)
    cost_model = package.load_cost_model(overrides)
    page = cost_model.page(size.width, size.height, output_tokens)

    from modelmeter.calibration.device_file import Card, device_content, device_text, fitted_kernels, peaks_of
    from modelmeter.calibration.fit import fit_device
    from modelmeter.calibration.kernel_measured import rows_table
    from modelmeter.devices import load_device
    from modelmeter.devices.device import NAME
    from modelmeter.memory import CPU, GPU
    from modelmeter.reference.timing import machine, use_threads

    described = None if known is None else load_device(known)
    use_threads(threads)
    here = machine(device)
    name = NAME.read("calibrate: name", name or here.name)
    products = _time_products(cost_model, page, output_tokens, device, repeats)
    copies = _time_copies(device, repeats)
    fit = fit_device(products, copies, None if described is None else peaks_of(described))
    today = date.today().isoformat()
    versions = ", ".join(f"{package_name} {version}" for package_name, version in here.versions.items())
    where = f"{device}, {today}; {versions}; {here.threads} host thread{'s' * (here.threads > 1)}"
    notes = [
        f"Measured by modelmeter calibrate on {where}.",
        f"GEMMs of a page of {size.width} x {size.height} pixels, {page.seq_len} positions, {output_tokens} decode "
        f"steps; {' '.join(overrides) or 'no overrides'}; medians of {repeats}.",
    ]
    card, kernels = None, None
    if here.multiprocessors is not None and here.l2_bytes is not None:
        card = Card(multiprocessors=here.multiprocessors, l2_bytes=here.l2_bytes)
        rows = _time_kernels(cost_model, page, device, repeats)
        kernels = fitted_kernels(rows_table(rows), fit, card, described, f"modelmeter calibrate on {where}")
        notes.append(
            f"Kernels: {len(rows)} shapes, in CUDA graphs with operands beyond the L2; errors on the sites left out."
        )
    content = device_content(
        fit,
        name=name,
        kind=CPU if device == "cpu" else GPU,
        memory_bytes=here.memory_bytes,
        where=where,
        known=described,
        card=card,
        kernels=kernels,
    )
    text = device_text(content, fit, notes)
    if output is not None:
        write_whole(output, text)
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("calibrate", _content(content, fit, copies, here, notes)))
    elif output is None:
        write_document(text)
    else:
        write(rendered(*_summary(fit), f"written to {output}"))


def _fit_tables(
    tables: Path,
    known: str | None,
    source: str | None,
    output: Path | None,
    arguments: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    check_tables_installed("calibrate --from")
    if arguments or device is not None:
        raise ModelMeterError("calibrate: --from measures nothing here; leave INPUT, KEY=VALUE and --device out.")
    if known is None:
        raise ModelMeterError("calibrate: --from needs --peaks, the device that the tables were measured on.")
    if output is not None and is_standard_output(output):
        output = None
    if output is not None:
        check_output("calibrate", output, [str(tables), known])

    from modelmeter.calibration.kernel_file import fit_tables, kernels_content, kernels_text
    from modelmeter.calibration.kernel_judgement import rates_of
    from modelmeter.calibration.kernel_tables import read_tables
    from modelmeter.devices import load_device

    found = read_tables(tables)
    kernels, left_out = fit_tables(found, rates_of(load_device(known)), source or tables.name)
    text = kernels_text(kernels)
    if output is not None:
        write_whole(output, text)
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("calibrate", {"kernels": kernels_content(kernels), "left_out": left_out}))
    elif output is None:
        write_document(text)
    else:
        lines = [
            f"{name}: {each.fitted_rows:,} rows fitted; on {each.errors.rows:,} others median error "
            f"{each.errors.median:.1%}, p90 {each.errors.p90:.1%}"
            for name, each in kernels.items()
            if each.errors is not None
        ]
        lines += [f"left out: {count:,} rows, {reason}" for reason, count in left_out.items()]
        write(rendered(*lines, f"written to {output}"))


def _time_products(
    cost_model: CostModel, page: Any, output_tokens: int, device: str, repeats: int
) -> list[TimedProduct]:
    """The page's GEMMs, and square ones of its type and of float32."""
    from modelmeter.calibration.fit import TimedProduct
    from modelmeter.calibration.products import page_products
    from modelmeter.devices.device import PEAK_OF_DTYPE
    from modelmeter.reference.kernels import product_call, square_product
    from modelmeter.reference.timing import time_call

    counts = page_products(cost_model, page, output_tokens)
    side = PROBE_SIDE[device]
    for dtype in sorted({product.dtype for product in counts} | {"float32"}):
        counts[square_product(side, dtype)] += 0
    timed = []
    with progress("calibrate", "products", len(counts)) as told:
        for product, count in counts.items():
            median_s = time_call(product_call(product, device), device, repeats=repeats).median_s
            timed.append(
                TimedProduct(
                    name=product.name,
                    peak=PEAK_OF_DTYPE[product.dtype],
                    flops=product.flops,
                    nbytes=product.nbytes,
                    count=count,
                    seconds=Fraction(median_s),
                )
            )
            told(len(timed))
    return timed


def _time_copies(device: str, repeats: int) -> list[TimedCopy]:
    from modelmeter.calibration.fit import TimedCopy
    from modelmeter.reference.kernels import copy_call
    from modelmeter.reference.timing import time_call

    return [
        TimedCopy(
            nbytes=2 * nbytes,  # read and written
            seconds=Fraction(time_call(copy_call(nbytes, device), device, repeats=repeats).median_s),
        )
        for nbytes in COPIES
    ]


def _time_kernels(cost_model: CostModel, page: Any, device: str, repeats: int) -> list[dict[str, Any]]:
    """The page's kernels, and those that constants of every class need beside them."""
    from modelmeter.reference.kernel_shapes import sweep
    from modelmeter.reference.kernel_table import time_kernels
    from modelmeter.reference.page_kernels import page_shapes

    shapes = [*page_shapes(cost_model, page, BATCHES), *sweep()]
    with progress("calibrate", "kernels", len(shapes)) as told:
        return time_kernels(shapes, device, repeats=repeats, told=told)


def _summary(fit: Fit) -> list[str]:
    from modelmeter.quantities import number

    rates = {peak: float(rate * fit.matmul) for peak, rate in fit.peaks.matmul.items()}
    return [
        *(f"matmul {peak}: {number(rate / 1e9)} GFLOP/s of a page's GEMMs" for peak, rate in rates.items()),
        f"bandwidth: {number(float(fit.bandwidth * fit.peaks.bandwidth) / 1e9)} GB/s",
        f"overhead: {number(float(fit.launch_s) * 1e6)} us an operator",
        f"GEMMs: median error {float(fit.median_error):.1%}, all of a page's together {float(fit.total_error):+.1%}",
    ]


def _content(
    content: dict[str, Any], fit: Fit, copies: list[TimedCopy], here: Machine, notes: list[str]
) -> dict[str, Any]:
    return {
        "device": content,
        "machine": vars(here),
        "notes": notes,
        "fit": {
            "median_error": float(fit.median_error),
            "total_error": float(fit.total_error),
            "compute_bound": fit.compute_bound,
        },
        "copies": [{"bytes": copy.nbytes, "seconds": float(copy.seconds)} for copy in copies],
        "gemms": [
            {
                "name": each.product.name,
                "type": each.product.peak,
                "count": each.product.count,
                "flops": each.product.flops,
                "bytes": each.product.nbytes,
                "bound": each.bound,
                "measured_s": float(each.product.seconds),
                "fitted_s": float(each.predicted_s),
                "error": float(each.error),
            }
            for each in fit.residuals
        ],
    }
