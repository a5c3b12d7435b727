"""`modelmeter sweep`: every combination of values, as a table, CSV, JSON or a plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from modelmeter import models
from modelmeter.cli.arguments import (
    complete_device,
    complete_engine,
    complete_input,
    complete_model,
    debug_option,
    dpi_option,
    file_option,
    is_corpus,
    json_option,
    max_pixels_option,
    parse_prices,
    price_option,
    read_inputs,
    said_of,
    same_sizes,
    with_engine,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.cli.several_models import asked_models, check_override, each_of, split_for
from modelmeter.errors import ModelMeterError, near
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.page_sizes import PageSize
    from modelmeter.sweep import Asked, Axis, Point, Result, Sweep

#: points of one sweep; with times, as many take a minute or two
MAX_POINTS: Final = 10_000
#: what --plot draws, by the suffix of its file
PLOTS: Final = ("svg", "png", "html")
#: points from which on their number is told before they are computed
MANY_POINTS: Final = 100


@click.command(short_help="Every combination of settings, pages, devices.")
@click.argument(
    "arguments", nargs=-1, type=click.Path(), metavar="INPUT... [KEY=VALUES]...", shell_complete=each_of(complete_input)
)
@click.option(
    "--model",
    "model_names",
    multiple=True,
    metavar="NAME,...",
    shell_complete=each_of(complete_model),
    help=f"Models or checkpoints, as modelmeter models lists them.  [default: {models.DEFAULT_MODEL}]",
)
@click.option(
    "--device",
    "device_names",
    multiple=True,
    metavar="DEVICE,...",
    shell_complete=each_of(complete_device),
    help="Add times on these devices; device=NAME,... is the same.",
)
@click.option(
    "--engine",
    default=None,
    metavar="NAME,...",
    shell_complete=each_of(complete_engine),
    help="What serves the pages; engine=NAME,... is the same.  [default: vllm with a device, else transformers]",
)
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="N,...",
    help="Decode steps, so N + 1 output tokens with the prefill's; output_tokens=N,... is the same.  [default: 0]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    metavar="N,...",
    help="Pages that decode together on a device; batch=N,... is the same.  [default: runtime.batch_size where it is "
    "given, else the most that fit]",
)
@price_option
@click.option("--columns", default=None, metavar="NAME,...", help="Figures of the table, of the CSV and of the JSON.")
@click.option(
    "--sort",
    default=None,
    metavar="NAME",
    help="Order by a figure, the best first, or by what is varied; -NAME turns it round.",
)
@file_option("csv", "Write every point with all figures; - is standard output.")
@file_option("plot", "Draw the sweep, as .svg, .png or .html.")
@click.option(
    "--x",
    default=None,
    metavar="NAME",
    help="What is varied, or a figure, along the plot's axis.  [default: pages at once]",
)
@click.option(
    "--y",
    default=None,
    metavar="NAME,...",
    help="Figures of the plot.  [default: latency and pages/s on a device, else FLOPs and traffic]",
)
@click.option("--explain", is_flag=True, help="Say what every label means.")
@dpi_option
@max_pixels_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    model_names: tuple[str, ...],
    device_names: tuple[str, ...],
    engine: str | None,
    output_tokens: tuple[str, ...],
    batches: tuple[str, ...],
    prices: tuple[str, ...],
    columns: str | None,
    sort: str | None,
    csv_file: str | None,
    plot_file: str | None,
    x: str | None,
    y: str | None,
    explain: bool,
    dpi: int,
    max_pixels: int,
    as_json: bool,
) -> None:
    """What pages cost, and take on devices, for every combination of values.

    INPUT is an image file, a PDF, or a size such as 1275x1650; several are varied too. KEY=VALUES varies a key of the
    configuration, as in workload=tiny,base or runtime.batch_size=1,2,4 or runtime.prompt_tokens=range(10,100,30):
    values parted by commas, or Hydra's range, choice and glob. device=, output_tokens=, batch= and model= are keys too.
    A combination that cannot be answered keeps its row, with the reason. docs/sweeps.md has examples.
    """
    rest: Sequence[str] = arguments
    told: dict[str, list[str]] = {}
    for key, given in (
        ("model", model_names),
        ("checkpoint", ()),
        ("device", device_names),
        ("output_tokens", output_tokens),
        ("batch", batches),
        ("page", ()),
    ):
        more, rest = said_of(key, rest)
        told[key] = _words(key, [*given, *more])
    asked = asked_models([*told["model"], *told["checkpoint"]])
    names, overrides = split_for(rest, asked)
    sweep = _sweep(
        asked, [*told["page"], *names], with_engine("sweep", engine, overrides), told, prices, (dpi, max_pixels)
    )
    chosen = _columns(columns, sweep, sort)
    if csv_file is not None and is_standard_output(Path(csv_file)):
        csv_file = "-"
    if csv_file == "-" and as_json:
        raise ModelMeterError("sweep: --json and --csv - would share standard output; give a file's name.")
    if csv_file not in (None, "-"):
        check_output("sweep", Path(csv_file), [*names, *device_names])
    plot = _plot(plot_file, x, y, sweep)
    if plot is not None:
        check_output("sweep", plot.path, [*names, *device_names, *([] if csv_file in (None, "-") else [str(csv_file)])])
    result = _computed(sweep)
    files = {}
    if plot is not None:
        from modelmeter.report.sweep_plot import plot_file as drawn

        files[plot.path] = drawn(result, plot.x, plot.ys, plot.form)

    from modelmeter.report import sweep_tables

    points = sweep_tables.sorted_sweep(result, sort)
    if csv_file is not None:
        text = sweep_tables.sweep_csv(sweep, points, chosen)
        if csv_file != "-":
            files[Path(csv_file)] = encodable(text).encode()
    for path, content in files.items():
        write_whole(path, content)
    if csv_file == "-":
        write_document(text)
        return
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("sweep", sweep_tables.sweep_content(result, points, chosen)))
        return
    write(
        rendered(
            *_screen(result, points, chosen, explain),
            *(f"{path}: {len(content):,} bytes" for path, content in files.items()),
        )
    )


def _screen(result: Result, points: Sequence[Point], chosen: Sequence[str] | None, explain: bool) -> Iterator[Any]:
    from modelmeter.report import page_tables, point_tables, sweep_tables

    yield sweep_tables.head_lines(result)
    yield ""
    yield sweep_tables.sweep_table(result.sweep, points, chosen or sweep_tables.default_columns(result))
    if point_tables.refusals(points):
        yield ""
        yield point_tables.refusal_lines(points)
    yield ""
    tell_all = page_tables.assumption_lines if explain else point_tables.rests_on_lines
    yield tell_all(result.assumptions)


# -- what is varied -------------------------------------------------------------------------------------------------


def _words(key: str, given: Sequence[str]) -> list[str]:
    """The values of a key that is no key of the configuration."""
    from modelmeter.models.common.configuration import sweep_values

    values = [value for text in given for value in sweep_values(f"{key}={text}", MAX_POINTS, words=True)]
    _refuse_twice(key, values)
    return values


def _refuse_twice(key: str, values: Sequence[str]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise ModelMeterError(f"sweep: {key}={value} is given {times} times; give each value once.")


def _sweep(
    asked: Sequence[Asked],
    names: Sequence[str],
    overrides: Sequence[str],
    told: dict[str, list[str]],
    prices: Sequence[str],
    reading: tuple[int, int],
) -> Sweep:
    """What is varied, all of it read and held against what there is; no point is computed."""
    from modelmeter.devices import load_device
    from modelmeter.sweep import BATCH_SIZE, Sweep

    for name in names:
        if is_corpus(name):
            raise ModelMeterError(
                f"sweep: {name} is a corpus, and a sweep is of single pages; give sizes or files, or count it with "
                "modelmeter corpus or throughput."
            )
    pages = _pages(names, *reading)
    settings = _settings(asked, overrides)
    devices = [load_device(name) for name in told["device"]]
    _refuse_twice("device", [device.name for device in devices])
    batches = _whole_numbers("batch", told["batch"], 1)
    if batches and not devices:
        raise ModelMeterError(
            f"sweep: batch={','.join(told['batch'])} are pages that decode together on a device; add one, as in "
            f"device=H100-SXM, or vary {BATCH_SIZE}, the pages of one pass."
        )
    if batches and any(axis.key == BATCH_SIZE for axis in settings):
        raise ModelMeterError(f"sweep: batch and {BATCH_SIZE} both say how many pages decode together; leave one out.")
    if prices and not devices:
        raise ModelMeterError(f"sweep: --price {prices[0]} is of a device; add one, as in device=H100-SXM.")
    sweep = Sweep(
        pages=pages,
        models=asked,
        settings=settings,
        output_tokens=_whole_numbers("output_tokens", told["output_tokens"], 0) or [0],
        devices=devices,
        batches=batches or None,
        prices=parse_prices("sweep", prices, devices),
    )
    if sweep.points > MAX_POINTS:
        from modelmeter.report.sweep_tables import points_line

        raise ModelMeterError(
            f"sweep: there are {points_line(sweep)} points, and {MAX_POINTS:,} at most are computed; give fewer "
            "values, or several sweeps."
        )
    return sweep


def _pages(names: Sequence[str], dpi: int, max_pixels: int) -> list[tuple[str, PageSize]]:
    """The pages by what they were given as, those of one size in a file as one."""
    inputs = read_inputs(names, dpi, max_pixels)
    pages = [(title.rpartition(": ")[0], page) for title, page in same_sizes(inputs)]
    _refuse_twice("page", [name for name, _ in pages])
    return pages


def _whole_numbers(key: str, values: Sequence[str], least: int) -> list[int]:
    for value in values:
        if not value.isascii() or not value.isdigit() or int(value[:20]) < least:
            raise ModelMeterError(f"sweep: {key}={value} is no whole number from {least} on.")
    return [int(value) for value in values]


def _settings(asked: Sequence[Asked], overrides: Sequence[str]) -> list[Axis]:
    """The keys of the configuration with their values; raises for what no model has."""
    from modelmeter.models.common.configuration import sweep_values
    from modelmeter.sweep import Axis

    axes: dict[str, Axis] = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in axes:
            raise ModelMeterError(f"sweep: {key} is given twice; write {key}=A,B.")
        options = [
            option
            for each in asked
            if key in each.package.CONFIGURATION.groups
            for option in each.package.CONFIGURATION.group_options(key)
        ]
        values = sweep_values(override, MAX_POINTS, list(dict.fromkeys(options)))
        for value in values:
            check_override(asked, f"{key}={value}")
        axes[key] = Axis(key, values)
    return list(axes.values())


def _columns(columns: str | None, sweep: Sweep, sort: str | None) -> list[str] | None:
    """The figures that are asked for, by name."""
    from modelmeter.report.sweep_tables import COLUMNS

    there = [name for name, column in COLUMNS.items() if sweep.devices or not column.timed]
    if sort is not None:
        _check_name("--sort", sort.removeprefix("-"), [*(axis.key for axis in sweep.varied), *there], sweep)
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",")]
    for name in names:
        _check_name("--columns", name, there, sweep)
    _refuse_twice("--columns", names)
    return names


def _check_name(option: str, name: str, there: Sequence[str], sweep: Sweep) -> None:
    from modelmeter.report.sweep_tables import COLUMNS

    if name in there:
        return
    if name in COLUMNS and not sweep.devices:
        raise ModelMeterError(f"sweep: {option} {name} is of times on a device; add one, as in device=H100-SXM.")
    raise ModelMeterError(f"sweep: {option} {name}: there is no such figure; {near(name, there)}")


class Plot(NamedTuple):
    """The plot that is asked for. form: "svg", "png" or "html"."""

    path: Path
    form: str
    x: str
    ys: Sequence[str]


def _plot(file: str | None, x: str | None, y: str | None, sweep: Sweep) -> Plot | None:
    if file is None:
        for option, value in (("--x", x), ("--y", y)):
            if value is not None:
                raise ModelMeterError(f"sweep: {option} {value} is of a plot; add --plot FILE.svg.")
        return None
    from modelmeter.report.plotting import check_matplotlib
    from modelmeter.report.sweep_plot import OF_COUNTS, OF_TIMES, default_x
    from modelmeter.report.sweep_tables import COLUMNS

    form = Path(file).suffix.lower().removeprefix(".")
    if form not in PLOTS:
        raise ModelMeterError(f"sweep: the name {file} does not say what to draw; end it in .{', .'.join(PLOTS)}.")
    check_matplotlib("leave --plot out")
    drawable = [name for name, column in COLUMNS.items() if column.drawn and (sweep.devices or not column.timed)]
    if x is not None:
        _check_name("--x", x, [*(axis.key for axis in sweep.varied), *drawable], sweep)
    ys = [name.strip() for name in y.split(",")] if y else OF_TIMES if sweep.devices else OF_COUNTS
    for name in ys:
        _check_name("--y", name, drawable, sweep)
    return Plot(Path(file), form, x or default_x(sweep), ys)


# -- what comes of it -----------------------------------------------------------------------------------------------


def _computed(sweep: Sweep) -> Result:
    from modelmeter.progress import progress
    from modelmeter.report.sweep_tables import points_line
    from modelmeter.sweep import compute

    if sweep.points < MANY_POINTS:
        return compute(sweep)
    tell(f"sweep: {points_line(sweep)} points")
    with progress("sweep", "points", sweep.points) as heard:
        return compute(sweep, heard)
