"""What the subcommands share of a command line: pages, overrides, options.

An argument is an override if it has the form ``key=value`` and no file has that name; every other argument is a page.
An argument that is both, the name of a file and an override of a configuration's group, is refused: ``./key=value`` is
the file. A page is a size if it has the form of one, ``1275x1650`` or ``A4@200``, even where a file has that name
(``./1275x1650`` is the file), and a prompt without an image if it is ``text:`` and the number of its tokens; else it is
a file, a PDF if its first bytes or its name say so, an image otherwise. The name of a paper without its resolution,
``A4``, that is a file's too is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from modelmeter import models
from modelmeter.errors import ModelMeterError, did_you_mean, near
from modelmeter.page_sizes import MAX_DPI, MAX_PIXELS, PageSize, is_size, parse_size, read_page_sizes
from modelmeter.pdf_pages import DEFAULT_DPI, is_pdf, read_pdf_page_sizes
from modelmeter.quantities import ranges

if TYPE_CHECKING:
    from modelmeter.devices import Device
    from modelmeter.models.common.configuration import Configuration
    from modelmeter.models.common.contract import ModelPackage

#: a page's size as several arguments, or with something else between its numbers than an x
_NEARLY_A_SIZE: Final = re.compile(r"([0-9]{1,10}) ?[xX×*,;:/_ -] ?([0-9]{1,10})")

#: the key that --system-prompt-tokens stands for
_SYSTEM_PROMPT: Final = "runtime.system_prompt_tokens"

#: a prompt without an image, by its tokens
_PROMPT: Final = re.compile(r"text:([^/\\.]{0,20})", re.IGNORECASE)

#: a table of sizes on standard input
STDIN: Final = "-"

#: suffixes of tables of sizes, which may be followed by .gz
TABLES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

Function = TypeVar("Function", bound=Callable[..., Any])
Row = TypeVar("Row")


def complete_device(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: bundled devices that begin so, in any case; else files."""
    from modelmeter.devices import bundled_devices

    names = [device.name for device in bundled_devices() if device.name.lower().startswith(incomplete.lower())]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def complete_model(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: models and checkpoints that begin so; else folders."""
    names = [name for name in dict.fromkeys((*models.MODELS, *models.checkpoints())) if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="dir")]


def complete_engine(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: engines that begin so."""
    from modelmeter.models.common.engines import EXECUTION_OF

    return [CompletionItem(name) for name in EXECUTION_OF if name.startswith(incomplete)]


def complete_input(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: keys and groups of the model that begin so, the values of a key behind its "="; else files.

    bash takes the "=" for a word of its own: then the key is the argument before, and the value alone is completed.
    """
    given = [each for each in context.params.get("arguments") or () if each != "="]
    try:
        name = models.find(context.params.get("model"), [each for each in given if "=" in each]).model
        configuration = models.model_package(name).CONFIGURATION
    except ModelMeterError:
        return []
    key, equals, value = incomplete.partition("=")
    if equals:
        return [CompletionItem(f"{key}={word}") for word in configuration.words(key) if word.startswith(value)]
    if given and (words := configuration.words(given[-1])):
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]
    names = [f"{each}=" for each in configuration.overridable() if each.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


@dataclass
class Invocation:
    """One run of the command. debug: errors come with their traceback."""

    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class Input:
    """One page argument. pages: one, or those of a PDF or a TIFF. dpi: the resolution of a PDF's pages, else None.

    prompt_tokens: of a prompt without an image, which has no page; else None.
    """

    name: str
    pages: tuple[PageSize, ...]
    dpi: int | None = None
    prompt_tokens: int | None = None


def read_arguments(model: str | None, arguments: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """(model, pages, overrides) of a command line: `model` is --model, or what model= or checkpoint= say."""
    given = [each for each in arguments if each.startswith(("model=", "checkpoint=")) and not _exists(each)]
    name = models.find(model, given).model
    pages, overrides = split_arguments(arguments, models.model_package(name).CONFIGURATION)
    return name, pages, models.find(model, overrides).overrides


def split_arguments(arguments: Sequence[str], configuration: Configuration[Any]) -> tuple[list[str], list[str]]:
    """(pages, overrides) of a command line; every override begins with a group of the configuration."""
    groups = (*configuration.groups, "model")
    pages: list[str] = []
    overrides: list[str] = []
    bad: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        group = key.split(".")[0]
        if not equals or "/" in key:
            pages.append(argument)
        elif not _exists(argument):
            overrides.append(argument)
            if group not in groups:
                hint = _option_hint(key, value) or configuration.meant(key, value, groups)
                bad.append(f"{argument} is no file and no override: there is no {group}; {hint}")
        elif group in groups:
            bad.append(f"{argument} is an override and also the name of a file; write ./{argument} for the file.")
        else:
            pages.append(argument)
    if bad:
        raise ModelMeterError(*bad)
    return pages, overrides


def checkpoint_of(package: ModelPackage, overrides: Sequence[str]) -> tuple[str | None, str | None]:
    """(the checkpoint that overrides choose, or the default one; the user's own folder): one of the two is None."""
    chosen = [each.partition("=")[2].strip() for each in overrides if each.partition("=")[0].strip() == "checkpoint"]
    name = chosen[-1] if chosen else package.CHECKPOINTS[0]
    return (name, None) if name in package.CHECKPOINTS else (None, name)


def said_of(key: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what key=VALUE arguments say, the other arguments); the name of a file that exists is none."""
    said = [each for each in arguments if each.startswith(f"{key}=") and not _exists(each)]
    return [each.removeprefix(f"{key}=") for each in said], [each for each in arguments if each not in said]


def read_inputs(
    arguments: Sequence[str], dpi: int = DEFAULT_DPI, max_pixels: int = MAX_PIXELS, *, prompts: bool = False
) -> list[Input]:
    """The pages of all page arguments; raises `ModelMeterError` with a line for each that is bad.

    prompts: whether prompts without an image, text:500, are taken too.
    """
    _refuse_parts_of_a_size(arguments)
    inputs: list[Input] = []
    bad: list[str] = []
    for argument in arguments:
        try:
            tokens = _prompt_tokens(argument)
            if tokens is None:
                inputs.append(_read_input(argument, dpi, max_pixels))
                continue
            if not prompts:
                raise ModelMeterError(
                    f"{argument} is a prompt without an image, and here only pages are read; modelmeter page, "
                    f"throughput, simulate and plan take it, and ./{argument} is the file."
                )
            inputs.append(Input(name=argument, pages=(), prompt_tokens=tokens))
        except ModelMeterError as error:
            bad.append(str(error))
    if bad:
        raise ModelMeterError(*bad)
    if not inputs:
        raise ModelMeterError("there is no page; give an image file, a PDF, or a size as in 1275x1650 or A4@200.")
    return inputs


def same_sizes(inputs: Sequence[Input]) -> list[tuple[str, PageSize]]:
    """(title, one page) for every argument, and within a PDF or a TIFF for every size that its pages have."""
    titled: list[tuple[str, PageSize]] = []
    for each in inputs:
        numbers: dict[tuple[int, int], list[int]] = {}
        for number, page in enumerate(each.pages, start=1):
            numbers.setdefault((page.width, page.height), []).append(number)
        for (width, height), same in numbers.items():
            several = each.dpi is not None or len(each.pages) > 1
            pages = f", page{'s' * (len(same) > 1)} {ranges(same)}" if several else ""
            resolution = "" if each.dpi is None else f" at {each.dpi} dpi"
            titled.append((f"{each.name}{pages}: {width} x {height} pixels{resolution}", each.pages[same[0] - 1]))
    return titled


def parse_prices(who: str, given: Sequence[str], devices: Sequence[Device]) -> dict[str, float]:
    """Price of an hour by the device's name, from PRICE (of one device) or DEVICE=PRICE arguments."""
    prices = {}
    names = {device.name.lower(): device.name for device in devices}
    for text in given:
        name, equals, price = text.rpartition("=")
        if not equals and len(devices) > 1:
            raise ModelMeterError(f"{who}: --price {text} is for one device; with several write DEVICE={text}.")
        if equals and name.lower() not in names:
            raise ModelMeterError(f"{who}: --price {text}: {name} is not asked for; {near(name, names.values())}")
        device = names[name.lower()] if equals else devices[0].name
        if device in prices:
            raise ModelMeterError(f"{who}: --price {text} is a second price of {device}; give it one.")
        try:
            prices[device] = float(price)
        except ValueError:
            prices[device] = nan
        if not (prices[device] >= 0 and isfinite(prices[device])):
            raise ModelMeterError(
                f"{who}: --price {text} is no price of an hour; give a number, 0 or more, without currency."
            )
    return prices


def _read_input(argument: str, dpi: int, max_pixels: int) -> Input:
    if is_size(argument):
        page = parse_size(argument, dpi)
        if argument.isalnum() and page.source != argument and _exists(argument):  # a paper alone, at --dpi
            raise ModelMeterError(
                f"{argument} is a paper and also the name of a file; write ./{argument} for the file, {page.source} "
                "for the paper."
            )
        return Input(name=page.source, pages=(page,))
    if argument == STDIN:
        raise ModelMeterError(
            "- is a table of sizes on standard input, which corpus, throughput and report read; give a size, as in "
            "1275x1650, or ./- for the file."
        )
    if is_pdf(argument):
        return Input(name=argument, pages=tuple(read_pdf_page_sizes(argument, dpi)), dpi=dpi)
    return Input(name=argument, pages=tuple(read_page_sizes(argument, max_pixels=max_pixels)))


def _prompt_tokens(argument: str) -> int | None:
    """The tokens of a prompt without an image, as text:500 has them; None of another argument."""
    found = _PROMPT.fullmatch(argument)
    if found is None:
        return None
    if not found[1].isdecimal() or int(found[1]) == 0:
        raise ModelMeterError(f"{argument} is no prompt; write its tokens, 1 or more, as in text:500.")
    return int(found[1])


def _refuse_parts_of_a_size(arguments: Sequence[str]) -> None:
    """Say how a size is written where neighbours look like the parts of one, or one argument nearly is one."""
    for start, end in ((start, start + count) for count in (1, 2, 3) for start in range(len(arguments) - count + 1)):
        parts = arguments[start:end]
        found = _NEARLY_A_SIZE.fullmatch(" ".join(parts))
        if found and not any(is_size(part) or _exists(part) for part in parts):
            came = " ".join(parts) if len(parts) == 1 else f"{' '.join(parts)} is {len(parts)} arguments, and"
            raise ModelMeterError(f"{came} is no file; a page's size is written {found[1]}x{found[2]}.")


def _option_hint(key: str, value: str) -> str | None:
    """The hint for a key that is an option of the command that runs."""
    context = click.get_current_context(silent=True)
    option = f"--{key.strip().lower().replace('_', '-')}"
    if context is None or not any(option in each.opts for each in context.command.params):
        return None
    return did_you_mean([f"{option} {value}"])


def option_or_key(error: click.NoSuchOption, arguments: Sequence[str]) -> str | None:
    """The hint for an option that no command has and that is a key of the configuration."""
    if error.ctx is None or not any(each.name == "arguments" for each in error.ctx.command.params):
        return None
    name = error.option_name.lstrip("-").replace("-", "_")
    rest = [each for each in arguments if each.startswith(error.option_name)] or [error.option_name]
    _, equals, value = rest[0].partition("=")
    if not equals:
        behind = arguments[list(arguments).index(rest[0]) + 1 :][:1] if rest[0] in arguments else []
        value = behind[0] if behind else "VALUE"
    keys = models.model_package().CONFIGURATION.keys_called(name)
    return did_you_mean(f"{key}={value}" for key in keys) if keys else None


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    invocation = context.find_object(Invocation)
    if invocation is not None:
        invocation.debug |= value  # before the subcommand or after it


def debug_option(function: Function) -> Function:
    """--debug: errors come with their traceback."""
    return click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_set_debug, help="Show tracebacks."
    )(function)


def json_option(function: Function) -> Function:
    """--json: the full result, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the full result as JSON, and nothing else.")(
        function
    )


def model_option(function: Function) -> Function:
    """--model: what `modelmeter.models.find` takes, None where it was not given."""
    return click.option(
        "--model",
        default=None,
        metavar="NAME|FOLDER",
        shell_complete=complete_model,
        help="The model or checkpoint whose cost it is, as modelmeter models lists them, or a folder with the "
        f"config.json of a checkpoint of your own.  [default: {models.DEFAULT_MODEL}]",
    )(function)


def engine_option(default: str) -> Callable[[Function], Function]:
    """--engine: who serves the pages, as `engine`, for `with_engine`. default: in words."""
    return click.option(
        "--engine",
        default=None,
        metavar="NAME",
        shell_complete=complete_engine,
        help="What serves the pages: transformers, published, vllm, sglang or best; engine=NAME is the same.  "
        f"[default: {default}]",
    )


def with_engine(who: str, engine: str | None, overrides: Sequence[str]) -> list[str]:
    """The overrides with what --engine says."""
    if engine is None:
        return list(overrides)
    for override in overrides:
        if override.partition("=")[0].strip() in ("engine", "engine.name"):
            raise ModelMeterError(f"{who}: --engine {engine} and {override} both name the engine; leave one out.")
    return [f"engine={engine}", *overrides]


def with_system_prompt(function: Function) -> Function:
    """What takes `arguments`, of a command with --system-prompt-tokens: the override that this stands for is one."""

    @wraps(function)
    def given(*, system_prompt_tokens: int | None, arguments: Sequence[str], **options: Any) -> Any:
        if system_prompt_tokens is None:
            return function(arguments=arguments, **options)
        for each in arguments:
            if each.partition("=")[0].strip() == _SYSTEM_PROMPT:
                raise ModelMeterError(
                    f"--system-prompt-tokens {system_prompt_tokens} and {each} both say how long the system prompt is; "
                    "leave one out."
                )
        return function(arguments=(*arguments, f"{_SYSTEM_PROMPT}={system_prompt_tokens}"), **options)

    return cast("Function", given)


#: --system-prompt-tokens, for `with_system_prompt`
system_prompt_option: Final = click.option(
    "--system-prompt-tokens",
    type=click.IntRange(0),
    default=None,
    metavar="N",
    help=f"Positions before the first image that all requests share; {_SYSTEM_PROMPT}=N is the same.  [default: 0]",
)


def file_option(name: str, about: str) -> Callable[[Function], Function]:
    """--NAME FILE: a file to write, as `NAME_file`."""
    return click.option(f"--{name}", f"{name}_file", type=click.Path(), default=None, metavar="FILE", help=about)


def price_option(function: Function) -> Function:
    """--price: of devices, as `prices`, for `parse_prices`."""
    return click.option(
        "--price",
        "prices",
        multiple=True,
        metavar="PRICE|DEVICE=PRICE",
        help="Of an hour of the device; with several devices as DEVICE=PRICE, which may be repeated.",
    )(function)


def dpi_option(function: Function) -> Function:
    """--dpi: of a PDF's pages."""
    return click.option(
        "--dpi",
        type=click.IntRange(1, MAX_DPI),
        default=DEFAULT_DPI,
        show_default=True,
        metavar="N",
        help="Resolution at which the pages of a PDF are rendered, and of a paper that names none.",
    )(function)


def max_pixels_option(function: Function) -> Function:
    """--max-pixels: of an image file."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        show_default=True,
        metavar="N",
        help="Refuse image files with more pixels; a corpus leaves them out.",
    )(function)


#: what the columns of tables of sizes mean unless told otherwise, by the option that tells
TABLE_DEFAULTS: Final = {"width": "width", "height": "height", "unit": "pixels"}


def table_options(function: Function) -> Function:
    """What the columns of tables of sizes mean: `width`, `height`, `unit`, `count`."""
    helps = {
        "count": "The tables' column of how many pages each row stands for.  [default: 1 page a row]",
        "unit": "Of the tables' sizes: pixels or points.",
        "height": "The tables' column of heights.",
        "width": "The tables' column of widths.",
    }
    for name, text in helps.items():
        metavar = None if name == "unit" else "COLUMN"
        option = click.option(
            f"--{name}", default=TABLE_DEFAULTS.get(name), show_default=True, metavar=metavar, help=text
        )
        function = option(function)
    return function


def check_table_options(who: str, corpora: Sequence[str], **given: str | None) -> None:
    """Refuse an option of tables where there is neither a table nor a folder."""
    for name, value in given.items():
        if not corpora and value != TABLE_DEFAULTS.get(name):
            raise ModelMeterError(f"{who}: --{name} {value} is for folders and tables; name one, or leave it out.")


@dataclass(frozen=True)
class Order(Generic[Row]):
    """How the rows of a table may be ordered: by which keys, each with whether its largest value comes first."""

    keys: Mapping[str, tuple[Callable[[Row], Any], bool]]
    default: str

    def option(self, function: Function) -> Function:
        """--sort, as `sort`."""
        largest = ", ".join(name for name, (_, falling) in self.keys.items() if falling)
        smallest = ", ".join(name for name, (_, falling) in self.keys.items() if not falling)
        text = (
            f"Order of the rows: by {largest}, the largest first, or by {smallest}, the smallest first; -COLUMN turns"
        )
        return click.option(
            "--sort",
            default=self.default,
            show_default=True,
            metavar="COLUMN",
            callback=self._check,
            shell_complete=lambda *_: list(self.keys),
            help=f"{text} it round.",
        )(function)

    def _check(self, context: click.Context, parameter: click.Parameter, value: str) -> str:
        if value.removeprefix("-") not in self.keys:
            raise click.BadParameter(
                f"there is no such column to sort by; {near(value, self.keys)}", context, parameter
            )
        return value

    def sorted(self, rows: Iterable[Row], sort: str) -> list[Row]:
        """The rows in this order; those without a value last, those of one value as they came."""
        key, falling = self.keys[sort.removeprefix("-")]
        valued = [(key(row), row) for row in rows]
        known = [each for each in valued if each[0] is not None]
        known.sort(key=lambda each: each[0], reverse=falling != sort.startswith("-"))
        return [row for _, row in known] + [row for value, row in valued if value is None]


def by_option(function: Function) -> Function:
    """--by: what groups the pages of corpora."""
    return click.option(
        "--by", metavar="COLUMN", help='Group pages by a column of the tables, or files by their "folder".'
    )(function)


def is_corpus(name: str) -> bool:
    """Whether an input is a folder, a table of sizes, or standard input, which is one."""
    return name == STDIN or os.path.isdir(name) or Path(name.removesuffix(".gz")).suffix.lower() in TABLES


def inputs_argument(function: Function) -> Function:
    """The pages and overrides of a command about pages, as `arguments`."""
    return click.argument(
        "arguments", nargs=-1, type=click.Path(), metavar="INPUT... [KEY=VALUE]...", shell_complete=complete_input
    )(function)


def page_options(function: Function) -> Function:
    """What a command about pages takes: `arguments` and the options, each by its name.

    `output_tokens` is None where it was not given.
    """
    for decorate in (
        debug_option,
        json_option,
        click.option("--exact", is_flag=True, help="Print every integer with all its digits."),
        max_pixels_option,
        dpi_option,
        click.option(
            "--output-tokens",
            type=click.IntRange(0),
            default=None,
            metavar="N",
            help="Decode steps after the prefill, so N + 1 output tokens with the prefill's.  [default: 0]",
        ),
        model_option,
        inputs_argument,
    ):
        function = decorate(function)
    return function
