"""`modelmeter page`: the cost of pages by stage, their time on a device, and what is behind both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from modelmeter.cli.arguments import (
    Input,
    complete_device,
    engine_option,
    file_option,
    page_options,
    read_arguments,
    read_inputs,
    said_of,
    same_sizes,
    system_prompt_option,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.cli.page_prompt import check_prompts, found_of, prompt_content, prompt_screen
from modelmeter.errors import ModelMeterError
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.models import model_package
from modelmeter.page_sizes import PageSize
from modelmeter.quantities import ranges

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.devices import Device
    from modelmeter.devices.stage_time import StageTimes
    from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost
    from modelmeter.models.common.totals import Totals
    from modelmeter.models.common.vram import Vram
    from modelmeter.report.fitting import Fitting
    from modelmeter.report.page_rows import Row
    from modelmeter.report.page_screen import Asked
    from modelmeter.report.page_tables import Show
    from modelmeter.report.page_times import OnDevice
    from modelmeter.report.parts import WalkedStage
    from modelmeter.report.peak_holders import PeakHolders

#: parts, and holders of the peak, that are listed
TOP: Final = 12
#: what --by takes, as `modelmeter.report.parts` has it, which is imported where it is asked for
BY: Final = ("module", "operator", "kernel-class")


@click.command(short_help="Tokens, FLOPs, memory and time of pages, by stage.")
@page_options
@click.option(
    "--device",
    "device",
    shell_complete=complete_device,
    default=None,
    metavar="DEVICE",
    help="Add times on a bundled device, or on one of a YAML file of your own.",
)
@engine_option("vllm with --device, else transformers")
@system_prompt_option
@click.option("--by", type=click.Choice(BY), default=None, help="The page's prefill and last decode step in parts.")
@click.option("--memory", is_flag=True, help="The tensors that are alive at the page's peak.")
@click.option(
    "--top",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help=f"Parts or tensors that --by and --memory list.  [default: {TOP}]",
)
@file_option("csv", "Write every operator of the page, or every part that --by makes; - is standard output.")
@file_option("trace", "Write the page's run on the device, estimated, as a trace for Perfetto; - is standard output.")
@click.option("--explain", is_flag=True, help="Say what every figure and every label means, and all settings.")
@with_system_prompt
def command(
    arguments: tuple[str, ...],
    model: str | None,
    output_tokens: int | None,
    dpi: int,
    max_pixels: int,
    exact: bool,
    as_json: bool,
    device: str | None,
    engine: str | None,
    by: str | None,
    memory: bool,
    top: int | None,
    csv_file: str | None,
    trace_file: str | None,
    explain: bool,
) -> None:
    """What pages cost, by stage.

    INPUT is an image file, a PDF, or a size such as 1275x1650. KEY=VALUE overrides the configuration, as in
    runtime.dtype=float32; device=H100-SXM is --device H100-SXM. Every page is read and computed before anything is
    printed. Several pages have a line each, and those of a PDF or a TIFF a table of all of them together.
    """
    name, arguments = _device_of(device, arguments)
    wanted = Wanted(
        by=by,
        memory=memory,
        top=top,
        csv_file=_standard(csv_file),
        trace_file=_standard(trace_file),
        explain=explain,
        as_json=as_json,
    )
    wanted.check(name)
    model, names, overrides = read_arguments(model, arguments)
    overrides = with_engine("page", engine, overrides)
    inputs = read_inputs(names, dpi, max_pixels, prompts=True)
    wanted.check_pages(inputs, [*names, *([] if name is None else [name])])
    pages = _pages(model, overrides, inputs, output_tokens, name)
    if check_prompts(inputs, next((option for option, value in wanted.of_one_page.items() if value), None)):
        write(_prompt(pages, wanted, exact=exact))
        return
    files = _files(pages, wanted)
    if "-" in files:
        write_document(files["-"])
        return
    content = _json(pages, wanted) if as_json else None
    for path, text in files.items():
        write_whole(Path(path), encodable(text).encode())
    if content is not None:
        write(content)
        return
    from modelmeter.report import page_tables

    show = page_tables.exact_figure if exact else page_tables.readable_figure
    write(rendered(*_screen(pages, wanted, show), *(f"{path}: {len(text):,} bytes" for path, text in files.items())))


# -- what is asked --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the options ask for beside the screen; of files, "-" is standard output."""

    by: str | None
    memory: bool
    top: int | None
    csv_file: str | None
    trace_file: str | None
    explain: bool
    as_json: bool

    @property
    def of_one_page(self) -> dict[str, object]:
        """The options that look into one page, and what they were given."""
        return {"--by": self.by, "--memory": self.memory, "--csv": self.csv_file, "--trace": self.trace_file}

    @property
    def times_operators(self) -> bool:
        """Whether operators are told with their times, where there is a device."""
        return any((self.by, self.csv_file, self.trace_file))

    def check(self, device: str | None) -> None:
        """Refuse options that do not go together."""
        if self.top is not None and self.by is None and not self.memory:
            raise ModelMeterError(f"page: --top {self.top} is of what --by or --memory lists; add one of them.")
        if self.trace_file is not None and device is None:
            raise ModelMeterError("page: --trace is of times on a device; add one, as in --device H100-SXM.")
        streams = [
            name
            for name, given in (
                ("--json", self.as_json),
                ("--csv -", self.csv_file == "-"),
                ("--trace -", self.trace_file == "-"),
            )
            if given
        ]
        if len(streams) > 1:
            raise ModelMeterError(f"page: {' and '.join(streams)} would share standard output; give a file's name.")
        if self.as_json and self.explain:
            raise ModelMeterError("page: --explain is of the screen; --json says its assumptions; leave one out.")

    def check_pages(self, inputs: Sequence[Input], read: Sequence[str]) -> None:
        """Refuse what is of one page where there are several; and files that were read, or cannot be written."""
        sizes = {(page.width, page.height) for each in inputs for page in each.pages}
        given = [name for name, value in self.of_one_page.items() if value]
        if given and len(sizes) > 1:
            raise ModelMeterError(
                f"page: {given[0]} looks into one page, and there are pages of {len(sizes)} sizes; give one of them."
            )
        files = [file for file in (self.csv_file, self.trace_file) if file not in (None, "-")]
        for file in files:
            check_output("page", Path(file), read)
        if len({os.path.realpath(file) for file in files}) < len(files):
            raise ModelMeterError(f"page: --csv and --trace would both write {files[0]}; give two names.")


def _device_of(device: str | None, arguments: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The device of --device or of device=, and the other arguments."""
    said, others = said_of("device", arguments)
    names = [*([] if device is None else [device]), *said]
    if len(names) > 1:
        raise ModelMeterError(
            f"page: {' and '.join(names)} are {len(names)} devices; give one, or set them side by side with modelmeter "
            "throughput."
        )
    return (names[0] if names else None), tuple(others)


def _standard(file: str | None) -> str | None:
    """A file's name; "-" for every name of standard output."""
    return "-" if file is not None and is_standard_output(Path(file)) else file


# -- what comes of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The pages, and what they cost. device: None where none is named. times: of it, or why there are none."""

    name: str
    package: ModelPackage
    model: CostModel
    overrides: Sequence[str]
    output_tokens: int | None
    inputs: Sequence[Input]
    rows: Sequence[Sequence[Row]]
    device: Device | None
    times: StageTimes | str | None

    @property
    def steps(self) -> int:
        """Decode steps of each page."""
        return self.output_tokens or 0

    @cached_property
    def all_rows(self) -> list[Row]:
        """The rows of all inputs."""
        return [row for rows in self.rows for row in rows]

    @property
    def first(self) -> Row:
        """The page, where there is one."""
        return self.all_rows[0]

    @cached_property
    def found(self) -> OnDevice | str | None:
        """What the device makes of the pages, or why it does not."""
        if self.times is None or isinstance(self.times, str):
            return self.times
        from modelmeter.report.page_times import on_device

        try:
            return on_device(self.model, self.times, self.all_rows, self.steps)
        except ModelMeterError as error:
            return str(error)

    @cached_property
    def stages(self) -> list[WalkedStage]:
        """The operators of the page, with their times on a device."""
        from modelmeter.report.parts import walked_stages

        if isinstance(self.times, str):
            raise ModelMeterError(self.times)
        return walked_stages(self.model, self.first.page, self.steps, self.times)

    @cached_property
    def holders(self) -> PeakHolders:
        """Who holds the page's peak."""
        from modelmeter.report.peak_holders import peak_holders

        return peak_holders(self.model, self.first.page, self.first.size, self.steps)

    @cached_property
    def totals(self) -> list[tuple[str, Totals]]:
        """The files of several pages, and what all of their pages cost together."""
        from modelmeter.models.common.totals import Totals

        return [
            (
                each.name,
                Totals.of_pages([(Totals.of_page(row.page, self.steps), row.count) for row in rows]),
            )
            for each, rows in zip(self.inputs, self.rows, strict=True)
            if len(each.pages) > 1
        ]


def _pages(
    name: str, overrides: Sequence[str], inputs: Sequence[Input], output_tokens: int | None, device_name: str | None
) -> Pages:
    package = model_package(name)
    if device_name is None:
        model, device, times = package.load_cost_model(overrides).lazy(), None, None
    else:
        from modelmeter.devices import load_device
        from modelmeter.models.common.engines import served

        device = load_device(device_name)
        model = package.load_cost_model(served(overrides, package.EXECUTIONS)).lazy().for_times()
        if model.batch_size > 1:
            raise ModelMeterError(
                f"page: runtime.batch_size={model.batch_size} makes one pass of several pages, and times are of pages "
                f"that are prefilled one at a time; leave it out, or ask modelmeter throughput --batch "
                f"{model.batch_size}."
            )
        times = _times(model, device)
    for each in inputs:
        if len(each.pages) > 1:
            model.request.check_one_page(f"page {each.name}")
    costs = {
        (size.width, size.height): _cost(model, size, output_tokens or 0, device)
        for each in inputs
        for size in each.pages
    }
    return Pages(
        name=name,
        package=package,
        model=model,
        overrides=overrides,
        output_tokens=output_tokens,
        inputs=inputs,
        rows=[list(_rows(each, costs)) for each in inputs],
        device=device,
        times=times,
    )


def _times(model: CostModel, device: Device) -> StageTimes | str:
    from modelmeter.devices.stage_time import StageTimes

    try:
        return StageTimes(model, device)
    except ModelMeterError as error:
        return str(error)


def _cost(model: CostModel, size: PageSize, output_tokens: int, device: Device | None) -> tuple[PageCost, Vram]:
    kind = {} if device is None else {"device_kind": device.kind}
    try:
        page = model.page(size.width, size.height, output_tokens)
        return page, model.vram(size.width, size.height, output_tokens, **kind)
    except ModelMeterError as error:
        raise ModelMeterError(f"page {size.source}: {error}") from error


def _rows(given: Input, costs: Mapping[tuple[int, int], tuple[PageCost, Vram]]) -> Iterator[Row]:
    """A row for each size that the pages of an input have."""
    from modelmeter.report.page_rows import Row

    several = given.dpi is not None or len(given.pages) > 1
    numbers: dict[tuple[int, int], list[int]] = {}
    for number, each in enumerate(given.pages, start=1):
        numbers.setdefault((each.width, each.height), []).append(number)
    for size, same in numbers.items():
        page, vram = costs[size]
        told = f"page{'s' * (len(same) > 1)} {ranges(same)}" if several else ""
        yield Row(name=told, size=given.pages[same[0] - 1], count=len(same), page=page, vram=vram)


def _files(pages: Pages, wanted: Wanted) -> dict[str, str]:
    """What is written, by the name of the file."""
    files = {}
    if wanted.csv_file is not None:
        from modelmeter.report.parts import operators_csv, parts_csv

        files[wanted.csv_file] = parts_csv(pages.stages, wanted.by) if wanted.by else operators_csv(pages.stages)
    if wanted.trace_file is not None:
        from modelmeter.report.trace import trace_document, trace_text

        if len(pages.first.page.passes(0)) > 1:
            raise ModelMeterError("page: --trace is of a page of one pass; leave workload.regions out.")
        stages = pages.stages
        if pages.found is None or isinstance(pages.found, str):
            raise ModelMeterError(f"page: there is no trace, since {pages.found}")
        document = trace_document(stages, pages.found.alone, pages.model, pages.first.page)
        files[wanted.trace_file] = trace_text(document)
    return files


def _json(pages: Pages, wanted: Wanted) -> str:
    """The full result as JSON."""
    from modelmeter.report.json_document import json_text

    costs = {(row.size.width, row.size.height): row.page for row in pages.all_rows}
    kind = {} if pages.device is None else {"device_kind": pages.device.kind}
    content = pages.model.to_dict() | {
        "output_tokens": pages.steps,
        "pages": [
            asdict(size) | {"dpi": each.dpi} | costs[size.width, size.height].to_dict(**kind)
            for each in pages.inputs
            for size in each.pages
        ],
        "totals": [{"source": name} | each.as_dict() for name, each in pages.totals],
    }
    content |= _times_content(pages, pages.found)
    if wanted.by is not None:
        from modelmeter.report.parts import parts_content

        content["parts"] = {"by": wanted.by, "stages": parts_content(pages.stages, wanted.by)}
    if wanted.memory:
        from modelmeter.report.peak_holders import holders_content

        content["peak_holders"] = holders_content(pages.holders)
    return json_text("page", content)


def _times_content(pages: Pages, found: OnDevice | str | None) -> dict[str, object]:
    """For JSON: what the device makes of it, where there is one."""
    if pages.device is None:
        return {}
    from modelmeter.report.throughput_tables import throughput_content

    return {
        "times": {"device": pages.device.name, "engine": pages.model.engine.name}
        | (
            {"error": found}
            if found is None or isinstance(found, str)
            else {"alone": throughput_content(found.alone), "most": throughput_content(found.most)}
        )
    }


def _prompt(pages: Pages, wanted: Wanted, *, exact: bool) -> str:
    """The screen or the JSON of a prompt without an image."""
    from modelmeter.report import page_screen, page_tables

    asked = page_screen.Asked(
        name=pages.name,
        model=pages.model,
        overrides=pages.overrides,
        output_tokens=pages.output_tokens,
        show=page_tables.exact_figure if exact else page_tables.readable_figure,
    )
    (given,) = pages.inputs
    found = found_of(asked, given, pages.times)
    if wanted.as_json:
        from modelmeter.report.json_document import json_text

        content = {"output_tokens": pages.steps, "prompts": [prompt_content(asked, given, pages.device)]}
        return json_text("page", pages.model.to_dict() | content | _times_content(pages, found))
    parts = prompt_screen(asked, given, pages.device, found)
    return rendered(*parts, *(["", *page_screen.explained(asked, [], found)] if wanted.explain else []))


# -- the screen -----------------------------------------------------------------------------------------------------


def _screen(pages: Pages, wanted: Wanted, show: Show) -> Iterator[RenderableType | Fitting]:
    from modelmeter.report import page_screen, page_tables

    asked = page_screen.Asked(
        name=pages.name,
        model=pages.model,
        overrides=pages.overrides,
        output_tokens=pages.output_tokens,
        show=show,
    )
    if wanted.by or wanted.memory:
        yield from _within(pages, wanted, asked)
    elif sum(len(each.pages) for each in pages.inputs) == 1:
        row = pages.first
        yield same_sizes(pages.inputs)[0][0]
        yield page_screen.head_lines(asked, row.page)
        yield ""
        yield page_tables.stage_table(row.page, pages.model.assumptions(), show, page_screen.SHORT)
        yield ""
        yield page_screen.result_lines(asked, row.page, row.vram, pages.found)
    else:
        yield from _several(pages, asked)
    if wanted.explain:
        yield ""
        yield from page_screen.explained(asked, pages.all_rows, pages.found)


def _several(pages: Pages, asked: Asked) -> Iterator[RenderableType]:
    """A line for the pages of each size, and what those of each file come to."""
    from modelmeter.report import page_screen, page_tables

    named = [(each.name, rows) for each, rows in zip(pages.inputs, pages.rows, strict=True)]
    yield page_screen.several_head(asked, pages.inputs)
    yield ""
    yield page_screen.pages_table(named, asked, pages.found)
    yield ""
    for name, together in pages.totals:
        yield page_tables.totals_lines(name, together, pages.model.batch_size)
        yield page_tables.stage_table(together, pages.model.assumptions(), asked.show, page_screen.SHORT)
        yield ""
    yield page_screen.several_lines(asked, pages.all_rows, pages.found)


def _within(pages: Pages, wanted: Wanted, asked: Asked) -> Iterator[RenderableType | Fitting]:
    """The page in parts, and the holders of its peak."""
    from modelmeter.report import page_screen

    top = wanted.top or TOP
    yield same_sizes(pages.inputs)[0][0]
    yield page_screen.head_lines(asked, pages.first.page)
    yield ""
    if wanted.by:
        from modelmeter.report.parts import parts_table

        for stage in pages.stages:
            yield stage.title
            yield parts_table(stage, wanted.by, top, asked.show)
            yield ""
    if wanted.memory:
        from modelmeter.report.peak_holders import holders_table, holders_title

        yield holders_title(pages.holders, pages.model.load_bytes)
        yield holders_table(pages.holders, top, asked.show)
        yield ""
    yield page_screen.within_lines(asked, pages.device, wanted.by is not None)
