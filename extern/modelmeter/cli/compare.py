"""`modelmeter compare`: which model, on the user's own pages, at what cost and of what published quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from modelmeter import models
from modelmeter.cli.arguments import (
    STDIN,
    check_table_options,
    checkpoint_of,
    complete_device,
    complete_model,
    debug_option,
    dpi_option,
    engine_option,
    file_option,
    inputs_argument,
    is_corpus,
    json_option,
    max_pixels_option,
    parse_prices,
    price_option,
    read_inputs,
    system_prompt_option,
    table_options,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write, write_document
from modelmeter.cli.output_tokens import parse_output_tokens
from modelmeter.cli.page_class import (
    PageText,
    RunawayShare,
    TokensOfModel,
    page_class_options,
    parse_text,
    runaway_option,
)
from modelmeter.cli.report_file import report_format, report_text
from modelmeter.cli.several_models import ALL, NamesOption, asked_models, check_override, each_of, names_of, split_for
from modelmeter.errors import ModelMeterError, near
from modelmeter.files import check_output, encodable, is_standard_output, write_whole
from modelmeter.process import tell

if TYPE_CHECKING:
    from modelmeter.compare import Comparison, Entry, Pages, Steps
    from modelmeter.compare.choice import Choice, Row
    from modelmeter.compare.pages import Output
    from modelmeter.corpus.sizes import CorpusSizes
    from modelmeter.devices import Device
    from modelmeter.sweep import Asked

#: of --modes: the mode that each checkpoint has
OWN: Final = "default"


@click.command(short_help="Models side by side on your pages: cost, speed, quality.")
@inputs_argument
@click.option(
    "--models",
    "model_names",
    multiple=True,
    metavar="NAME,...",
    shell_complete=each_of(complete_model),
    help="Models, checkpoints, folders with a checkpoint of your own, or all.  [default: all checkpoints]",
)
@click.option(
    "--modes",
    multiple=True,
    metavar="NAME,...",
    help="Named workloads, or all; a model that has none of them stays in its own (default).  [default: default]",
)
@click.option(
    "--device",
    "--devices",
    "device_names",
    cls=NamesOption,
    multiple=True,
    metavar="DEVICE,...",
    shell_complete=each_of(complete_device),
    help="Add times on these devices, bundled ones or YAML files of your own.",
)
@engine_option("vllm with a device, else transformers")
@system_prompt_option
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="N|N:WEIGHT,...|COLUMN",
    help="Decode steps of a page, so N + 1 output tokens with the prefill's, for all models alike: a number, numbers "
    "with weights, as in 800:0.7,1500:0.3, or the tables' column. Once for all inputs, or once for each of them.",
)
@page_class_options
@table_options
@price_option
@runaway_option
@click.option(
    "--quality",
    "benchmark",
    default=None,
    metavar="BENCHMARK",
    help="Whose published figures decide which rows are efficient, and stand in the chart.  [default: that of which "
    "most of the models have one]",
)
@click.option("--columns", default=None, metavar="NAME,...", help="Figures of the table, of the CSV and of the JSON.")
@click.option(
    "--sort",
    default=None,
    metavar="NAME",
    help="Order by a figure or a benchmark, the best first, or by a name; -NAME turns it round.  [default: what stands "
    "for cost]",
)
@file_option("csv", "Write every row with all figures; - is standard output.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default=None,
    metavar="FILE",
    help="Write a report with the chart of quality against cost, as .html, .md or .json.",
)
@click.option("--explain", is_flag=True, help="Say what every label means.")
@dpi_option
@max_pixels_option
@json_option
@debug_option
@with_system_prompt
def command(
    arguments: tuple[str, ...],
    model_names: tuple[str, ...],
    modes: tuple[str, ...],
    device_names: tuple[str, ...],
    engine: str | None,
    output_tokens: tuple[str, ...],
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    prices: tuple[str, ...],
    runaway_share: RunawayShare,
    benchmark: str | None,
    columns: str | None,
    sort: str | None,
    csv_file: str | None,
    output: str | None,
    explain: bool,
    dpi: int,
    max_pixels: int,
    as_json: bool,
) -> None:
    """Which model: all of them on your own pages, with what each costs and how well it was found to read.

    INPUT is an image file, a PDF, a size such as 1275x1650, or a corpus: a folder of images and PDFs, or a table of
    sizes (.csv, .tsv, .jsonl, .parquet, or - for one on standard input); all of them together are the pages. KEY=VALUE
    overrides the configuration of every model that has the key, as in host.workers=8. A model that cannot answer keeps
    its row, with the reason. docs/compare.md says what every column means.
    """
    asked = asked_models(names_of("compare", "--models", model_names, models.checkpoints()) or [*models.checkpoints()])
    files, overrides = split_for(arguments, asked)
    overrides = with_engine("compare", engine, overrides)
    for override in overrides:
        check_override(asked, override)
    corpora = [name for name in files if is_corpus(name)]
    if corpora.count(STDIN) > 1:
        raise ModelMeterError("compare: standard input (-) is given twice, and can be read once.")
    check_table_options("compare", corpora, width=width, height=height, unit=unit, count=count)
    if csv_file is not None and is_standard_output(Path(csv_file)):
        csv_file = "-"
    if output is not None and is_standard_output(Path(output)):
        output = "-"
    streams = [
        option
        for option, given in (("--json", as_json), ("--csv -", csv_file == "-"), ("-o -", output == "-"))
        if given
    ]
    if len(streams) > 1:
        raise ModelMeterError(f"compare: {' and '.join(streams)} would share standard output; give a file's name.")
    report = None if output is None else report_format("compare", output)
    written = [name for name in (csv_file, output) if name not in (None, "-")]
    for place, name in enumerate(written):
        check_output("compare", Path(str(name)), [*files, *device_names, *map(str, written[:place])])
    devices = _devices(device_names)
    if prices and not devices:
        raise ModelMeterError(f"compare: --price {prices[0]} is of a device; add one, as in --device H100-SXM.")
    read: dict[str, Any] = {"width": width, "height": height, "unit": unit, "dpi": dpi, "count": count}
    others = [name for name in files if name not in corpora]
    text = parse_text("compare", (page_class, language, text_format, tokenizers), output_tokens, others)
    if devices and text is None and not output_tokens:
        parse_output_tokens("compare", (), len(files), None)  # which says that it is never assumed
    pages, counted = _read(files, _outputs(files, output_tokens, text), read, max_pixels)

    from modelmeter.compare import Comparison

    choice = _chosen(
        Comparison(
            pages=pages,
            models=_entries(asked, names_of("compare", "--modes", modes)),
            overrides=overrides,
            devices=devices,
            prices=parse_prices("compare", prices, devices),
            runaway_share=runaway_share.share,
            assumed=runaway_share.assumptions(),
        ),
        benchmark,
    )
    chosen = _columns(choice, columns, sort)

    from modelmeter.report import compare_tables

    rows = compare_tables.sorted_rows(choice, sort)
    documents: dict[str, str] = {}
    subject, said = _subject(files, pages), _said(output_tokens, text, runaway_share)
    if report is not None:
        from modelmeter.report.compare_report import compare_report

        documents[str(output)] = report_text(compare_report(choice, rows, subject, said), report)
    if csv_file is not None:
        documents[csv_file] = compare_tables.compare_csv(choice, rows, chosen)
    stream = documents.pop("-", None)
    contents = {Path(name): encodable(document).encode() for name, document in documents.items()}
    for path, content in contents.items():
        write_whole(path, content)
    if stream is not None:
        write_document(stream)
    elif as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("compare", compare_tables.compare_content(choice, rows, chosen)))
    else:
        write(
            rendered(
                *_screen(choice, rows, chosen, subject, said, explain),
                *(f"{path}: {len(content):,} bytes" for path, content in contents.items()),
            )
        )
    _tell_left_out(counted)


def _tell_left_out(counted: Sequence[tuple[str, CorpusSizes]]) -> None:
    """The pages that were left out, files that were not read, and hints, on standard error."""
    if counted:
        from modelmeter.report.corpus_tables import hint_lines, left_out_lines, not_read

        for name, sizes in counted:
            told = (f"{name}: {line}" for line in not_read(sizes.notes))
            for line in (*left_out_lines(sizes), *told, *hint_lines(sizes.notes)):
                tell(line)


def _screen(
    choice: Choice, rows: Sequence[Row], chosen: Sequence[str] | None, subject: str, said: str, explain: bool
) -> Iterator[Any]:
    from modelmeter.report import compare_tables, page_tables, point_tables

    yield compare_tables.head_lines(choice, subject, said)
    yield ""
    yield compare_tables.compare_table(choice, rows, chosen or compare_tables.default_columns(choice))
    if point_tables.refusals(rows):
        yield ""
        yield point_tables.refusal_lines(rows)
    yield ""
    yield page_tables.label_lines(*compare_tables.foot_lines(choice))
    if explain:
        yield ""
        yield page_tables.assumption_lines(compare_tables.assumptions_of(choice.result))
    else:
        yield compare_tables.rests_on_lines(choice.result)


# -- what is asked --------------------------------------------------------------------------------------------------


def _entries(asked: Sequence[Asked], modes: Sequence[str]) -> list[Entry]:
    """Every model in every mode that is asked for and that it has, or in its own."""
    from modelmeter.compare import Entry

    known = dict.fromkeys(mode for each in asked for mode in each.package.MODES)
    for mode in modes:
        if mode not in (ALL, OWN, *known):
            raise ModelMeterError(
                f"compare: --modes {mode}: none of these models has it; {near(mode, [OWN, ALL, *known])}"
            )
    entries = []
    for each in asked:
        own = [mode for mode in each.package.MODES if ALL in modes or mode in modes]
        wanted: list[str | None] = [*([None] if OWN in modes or not own else []), *own]
        entries += [Entry(each, mode) for mode in wanted]
    return entries


def _devices(names: Sequence[str]) -> list[Device]:
    from modelmeter.devices import load_device

    devices = [load_device(name) for name in names_of("compare", "--device", names)]
    for name, times in Counter(device.name for device in devices).items():
        if times > 1:
            raise ModelMeterError(f"compare: there are {times} devices {name}; give each once, under its own name.")
    return devices


class Read(NamedTuple):
    """The pages that were given, and the corpora among them as they were read."""

    pages: Pages
    corpora: Sequence[tuple[str, CorpusSizes]]


class Texts(NamedTuple):
    """What the pages of an input say: all the same, or by a column of tables, which holds numbers or names."""

    output: Output | None
    column: str | None = None
    named: Mapping[str, Output] = MappingProxyType({})


def _outputs(files: Sequence[str], output_tokens: Sequence[str], text: PageText | None) -> list[Texts]:
    """What the pages of each input say."""
    from modelmeter.compare import Given
    from modelmeter.output_tokens import page_classes

    if text is not None:
        named = {name: OfClass(text, name) for name in page_classes()}
        for name in [text.said] if text.column is None else named:
            named[name].check()
        said = Texts(named[text.said]) if text.column is None else Texts(None, text.column, named)
        return [said] * len(files)
    parsed = parse_output_tokens("compare", output_tokens or ["0"], len(files), None)
    found = []
    for index, name in enumerate(files):
        column = parsed.of_inputs[index]
        if isinstance(column, str) and is_corpus(name):
            found.append(Texts(None, column))
        else:
            found.append(Texts(Given.of(parsed.of_page(index, name))))
    return found


@dataclass(frozen=True)
class OfClass:
    """What pages of a class say, in the tokens of each model."""

    text: PageText
    page_class: str

    def check(self) -> None:
        """Raise `ModelMeterError` for a language or a format that there is not."""
        from modelmeter.output_tokens import NoRateError, estimate

        with suppress(NoRateError):
            estimate(self.page_class, None, language=self.text.language, text_format=self.text.text_format)

    def steps(self, asked: Asked) -> Steps:
        """Spread around the median of the class; raises `NoRateError` where no source gives it for this model."""
        from modelmeter.compare import Steps
        from modelmeter.models.common.assumption import Assumption

        tokens = TokensOfModel(self.text, asked.package, *checkpoint_of(asked.package, asked.overrides)).tokens(
            self.page_class
        )
        told = f"{tokens.median:,} tokens at the median, {tokens.p90:,} at the 90th percentile"
        rests = Assumption(
            figure="output_tokens",
            label=f"page class {self.page_class}",
            text="; ".join((told, *tokens.assumptions)),
        )
        return Steps(tokens.spread(), tokens.p90, (rests,))


def _read(files: Sequence[str], said: Sequence[Texts], columns: Mapping[str, Any], max_pixels: int) -> Read:
    """All pages with what they say."""
    from modelmeter.compare import Pages

    corpora: list[tuple[str, CorpusSizes]] = []
    found: list[Pages] = []
    others = [name for name in files if not is_corpus(name)]
    inputs = iter(read_inputs(others, columns["dpi"], max_pixels) if others or not files else [])
    for name, each in zip(files, said, strict=True):
        if is_corpus(name):
            corpus = _corpus(name, columns, each, max_pixels)
            corpora.append((name, corpus))
            found.append(_corpus_pages(corpus, each))
        else:
            assert each.output is not None
            sizes = Counter((page.width, page.height) for page in next(inputs).pages)
            found.append(Pages.of([(width, height, count, each.output) for (width, height), count in sizes.items()]))
    return Read(Pages.together(found), corpora)


def _corpus_pages(corpus: CorpusSizes, said: Texts) -> Pages:
    """A corpus whose decode steps are numbers, or the places of names among those that are known."""
    import numpy as np

    from modelmeter.compare import Given, Pages

    steps, places = np.unique(corpus.steps, return_inverse=True)
    outputs: list[Output]
    if said.output is not None:
        outputs, places = [said.output], corpus.steps * 0
    elif said.named:
        known = list(said.named.values())
        outputs = [known[each] for each in steps.tolist()]
    else:
        outputs = [Given.of(each) for each in steps.tolist()]
    return Pages(widths=corpus.widths, heights=corpus.heights, counts=corpus.counts, said=places, outputs=outputs)


def _corpus(source: str, columns: Mapping[str, Any], said: Texts, max_pixels: int) -> CorpusSizes:
    """The sizes of a folder or a table."""
    try:
        from modelmeter.corpus import CorpusOptions, SizeColumns
        from modelmeter.corpus.sizes import read_sizes
    except ImportError as error:
        raise ModelMeterError(f"compare: a corpus needs pyarrow ({error}); pip install pyarrow.") from error
    places = tuple((name, place) for place, name in enumerate(said.named))
    sizes = SizeColumns(**columns, output_tokens=said.column or 0, class_steps=places)
    return read_sizes([source], CorpusOptions(columns=sizes, max_pixels=max_pixels))


def _columns(choice: Choice, columns: str | None, sort: str | None) -> list[str] | None:
    """The figures that are asked for, by name."""
    from modelmeter.report import compare_tables

    there = compare_tables.names_of(choice)
    for option, names in (
        ("--sort", [] if sort is None else [sort.removeprefix("-")]),
        ("--columns", [] if columns is None else [name.strip() for name in columns.split(",")]),
    ):
        options = [*there, *(compare_tables.keys_of(choice.result) if option == "--sort" else [])]
        for name in names:
            if name not in options:
                raise ModelMeterError(f"compare: {option} {name}: there is no such figure; {near(name, options)}")
    return None if columns is None else names_of("compare", "--columns", [columns])


def _chosen(comparison: Comparison, benchmark: str | None) -> Choice:
    from modelmeter.compare import compute
    from modelmeter.compare.choice import choose
    from modelmeter.progress import progress

    if comparison.pages.count < MANY_PAGES:
        return choose(compute(comparison), benchmark)
    with progress("compare", "models", len(comparison.models)) as heard:
        return choose(compute(comparison, heard), benchmark)


#: pages from which on it is told how many models are done
MANY_PAGES: Final = 10_000


# -- in words -------------------------------------------------------------------------------------------------------

#: inputs that are named
_NAMED: Final = 3


def _subject(files: Sequence[str], pages: Pages) -> str:
    """The pages in words."""
    listed = ", ".join(files[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    if pages.count > 1:
        return f"{pages.count:,} pages: {listed}{more}"
    size = f"{pages.widths[0]}x{pages.heights[0]}"
    return f"1 page: {listed}{'' if listed == size else f', {size} pixels'}"


def _said(output_tokens: Sequence[str], text: PageText | None, runaway: RunawayShare) -> str:
    """What the pages say, in words."""
    from modelmeter.report.page_tables import runaway_words

    more = runaway_words(runaway.share)
    if text is not None:
        whose = f"pages of class {text.said}" if text.column is None else f"pages by their class in column {text.said}"
        language = f" in {text.language}" if text.language else ""
        return f"{whose}, as {text.text_format}{language}, in each model's own tokens: assumed (--explain){more}"
    if not output_tokens:
        return "0 decode steps, the prefill's token alone (--output-tokens N or --page-class CLASS: more)"
    return f"{', '.join(output_tokens)} decode steps a page, after the prefill's own token, for all models alike{more}"
