"""`modelmeter throughput`: pages a day, latency and cost of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from modelmeter.cli.arguments import (
    BadArguments,
    Input,
    debug_option,
    dpi_option,
    inputs_argument,
    json_option,
    model_option,
    parse_prices,
    read_inputs,
    split_arguments,
)
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package

OutputTokens = int | dict[int, Fraction]

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.devices import Device, PageKind, Throughput
    from modelmeter.models.common.contract import CostModel, PageCost


@click.command(short_help="Pages a day, latency and cost of devices.")
@inputs_argument
@click.option(
    "--device",
    "names",
    multiple=True,
    metavar="DEVICE",
    help="A bundled device, or the path of a YAML file of your own; may be repeated.  [default: all bundled ones]",
)
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="N|N:WEIGHT,...",
    help="What a page says: a number, or numbers with weights, as in 800:0.7,1500:0.3. Once for all inputs, or once "
    "for each of them, in their order.",
)
@click.option("--batch", type=int, metavar="N", help="Pages that decode together.  [default: the most that fit]")
@click.option(
    "--runaway-share",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of pages that repeat until the model's positions are used up.",
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="PRICE|DEVICE=PRICE",
    help="Of an hour of the device; with several devices as DEVICE=PRICE, which may be repeated.",
)
@click.option("--float32", default="fp32", show_default=True, help="Peak of float32 products: fp32 or tf32.")
@click.option(
    "--cache",
    default="longest",
    show_default=True,
    help="Room for each page's cache in a batch: that of the longest page, or of the mean one.",
)
@dpi_option
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    names: tuple[str, ...],
    output_tokens: tuple[str, ...],
    batch: int | None,
    runaway_share: float,
    prices: tuple[str, ...],
    float32: str,
    cache: str,
    dpi: int,
    model: str,
    as_json: bool,
) -> None:
    """How many pages devices read, how fast, and at what cost.

    INPUT is an image file, a PDF, or a size such as 1275x1650; all of them together are the corpus. KEY=VALUE overrides
    the configuration, as in workload=base. What every figure means is in docs/throughput.md.
    """
    package = model_package(model)
    files, overrides = split_arguments(arguments, package.CONFIG_GROUPS)
    inputs = read_inputs(files, dpi)
    tokens = _output_tokens(output_tokens, len(inputs))
    devices = _devices(names)
    priced = parse_prices("throughput", prices, devices)
    cost_model = package.load_cost_model(overrides)
    if cost_model.batch_size > 1:
        raise ModelMeterError(
            f"throughput: runtime.batch_size={cost_model.batch_size} makes one pass of several pages; "
            f"pages that decode together are --batch {cost_model.batch_size}."
        )
    kinds = [kind for each, said in zip(inputs, tokens, strict=True) for kind in _kinds(cost_model, each, said)]
    settings: dict[str, Any] = {
        "batch_size": batch,
        "runaway_share": runaway_share,
        "float32": float32,
        "cache": cache,
    }
    results = _results(cost_model, kinds, devices, priced, settings)
    first = next(result for result in results.values() if not isinstance(result, str))
    smallest = _smallest(cost_model, kinds, settings)

    from modelmeter.report import page_tables, throughput_tables

    if as_json:
        from modelmeter.devices import NOT_MODELLED
        from modelmeter.report.json_document import json_text, model_content

        content = (
            model_content(model, cost_model)
            | settings
            | {
                "pages": [asdict(size) | {"dpi": each.dpi} for each in inputs for size in each.pages],
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
        return
    if len(results) == 1:
        head = f"{first.device.name}: {first.device.title}"
        tables: list[RenderableType] = [throughput_tables.kinds_table(first), "", throughput_tables.result_table(first)]
    else:
        head = throughput_tables.kinds_line(first)
        tables = [throughput_tables.comparison_table(results), "", throughput_tables.reason_lines(results)]
    write(
        rendered(
            head,
            page_tables.model_lines(cost_model, package.MODES, overrides),
            "",
            *tables,
            "",
            throughput_tables.rest_lines(first, smallest),
            "",
            page_tables.assumption_lines(cost_model.assumptions()),
        )
    )


def _devices(names: Sequence[str]) -> Sequence[Device]:
    """The devices that were asked for, or all bundled ones."""
    from modelmeter.devices import bundled_devices, load_device

    devices = [load_device(name) for name in names] if names else bundled_devices()
    for name, times in Counter(device.name for device in devices).items():
        if times > 1:
            raise ModelMeterError(f"throughput: there are {times} devices {name}; give each once, under its own name.")
    return devices


def _smallest(cost_model: CostModel, kinds: Sequence[PageKind[PageCost]], settings: Mapping[str, Any]) -> str | None:
    """The smallest bundled device for one page at a time, if there is one."""
    from modelmeter.devices import smallest_device

    try:
        return smallest_device(cost_model, kinds, **{**settings, "batch_size": 1}).name
    except ModelMeterError:
        return None


def _output_tokens(given: Sequence[str], inputs: int) -> list[OutputTokens]:
    """What the pages of each input say; it is never assumed."""
    if not given:
        raise ModelMeterError(
            "throughput: what do the pages say? give --output-tokens 1000, or numbers with weights, as in "
            "800:0.7,1500:0.3."
        )
    if len(given) not in (1, inputs):
        raise ModelMeterError(
            f"throughput: --output-tokens was given {len(given)} times for {inputs} inputs; give it once, or once for "
            "each."
        )
    parsed = [_numbers(text) for text in given]
    return parsed * inputs if len(parsed) == 1 else parsed


def _numbers(text: str) -> OutputTokens:
    try:
        if ":" not in text:
            return int(text)
        pairs = [part.split(":") for part in text.split(",")]
        weights = {int(number): Fraction(weight) for number, weight in pairs}
    except (ValueError, ZeroDivisionError) as error:
        raise ModelMeterError(
            f"throughput: --output-tokens {text} is neither a whole number nor numbers with weights, as in "
            "800:0.7,1500:0.3."
        ) from error
    if len(weights) < len(pairs):
        raise ModelMeterError(f"throughput: --output-tokens {text} gives one number several weights; give it one.")
    return weights


def _kinds(cost_model: CostModel, given: Input, said: OutputTokens) -> list[PageKind[PageCost]]:
    """The pages of one input, those of one size as one kind."""
    from modelmeter.devices import PageKind

    sizes = Counter((page.width, page.height) for page in given.pages)
    kinds = []
    for (width, height), count in sizes.items():
        label = given.name if len(sizes) == 1 else f"{given.name}, {width}x{height}"
        try:
            page = cost_model.page(width, height)
        except ModelMeterError as error:
            raise ModelMeterError(f"page {label}: {error}") from error
        kinds.append(PageKind(page=page, output_tokens=said, count=count, label=label))
    return kinds


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
        raise BadArguments(list(dict.fromkeys(reasons)))
    return results
