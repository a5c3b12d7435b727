"""What a report of pages says: its sections, each from the cost model's own figures.

Pages of one layout cost the same, so they are counted together; where a report goes into one page, it is the first of
those that need the most memory. Every figure is taken from the cost model, its walks, or the roofline over them; the
sums over pages and over the parts of a walk are the only arithmetic here.

Two kinds of time stand in a report. The roofline over every operator is a bound: the least that it takes at the
device's published peaks; it says what bounds a stage, and no more. What a device makes of the pages is an estimate from
constants of kernels, with the engine's host (`devices.throughput`).
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from importlib.metadata import version
from operator import add
from typing import Any, Final

from modelmeter.devices import (
    BOUNDS,
    NOT_MODELLED,
    Device,
    PageKind,
    Roofline,
    StageTime,
    Throughput,
    compute_throughput,
)
from modelmeter.devices.decode import decode_time
from modelmeter.devices.device import PEAK_OF_DTYPE
from modelmeter.devices.throughput import ESTIMATE
from modelmeter.errors import ModelMeterError
from modelmeter.memory import GIB, reserve_on
from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost
from modelmeter.models.common.engines import BEST, is_chosen, served
from modelmeter.models.common.loading import LOAD
from modelmeter.models.common.page_text import FIGURES
from modelmeter.models.common.stage_cost import WITH_TOTAL, StageCost
from modelmeter.models.common.vram import Vram
from modelmeter.page_sizes import PageSize
from modelmeter.report import charts
from modelmeter.report.document import (
    SHARE,
    Block,
    Cell,
    Chart,
    Column,
    Pairs,
    Quantity,
    Report,
    Section,
    Table,
    Text,
)
from modelmeter.report.module_tree import module_tree
from modelmeter.report.page_tables import view_count
from modelmeter.report.throughput_tables import engine_line, published_runs, timed_assumptions
from modelmeter.walk import Walk

ANALYTIC: Final = "analytic"
#: of a time by the roofline
ROOFLINE: Final = "bound: at least"

#: layouts that are drawn, and storages at the peak that are listed; the others are counted
DRAWN: Final = 8
LISTED_HOLDERS: Final = 16

#: distributions whose version a report names
DISTRIBUTIONS: Final = ("modelmeter", "hydra-core", "omegaconf", "pillow")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report is asked for.

    pages: sizes in their order, and how many pages have each. subject: what they are called together.
    output_tokens: decode steps of each page.
    device: for times and the roofline; chosen: whether the user named it. devices: side by side.
    prices: of an hour, by the device's name.
    """

    model: str
    package: ModelPackage
    overrides: Sequence[str]
    subject: str
    pages: Sequence[tuple[PageSize, int]]
    output_tokens: int
    device: Device
    chosen: bool
    devices: Sequence[Device]
    prices: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Pages of one layout: the first of them, how many, the cost of each, the memory that it needs."""

    first: PageSize
    count: int
    cost: PageCost
    vram: Vram


@dataclass(frozen=True, kw_only=True)
class StageFigures:
    """A stage's cost and its time."""

    cost: StageCost
    time: StageTime


def page_kinds(
    model: CostModel, pages: Sequence[tuple[PageSize, int]], output_tokens: int, device_kind: str
) -> list[Kind]:
    """The pages by layout, in the order of their first; raises `ModelMeterError` for a page that has no cost.

    device_kind: of the device that the memory is needed on.
    """
    costs: dict[tuple[int, int], PageCost] = {}
    first: dict[tuple[object, ...], PageSize] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for page, count in pages:
        size = page.width, page.height
        if size not in costs:
            try:
                costs[size] = model.page(*size, output_tokens)
            except ModelMeterError as error:
                raise ModelMeterError(f"page {page.source}: {error}") from error
        layout = tuple(costs[size].layout._asdict().values())
        first.setdefault(layout, page)
        counts[layout] += count
    return [
        Kind(
            first=page,
            count=counts[layout],
            cost=costs[page.width, page.height],
            vram=model.vram(page.width, page.height, output_tokens, device_kind=device_kind),
        )
        for layout, page in first.items()
    ]


class _Builder:
    """The sections of one report, and what several of them need."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.steps = request.output_tokens
        self.model = request.package.load_cost_model(self.with_engine(request.overrides))
        if self.model.batch_size > 1:
            raise ModelMeterError(
                f"report: runtime.batch_size={self.model.batch_size} makes one pass of several pages; a report is of "
                "pages one at a time, and finds the batch of each device itself."
            )
        self.kinds = page_kinds(self.model, request.pages, self.steps, request.device.kind)
        self.kind = max(self.kinds, key=lambda kind: kind.vram.total_bytes)
        self.roofline = Roofline(request.device)
        self.labels = {each.figure: each.label for each in self.model.assumptions()}

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
        return sum(kind.count for kind in self.kinds)

    @property
    def page(self) -> PageCost:
        """The page that the report goes into."""
        return self.kind.cost

    @property
    def longest_pass(self) -> tuple[int, int]:
        """Positions before the decode steps of the pass that ends longest, and how many steps it has."""
        return max(
            ((each.seq_len, steps) for each, steps in self.page.passes(self.steps) if steps), key=sum, default=(0, 0)
        )

    @cached_property
    def prefill_walk(self) -> Walk:
        return self.model.stage_walk("prefill", page=self.page)

    @cached_property
    def decode_walk(self) -> Walk | None:
        """The last decode step, if there is one."""
        if not self.steps:
            return None
        positions, steps = self.longest_pass
        return self.model.stage_walk("decode", context=positions + steps - 1, generated=steps - 1)

    def walks(self) -> dict[str, Walk]:
        return {"prefill": self.prefill_walk} | ({"decode step": self.decode_walk} if self.decode_walk else {})

    def origin(self, figure: str) -> str:
        """Where a figure of a stage comes from, with the words that stand beside it."""
        return f"{ANALYTIC}; {self.labels[figure]}" if figure in self.labels else ANALYTIC

    def stage_figures(self, page: PageCost) -> dict[str, StageFigures]:
        """Cost and time of every stage of a page."""
        times = {stage: self.roofline.stage(self.model.stage_walk(stage, page=page)) for stage in WITH_TOTAL[:2]}
        times["decode"] = decode_time(self.roofline, self.model, page, self.steps)
        times["total"] = times["prefill"] + times["decode"]
        return {stage: StageFigures(cost=getattr(page, stage), time=times[stage]) for stage in WITH_TOTAL}

    @cached_property
    def kind_figures(self) -> list[dict[str, StageFigures]]:
        """`stage_figures` of every kind of pages."""
        return [self.stage_figures(kind.cost) for kind in self.kinds]

    @cached_property
    def all_pages(self) -> dict[str, StageFigures]:
        """Every stage over all pages: sums; peaks and weights are the largest page's."""
        return {
            stage: StageFigures(
                cost=reduce(
                    add,
                    (
                        figures[stage].cost.summed(figures[stage].cost, figures[stage].cost, kind.count)
                        for kind, figures in zip(self.kinds, self.kind_figures, strict=True)
                    ),
                ),
                time=reduce(
                    add,
                    (
                        repeated(figures[stage].time, kind.count)
                        for kind, figures in zip(self.kinds, self.kind_figures, strict=True)
                    ),
                ),
            )
            for stage in WITH_TOTAL
        }

    @cached_property
    def throughputs(self) -> dict[str, Throughput | str]:
        """What each device makes of the pages, or why it cannot; the chosen device first."""
        names = {device.name for device in self.request.devices}
        own = () if self.request.device.name in names else (self.request.device,)
        return {
            device.name: throughput(self.model, device, self.kinds, self.steps, self.request.prices.get(device.name))
            for device in (*own, *self.request.devices)
        }

    # -- the sections -----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        return Report(
            title="ModelMeter report",
            subject=self.request.subject,
            sections=[
                self.overview(),
                self.pages(),
                self.stages(),
                self.modules(),
                self.roof(),
                self.memory(),
                self.modes(),
                self.devices(),
                self.assumptions(),
                self.configuration(),
            ],
        )

    def overview(self) -> Section:
        total, chosen = self.all_pages["total"], self.throughputs[self.request.device.name]
        several = self.page_count > 1
        tokens = sum(kind.cost.tokens.total * kind.count for kind in self.kinds)
        a_day: Cell = "no output tokens were given"
        if isinstance(chosen, str):
            a_day = "no time"
        elif self.steps:
            a_day = Quantity(chosen.pages_per_day, estimate=True)
        tiles = [
            ("pages (given)", Quantity(self.page_count)),
            (f"image tokens ({self.origin('layout')})", Quantity(tokens)),
            ("tensor-core FLOPs (analytic)", Quantity(total.cost.tensor_core_flops, "FLOPs")),
            (f"traffic (analytic; {self.labels['io_bytes']})", Quantity(total.cost.io_bytes, "B")),
            (
                f"device memory{', largest page' if several else ''} (analytic; {self.labels['reserve_bytes']})",
                Quantity(self.kind.vram.total_bytes, "B"),
            ),
            (f"roofline on {self.request.device.name} ({ROOFLINE})", Quantity(total.time.seconds, "s", estimate=True)),
            (f"pages a day on {self.request.device.name} ({self.timed})", a_day),
        ]
        decode = (
            f"Each page is followed by {self.steps:,} decode steps."
            if self.steps
            else "No decode steps: prefill only (--output-tokens N adds N of them)."
        )
        chosen_by = "as asked" if self.request.chosen else "the default, since none was named"
        return Section(
            key="overview",
            title="Overview",
            blocks=[
                Pairs(key="figures", items=tiles, tiles=True),
                Text(
                    text=f"{decode} Engine: {self.engine_text}. Times are those of {self.request.device.title} "
                    f"({chosen_by}); nothing was run. The roofline over every operator, from the device's published "
                    "peaks, is a bound: no code takes less. Pages a day are estimates, from constants of kernels and "
                    "of the engine's host. Counts follow exactly from the shapes of the model's operators."
                ),
            ],
        )

    def pages(self) -> Section:
        workload = self.model.workload
        rows: list[list[Cell]] = []
        for kind, figures in zip(self.kinds, self.kind_figures, strict=True):
            cost = kind.cost
            rows.append(
                [
                    workload.layout_text(cost.layout),
                    Quantity(kind.count),
                    kind.first.source,
                    f"{kind.first.width} x {kind.first.height}",
                    Quantity(view_count(cost)),
                    *(Quantity(tokens) for tokens in cost.tokens.by_view().values()),
                    Quantity(cost.tokens.total),
                    Quantity(cost.seq_len),
                    Quantity(cost.total.tensor_core_flops, "FLOPs"),
                    Quantity(cost.total.io_bytes, "B"),
                    Quantity(kind.vram.total_bytes, "B"),
                    Quantity(figures["total"].time.seconds, "s", estimate=True),
                ]
            )
        table = Table(
            key="layouts",
            title="Pages by layout",
            columns=[
                Column(key=workload.layout_title, title=workload.layout_title, origin=self.labels.get("layout", "")),
                Column(key="pages", title="pages", origin="given"),
                Column(key="first", title="first of them", origin="given", code=True),
                Column(key="size", title="its pixels", origin="given"),
                Column(key="views", title="views", origin=ANALYTIC),
                *(
                    Column(key=f"{name}_tokens", title=f"{name} tokens", origin=ANALYTIC)
                    for name in self.kinds[0].cost.tokens.by_view()
                ),
                Column(key="image_tokens", title="image tokens", origin=ANALYTIC),
                Column(key="prefill_tokens", title="prefill tokens", origin=f"prompt {self.labels['prompt_tokens']}"),
                Column(key="tensor_core_flops", title="tensor-core FLOPs", origin=ANALYTIC),
                Column(key="io_bytes", title="traffic", origin=self.origin("io_bytes")),
                Column(key="device_memory_bytes", title="device memory", origin=self.labels["reserve_bytes"]),
                Column(key="seconds", title="roofline", origin=ROOFLINE),
            ],
            rows=rows,
            note="Figures are those of one page of the layout, its decode steps included. "
            f"{workload.layout_title.capitalize()} are columns x rows.",
        )
        drawings = [self.drawing(number, kind) for number, kind in enumerate(self.kinds[:DRAWN], start=1)]
        blocks: list[Block] = [*drawings, table]
        if len(self.kinds) > DRAWN:
            blocks.insert(DRAWN, Text(text=f"{len(self.kinds) - DRAWN} more layouts are in the table, not drawn."))
        return Section(key="pages", title="Pages and tokens", blocks=blocks)

    def drawing(self, number: int, kind: Kind) -> Chart:
        cost = kind.cost
        drawing = charts.Drawing(width=kind.first.width, height=kind.first.height, views=cost.views)
        same = f", and {kind.count - 1:,} more with this layout" if kind.count > 1 else ""
        return Chart(
            key=f"page_{number}",
            title=f"{kind.first.source}{same}",
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
        figures = self.stage_figures(self.page)
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
        on = f"on {self.request.device.name}"
        seconds = (Quantity(each.time.seconds, "s", estimate=True) for each in figures.values())
        rows.append([f"roofline {on}", *seconds, ROOFLINE])
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
        blocks: list[Block] = [
            Text(
                text="A line stands for one module, or for several that do the same (0-1, 3-4 (4 ×)); its figures are "
                "those of all that it stands for, so lines sum to the line above them. Within a module are its "
                "submodules and the operators that it runs itself."
            ),
            module_tree("prefill", f"Prefill of {self.kind.first.source}", self.prefill_walk, self.roofline),
        ]
        if self.decode_walk is not None:
            title = f"Last decode step, {sum(self.longest_pass) - 1:,} tokens before it"
            blocks.append(module_tree("decode_step", title, self.decode_walk, self.roofline))
        blocks.append(self.operator_table())
        return Section(key="modules", title="Modules and operators", blocks=blocks)

    def operator_table(self) -> Table:
        rows: list[list[Cell]] = []
        for stage, walk in self.walks().items():
            groups: dict[tuple[str, str], list[Any]] = {}
            for each in self.roofline.operators(walk):
                groups.setdefault((each.record.aten, each.record.dtype), []).append(each)
            total = self.roofline.stage(walk).ticks
            for (aten, dtype), times in groups.items():
                ticks = sum(each.ticks for each in times)
                by_bound = {bound: sum(each.ticks for each in times if each.bound == bound) for bound in BOUNDS}
                rows.append(
                    [
                        stage,
                        aten,
                        dtype,
                        Quantity(len(times)),
                        Quantity(sum(each.record.tensor_core_flops for each in times), "FLOPs"),
                        Quantity(sum(each.record.cuda_core_flops for each in times), "FLOPs"),
                        Quantity(sum(each.record.bytes_read + each.record.bytes_written for each in times), "B"),
                        Quantity(ticks / self.roofline.ticks_per_s, "s"),
                        Quantity(ticks / total if total else 0.0, SHARE),
                        max(BOUNDS, key=lambda bound: by_bound[bound]) if ticks else "-",
                    ]
                )
        rows.sort(key=lambda row: (row[0] != "prefill", -_value(row[7])))
        return Table(
            key="operators",
            title="Operators by kind",
            columns=[
                Column(key="stage", title="stage"),
                Column(key="operator", title="operator", code=True),
                Column(key="dtype", title="type", code=True),
                Column(key="count", title="how many", origin=ANALYTIC),
                Column(key="tensor_core_flops", title="tensor-core FLOPs", origin=ANALYTIC),
                Column(key="cuda_core_flops", title="vector FLOPs", origin=self.labels["cuda_core_flops"]),
                Column(key="io_bytes", title="traffic", origin=self.origin("io_bytes")),
                Column(key="seconds", title="roofline", origin=ROOFLINE),
                Column(key="share", title="share of the stage", origin="bound"),
                Column(key="bound", title="mostly bound by", origin="bound"),
            ],
            rows=rows,
        )

    def roof(self) -> Section:
        device = self.request.device
        points, silent = [], []
        dtypes = set()
        for stage, walk in self.walks().items():
            moved = 0
            for each in self.roofline.operators(walk):
                record = each.record
                flops = record.tensor_core_flops + record.cuda_core_flops
                nbytes = record.bytes_read + record.bytes_written
                if record.tensor_core_flops:
                    dtypes.add(PEAK_OF_DTYPE.get(record.dtype, record.dtype))
                if not flops or not nbytes:
                    moved += each.ticks
                    continue
                groups = {"matmul": "GEMMs", "attention": "attention"}
                points.append(
                    charts.Point(
                        stage=stage,
                        operator=record.aten,
                        group=groups.get(record.kind, "others"),
                        bound=each.bound,
                        times=1,
                        flops_per_byte=flops / nbytes,
                        flops_per_s=flops * self.roofline.ticks_per_s / each.ticks,
                        share=each.share,
                    )
                )
            silent.append(f"{100 * moved / self.roofline.stage(walk).ticks:.1f} % of the {stage}'s time")
        roofs = {peak: float(device.matmul_rate(peak)) for peak in device.matmul_flops_per_s if peak in dtypes}
        roofs = charts.merged_roofs(roofs | {"vector": float(device.vector_rate)})
        drawn = charts.count_points(points)
        bandwidth = float(device.bandwidth)
        return Section(
            key="roofline",
            title="Roofline",
            blocks=[
                Chart(
                    key="roofline",
                    title=f"Operators under the roofs of {device.name}",
                    svg=charts.roofline_chart(drawn, roofs, bandwidth),
                    caption="A point is an operator, or several that are alike; its area is their share of the stage's "
                    "time. It lies as high as the roofline model lets it: on the slope, memory bounds it; under a "
                    "flat roof, computing does. Operators that compute nothing are not drawn; they take "
                    f"{' and '.join(silent)}.",
                    data={
                        "roofs_flops_per_s": roofs,
                        "bytes_per_s": bandwidth,
                        "points": [point._asdict() for point in drawn],
                    },
                )
            ],
        )

    def memory(self) -> Section:
        vram = self.kind.vram
        held = "beside the weights as they stay" if vram.stage == LOAD else "KV cache included"
        needs = Pairs(
            key="device_memory",
            title=f"What a device must hold for {self.kind.first.source}",
            items=[
                ("weights, resident (analytic)", Quantity(vram.weight_bytes, "B")),
                (
                    f"peak of {vram.stage}, {held} (analytic; {self.labels['activation_peak_bytes']})",
                    Quantity(vram.resident_peak_bytes, "B"),
                ),
                ("reserve (assumed)", Quantity(vram.reserve_bytes, "B")),
                (f"together (analytic; {self.labels['reserve_bytes']})", Quantity(vram.total_bytes, "B")),
            ],
        )
        blocks: list[Block] = [needs]
        for stage, walk in self.walks().items():
            blocks.append(self.live_chart(stage, walk))
        blocks.append(self.holders(max(("prefill", "decode"), key=self.resident_peak_bytes)))
        return Section(key="memory", title="Memory over the pass", blocks=blocks)

    def resident_peak_bytes(self, stage: str) -> int:
        """The largest live set of a stage of the page that the report goes into."""
        cost: StageCost = getattr(self.page, stage)
        return cost.resident_peak_bytes

    def live_chart(self, stage: str, walk: Walk) -> Chart:
        records = list(walk.records())
        live = [record.live_bytes for record in records]
        peak = f"{walk.peak_path or 'between the modules'} ({walk.peak_operator})"
        given = "" if stage == "prefill" else " The KV cache that the step is given is not in it."
        return Chart(
            key=f"live_set_{stage.replace(' ', '_')}",
            title="Live set over the prefill" if stage == "prefill" else "Live set over the last decode step",
            svg=charts.memory_chart(live, [record.path for record in records], walk.peak_path or "between the modules"),
            caption=f"Bytes of all live tensors after each operator, weights not counted. The peak of "
            f"{Quantity(walk.peak_bytes, 'B').digits} is reached at {peak}.{given}",
            data={
                "peak_bytes": walk.peak_bytes,
                "peak_path": walk.peak_path,
                "peak_operator": walk.peak_operator,
                "live_bytes": live,
            },
        )

    def holders(self, stage: str) -> Table:
        first = self.kind.first
        holders = self.model.peak_holders(stage, first.width, first.height, self.steps)
        rows: list[list[Cell]] = [
            [
                each.path or "between the modules",
                each.operator,
                "x".join(str(size) for size in each.shape),
                each.dtype,
                each.kind,
                Quantity(each.nbytes, "B"),
            ]
            for each in holders[:LISTED_HOLDERS]
        ]
        rest = holders[LISTED_HOLDERS:]
        if rest:
            rest_bytes = sum(each.nbytes for each in rest)
            rows.append([f"{len(rest)} smaller ones", None, None, None, None, Quantity(rest_bytes, "B")])
        total = Quantity(sum(each.nbytes for each in holders), "B")
        return Table(
            key="holders",
            title=f"Who holds the peak of {stage}",
            columns=[
                Column(key="path", title="made in", code=True),
                Column(key="operator", title="by", code=True),
                Column(key="shape", title="shape", code=True),
                Column(key="dtype", title="type", code=True),
                Column(key="holds", title="holds"),
                Column(key="bytes", title="bytes", origin=self.origin("activation_peak_bytes")),
            ],
            rows=rows,
            note=f"All tensors alive at the peak; together {total.digits}.",
        )

    def modes(self) -> Section:
        kept = [each for each in self.request.overrides if each.split("=")[0].split(".")[0].strip(" +~") != "workload"]
        models = {
            mode: self.request.package.load_cost_model(self.with_engine([f"workload={mode}", *kept]))
            for mode in self.request.package.MODES
        }
        names = [name for name, workload in self.request.package.MODES.items() if workload == self.model.workload]
        if not names:
            models = {"as configured": self.model} | models
        rows: list[list[Cell]] = []
        reasons: list[tuple[str, Cell]] = []
        for mode, model in models.items():
            name = f"{mode} (this report)" if mode in (*names, "as configured") else mode
            try:
                kinds = page_kinds(model, self.request.pages, self.steps, self.request.device.kind)
            except ModelMeterError as error:
                reasons.append((mode, str(error)))
                rows.append([name, *[None] * 11])
                continue
            grids = [model.workload.layout_text(kind.cost.layout) for kind in kinds]
            prefills = [self.roofline.stage(model.stage_walk("prefill", page=kind.cost)) for kind in kinds]
            result = throughput(model, self.request.device, kinds, self.steps, None)
            if isinstance(result, str):
                reasons.append((mode, result))

            def total(figure: str, stage: str, kinds: Sequence[Kind] = kinds) -> int:
                return sum(kind.count * int(getattr(getattr(kind.cost, stage), figure)) for kind in kinds)

            rows.append(
                [
                    name,
                    ", ".join(dict.fromkeys(grids)) if len(grids) < 4 else "several",
                    Quantity(sum(kind.count * kind.cost.tokens.total for kind in kinds)),
                    Quantity(total("tensor_core_flops", "vision"), "FLOPs"),
                    Quantity(total("tensor_core_flops", "prefill"), "FLOPs"),
                    Quantity(total("tensor_core_flops", "decode"), "FLOPs"),
                    Quantity(total("io_bytes", "total"), "B"),
                    Quantity(max(kind.cost.total.activation_peak_bytes for kind in kinds), "B"),
                    Quantity(max(kind.cost.total.kv_bytes for kind in kinds), "B"),
                    Quantity(max(kind.vram.total_bytes for kind in kinds), "B"),
                    Quantity(
                        float(
                            sum(
                                (time.exact_seconds * kind.count for time, kind in zip(prefills, kinds, strict=True)),
                                Fraction(0),
                            )
                        ),
                        "s",
                        estimate=True,
                    ),
                    self.a_day(result),
                ]
            )
        on, layout_title = f"on {self.request.device.name}", self.model.workload.layout_title
        table = Table(
            key="modes",
            title="The named modes, the same pages and settings",
            columns=[
                Column(key="mode", title="mode"),
                Column(key=layout_title, title=layout_title),
                Column(key="image_tokens", title="image tokens", origin=ANALYTIC),
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
                Column(key="device_memory_bytes", title="device memory", origin=self.labels["reserve_bytes"]),
                Column(key="prefill_s", title=f"roofline of prefill {on}", origin=ROOFLINE),
                Column(key="pages_per_day", title=f"pages a day {on}", origin=self.timed),
            ],
            rows=rows,
            note="FLOPs are those of the tensor cores. FLOPs, tokens, traffic and time are sums over all pages; peak, "
            "KV cache and device memory are the largest page's. What the modes themselves set (workload) is not "
            "overridden here; every other override holds.",
        )
        blocks: list[Block] = [table]
        if reasons:
            blocks.append(Pairs(key="modes_without", title="Modes without a figure", items=reasons))
        return Section(key="modes", title="Modes compared", blocks=blocks)

    def devices(self) -> Section:
        priced = any(not isinstance(each, str) and each.cost_per_1000_pages for each in self.throughputs.values())
        rows: list[list[Cell]] = []
        reasons: list[tuple[str, Cell]] = []
        files = {device.name: device for device in (self.request.device, *self.request.devices)}
        for name, result in self.throughputs.items():
            shown = f"{name} (this report)" if name == self.request.device.name else name
            memory = Quantity(files[name].memory_bytes, "B")
            gibibytes = f"{files[name].memory_bytes / GIB:.2f} GiB"
            fits = self.one_page_fits(files[name])
            if isinstance(result, str):
                reasons.append((name, result))
                rows.append([shown, memory, gibibytes, fits, *[None] * (9 + priced)])
                continue
            tpot = result.tpot_s
            row: list[Cell] = [
                shown,
                memory,
                gibibytes,
                fits,
                Quantity(result.batch_size),
                self.a_day(result),
                *(self.a_day(result, end) for end in ("low", "high")),
                result.limited_by,
                Quantity(result.ttft_s, "s", estimate=True),
                None if tpot is None else Quantity(tpot, "s", estimate=True),
                result.mostly("prefill"),
                result.mostly("decode"),
            ]
            cost = result.cost_per_1000_pages
            rows.append([*row, *([None if cost is None else Quantity(cost, estimate=True)] if priced else [])])
        columns = [
            Column(key="device", title="device"),
            Column(key="memory_bytes", title="memory", origin="given"),
            Column(key="memory_gib", title="the same in GiB", origin="given"),
            Column(key="fits", title="one page fits", origin=self.labels["reserve_bytes"]),
            Column(key="batch_size", title="continuous batch", origin=ANALYTIC),
            Column(key="pages_per_day", title="pages a day", origin=self.timed),
            Column(key="pages_per_day_low", title="low", origin=self.timed),
            Column(key="pages_per_day_high", title="high", origin=self.timed),
            Column(key="limited_by", title="limited by", origin=self.timed),
            Column(key="ttft_s", title="time to first token", origin=self.timed),
            Column(key="tpot_s", title="time per output token", origin=self.timed),
            Column(key="prefill_mostly", title="prefill mostly in", origin=self.timed),
            Column(key="decode_mostly", title="decode mostly in", origin=self.timed),
        ]
        if priced:
            columns.append(Column(key="cost_per_1000_pages", title="cost of 1000 pages", origin="price given"))
        no_price = "" if priced else " No price was given, so there is no cost (--price DEVICE=PRICE)."
        blocks: list[Block] = [
            Table(
                key="devices",
                title="Devices side by side",
                columns=columns,
                rows=rows,
                note=f"Engine: {self.engine_text}. Each device decodes as many pages at once as fit it and its engine "
                "runs, and always has pages waiting: a continuous batch, whose pages are prefilled one at a time. "
                "Figures are those of the average page. GB are 10^9 bytes, GiB 2^30; a device's memory is what it "
                f"reports, not what it is sold as. Published runs: {published_runs()}.{no_price}",
            )
        ]
        if reasons:
            blocks.append(Pairs(key="devices_without", title="Devices without a result", items=reasons))
        return Section(key="devices", title="Devices compared", blocks=blocks)

    @property
    def timed(self) -> str:
        """Where rates come from."""
        return "bound: at most" if self.model.engine.name == BEST else ESTIMATE

    def a_day(self, result: Throughput | str, case: str = "value") -> Cell:
        """Pages a day, or an end of their interval; none where no output tokens were given."""
        if isinstance(result, str) or not self.steps:
            return None
        return Quantity(getattr(result.interval("pages_per_day"), case), estimate=True)

    def one_page_fits(self, device: Device) -> str:
        """Whether the page that needs most fits a device, and with which reserve where nothing else decides."""
        vram = self.kind.vram.with_reserve(reserve_on(device.kind, self.model.reserve_bytes))
        return "yes" if vram.fits(device.memory_bytes) else vram.smaller_reserve(device.memory_bytes) or "no"

    def assumptions(self) -> Section:
        rows: list[list[Cell]] = [[each.figure, each.label, each.text] for each in self.model.assumptions()]
        counted = self.model.assumptions()
        rows += [
            [f"times: {each.figure}", each.label, each.text]
            for each in timed_assumptions(self.model)
            if each not in counted
        ]
        chosen = self.throughputs[self.request.device.name]
        timed = self.request.device.assumptions() if isinstance(chosen, str) else chosen.assumptions()
        rows += [[f"times on {self.request.device.name}", "assumed", sentence] for sentence in timed]
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
            title="Assumptions and origins",
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
                Pairs(key="origins", title="What the origins mean", items=origins),
            ],
        )

    def configuration(self) -> Section:
        device = self.request.device
        settings = [(key, _plain(value)) for key, value in self.model.settings().items()]
        asked: list[tuple[str, Cell]] = [
            ("model", self.request.model),
            ("overrides", " ".join(self.request.overrides) or "none"),
            ("output tokens", Quantity(self.steps)),
            *settings,
            ("device", f"{device.name}: {device.title}"),
            *(
                ("device figures from", f"{', '.join(each.figures)}: {each.document}, {each.where}")
                for each in device.sources
            ),
        ]
        whole = [(key, _plain(value)) for key, value in flattened(asdict(self.model.config))]
        versions = [("Python", platform.python_version()), *((name, version(name)) for name in DISTRIBUTIONS)]
        return Section(
            key="configuration",
            title="Configuration and versions",
            blocks=[
                Pairs(key="asked", title="What was asked", items=asked),
                Table(
                    key="configuration",
                    title="The whole configuration",
                    columns=[Column(key="key", title="key", code=True), Column(key="value", title="value", code=True)],
                    rows=[list(each) for each in whole],
                    sortable=False,
                ),
                Pairs(key="versions", title="Versions", items=versions),
            ],
        )


def build_report(request: Request) -> Report:
    """The report of a request; raises `ModelMeterError` for what cannot be answered."""
    return _Builder(request).report()


def throughput(
    model: CostModel, device: Device, kinds: Sequence[Kind], output_tokens: int, price_per_hour: float | None
) -> Throughput | str:
    """What a device makes of the pages, or why it cannot."""
    pages = [
        PageKind(page=kind.cost, output_tokens=output_tokens, count=kind.count, label=kind.first.source)
        for kind in kinds
    ]
    try:
        return compute_throughput(model, device, pages, price_per_hour=price_per_hour)
    except ModelMeterError as error:
        return str(error)


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
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _value(cell: Cell) -> float:
    return cell.value if isinstance(cell, Quantity) else 0.0
