"""`modelmeter throughput`: pages a day, latency and cost of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import (
    Order,
    by_option,
    complete_device,
    debug_option,
    dpi_option,
    engine_option,
    inputs_argument,
    json_option,
    max_pixels_option,
    model_option,
    parse_prices,
    price_option,
    read_arguments,
    system_prompt_option,
    table_options,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.page_class import RunawayShare, page_class_options, runaway_option
from modelmeter.cli.page_kinds import asked_pages, tell_left_out
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.devices import Device, PageKind, Throughput
    from modelmeter.models.common.contract import CostModel, PageCost
    from modelmeter.report.fitting import Fitting


def _figure(read: Callable[[Throughput], Any]) -> Callable[[tuple[str, Throughput | str]], Any]:
    """A figure of a device's result, None where there is none."""
    return lambda row: None if isinstance(row[1], str) else read(row[1])


#: of (device, its result or why there is none)
ORDER: Final[Order[tuple[str, Throughput | str]]] = Order(
    {
        "pages": (_figure(lambda result: result.pages_per_day if result.output_tokens else -result.ttft_s), True),
        "batch": (_figure(lambda result: result.batch_size), True),
        "tokens": (_figure(lambda result: result.output_tokens_per_s), True),
        "ttft": (_figure(lambda result: result.ttft_s), False),
        "tpot": (_figure(lambda result: result.tpot_s), False),
        "cost": (_figure(lambda result: result.cost_per_1000_pages), False),
        "device": (lambda row: row[0].lower(), False),
    },
    "pages",
)


@click.command(short_help="Pages a day, latency and cost of devices.")
@inputs_argument
@click.option(
    "--device",
    "names",
    shell_complete=complete_device,
    multiple=True,
    metavar="DEVICE",
    help="A bundled device, or the path of a YAML file of your own; may be repeated.  [default: all bundled ones]",
)
@engine_option("vllm")
@system_prompt_option
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="[GROUP=]N|N:WEIGHT,...|COLUMN",
    help="Decode steps of a page, so N + 1 output tokens with the prefill's: a number, numbers with weights, as in "
    "800:0.7,1500:0.3, or the tables' column that has them. Once for all inputs, or once for each of them, in their "
    "order; with GROUP= for the pages of a group.",
)
@page_class_options
@by_option
@table_options
@click.option("--batch", type=int, metavar="N", help="Pages that decode together.  [default: the most that fit]")
@click.option(
    "--concurrency",
    type=int,
    metavar="N",
    help="N requests in flight, a new one whenever one ends, beside the batch: what benchmarks of servers measure.",
)
@runaway_option
@price_option
@click.option("--float32", default="fp32", show_default=True, help="Peak of float32 GEMMs: fp32 or tf32.")
@click.option(
    "--cache",
    default="longest",
    show_default=True,
    help="Room for each page's cache in a batch: that of the longest page, or of the mean one.",
)
@ORDER.option
@dpi_option
@max_pixels_option
@model_option
@json_option
@debug_option
@with_system_prompt
def command(
    arguments: tuple[str, ...],
    names: tuple[str, ...],
    engine: str | None,
    output_tokens: tuple[str, ...],
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    by: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    batch: int | None,
    concurrency: int | None,
    runaway_share: RunawayShare,
    prices: tuple[str, ...],
    float32: str,
    cache: str,
    sort: str,
    dpi: int,
    max_pixels: int,
    model: str | None,
    as_json: bool,
) -> None:
    """How many pages devices read, how fast, and at what cost, with an engine and its host.

    INPUT is an image file, a PDF, a size such as 1275x1650, a folder of images and PDFs, or a table of sizes (.csv,
    .tsv, .jsonl, .parquet, or - for one on standard input); all of them together are the corpus. KEY=VALUE overrides
    the configuration, as in workload=base. What every figure means is in docs/throughput.md. Pages of folders and
    tables that cannot be counted are left out, and listed on standard error.
    """
    model, files, overrides = read_arguments(model, arguments)
    overrides = with_engine("throughput", engine, overrides)
    package = model_package(model)
    asked = asked_pages(
        "throughput",
        files,
        output_tokens,
        (page_class, language, text_format, tokenizers),
        (package, overrides),
        {"by": by, "width": width, "height": height, "unit": unit, "count": count},
        dpi=dpi,
        max_pixels=max_pixels,
    )
    devices = _devices(names)
    priced = parse_prices("throughput", prices, devices)
    from modelmeter.models.common.engines import is_chosen, served

    chosen = served(overrides, package.EXECUTIONS)
    cost_model = package.load_cost_model(chosen)
    if cost_model.batch_size > 1:
        raise ModelMeterError(
            f"throughput: runtime.batch_size={cost_model.batch_size} makes one pass of several pages; "
            f"pages that decode together are --batch {cost_model.batch_size}."
        )
    kinds, counted = asked.read(cost_model)
    settings: dict[str, Any] = {
        "batch_size": batch,
        "in_flight": concurrency,
        "outputs_assumed": asked.classes is not None,
        "runaway_share": runaway_share.share,
        "float32": float32,
        "cache": cache,
    }
    results = dict(ORDER.sorted(_results(cost_model, kinds, devices, priced, settings).items(), sort))
    first = next(result for result in results.values() if not isinstance(result, str))
    smallest = _smallest(cost_model, kinds, runaway_share.share, float32, cache)
    computed = {name: result for name, result in results.items() if not isinstance(result, str)}

    from modelmeter.devices.engine import timed_assumptions
    from modelmeter.report import page_tables, throughput_tables

    assumptions = timed_assumptions(cost_model)
    assumptions += asked.assumptions(counted)
    assumptions += runaway_share.assumptions()
    if as_json:
        from modelmeter.devices import NOT_MODELLED
        from modelmeter.report.json_document import json_text

        content = (
            cost_model.to_dict()
            | {
                "settings": dict(cost_model.for_times().settings()),
                "assumptions": [asdict(each) for each in assumptions],
            }
            | settings
            | {
                "engine": cost_model.engine.name,
                "pages": [asdict(size) | {"dpi": each.dpi} for each in asked.inputs for size in each.pages],
                "prompts": [{"source": each.name} for each in asked.inputs if each.prompt_tokens is not None],
                "corpora": [
                    {
                        "source": name,
                        "pages": cost.everything.totals.pages,
                        "left_out": cost.left_out,
                        "files_not_read": dict(cost.notes.not_read),
                    }
                    for name, cost in counted
                ],
                "results": [
                    {"device": name, "error": result}
                    if isinstance(result, str)
                    else throughput_tables.throughput_content(result)
                    for name, result in results.items()
                ],
                "smallest_device": smallest,
                "not_modelled": NOT_MODELLED,
            }
        )
        write(json_text("throughput", content))
        tell_left_out(counted)
        return
    if len(results) == 1:
        head = first.device.titled(first.devices)
        tables: list[RenderableType | Fitting] = [
            throughput_tables.kinds_table(first),
            "",
            throughput_tables.result_table(first),
        ]
        tables += ["", throughput_tables.shares_table(first)]
    else:
        head = throughput_tables.kinds_line(first)
        tables = [throughput_tables.comparison_table(results), "", throughput_tables.reason_lines(results)]
    if concurrency is not None:
        tables[2:2] = [throughput_tables.concurrency_table(computed), ""]
    write(
        rendered(
            head,
            page_tables.model_lines(
                cost_model.for_times(),
                overrides,
                throughput_tables.engine_line(cost_model.engine.name, default=not is_chosen(overrides)),
            ),
            "",
            *tables,
            "",
            throughput_tables.rest_lines(model, first, smallest),
            "",
            page_tables.assumption_lines(assumptions),
        )
    )
    tell_left_out(counted)


def _devices(names: Sequence[str]) -> Sequence[Device]:
    """The devices that were asked for, or all bundled ones."""
    from modelmeter.devices import bundled_devices, load_device

    devices = [load_device(name) for name in names] if names else bundled_devices()
    for name, times in Counter(device.name for device in devices).items():
        if times > 1:
            raise ModelMeterError(f"throughput: there are {times} devices {name}; give each once, under its own name.")
    return devices


def _smallest(
    cost_model: CostModel, kinds: Sequence[PageKind[PageCost]], runaway_share: float, float32: str, cache: str
) -> str | None:
    """The smallest bundled device for one page at a time, if there is one."""
    from modelmeter.devices import smallest_device

    try:
        found = smallest_device(cost_model, kinds, runaway_share=runaway_share, float32=float32, cache=cache)
    except ModelMeterError:
        return None
    return found.name


def _results(
    cost_model: CostModel,
    kinds: Sequence[PageKind[PageCost]],
    devices: Sequence[Device],
    prices: Mapping[str, float],
    settings: Mapping[str, Any],
) -> dict[str, Throughput | str]:
    """What each device makes of the pages, or why it cannot; raises if none can."""
    from modelmeter.devices import compute_throughput

    results: dict[str, Throughput | str] = {}
    for device in devices:
        try:
            results[device.name] = compute_throughput(
                cost_model, device, kinds, price_per_hour=prices.get(device.name), **settings
            )
        except ModelMeterError as error:
            results[device.name] = str(error)
    reasons = [result for result in results.values() if isinstance(result, str)]
    if len(reasons) == len(results):
        raise ModelMeterError(*dict.fromkeys(reasons))
    return results
