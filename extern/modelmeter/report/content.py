"""A report of pages: its sections, each from the cost model's own figures.

Pages of one layout and as many decode steps cost the same, so they are counted together; where a report goes into one
page, it is the first of those that need the most memory. Every figure is taken from the cost model, its walks, or the
times of these; the sums over pages and over the parts of a walk are the only arithmetic here.

Two kinds of time stand in a report. Estimates come from the constants of a device's kernels (`devices.stage_time`) and,
for what a device makes of the pages, the engine's host (`devices.throughput`). The roofline over every operator is a
bound, the least that it takes at the device's published peaks; it stands in for the estimate, and says so, where a
device has no constants.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from importlib.metadata import version
from operator import add
from pathlib import PurePath
from typing import Any, Final

from modelmeter.devices import (
    BOUNDS,
    NOT_MODELLED,
    Device,
    Roofline,
    StageTime,
    Throughput,
)
from modelmeter.devices.decode import decode_time, yields_several
from modelmeter.devices.engine import timed_assumptions
from modelmeter.devices.stage_time import Estimate, NoConstants, StageTimes
from modelmeter.devices.throughput import ESTIMATE, GIVEN, HOST, SECONDS_A_DAY
from modelmeter.errors import ModelMeterError, near
from modelmeter.memory import GIB, reserve_on
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost
from modelmeter.models.common.engines import BEST, is_chosen, served
from modelmeter.models.common.page_text import FIGURES, labels_of, mode_words
from modelmeter.models.common.stage_cost import WITH_TOTAL, StageCost
from modelmeter.quantities import number
from modelmeter.report import charts
from modelmeter.report.document import (
    FACTS,
    SHARE,
    TILES,
    Block,
    Cell,
    Chart,
    Column,
    Fold,
    Item,
    Pairs,
    Quantity,
    Report,
    Section,
    Table,
    Text,
    cell_text,
)
from modelmeter.report.layout_pages import (
    LayoutPages,
    ReportPage,
    mean,
    page_count,
    pages_by_layout,
    summed,
    throughput,
)
from modelmeter.report.memory_section import memory_section
from modelmeter.report.module_tree import module_tree
from modelmeter.report.origins import ANALYTIC, ROOFLINE, origin
from modelmeter.report.page_tables import view_count
from modelmeter.report.part_blocks import parts_block
from modelmeter.report.parts import BY, KERNEL_CLASS, MODULE, OPERATOR, WalkedStage, walked_stages
from modelmeter.report.roofline_section import roofline_section
from modelmeter.report.throughput_tables import engine_line, published_runs

#: layouts that are drawn, those that are drawn and folded away, and those that the table lists
DRAWN: Final = 6
FOLDED: Final = 18
LISTED_LAYOUTS: Final = 100

TITLE: Final = "ModelMeter report"

#: distributions whose version a report names
DISTRIBUTIONS: Final = ("modelmeter", "hydra-core", "omegaconf", "pillow")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report is asked for.

    pages: in their order. subject: what they are called together.
    device: for times and the roofline; chosen: whether the user named it. devices: side by side.
    prices: of an hour, by the device's name. by: what the costs of stages are broken down by, of `BY`. assumed: of the
    pages, beside what the model assumes.
    """

    model: str
    package: ModelPackage
    overrides: Sequence[str]
    subject: str
    pages: Sequence[ReportPage]
    device: Device
    chosen: bool
    devices: Sequence[Device]
    prices: Mapping[str, float]
    title: str = TITLE
    by: Sequence[str] = BY
    assumed: Sequence[Assumption] = ()


@dataclass(frozen=True, kw_only=True)
class StageFigures:
    """A stage's cost, its time by the roofline, and the estimate of its time where there is one."""

    cost: StageCost
    time: StageTime
    estimate: Estimate | None

    def repeated(self, count: int) -> StageFigures:
        """The stage run `count` times."""
        return StageFigures(
            cost=self.cost.summed(self.cost, self.cost, count),
            time=repeated(self.time, count),
            estimate=None if self.estimate is None else self.estimate * count,
        )

    def __add__(self, later: StageFigures) -> StageFigures:
        """This stage, then `later`."""
        either = None if self.estimate is None or later.estimate is None else self.estimate + later.estimate
        return StageFigures(cost=self.cost + later.cost, time=self.time + later.time, estimate=either)


class _Builder:
    """The sections of one report, and what several of them need."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.on = request.device.name
        self.model = request.package.load_cost_model(self.with_engine(request.overrides))
        if self.model.batch_size > 1:
            raise ModelMeterError(
                f"report: runtime.batch_size={self.model.batch_size} makes one pass of several pages; a report is of "
                "pages one at a time, and finds the batch of each device itself."
            )
        self.model.request.check_one_page("report")
        for each in request.by:
            if each not in BY:
                raise ModelMeterError(f"report: costs are not broken down by {each}; {near(each, BY)}")
        self.layouts = pages_by_layout(self.model, request.pages, request.device.kind)
        self.kinds = [kind for kinds in self.layouts for kind in kinds]
        self.kind = max(self.kinds, key=lambda kind: kind.vram.total_bytes)
        self.roofline = Roofline(request.device)
        self.labels = labels_of(self.model)

    # -- what several sections need ---------------------------------------------------------------------------------

    def with_engine(self, overrides: Sequence[str]) -> list[str]:
        """Overrides, and the engine that serves the pages unless they choose one."""
        return served(overrides, self.request.package.EXECUTIONS)

    @property
    def engine_text(self) -> str:
        """Which engine it is, and whether anybody asked for it."""
        return engine_line(self.model.engine.name, default=not is_chosen(self.request.overrides))[1]

    @property
    def page_count(self) -> int:
        """Pages in all."""
        return page_count(self.kinds)

    @property
    def says(self) -> bool:
        """Whether any page has output tokens."""
        return any(kind.output_tokens for kind in self.kinds)

    @property
    def page(self) -> PageCost:
        """The page that the report goes into."""
        return self.kind.cost

    @cached_property
    def times(self) -> StageTimes | None:
        """Times of stages, estimates or a bound; None where the device has no constants for them."""
        try:
            return StageTimes(self.model, self.request.device)
        except NoConstants:
            return None

    @property
    def timed(self) -> str:
        """Where times of stages and operators come from."""
        return ROOFLINE if self.times is None or self.times.bound else ESTIMATE

    @cached_property
    def walked(self) -> list[WalkedStage]:
        """Of that page: its prefill, and its last decode step if there is one, with every operator's time."""
        return walked_stages(self.model, self.page, self.kind.output_tokens, self.times or self.roofline)

    def origin(self, figure: str) -> str:
        """Where a figure of a stage comes from, with the words that stand beside it."""
        return origin(self.labels, figure)

    @cached_property
    def kind_figures(self) -> list[dict[str, StageFigures]]:
        """Cost and time of every stage of each kind of pages."""
        estimates = self.estimates()
        figures = []
        for kind, estimate in zip(self.kinds, estimates, strict=True):
            page = kind.cost
            times = {stage: self.roofline.stage(self.model.stage_walk(stage, page=page)) for stage in WITH_TOTAL[:2]}
            times["decode"] = decode_time(self.roofline, self.model, page, kind.output_tokens)
            times["total"] = times["prefill"] + times["decode"]
            figures.append(
                {
                    stage: StageFigures(
                        cost=getattr(page, stage),
                        time=times[stage],
                        estimate=None if estimate is None else estimate[stage],
                    )
                    for stage in WITH_TOTAL
                }
            )
        return figures

    def estimates(self) -> list[dict[str, Estimate] | None]:
        """The times of every stage of each kind of pages; None without constants for them."""
        times = self.times
        if times is None:
            return [None] * len(self.kinds)
        own_passes = (kind.cost.passes(kind.output_tokens) for kind in self.kinds)
        passes = [(index, *each) for index, kind in enumerate(own_passes) for each in kind]
        arrays = {stage: times.stages(stage, [page.layout for _, page, _ in passes]) for stage in WITH_TOTAL[:2]}
        seq_lens, steps = [page.seq_len for _, page, _ in passes], [steps for *_, steps in passes]
        arrays["decode"] = times.decode_many(seq_lens, steps)
        places: dict[int, list[int]] = {}
        for place, (index, *_) in enumerate(passes):
            places.setdefault(index, []).append(place)
        found: list[dict[str, Estimate] | None] = []
        for own in places.values():
            each = {stage: reduce(add, map(estimates.one, own)) for stage, estimates in arrays.items()}
            found.append(each | {"total": each["prefill"] + each["decode"]})
        return found

    @cached_property
    def all_pages(self) -> dict[str, StageFigures]:
        """Every stage over all pages: sums; peaks and weights are the largest page's."""
        pairs = list(zip(self.kinds, self.kind_figures, strict=True))
        return {
            stage: reduce(add, (figures[stage].repeated(kind.count) for kind, figures in pairs)) for stage in WITH_TOTAL
        }

    def seconds(self, figures: StageFigures) -> Quantity:
        """The time of a stage: the estimate with its interval, or the bound."""
        if figures.estimate is None:
            return Quantity(figures.time.seconds, "s", estimate=True)
        ends = {} if self.timed == ROOFLINE else {"low": figures.estimate.low, "high": figures.estimate.high}
        return Quantity(figures.estimate.value, "s", estimate=True, **ends)

    @cached_property
    def throughputs(self) -> dict[str, Throughput | str]:
        """What each device makes of the pages, or why it cannot; the chosen device first, then the fastest."""
        names = {device.name for device in self.request.devices}
        own = () if self.on in names else (self.request.device,)
        results = {
            device.name: throughput(self.model, device, self.layouts, self.request.prices.get(device.name))
            for device in (*own, *self.request.devices)
        }

        def place(name: str) -> tuple[bool, float]:
            result = results[name]
            return name != self.on, 0.0 if isinstance(result, str) else -result.pages_per_s

        return {name: results[name] for name in sorted(results, key=place)}

    @cached_property
    def alone(self) -> Throughput | str:
        """What the device makes of the pages one at a time, or why it cannot."""
        return throughput(self.model, self.request.device, self.layouts, None, batch_size=1)

    def of(self, result: Throughput, figure: str, unit: str = "") -> Quantity:
        """A time, a rate or a cost with its interval; a bound has none."""
        value, low, high = result.interval(figure)
        return Quantity(value, unit, True) if result.bound else Quantity(value, unit, True, low, high)

    # -- the sections -----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        return Report(
            title=self.request.title,
            subject=self.request.subject,
            sections=[
                self.overview(),
                self.devices(),
                self.modes(),
                self.pages(),
                self.stages(),
                self.modules(),
                roofline_section(self.walked, self.request.device, self.timed),
                memory_section(
                    self.model, self.kind, self.walked, self.labels, self.timed if self.request.chosen else None
                ),
                self.assumptions(),
                self.configuration(),
            ],
        )

    def overview(self) -> Section:
        return Section(
            key="overview",
            title="Overview",
            blocks=[
                Pairs(key="setup", items=self.setup(), layout=FACTS),
                Text(text=" ".join(self.answer()), lead=True),
                Pairs(key="figures", items=self.figures(), layout=TILES),
                Text(
                    text="Counts are exact. Times are bounds, the least that the device's published peaks allow, and "
                    "rates the most; another engine=NAME has estimates. Nothing was run for this report."
                    if self.bound
                    else "Counts are exact. Times, and what follows from them, are estimates with the interval that is "
                    "meant to hold nine of ten measured ones; nothing was run for this report. Published runs: "
                    f"{published_runs(self.model.name)}."
                ),
            ],
        )

    def setup(self) -> list[Item]:
        """What the answer is of."""
        device, engine = self.request.device, self.model.engine
        checkpoint = self.model.config.checkpoint.name
        steps = sorted({kind.output_tokens for kind in self.kinds})
        said = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        settings = self.model.settings()
        execution = f"execution {settings['execution']}"
        default = "" if is_chosen(self.request.overrides) else "; the default here"
        tokens = f"{steps[0] + 1:,} output tokens" if len(steps) == 1 else ""
        if yields_several(self.model):
            said = f"{said} tokens"
            passes = max(len(kind.cost.passes(0)) for kind in self.kinds)
            tokens = self.model.steps_text(steps[-1], passes)
        return [
            Item("model", "model", self.request.package.TITLE, "" if checkpoint is None else sent(checkpoint)),
            Item("mode", "mode", mode_words(self.model)),
            Item("engine", "engine", f"{engine.name} {engine.version or ''}".strip(), execution + default),
            Item("dtype", "type", str(settings["runtime.dtype"])),
            Item(
                "device",
                "device",
                device.named(self.model.devices),
                device.title if self.request.chosen else "none was named",
            ),
            Item("decode_steps", "decode steps", said, tokens),
        ]

    def answer(self) -> Iterator[str]:
        """The answer in sentences."""
        several, device = self.page_count > 1, self.request.device
        tokens = summed(self.kinds, lambda kind: kind.cost.tokens.total)
        if several:
            layouts = f"{len(self.layouts):,} layouts" if len(self.layouts) > 1 else "one layout"
            yield f"The {self.page_count:,} pages, of {layouts}, become {tokens:,} image tokens."
        else:
            whole = self.page.seq_len
            yield f"The page becomes {tokens:,} image tokens, {whole:,} tokens with the prompt's {whole - tokens:,}."
        need, fits = Quantity(self.kind.vram.total_bytes, "B").text, self.one_page_fits(device)
        words = {"yes": "so it fits", "no": "so it does not fit"}.get(fits, fits)
        has = Quantity(device.memory_bytes, "B").text
        which = "The largest of them" if several else "It"
        yield f"{which} needs {need} of device memory; {self.on} has {has}, {words}."
        result, alone = self.throughputs[self.on], self.alone
        if isinstance(result, str):
            yield f"What {self.on} makes of it is not known: {result}"
            return
        if not isinstance(alone, str):
            of = "A page alone takes, on average," if several else "Alone it takes"
            of = f"{of} at least" if alone.bound else of
            yield f"{of} {cell_text(self.of(alone, 'page_latency_s', 's'))}, the host's part included."
        if not self.says:
            yield "No decode steps were given (--output-tokens), so nothing is said of pages a day."
            return
        most = "at most " if result.bound else ""
        day = cell_text(self.of(result, "pages_per_day"))
        by = f"limited by the {result.limited_by}"
        if result.limited_by == HOST:
            by = f"{by}; the device alone would make {self.device_a_day(result).text}"
        yield f"With {result.batch_size:,} pages at once it is {most}{day} pages a day, {by}."
        if result.price_per_hour is not None:
            cost = cell_text(self.of(result, "cost_per_1000_pages"))
            least = "at least " if result.bound else ""
            yield f"At {number(result.price_per_hour)} an hour, 1000 pages cost {least}{cost}."

    def device_a_day(self, result: Throughput) -> Quantity:
        """Pages a day that the device alone allows, whatever its host is."""
        return Quantity(SECONDS_A_DAY * result.device_pages_per_s, estimate=True)

    def figures(self) -> list[Item]:
        """The figures in large."""
        several, total = self.page_count > 1, self.all_pages["total"]
        tokens = summed(self.kinds, lambda kind: kind.cost.tokens.total)
        result, alone = self.throughputs[self.on], self.alone
        no_time, no_steps = "no time", "no output tokens were given"
        items = [
            *([Item("pages", "pages", Quantity(self.page_count), GIVEN)] if several else []),
            Item("image_tokens", "image tokens", Quantity(tokens), self.origin("layout")),
            Item("tensor_core_flops", "tensor-core FLOPs", Quantity(total.cost.tensor_core_flops, "FLOPs"), ANALYTIC),
            Item(
                "device_memory_bytes",
                f"device memory of {'the largest' if several else 'a'} page",
                Quantity(self.kind.vram.total_bytes, "B"),
                f"{ANALYTIC}; {self.labels['reserve_bytes']}",
            ),
            Item(
                "page_alone_s",
                f"a page alone on {self.on}",
                no_time if isinstance(alone, str) else self.of(alone, "page_latency_s", "s"),
                self.latencies,
            ),
            Item(
                "pages_per_day",
                f"pages a day on {self.on}",
                no_time if isinstance(result, str) else self.of(result, "pages_per_day") if self.says else no_steps,
                self.rates,
            ),
        ]
        if isinstance(result, str) or not self.says:
            return items
        if several:
            whole = self.of(result, "corpus_s", "s")
            items.append(Item("all_pages_s", f"all pages at that rate, on one {self.on}", whole, self.latencies))
        if result.price_per_hour is not None:
            cost = self.of(result, "cost_per_1000_pages")
            items.append(Item("cost_per_1000_pages", "cost of 1000 pages", cost, f"{self.latencies}; price given"))
        return items

    def pages(self) -> Section:
        workload = self.model.workload
        figures = dict(zip(map(id, self.kinds), self.kind_figures, strict=True))
        rows: list[list[Cell]] = []
        for kinds in self.layouts[:LISTED_LAYOUTS]:
            first, pages = kinds[0], page_count(kinds)
            time = reduce(add, (figures[id(kind)]["total"].repeated(kind.count) for kind in kinds))
            seconds = self.seconds(time)
            rows.append(
                [
                    workload.layout_text(first.cost.layout),
                    Quantity(pages),
                    first.first.source,
                    f"{first.first.width} x {first.first.height}",
                    Quantity(view_count(first.cost)),
                    *(Quantity(tokens) for tokens in first.cost.tokens.by_view().values()),
                    Quantity(first.cost.tokens.total),
                    Quantity(first.cost.seq_len),
                    mean(kinds, lambda kind: kind.output_tokens),
                    mean(kinds, lambda kind: kind.cost.total.tensor_core_flops, "FLOPs"),
                    mean(kinds, lambda kind: kind.cost.total.io_bytes, "B"),
                    Quantity(max(kind.vram.total_bytes for kind in kinds), "B"),
                    Quantity(seconds.value / pages, "s", estimate=True),
                ]
            )
        more = len(self.layouts) - len(rows)
        table = Table(
            key="layouts",
            title="Pages by layout",
            columns=[
                Column(key=workload.layout_title, title=workload.layout_title, origin=self.labels.get("layout", "")),
                Column(key="pages", title="pages", origin=GIVEN),
                Column(key="first", title="first of them", origin=GIVEN, code=True),
                Column(key="size", title="its pixels", origin=GIVEN),
                Column(key="views", title="views", origin=ANALYTIC),
                *(
                    Column(key=f"{name}_tokens", title=f"{name} tokens", origin=ANALYTIC)
                    for name in self.kinds[0].cost.tokens.by_view()
                ),
                Column(key="image_tokens", title="image tokens", origin=ANALYTIC),
                Column(key="prefill_tokens", title="prefill tokens", origin=f"prompt {self.labels['prompt_tokens']}"),
                Column(key="decode_steps", title="decode steps", origin=GIVEN),
                Column(key="tensor_core_flops", title="tensor-core FLOPs", origin=ANALYTIC),
                Column(key="io_bytes", title="traffic", origin=self.origin("io_bytes")),
                Column(key="device_memory_bytes", title="device memory", origin=self.labels["reserve_bytes"]),
                Column(key="seconds", title=f"time on {self.on}", origin=self.timed),
            ],
            rows=rows,
            note="The layouts of most pages first. Figures are those of one page of the layout, its decode steps "
            "included; where these differ from page to page, of the mean page, and the memory is the largest's. The "
            f"time is the device's, a page at a time. {workload.layout_title.capitalize()} are columns x rows."
            + (f" {more:,} more layouts are not listed." if more else ""),
        )
        drawings = [self.drawing(number, kinds) for number, kinds in enumerate(self.layouts[: DRAWN + FOLDED], start=1)]
        blocks: list[Block] = [table, *drawings[:DRAWN]]
        if folded := drawings[DRAWN:]:
            words = f"{len(folded)} more layouts"
            if more := len(self.layouts) - len(drawings):
                words = f"{words}; {more:,} of fewer pages are not drawn"
            blocks.append(Fold(title=words, charts=folded))
        return Section(key="pages", title="Pages", blocks=blocks)

    def drawing(self, number: int, kinds: Sequence[LayoutPages]) -> Chart:
        kind, pages = kinds[0], page_count(kinds)
        cost = kind.cost
        drawing = charts.Drawing(width=kind.first.width, height=kind.first.height, views=cost.views)
        same = f"{pages:,} pages, such as {kind.first.source}" if pages > 1 else kind.first.source
        return Chart(
            key=f"page_{number}",
            title=same,
            svg=charts.page_chart(drawing),
            caption=f"{views_text(cost)}, {cost.tokens.total:,} image tokens; with the prompt "
            f"{cost.seq_len:,} tokens in prefill. The views are drawn to a scale of their own.",
            data={"width": drawing.width, "height": drawing.height, "views": [asdict(each) for each in cost.views]},
        )

    def stages(self) -> Section:
        several = self.page_count > 1
        blocks: list[Block] = []
        if several:
            blocks.append(
                self.stage_table(
                    "all_pages",
                    f"All {self.page_count:,} pages, one after another",
                    self.all_pages,
                    "Sums over the pages, each run alone; peaks and resident weights are the largest page's.",
                    left_out=("kv_bytes",),
                )
            )
        figures = self.kind_figures[self.kinds.index(self.kind)]
        title = f"One page: {self.kind.first.source}" if several else "The page"
        note = "Prefill includes vision; total is prefill, then decode. Peaks and weights of the total are the larger."
        blocks.append(self.stage_table("page", title, figures, note))
        shown = {
            stage: (each.time.seconds, {bound: each.time.share(bound) for bound in BOUNDS})
            for stage, each in figures.items()
            if stage != "total" and each.time.ticks
        }
        words = "; ".join(
            f"{stage} {Quantity(seconds, 's').text}, "
            + ", ".join(f"{100 * share:.1f} % {bound}" for bound, share in shares.items() if share)
            for stage, (seconds, shares) in shown.items()
        )
        blocks.append(
            Chart(
                key="bounds",
                title=f"What bounds the stages on {self.request.device.name}",
                svg=charts.bound_chart(shown),
                caption=f"Share of each stage's time in operators bound by computing or by memory: {words}.",
                data={stage: {"seconds": seconds, "shares": shares} for stage, (seconds, shares) in shown.items()},
            )
        )
        return Section(key="stages", title="Stages", blocks=blocks)

    def stage_table(
        self,
        key: str,
        title: str,
        figures: Mapping[str, StageFigures],
        note: str,
        left_out: Sequence[str] = (),
    ) -> Table:
        """A row a figure, a column a stage, and where the figure comes from."""
        rows: list[list[Cell]] = []
        for figure, words, unit in FIGURES:
            if figure not in left_out:
                cells = [Quantity(getattr(each.cost, figure), unit or "FLOPs") for each in figures.values()]
                rows.append([words, *cells, self.origin(figure)])
        intensity = [Quantity(each.cost.arithmetic_intensity) for each in figures.values()]
        rows.append(["FLOPs per byte", *intensity, ANALYTIC])
        if self.times is not None and not self.times.bound:
            rows.append([f"time on {self.on}", *(self.seconds(each) for each in figures.values()), self.timed])
        seconds = (Quantity(each.time.seconds, "s", estimate=True) for each in figures.values())
        rows.append([f"roofline on {self.on}", *seconds, ROOFLINE])
        for bound in BOUNDS:
            shares = [Quantity(each.time.share(bound), SHARE) for each in figures.values()]
            rows.append([f"  bound by {bound}", *shares, "bound"])
        names = {"prefill": "prefill with vision"}
        columns = [
            Column(key="figure", title="figure"),
            *(Column(key=stage, title=names.get(stage, stage)) for stage in figures),
            Column(key="origin", title="origin"),
        ]
        return Table(key=key, title=title, columns=columns, rows=rows, note=note, sortable=False)

    def modules(self) -> Section:
        blocks: list[Block] = []
        if MODULE in self.request.by:
            blocks.append(
                Text(
                    text="A line stands for one module, or for several that do the same (0-1, 3-4 (4 ×)); its figures "
                    "are those of all that it stands for, so lines sum to the line above them. Within a module are its "
                    f"submodules and the operators that it runs itself. The page is {self.kind.first.source}; times "
                    f"are those on {self.on}, one kernel after another."
                )
            )
            blocks += [module_tree(stage, stage.title.capitalize(), self.labels, self.timed) for stage in self.walked]
        blocks += [
            parts_block(self.walked, by, self.labels, self.timed)
            for by in (KERNEL_CLASS, OPERATOR)
            if by in self.request.by
        ]
        return Section(key="modules", title="Modules", blocks=blocks)

    def modes(self) -> Section:
        kept = [each for each in self.request.overrides if each.split("=")[0].split(".")[0].strip(" +~") != "workload"]
        models = {
            mode: self.request.package.load_cost_model(self.with_engine([f"workload={mode}", *kept]))
            for mode in self.request.package.MODES
        }
        own = [mode for mode, model in models.items() if model.workload == self.model.workload]
        if not own:
            own = [mode_words(self.model)]
            models = {own[0]: self.model} | models
        rows: list[list[Cell]] = []
        reasons: list[Item] = []
        for mode, model in models.items():
            name = f"{mode} (this report)" if mode in own else mode
            try:
                layouts = pages_by_layout(model, self.request.pages, self.request.device.kind)
            except ModelMeterError as error:
                reasons.append(Item(mode, mode, str(error)))
                rows.append([name, *[None] * 12])
                continue
            result = throughput(model, self.request.device, layouts, None)
            if isinstance(result, str):
                reasons.append(Item(mode, mode, result))
            rows.append([name, *self.mode_row(model, layouts, result)])
        layout_title = self.model.workload.layout_title
        table = Table(
            key="modes",
            title="The named modes, the same pages and settings",
            columns=[
                Column(key="mode", title="mode"),
                Column(key=layout_title, title=layout_title),
                Column(key="image_tokens", title="image tokens", origin=ANALYTIC),
                Column(key="pages_per_day", title="pages a day", origin=self.rates),
                Column(key="device_pages_per_day", title="device alone", origin=self.rates),
                Column(key="device_memory_bytes", title="device memory", origin=self.labels["reserve_bytes"]),
                Column(key="vision_flops", title="vision FLOPs", origin=ANALYTIC),
                Column(key="prefill_flops", title="prefill FLOPs", origin=ANALYTIC),
                Column(key="decode_flops", title="decode FLOPs", origin=ANALYTIC),
                Column(key="io_bytes", title="traffic", origin=self.origin("io_bytes")),
                Column(
                    key="activation_peak_bytes",
                    title="activation peak",
                    origin=self.origin("activation_peak_bytes"),
                ),
                Column(key="kv_bytes", title="KV cache at the end", origin=ANALYTIC),
                Column(key="prefill_s", title="roofline of prefill", origin=ROOFLINE),
            ],
            rows=rows,
            note=f"Rates and times are those on {self.on}; device alone: pages a day whatever its host is. FLOPs are "
            "those of the tensor cores. FLOPs, tokens, traffic and time are sums over all pages; peak, "
            "KV cache and device memory are the largest page's. What the modes themselves set (workload) is not "
            "overridden here; every other override holds.",
        )
        blocks: list[Block] = [table]
        if reasons:
            blocks.append(Pairs(key="modes_without", title="Modes without a figure", items=reasons))
        return Section(key="modes", title="Modes", blocks=blocks)

    def mode_row(
        self, model: CostModel, layouts: Sequence[Sequence[LayoutPages]], result: Throughput | str
    ) -> list[Cell]:
        """The figures of the pages in a mode."""
        kinds = [kind for each in layouts for kind in each]
        grids = [model.workload.layout_text(each[0].cost.layout) for each in layouts]
        prefills = (
            self.roofline.stage(model.stage_walk("prefill", page=each[0].cost)).exact_seconds * page_count(each)
            for each in layouts
        )
        flops = (
            summed(kinds, lambda kind: kind.cost.vision.tensor_core_flops),
            summed(kinds, lambda kind: kind.cost.prefill.tensor_core_flops),
            summed(kinds, lambda kind: kind.cost.decode.tensor_core_flops),
        )
        return [
            ", ".join(grids) if len(grids) < 4 else "several",
            Quantity(summed(kinds, lambda kind: kind.cost.tokens.total)),
            self.a_day(result),
            None if isinstance(result, str) or not self.says else self.device_a_day(result),
            Quantity(max(kind.vram.total_bytes for kind in kinds), "B"),
            *(Quantity(each, "FLOPs") for each in flops),
            Quantity(summed(kinds, lambda kind: kind.cost.total.io_bytes), "B"),
            Quantity(max(kind.cost.total.activation_peak_bytes for kind in kinds), "B"),
            Quantity(max(kind.cost.total.kv_bytes for kind in kinds), "B"),
            Quantity(float(sum(prefills, Fraction(0))), "s", estimate=True),
        ]

    def devices(self) -> Section:
        priced = any(not isinstance(each, str) and each.cost_per_1000_pages for each in self.throughputs.values())
        rows: list[list[Cell]] = []
        reasons: list[Item] = []
        files = {device.name: device for device in (self.request.device, *self.request.devices)}
        for name, result in self.throughputs.items():
            shown = f"{name} (this report)" if name == self.on else name
            memory = Quantity(files[name].memory_bytes, "B")
            gibibytes = f"{files[name].memory_bytes / GIB:.2f} GiB"
            fits = self.one_page_fits(files[name])
            if isinstance(result, str):
                reasons.append(Item(name, name, result))
                rows.append([shown, *[None] * (4 + priced), fits, *[None] * 6, memory, gibibytes])
                continue
            tpot, cost = result.tpot_s, result.cost_per_1000_pages
            costs: list[Cell] = [None if cost is None else Quantity(cost, estimate=True)] if priced else []
            rows.append(
                [
                    shown,
                    *(self.a_day(result, end) for end in ("value", "low", "high")),
                    self.device_a_day(result) if self.says else None,
                    *costs,
                    fits,
                    Quantity(result.batch_size),
                    result.limited_by,
                    Quantity(result.ttft_s, "s", estimate=True),
                    None if tpot is None else Quantity(tpot, "s", estimate=True),
                    result.mostly("prefill"),
                    result.mostly("decode"),
                    memory,
                    gibibytes,
                ]
            )
        columns = [
            Column(key="device", title="device"),
            Column(key="pages_per_day", title="pages a day", origin=self.rates),
            Column(key="pages_per_day_low", title="low", origin=self.rates),
            Column(key="pages_per_day_high", title="high", origin=self.rates),
            Column(key="device_pages_per_day", title="device alone", origin=self.rates),
            *([Column(key="cost_per_1000_pages", title="cost of 1000 pages", origin="price given")] if priced else []),
            Column(key="fits", title="one page fits", origin=self.labels["reserve_bytes"]),
            Column(key="batch_size", title="continuous batch", origin=ANALYTIC),
            Column(key="limited_by", title="limited by", origin=self.rates),
            Column(key="ttft_s", title="time to first token", origin=self.latencies),
            Column(key="tpot_s", title="time per output token", origin=self.latencies),
            Column(key="prefill_mostly", title="prefill mostly in", origin=self.rates),
            Column(key="decode_mostly", title="decode mostly in", origin=self.rates),
            Column(key="memory_bytes", title="memory", origin=GIVEN),
            Column(key="memory_gib", title="the same in GiB", origin=GIVEN),
        ]
        no_price = "" if priced else " No price was given, so there is no cost (--price DEVICE=PRICE)."
        blocks: list[Block] = [
            Table(
                key="devices",
                title="Devices side by side",
                columns=columns,
                rows=rows,
                note=f"Engine: {self.engine_text}. Each device decodes as many pages at once as fit it and its engine "
                "runs, and always has pages waiting: a continuous batch, whose pages are prefilled one at a time. "
                "Figures are those of the average page; device alone: pages a day whatever its host is. The fastest "
                "first, after the device of this report. GB are 10^9 bytes, GiB 2^30; a device's memory is what it "
                "reports, not what it is sold as."
                f"{no_price}",
            )
        ]
        if reasons:
            blocks.append(Pairs(key="devices_without", title="Devices without a result", items=reasons))
        return Section(key="devices", title="Devices", blocks=blocks)

    @property
    def rates(self) -> str:
        """Where rates come from."""
        return "bound: at most" if self.bound else ESTIMATE

    @property
    def latencies(self) -> str:
        """Where times of an engine, and what they cost, come from."""
        return ROOFLINE if self.bound else ESTIMATE

    @property
    def bound(self) -> bool:
        """Whether no engine is modelled, but what none can do better than."""
        return self.model.engine.name == BEST

    def a_day(self, result: Throughput | str, case: str = "value") -> Cell:
        """Pages a day, or an end of their interval; none where no output tokens were given."""
        if isinstance(result, str) or not self.says or (result.bound and case != "value"):
            return None
        return Quantity(getattr(result.interval("pages_per_day"), case), estimate=True)

    def one_page_fits(self, device: Device) -> str:
        """Whether the page that needs most fits a device, and with which reserve where nothing else decides."""
        vram = self.kind.vram.with_reserve(reserve_on(device.kind, self.model.reserve_bytes))
        return "yes" if vram.fits(device.memory_bytes) else vram.smaller_reserve(device.memory_bytes) or "no"

    def assumptions(self) -> Section:
        rows: list[list[Cell]] = [[each.figure, each.label, each.text] for each in self.model.assumptions()]
        rows += [[each.figure, each.label, each.text] for each in self.request.assumed]
        counted = self.model.assumptions()
        rows += [
            [f"times: {each.figure}", each.label, each.text]
            for each in timed_assumptions(self.model)
            if each not in counted
        ]
        chosen = self.throughputs[self.request.device.name]
        timed = self.request.device.assumptions() if isinstance(chosen, str) else chosen.assumptions()
        rows += [[f"times on {self.on}", "assumed", sentence] for sentence in timed]
        rows += [["times", "not modelled", sentence] for sentence in NOT_MODELLED]
        origins = [
            ("analytic", "computed exactly from the shapes of the model's operators"),
            ("estimate", "from those counts, constants of kernels in the device's file, and the engine's host"),
            ("bound", "from those counts and the device's published peaks: times at least, rates at most"),
            ("measured", "measured on a device, where its file says so; nothing was measured for this report"),
            ("assumed, declared, by convention", "chosen for want of a fact; listed above with what is assumed"),
            ("given", "by you, or by the source that the device's file names"),
        ]  # fmt: skip
        return Section(
            key="assumptions",
            title="Assumptions",
            blocks=[
                Table(
                    key="assumptions",
                    title="Everything that is assumed",
                    columns=[
                        Column(key="figure", title="figure", code=True),
                        Column(key="label", title="label"),
                        Column(key="text", title="what is assumed"),
                    ],
                    rows=rows,
                    sortable=False,
                ),
                Pairs(
                    key="origins",
                    title="What the origins mean",
                    items=[Item(words, words, meaning) for words, meaning in origins],
                ),
            ],
        )

    def configuration(self) -> Section:
        device = self.request.device
        steps = sorted({kind.output_tokens for kind in self.kinds})
        asked: dict[str, Cell] = {
            "model": self.request.model,
            "overrides": " ".join(map(sent_override, self.request.overrides)) or "none",
            "decode steps": Quantity(steps[0]) if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}",
            **{key: _plain(value) for key, value in self.model.settings().items()},
            "device": device.titled(self.model.devices),
        }
        items = [Item(key.replace(" ", "_"), key, value) for key, value in asked.items()]
        items += [
            Item(
                f"device_source_{number}",
                "device figures from",
                f"{', '.join(each.figures)}: {each.document}, {each.where}",
            )
            for number, each in enumerate(device.sources, start=1)
        ]
        whole = [(key, _plain(value)) for key, value in flattened(asdict(self.model.config))]
        versions = [("Python", platform.python_version()), *((name, version(name)) for name in DISTRIBUTIONS)]
        return Section(
            key="configuration",
            title="Configuration",
            blocks=[
                Pairs(key="asked", title="What was asked", items=items),
                Table(
                    key="configuration",
                    title="The whole configuration",
                    columns=[Column(key="key", title="key", code=True), Column(key="value", title="value", code=True)],
                    rows=[list(each) for each in whole],
                    sortable=False,
                ),
                Pairs(key="versions", title="Versions", items=[Item(name, name, each) for name, each in versions]),
            ],
        )


def build_report(request: Request) -> Report:
    """The report of a request; raises `ModelMeterError` for what cannot be answered."""
    return _Builder(request).report()


def sent(name: str) -> str:
    """A value as it stands in a file that is sent on: of a path on this machine its last part alone."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name


def sent_override(override: str) -> str:
    """KEY=VALUE as it stands in a file that is sent on."""
    key, equals, value = override.partition("=")
    return f"{key}{equals}{sent(value)}"


def repeated(time: StageTime, count: int) -> StageTime:
    """A stage run `count` times."""
    return replace(
        time,
        compute_ticks=time.compute_ticks * count,
        memory_ticks=time.memory_ticks * count,
        launch_ticks=time.launch_ticks * count,
        operators=time.operators * count,
    )


def views_text(cost: PageCost) -> str:
    """How many views."""
    views = view_count(cost)
    return "1 view" if views == 1 else f"{views:,} views"


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Keys of nested mappings joined with dots, and their values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else sent(str(value))
