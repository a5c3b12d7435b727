"""`modelmeter diff`: two configurations, or two results, side by side, and the operators that make the difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from modelmeter.cli.arguments import (
    complete_device,
    debug_option,
    json_option,
    model_option,
    read_arguments,
    read_inputs,
)
from modelmeter.cli.output import rendered, write
from modelmeter.errors import ModelMeterError
from modelmeter.models import find, model_package

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.comparison import Change
    from modelmeter.devices import Roofline, StageTime
    from modelmeter.models.common.contract import CostModel
    from modelmeter.report.fitting import Fitting
    from modelmeter.report.page_tables import Show

#: an override that says whose cost a side is; one that has none has the model of --model
_NAMED: Final = re.compile(r"\s*(?:model|checkpoint)\s*=")

#: what --by sorts operators by
ORDERS: Final = {"flops": "tensor_core_flops", "traffic": "io_bytes", "time": "seconds"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two. pages: as in the JSON of `modelmeter page`. cost_model: None where it cannot be made again."""

    label: str
    model: str
    configuration: Mapping[str, Any]
    output_tokens: int
    pages: Sequence[Mapping[str, Any]]
    cost_model: CostModel | None
    #: what rows are called that hold a layout's numbers, by their names
    layout_words: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PagePair:
    """One page in both: its content, and, where both models are here, its operators and predicted times."""

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    layout_words: Mapping[str, str]
    changes: Sequence[Change] | None
    times: tuple[Mapping[str, StageTime], Mapping[str, StageTime]] | None


@click.command(short_help="Two configurations or results side by side, and why they differ.")
@click.argument("arguments", nargs=-1, type=click.Path(), metavar="A.json B.json | INPUT [KEY=VALUE]...")
@click.option("--a", "of_a", multiple=True, metavar="KEY=VALUE,...", help="Overrides of the first configuration.")
@click.option("--b", "of_b", multiple=True, metavar="KEY=VALUE,...", help="Overrides of the second one.")
@click.option(
    "--output-tokens",
    type=click.IntRange(0),
    default=None,
    metavar="N",
    help="Decode steps, so N + 1 output tokens with the prefill's.  [default: 0]",
)
@click.option(
    "--device",
    shell_complete=complete_device,
    metavar="DEVICE",
    help="Predict times, too: a bundled device, or a YAML file of your own.",
)
@click.option(
    "--by",
    type=click.Choice(list(ORDERS)),
    default=None,
    help="What the operators are sorted by.  [default: flops; with --device time]",
)
@click.option(
    "--top", type=click.IntRange(1), default=12, show_default=True, metavar="N", help="Operators that are listed."
)
@click.option("--exact", is_flag=True, help="Print every integer with all its digits.")
@model_option
@json_option
@debug_option
def command(
    arguments: tuple[str, ...],
    of_a: tuple[str, ...],
    of_b: tuple[str, ...],
    output_tokens: int | None,
    device: str | None,
    by: str | None,
    top: int,
    exact: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """What changes between two configurations of a page, or two results, and which operators account for it.

    Either two files that `modelmeter page --json` wrote; or one INPUT and the overrides of each side, as in
    1275x1650 --a execution=transformers --b execution=serving, with those that both share as KEY=VALUE beside INPUT.
    """
    if of_a or of_b:
        a, b = _configured(model, arguments, (of_a, of_b), output_tokens or 0)
    else:
        if output_tokens is not None:
            raise ModelMeterError(
                "diff: two results have their own output tokens; --output-tokens goes with --a and --b."
            )
        a, b = _results(arguments)
    if len(a.pages) != len(b.pages):
        raise ModelMeterError(
            f"diff: {a.label} has {len(a.pages)} pages and {b.label} has {len(b.pages)}; compare as many."
        )
    if by == "time" and device is None:
        raise ModelMeterError("diff: --by time needs the time; give a --device.")
    roofline = _roofline(device, a, b)
    order = ORDERS[by or ("time" if roofline else "flops")]
    pairs = [_pair(a, b, index, roofline, order) for index in range(len(a.pages))]
    if as_json:
        write(_json(a, b, pairs, device))
        return

    from modelmeter.comparison import differing
    from modelmeter.report import diff_tables, page_tables

    show: Show = page_tables.exact_figure if exact else page_tables.readable_figure
    parts: list[RenderableType | Fitting] = [
        page_tables.label_lines(("A", a.label), ("B", b.label)),
        diff_tables.configuration_lines(differing(_asked(a), _asked(b))),
    ]
    for pair in pairs:
        parts += ["", *_parts(pair, top, show)]
    write(rendered(*parts))


def _asked(side: Side) -> dict[str, Any]:
    return {"model": side.model} | dict(side.configuration) | {"output_tokens": side.output_tokens}


def _parts(pair: PagePair, top: int, show: Show) -> list[RenderableType | Fitting]:
    from modelmeter.report import diff_tables

    parts: list[RenderableType | Fitting] = [
        _title(pair),
        diff_tables.tokens_table(pair.a, pair.b, pair.layout_words),
        "",
    ]
    parts += [diff_tables.stages_table(pair.a, pair.b, show), "", diff_tables.peak_lines(pair.a, pair.b), ""]
    if pair.times is not None:
        parts += [diff_tables.times_table(*pair.times), ""]
    if pair.changes is None:
        parts.append("the operators are not known: a result is not what this version computes of its configuration")
    elif pair.changes:
        parts.append("operators that differ, B - A; prefill includes vision")
        parts.append(diff_tables.operators_table(pair.changes, top, show, timed=pair.times is not None))
    else:
        parts.append("no operator differs")
    return parts


def _title(pair: PagePair) -> str:
    one, other = (f"{page['width']} x {page['height']} pixels" for page in (pair.a, pair.b))
    return f"page: {one}" if one == other else f"pages: {one} -> {other}"


# -- the two sides ----------------------------------------------------------------------------------------------------


def _configured(
    model: str | None, arguments: Sequence[str], sides: tuple[Sequence[str], Sequence[str]], output_tokens: int
) -> tuple[Side, Side]:
    """One page under two configurations."""
    model, names, shared = read_arguments(model, arguments)
    pages = [page for each in read_inputs(names) for page in each.pages]
    if len(pages) > 1:
        raise ModelMeterError(f"diff: {len(pages)} pages are given; with --a and --b, give one.")
    size = pages[0]

    def side(given: Sequence[str]) -> Side:
        own = split_overrides(given)
        name, overrides = find(None if any(map(_NAMED.match, own)) else model, [*shared, *own])
        cost_model = model_package(name).load_cost_model(overrides).lazy()
        content = asdict(size) | cost_model.page(size.width, size.height, output_tokens).to_dict()
        return Side(
            label=" ".join([*shared, *own]) or "no overrides",
            model=name,
            configuration=asdict(cost_model.config),
            output_tokens=output_tokens,
            pages=[content],
            cost_model=cost_model,
            layout_words=cost_model.workload.layout_words,
        )

    return side(sides[0]), side(sides[1])


def split_overrides(given: Sequence[str]) -> list[str]:
    """The overrides of `--a` or `--b`: a comma parts two of them where a further key follows.

    >>> split_overrides(["workload=base,runtime.attention=eager", "vision.sam.global_attn_indexes=[2,5]"])
    ['workload=base', 'runtime.attention=eager', 'vision.sam.global_attn_indexes=[2,5]']
    """
    return [each for text in given for each in re.split(r",(?=[\w./]+=)", text) if each]


def _results(arguments: Sequence[str]) -> tuple[Side, Side]:
    """Two result files."""
    if len(arguments) != 2:
        verb = "is" if len(arguments) == 1 else "are"
        raise ModelMeterError(
            f"diff: two results are compared, and {len(arguments)} {verb} given; give two files that "
            "`modelmeter page --json` printed, or one INPUT with --a and --b."
        )
    from modelmeter.report.results import read_result

    one, other = (read_result(Path(argument)) for argument in arguments)
    return _of_result(arguments[0], one), _of_result(arguments[1], other)


def _of_result(label: str, document: Mapping[str, Any]) -> Side:
    """A result, and the model that made it if this version makes the same figures of its configuration."""
    from modelmeter.report.diff_tables import stage_rows

    output_tokens, pages = document["output_tokens"], document["pages"]
    try:
        package, first = model_package(document["model"]), pages[0]
        cost_model = package.restore_cost_model(document["configuration"], prompt_tokens=0)
        if cost_model.config.runtime.prompt is not None:  # whose tokens are what is left of the prefill's
            beside = cost_model.seq_len(cost_model.workload.layout(first["width"], first["height"]))
            counted = first["prefill_tokens"] - beside
            cost_model = package.restore_cost_model(document["configuration"], prompt_tokens=counted)
        same = all(
            written == made
            for page in pages
            for *_, written, made in stage_rows(
                page, cost_model.page(page["width"], page["height"], output_tokens).to_dict()
            )
        )
    except ModelMeterError as error:
        raise ModelMeterError(f"result {label}: {error}") from error
    return Side(
        label=label,
        model=document["model"],
        configuration=asdict(cost_model.config),
        output_tokens=output_tokens,
        pages=pages,
        cost_model=cost_model if same else None,
        layout_words=cost_model.workload.layout_words,
    )


# -- what differs -----------------------------------------------------------------------------------------------------


def _roofline(device: str | None, a: Side, b: Side) -> Roofline | None:
    if device is None:
        return None
    for side in (a, b):
        if side.cost_model is None:
            raise ModelMeterError(
                f"diff: {side.label} is not what this version computes of its configuration, so its time cannot be "
                "predicted; leave --device out, or make the result again."
            )
    from modelmeter.devices import Roofline, load_device

    return Roofline(load_device(device))


def _pair(a: Side, b: Side, index: int, roofline: Roofline | None, order: str) -> PagePair:
    from modelmeter.comparison import compare_operators, operator_sums, stage_times

    contents = (a.pages[index], b.pages[index])
    if a.cost_model is None or b.cost_model is None:
        return PagePair(a=contents[0], b=contents[1], layout_words=a.layout_words, changes=None, times=None)
    sums, times = [], []
    for side, content in zip((a, b), contents, strict=True):
        assert side.cost_model is not None
        page = side.cost_model.page(int(content["width"]), int(content["height"]), side.output_tokens)
        sums.append(operator_sums(side.cost_model, page, side.output_tokens, roofline))
        if roofline is not None:
            times.append(stage_times(side.cost_model, page, side.output_tokens, roofline))
    return PagePair(
        a=contents[0],
        b=contents[1],
        layout_words=a.layout_words,
        changes=compare_operators(sums[0], sums[1], order),
        times=(times[0], times[1]) if times else None,
    )


def _json(a: Side, b: Side, pairs: Sequence[PagePair], device: str | None) -> str:
    from modelmeter.comparison import differing
    from modelmeter.report.diff_tables import change_content, stage_rows, token_rows
    from modelmeter.report.json_document import json_text

    pages = []
    for pair in pairs:
        page: dict[str, Any] = {
            side: {key: content[key] for key in ("width", "height")} for side, content in (("a", pair.a), ("b", pair.b))
        }
        page["tokens"] = [
            {"name": name, "a": one, "b": other, "delta": other - one}
            for name, one, other in token_rows(pair.a, pair.b, pair.layout_words)
        ]
        page["stages"] = [
            {"figure": figure, "stage": stage, "a": one, "b": other, "delta": other - one}
            for figure, stage, one, other in stage_rows(pair.a, pair.b)
        ]
        if pair.times is not None:
            page["predicted_s"] = {
                stage: {"a": one.seconds, "b": pair.times[1][stage].seconds} for stage, one in pair.times[0].items()
            }
        if pair.changes is not None:
            timed = pair.times is not None
            page["operators"] = [change_content(change, timed=timed) for change in pair.changes]
        pages.append(page)
    content = {
        "a": a.label,
        "b": b.label,
        "device": device,
        "configuration": [{"key": key, "a": one, "b": other} for key, one, other in differing(_asked(a), _asked(b))],
        "pages": pages,
    }
    return json_text("diff", content)
