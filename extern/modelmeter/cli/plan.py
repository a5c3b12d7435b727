"""`modelmeter plan`: how many GPUs of which kind serve a load within its limits, and at what price."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from modelmeter import models, quality
from modelmeter.cli.arguments import (
    STDIN,
    TABLE_DEFAULTS,
    by_option,
    complete_device,
    complete_engine,
    complete_model,
    debug_option,
    dpi_option,
    inputs_argument,
    json_option,
    max_pixels_option,
    parse_prices,
    price_option,
    system_prompt_option,
    table_options,
    with_engine,
    with_system_prompt,
)
from modelmeter.cli.output import rendered, write
from modelmeter.cli.page_class import RunawayShare, page_class_options, runaway_option
from modelmeter.cli.page_kinds import AskedPages, asked_pages, tell_left_out
from modelmeter.cli.report_file import report_format, report_text
from modelmeter.cli.scenario import scenario_text
from modelmeter.cli.several_models import NamesOption, asked_models, check_override, each_of, names_of, split_for
from modelmeter.errors import ModelMeterError, near
from modelmeter.files import check_output, encodable, write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelmeter.cli.page_class import Options
    from modelmeter.cli.page_kinds import Counted
    from modelmeter.devices import Device
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel
    from modelmeter.plan import Candidate, Plan, Prices, Way
    from modelmeter.quality import Quality
    from modelmeter.report.fitting import Fitting
    from modelmeter.sweep import Asked

#: how rows may be sorted on the screen
SORTS: Final = ("money", "gpus", "latency", "ttft", "energy", "quality")
#: suffixes of a file that keeps question and answer; others are those of a report
_SAVED: Final = (".yaml", ".yml")
#: losing ways that are told in words
_TOLD: Final = 12
#: options that say where the answer goes, and are no part of the question
OUTPUTS: Final = ("output", "as_json", "explain")


@click.command(short_help="How many GPUs a load needs, and at what price.")
@inputs_argument
@click.option(
    "--pages",
    "pages",
    required=True,
    metavar="N/PERIOD",
    help="Pages in a period, as in 30e6/month, of 730.5 hours; or /second, /minute, /hour, /day, /week, /year.",
)
@click.option(
    "--peak-factor",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="The busiest rate over the mean one; the plan serves that.",
)
@click.option("--max-latency", default=None, metavar="TIME", help="From a page's arrival to its last token, as in 60s.")
@click.option("--ttft", default=None, metavar="TIME", help="From a page's arrival to its first token, as in 2s.")
@click.option(
    "--percentile",
    type=int,
    default=95,
    show_default=True,
    metavar="P",
    help="Of pages that keep the limits: 50, 90, 95 or 99.",
)
@click.option(
    "--spare",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="GPUs beside those that the load needs, for the failure of so many.",
)
@click.option(
    "--models",
    "model_names",
    multiple=True,
    metavar="NAME,...",
    shell_complete=each_of(complete_model),
    help=f"Models, checkpoints, folders with a checkpoint of your own, or all.  [default: {models.DEFAULT_MODEL}]",
)
@click.option(
    "--device",
    "--devices",
    "device_names",
    cls=NamesOption,
    multiple=True,
    metavar="DEVICE,...",
    shell_complete=each_of(complete_device),
    help="Bundled devices or YAML files of your own.  [default: those with a price, else all bundled GPUs]",
)
@click.option(
    "--engine",
    "--engines",
    "engines",
    cls=NamesOption,
    multiple=True,
    metavar="NAME,...",
    shell_complete=each_of(complete_engine),
    help="What serves the pages; engines whose scheduler is not simulated lose.  [default: vllm]",
)
@click.option(
    "--precision",
    "--precisions",
    "precisions",
    cls=NamesOption,
    multiple=True,
    metavar="NAME,...",
    help="Schemes that pack the weights, as in precision=NAME, or all.  [default: as each checkpoint is]",
)
@click.option(
    "--tensor-parallel",
    "splits",
    multiple=True,
    metavar="N,...",
    help="GPUs of a replica, over which the model is split; several are ways of their own.  [default: 1]",
)
@click.option(
    "--output-tokens",
    "output_tokens",
    multiple=True,
    metavar="[GROUP=]N|N:WEIGHT,...|COLUMN",
    help="Decode steps of a page, as in modelmeter throughput.",
)
@system_prompt_option
@page_class_options
@runaway_option
@by_option
@table_options
@price_option
@click.option(
    "--prices",
    "prices_file",
    type=click.Path(),
    default=None,
    metavar="FILE",
    help="YAML with currency, per: hour, date, source, and under prices a device a line.",
)
@click.option(
    "--quality",
    "benchmark",
    default=None,
    metavar="BENCHMARK",
    help="Whose published figures stand in the table.  [default: that of which most of the models have one]",
)
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=None,
    help="Order of the table's rows.  [default: money where all that serve have a price, else gpus]",
)
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Rows that are searched."
)
@click.option("--all", "everything", is_flag=True, help="Search all of them; else those that cost more are pruned.")
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000),
    default=2000,
    show_default=True,
    metavar="N",
    help="Of each simulation.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of what is drawn at random.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default=None,
    metavar="FILE",
    help="Save question and answer as .yaml, which modelmeter run answers anew and compares, or write a report that "
    "opens with the plan, as .html, .md or .json.",
)
@click.option("--explain", is_flag=True, help="Say what every label means.")
@dpi_option
@max_pixels_option
@json_option
@debug_option
def command(output: str | None, as_json: bool, explain: bool, **asked: Any) -> int:
    """The cheapest ways to serve a load: GPUs, money, latency in the tails, and why the others lose.

    INPUT and KEY=VALUE are those of modelmeter throughput. Every model on every device is simulated with as few
    replicas, of one GPU each, as hold the limits. Prices are yours alone. Exit status 1: nothing holds the limits.
    docs/plan.md walks through a decision.
    """
    path = None if output is None else Path(output)
    written = None
    if path is not None:
        if path.suffix.lower() not in _SAVED:
            written = report_format("plan", output, None, _SAVED)
        check_output("plan", path, [*asked["arguments"], *asked["device_names"], asked["prices_file"] or ""])
    answer = answered(**asked)
    saved: list[str] = []
    if path is not None:
        if written is None:
            text = scenario_text(click.get_current_context(), OUTPUTS, answer.content)
            told = "modelmeter run answers it anew, modelmeter report makes a report of it"
        else:
            from modelmeter.cli.plan_report import planned

            text, told = report_text(planned(answer).report, written), "the plan as a report"
        content = encodable(text).encode()
        write_whole(path, content)
        saved.append(f"{path}: {len(content):,} bytes; {told}")
    if as_json:
        from modelmeter.report.json_document import json_text

        write(json_text("plan", answer.content))
    else:
        write(rendered(*answer.screen(explain=explain), *saved))
    tell_left_out(answer.counted)
    return 0 if answer.plan.best is not None else 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A plan with what stands around it. source: where its pages are from. read: every model by an engine.

    overrides: as written, for all of them. benchmark: whose published figures are told.
    """

    plan: Plan
    source: Source
    read: Sequence[Read]
    overrides: Sequence[str]
    benchmark: str | None
    sort: str | None

    @property
    def subject(self) -> str:
        """The pages in words."""
        return subject_of(self.source.files)

    @property
    def counted(self) -> Sequence[Counted]:
        """The corpora among the pages."""
        return self.read[0].counted

    @property
    def assumptions(self) -> list[Assumption]:
        """What the figures rest on, of all models."""
        return list(dict.fromkeys(assumption for each in self.read for assumption in each.assumptions))

    def read_of(self, way: Way) -> Read:
        """What a way is of."""
        return next(
            each for each in self.read if {**each.candidate.settings, "device": way.device.name} == way.settings
        )

    def given(
        self,
        file: Callable[[str], str] = str,
        override: Callable[[str], str] = str,
        option: Callable[[str], str] = str,
    ) -> str:
        """Inputs, overrides and options about them as words of a command line, each as the functions write it."""
        return shlex.join(
            [*map(file, self.source.files), *map(override, self.overrides), *map(option, self.source.options)]
        )

    @property
    def content(self) -> dict[str, Any]:
        """For JSON and for a saved plan."""
        from modelmeter.report.plan_tables import plan_content

        assumed = [vars(each) for each in self.assumptions]
        return {"subject": self.subject, "benchmark": self.benchmark, **plan_content(self.plan), "assumptions": assumed}

    def screen(self, *, explain: bool) -> list[RenderableType | Fitting]:
        """The answer, the table, why the others lose, what is not in it."""
        from modelmeter.report import page_tables, plan_tables, point_tables

        rows = sorted_ways(self.plan, self.sort)
        others = [way for way in self.plan.ways if way.found is None]
        parts: list[RenderableType | Fitting] = [
            plan_tables.head_lines(self.plan, self.subject, self.benchmark if rows else None),
            "",
        ]
        if rows:
            parts += [plan_tables.plan_table(self.plan, rows, self.benchmark), ""]
            parts += [plan_tables.why_lines(self.plan, rows, self.benchmark), ""]
        if others:
            parts += ["Others:", plan_tables.losing_lines(self.plan, others, _TOLD), ""]
        parts.append(page_tables.label_lines(("not modelled", "; ".join(plan_tables.NOT_MODELLED))))
        simulated = plan_tables.simulated_line(self.plan, self.given())
        if simulated:
            parts.append(page_tables.label_lines(("simulated", simulated)))
        parts.append("")
        labels = page_tables.assumption_lines if explain else point_tables.rests_on_lines
        parts.append(labels(self.assumptions))
        return parts


def sorted_ways(plan: Plan, sort: str | None) -> list[Way]:
    """The rows of the table, in the order that was asked for; those without a value last."""

    def key(way: Way) -> float | None:
        assert way.found is not None
        if sort in ("latency", "ttft"):
            return way.found.outcome.times()[f"{sort}_s"].percentiles[plan.question.level.percentile]
        if sort == "energy":
            return plan.energy_kwh(way)
        if sort == "quality":
            figure = way.quality
            return None if figure is None else figure.value * (-1 if figure.better == "higher" else 1)
        return plan.money(way) if sort == "money" else plan.gpus(way)

    if sort is None:
        return plan.holding
    return sorted(plan.holding, key=lambda way: (key(way) is None, key(way) or 0.0))


# -- what is asked --------------------------------------------------------------------------------------------------


@with_system_prompt
def answered(
    *,
    arguments: Sequence[str],
    pages: str,
    peak_factor: float,
    max_latency: str | None,
    ttft: str | None,
    percentile: int,
    spare: int,
    model_names: Sequence[str],
    device_names: Sequence[str],
    engines: Sequence[str],
    precisions: Sequence[str],
    splits: Sequence[str],
    output_tokens: Sequence[str],
    page_class: str | None,
    language: str | None,
    text_format: str | None,
    tokenizers: str | None,
    runaway_share: RunawayShare,
    by: str | None,
    width: str,
    height: str,
    unit: str,
    count: str | None,
    prices: Sequence[str],
    prices_file: str | None,
    benchmark: str | None,
    sort: str | None,
    top: int,
    everything: bool,
    requests: int,
    seed: int,
    dpi: int,
    max_pixels: int,
) -> Answer:
    """The plan that the options ask for, each by its name."""
    from modelmeter.plan import Demand, Question, ServiceLevel, compute
    from modelmeter.plan.demand import parse_seconds

    demand = Demand.parse(pages, peak_factor)
    level = ServiceLevel(
        latency_s=None if max_latency is None else parse_seconds("--max-latency", max_latency),
        ttft_s=None if ttft is None else parse_seconds("--ttft", ttft),
        percentile=percentile,
    )
    if benchmark is not None and benchmark not in quality.benchmarks():
        raise ModelMeterError(
            f"plan: --quality {benchmark}: there is no such benchmark; {near(benchmark, quality.benchmarks())}"
        )
    asked = asked_models(names_of("plan", "--models", model_names, models.checkpoints()))
    files, overrides = split_for(arguments, asked)
    for override in overrides:
        check_override(asked, override)
    if STDIN in files:
        raise ModelMeterError("plan: standard input (-) can be read once, and each model reads the pages; give a file.")
    devices, priced = _devices(names_of("plan", "--device", device_names), prices, prices_file)
    question = Question(
        demand=demand,
        level=level,
        spare=spare,
        prices=priced,
        requests=requests,
        seed=seed,
        top=None if everything else top,
        runaway_share=runaway_share.share,
    )
    if sort == "money" and not priced.an_hour:
        raise ModelMeterError("plan: --sort money needs prices; give --price DEVICE=2.5 (an hour) or --prices FILE.")
    source = Source(
        files=files,
        output_tokens=output_tokens,
        texts=(page_class, language, text_format, tokenizers),
        table={"by": by, "width": width, "height": height, "unit": unit, "count": count},
        dpi=dpi,
        max_pixels=max_pixels,
        runaway=runaway_share,
    )
    served_by: list[str | None] = [*names_of("plan", "--engine", engines)]
    from modelmeter.models.common.precision import PRECISIONS

    packed = _packed(names_of("plan", "--precision", precisions, PRECISIONS), overrides)
    read = [
        source.read(each, engine, [*own, *scheme, *split])
        for each in asked
        for engine in served_by or [None]
        for scheme in packed
        for own, split in _split(names_of("plan", "--tensor-parallel", splits), overrides)
    ]
    shown = benchmark or _commonest([each.figures for each in read])
    candidates = [each.candidate._replace(quality=each.figures.get(shown or "")) for each in read]
    plan = compute(question, candidates, devices)
    return Answer(plan=plan, source=source, read=read, overrides=overrides, benchmark=shown, sort=sort)


def answered_in(context: click.Context) -> Answer:
    """The plan that a command asks for. context: of `modelmeter plan`."""
    return answered(**{name: value for name, value in context.params.items() if name not in OUTPUTS})


def subject_of(files: Sequence[str]) -> str:
    """Inputs in words."""
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if files[3:] else "")


def _packed(names: Sequence[str], overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each precision that is asked for."""
    named = [each for each in overrides if each.partition("=")[0].strip() in ("precision", "precision.name")]
    if names and named:
        raise ModelMeterError(
            f"plan: --precision {names[0]} and {named[0]} both say how weights are packed; leave one."
        )
    return [[f"precision={name}"] for name in names] or [[]]


def _split(numbers: Sequence[str], overrides: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """The overrides of each number of GPUs of a replica that is asked for: those given, and its own.

    Of several numbers, 1 is without what says how the others split.
    """
    named = [each for each in overrides if each.partition("=")[0].strip() == "parallel.tensor"]
    if numbers and named:
        raise ModelMeterError(
            f"plan: --tensor-parallel {numbers[0]} and {named[0]} both say how a model is split; leave one."
        )
    whole = [each for each in overrides if not each.strip().startswith(("parallel.expert", "parallel.encoder"))]
    return [
        (whole if number == "1" and len(numbers) > 1 else [*overrides], [f"parallel.tensor={number}"])
        for number in numbers
    ] or [([*overrides], [])]


def _devices(names: Sequence[str], given: Sequence[str], file: str | None) -> tuple[list[Device], Prices]:
    """The devices, and their prices."""
    from modelmeter.devices import bundled_devices, load_device
    from modelmeter.memory import GPU
    from modelmeter.plan import Prices

    if given and file is not None:
        raise ModelMeterError(f"plan: --price {given[0]} and --prices {file} both say prices; leave one out.")
    listed = Prices() if file is None else Prices.read(file)
    if names:
        devices = [load_device(name) for name in names]
    elif listed.an_hour:
        devices = [load_device(name) for name in listed.an_hour]
    elif given:
        devices = [load_device(text.rpartition("=")[0] or _no_device(text)) for text in given]
    else:
        devices = [device for device in bundled_devices() if device.kind == GPU]
    twice = [device.name for number, device in enumerate(devices) if device in devices[:number]]
    if twice:
        raise ModelMeterError(f"plan: the device {twice[0]} is given twice; give it once.")
    if file is None:
        return devices, Prices(an_hour=parse_prices("plan", given, devices))
    known = {load_device(name).name: price for name, price in listed.an_hour.items()}
    return devices, Prices(an_hour=known, currency=listed.currency, date=listed.date, source=listed.source)


def _no_device(text: str) -> str:
    raise ModelMeterError(f"plan: --price {text} is of no device; write DEVICE={text}, as in H100-SXM={text}.")


class Read(NamedTuple):
    """A model by an engine with its pages, and what stands behind them. figures: what was published, by benchmark."""

    asked: Asked
    overrides: Sequence[str]
    candidate: Candidate
    figures: Mapping[str, Quality]
    assumptions: Sequence[Assumption]
    counted: Sequence[Counted]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where pages come from and what they say."""

    files: Sequence[str]
    output_tokens: Sequence[str]
    texts: Options
    table: Mapping[str, str | None]
    dpi: int
    max_pixels: int
    runaway: RunawayShare

    @property
    def options(self) -> list[str]:
        """What was given of texts and of tables, as options of every command about them."""
        names = ("page-class", "language", "text-format", "tokenizers")
        given = dict(zip(names, self.texts, strict=True)) | {
            name: value for name, value in self.table.items() if value != TABLE_DEFAULTS.get(name)
        }
        pairs = [*(("output-tokens", each) for each in self.output_tokens), *given.items()]
        pairs += [("runaway-share", str(self.runaway))] if self.runaway.share else []
        return [word for name, value in pairs if value is not None for word in (f"--{name}", value)]

    def read(self, asked: Asked, engine: str | None, given: Sequence[str]) -> Read:
        """The pages as a model has them, by an engine."""
        from modelmeter.devices.engine import timed_assumptions
        from modelmeter.models.common.engines import SERVED_BY, served
        from modelmeter.models.common.page_text import mode_name
        from modelmeter.models.common.passes import REGIONS
        from modelmeter.output_tokens import NoRateError
        from modelmeter.plan import Candidate
        from modelmeter.plan.ways import SPLIT

        overrides = with_engine("plan", engine, [*asked.overrides, *given])
        scheme = next((each.partition("=")[2] for each in given if each.startswith("precision=")), "-")
        split = next((each.partition("=")[2] for each in given if each.startswith("parallel.tensor=")), "1")
        settings = {"model": asked.name, "mode": "-", "precision": scheme, "engine": engine or SERVED_BY, SPLIT: split}

        def refused(reason: str, counted: Sequence[Counted] = ()) -> Read:
            return Read(asked, overrides, Candidate(settings, None, refused=reason), {}, (), counted)

        try:
            pages = self._pages(asked, overrides)
        except NoRateError as error:
            return refused(str(error))
        try:
            model = asked.package.load_cost_model(served(overrides, asked.package.EXECUTIONS))
            settings |= {
                "mode": mode_name(model),
                "precision": model.config.precision.name,
                "engine": model.engine.name,
            }
            kinds, counted = pages.read(model)
        except ModelMeterError as error:
            return refused(str(error))
        if vars(model.workload).get(REGIONS) == ():
            reason = f"{asked.name} reads a page by its regions, in several passes, which are not simulated"
            return refused(f"{reason}; modelmeter throughput has what a device makes of them.", counted)
        workers = any(each.partition("=")[0].strip() == "host.workers" for each in overrides)
        return Read(
            asked,
            overrides,
            Candidate(settings, model, kinds, workers_given=workers),
            _published(model, own_mode=not any(each.startswith("workload") for each in given)),
            [*timed_assumptions(model), *pages.assumptions(counted), *self.runaway.assumptions()],
            counted,
        )

    def _pages(self, asked: Asked, overrides: Sequence[str]) -> AskedPages:
        """What is asked of a model; raises `NoRateError` where nobody counted its tokens."""
        return asked_pages(
            "plan",
            self.files,
            self.output_tokens,
            self.texts,
            (asked.package, overrides),
            self.table,
            dpi=self.dpi,
            max_pixels=self.max_pixels,
        )


def _published(model: CostModel, *, own_mode: bool) -> dict[str, Quality]:
    """By benchmark, what was published of a checkpoint in its mode, with weights as they were published."""
    from modelmeter.models.common.page_text import mode_name
    from modelmeter.models.common.precision import UNQUANTISED

    if model.config.precision.name != UNQUANTISED or model.config.precision.kv is not None:
        return {}
    checkpoint, mode = model.config.checkpoint.name or model.name, mode_name(model)
    found = {name: quality.headline(checkpoint, name, mode) for name in quality.benchmarks()}
    return {name: each for name, each in found.items() if each is not None and (own_mode or each.mode is not None)}


def _commonest(figures: Sequence[Mapping[str, Quality]]) -> str | None:
    """The benchmark of which most have a figure."""
    counts = {name: sum(name in each for each in figures) for name in quality.benchmarks()}
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else None
