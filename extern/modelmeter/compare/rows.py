"""A row for each model in each mode on each device: `compute` fills them in for the pages of a `Comparison`.

All figures of a row are of the average page, peaks and memory of the largest one. A model's laws serve all pages, and
models that are the same but for their name are computed once. What cannot be answered keeps its row, with the reason.

Pages that a model cannot read whole are counted beside its figures: those whose output would go beyond its positions
are taken as they would come out, cut off there; those that it refuses are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil, lcm
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.compare.pages import Pages, Steps
from modelmeter.devices import Device, PageKind, Throughput, compute_throughput
from modelmeter.devices.engine import timed_assumptions
from modelmeter.devices.page_memory import DoesNotFit
from modelmeter.devices.pages import longest_sequence
from modelmeter.devices.shared_times import SharedTimes
from modelmeter.devices.stage_time import StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.engines import served
from modelmeter.models.common.page_text import mode_name
from modelmeter.models.common.passes import REGIONS
from modelmeter.models.common.precision import UNQUANTISED
from modelmeter.models.common.region_tables import KEY as REGIONS_KEY
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.models.common.totals import Totals
from modelmeter.models.common.vram import Vram
from modelmeter.search import largest
from modelmeter.sweep import COUNTED, DEVICE, MODEL, Asked, Point, estimates

if TYPE_CHECKING:
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost

MODE: Final = "mode"
#: what a row is of
KEYS: Final = (MODEL, MODE, DEVICE)

#: figures of `Throughput` that a row has of as many pages at once as fit, with both ends of their intervals
AT_ONCE: Final = (
    "device_pages_per_s",
    "pages_per_s",
    "pages_per_day",
    "page_s",
    "tpot_s",
    "output_tokens_per_s",
    "cost_per_1000_pages",
)
#: of a model that reads a page by its regions, where none are declared: a pass over the whole page is counted
UNDECLARED: Final = "none declared"
#: cells of a layout and a number of decode steps; more take minutes
MAX_CELLS: Final = 20_000


class Entry(NamedTuple):
    """A model in a named workload; None: in the one that its checkpoint has."""

    asked: Asked
    mode: str | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared. overrides: of all models. prices: of an hour, by the device's name.

    runaway_share: of pages that repeat until the model's positions are used up. assumed: of the pages, of all models.
    """

    pages: Pages
    models: Sequence[Entry]
    overrides: Sequence[str] = ()
    devices: Sequence[Device] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    runaway_share: float | Fraction = 0
    assumed: Sequence[Assumption] = ()


class Result(NamedTuple):
    """The rows of a comparison, in the order of its models, their devices one after another; what stands behind them.

    assumptions, engines: with the names of the models that each is of. checkpoints: whose weights a model's name
    stands for. own_modes: the named workload of each checkpoint where nobody asks for another.
    """

    comparison: Comparison
    rows: Sequence[Point]
    assumptions: Mapping[Assumption, Sequence[str]]
    engines: Mapping[str, Sequence[str]]
    checkpoints: Mapping[str, str]
    own_modes: Mapping[str, str]
    bound: bool


#: makes a cost model of a package and overrides; what keeps them has their laws serve several comparisons
Load = Callable[["ModelPackage", Sequence[str]], "CostModel"]


def load(package: ModelPackage, overrides: Sequence[str]) -> CostModel:
    """A cost model that walks what it is asked for alone."""
    return package.load_cost_model(overrides).lazy()


def compute(comparison: Comparison, heard: Callable[[int], None] = lambda done: None, *, load: Load = load) -> Result:
    """All rows. heard: is told how many models are done. Raises `ModelMeterError` where every row is refused."""
    rows: list[Point] = []
    assumptions: dict[Assumption, list[str]] = {}
    engines: dict[str, list[str]] = {}
    checkpoints: dict[str, str] = {}
    own_modes: dict[str, str] = {}
    known: dict[str, list[tuple[Mapping[str, Any], str | None]]] = {}
    bound = False
    for number, (asked, wanted) in enumerate(comparison.models, start=1):
        try:
            model = _loaded(comparison, asked, wanted, load)
        except ModelMeterError as error:
            mode = wanted or "-"
            answers: list[tuple[Mapping[str, Any], str | None]] = [({}, str(error))] * max(len(comparison.devices), 1)
        else:
            mode = mode_name(model)
            checkpoints[asked.name] = model.config.checkpoint.name or model.name
            if asked.name not in own_modes:
                own_modes[asked.name] = mode if wanted is None else _own_mode(asked)
            row = _Row(comparison, asked, model)
            answers = known[row.same] if row.same in known else list(row.answers())
            known[row.same] = answers
            for each in [
                *(timed_assumptions(model) if comparison.devices else model.assumptions()),
                *(each for said in row.outputs if isinstance(said, Steps) for each in said.assumptions),
                *comparison.assumed,
            ]:
                assumptions.setdefault(each, []).append(asked.name)
            engines.setdefault(model.engine.name, []).append(asked.name)
            bound = bound or model.bound_alone
        names = [device.name for device in comparison.devices] or [""]
        for name, (figures, refused) in zip(names, answers, strict=True):
            settings = {MODEL: asked.name, MODE: mode} | ({DEVICE: name} if name else {})
            rows.append(Point(settings=settings, figures=figures, refused=refused))
        heard(number)
    if all(row.refused is not None and not row.figures for row in rows):
        raise ModelMeterError(*dict.fromkeys(str(row.refused) for row in rows))
    return Result(comparison, rows, assumptions, engines, checkpoints, own_modes, bound)


def _loaded(comparison: Comparison, asked: Asked, mode: str | None, load: Load) -> CostModel:
    said = comparison.overrides
    if not _takes_regions(asked) and any(_takes_regions(each) for each, _ in comparison.models):
        # regions are of the pages, as their sizes are: a model that reads pages whole does without them
        said = [each for each in said if each.partition("=")[0].strip() != REGIONS_KEY]
    overrides = [*asked.overrides, *([] if mode is None else [f"workload={mode}"]), *said]
    if comparison.devices:
        model = load(asked.package, served(overrides, asked.package.EXECUTIONS)).for_times()
    else:
        model = load(asked.package, overrides)
    model.request.check_one_page("compare")
    return model


def _takes_regions(asked: Asked) -> bool:
    return REGIONS_KEY in asked.package.CONFIGURATION.keys


def _own_mode(asked: Asked) -> str:
    """The named workload that a checkpoint has."""
    return mode_name(asked.package.load_cost_model(asked.overrides))


class _Cell(NamedTuple):
    """Pages of one layout and as many decode steps: how much of all, of a whole number `_Row.scale` to a page."""

    page: PageCost
    steps: int
    weight: int


class _Row:
    """One model on all devices."""

    def __init__(self, comparison: Comparison, asked: Asked, model: CostModel) -> None:
        self.comparison = comparison
        self.asked = asked
        self.model = model
        #: pages whose output is cut off, pages that are refused, and those of which one in ten would be cut off
        self.cut = self.left_out = self.cut_p90 = Fraction(0)
        self.refusal: str | None = None

    @cached_property
    def same(self) -> str:
        """What all figures follow from; models that differ in their name alone have it in common."""
        config = asdict(self.model.config)
        del config["checkpoint"]
        return repr((self.model.name, config, self.model.prompt_tokens, self.outputs))

    @cached_property
    def outputs(self) -> Sequence[Steps | ModelMeterError]:
        """What pages say in this model's tokens, or why nobody knows."""
        found: list[Steps | ModelMeterError] = []
        for each in self.comparison.pages.outputs:
            try:
                found.append(each.steps(self.asked))
            except ModelMeterError as error:
                found.append(error)
        return found

    def answers(self) -> Iterator[tuple[Mapping[str, Any], str | None]]:
        """Figures on each device, or without one, and why some are missing."""
        unknown = next((str(each) for each in self.outputs if isinstance(each, ModelMeterError)), None)
        try:
            cells = self._cells()
        except ModelMeterError as error:
            yield from [({}, str(error))] * max(len(self.comparison.devices), 1)
            return
        counted = self._counts(cells, output=unknown is None)
        if not self.comparison.devices:
            yield counted, unknown
            return
        kinds = self._kinds(cells)
        passes = [(each.seq_len, said) for cell in cells for each, said in cell.page.passes(cell.steps)]
        for device in self.comparison.devices:
            yield self._on_device(device, counted, kinds, passes, unknown)

    # -- the pages --------------------------------------------------------------------------------------------------

    @cached_property
    def scale(self) -> int:
        """What makes all weights of output tokens whole."""
        steps = [each for each in self.outputs if isinstance(each, Steps)]
        return lcm(*(weight.denominator for each in steps for weight in each.weights.values()))

    def _cells(self) -> list[_Cell]:
        """The pages by layout and decode steps; raises `ModelMeterError` where the model refuses all of them."""
        cells: dict[tuple[Any, int], _Cell] = {}
        layouts = self.comparison.pages.by_layout(self.model.workload)
        numbers = sum(len(said) for said in layouts.values())
        if numbers > MAX_CELLS:
            raise ModelMeterError(
                f"compare: the pages have {numbers:,} different layouts and output tokens under {self.asked.name}, and "
                f"{MAX_CELLS:,} at most are computed; give one number of output tokens for all, or fewer pages."
            )
        for layout, said in layouts.items():
            try:
                page = self.model.layout_cost(layout)
            except ModelMeterError as error:
                self.refusal = self.refusal or str(error)
                self.left_out += sum(said.values())
                continue
            room = self._room(page)
            for number, count in said.items():
                output = self.outputs[number]
                steps = output if isinstance(output, Steps) else Steps({0: Fraction(1)})
                if steps.p90 is not None and steps.p90 > room:
                    self.cut_p90 += count
                for wanted, weight in steps.weights.items():
                    taken = min(wanted, room)
                    if taken < wanted:
                        self.cut += count * weight
                    scaled = int(count * weight * self.scale)
                    before = cells[layout, taken].weight if (layout, taken) in cells else 0
                    cells[layout, taken] = _Cell(page, taken, before + scaled)
        if not cells:
            raise ModelMeterError(str(self.refusal))
        return list(cells.values())

    def _room(self, page: PageCost) -> int:
        """Decode steps that a page has room for; of several passes each has its share."""
        limit = longest_sequence(self.model)
        passes = page.passes(0)
        if len(passes) == 1:
            return max(limit - page.seq_len, 0)

        def fits(steps: int) -> bool:
            return all(each.seq_len + share <= limit for each, share in page.passes(steps))

        return largest(fits, len(passes) * limit)

    def _kinds(self, cells: Sequence[_Cell]) -> list[PageKind[Any]]:
        """The same for `compute_throughput`: a kind a layout."""
        kinds: dict[Any, tuple[PageCost, dict[int, Fraction]]] = {}
        for cell in cells:
            _, weights = kinds.setdefault(cell.page.layout, (cell.page, {}))
            weights[cell.steps] = Fraction(cell.weight, self.scale)
        return [
            PageKind(page=page, output_tokens=weights, count=int(sum(weights.values())))
            for page, weights in kinds.values()
        ]

    # -- figures ----------------------------------------------------------------------------------------------------

    def _counts(self, cells: Sequence[_Cell], *, output: bool) -> dict[str, Any]:
        """What the average page costs, and the memory that one page at a time needs. output: whether it is known."""
        model = self.model
        costs = [(model.layout_cost(cell.page.layout, cell.steps), cell) for cell in cells]
        totals = Totals.of_pages([(Totals.of_page(page, cell.steps), cell.weight) for page, cell in costs])
        pages = totals.pages

        def mean(total: int) -> int | float:
            value = Fraction(total, pages)
            return value.numerator if value.denominator == 1 else float(value)

        need = Vram.of_stages(
            {"prefill": totals.prefill, "decode": totals.decode},
            reserve_bytes=costs[0][0].vram().reserve_bytes,
            load_bytes=model.load_bytes,
        )
        stages = WITH_TOTAL if output else [each for each in WITH_TOTAL if each not in ("decode", "total")]
        first, _ = cells[0].page.passes(0)[0]
        regions = vars(model.workload).get(REGIONS)
        return {
            "engine": model.engine.name,
            **({} if regions is None else {"regions": "declared" if regions else UNDECLARED}),
            **_quantised(model),
            "pages": pages / self.scale if pages % self.scale else pages // self.scale,
            "pages_cut": _plain(self.cut),
            "pages_cut_p90": _plain(self.cut_p90),
            "pages_refused": _plain(self.left_out),
            "image_tokens": mean(totals.image_tokens),
            "prefill_tokens": mean(sum(page.seq_len * cell.weight for page, cell in costs)),
            **({"output_tokens": mean(totals.output_tokens)} if output else {}),
            **self._p90(),
            **{f"{stage}_{name}": mean(getattr(getattr(totals, stage), name)) for name in COUNTED for stage in stages},
            "weight_bytes": totals.total.weight_bytes,
            "kv_token_bytes": first.prefill.kv_bytes // first.seq_len,
            "kv_bytes": totals.total.kv_bytes,
            "activation_peak_bytes": totals.total.activation_peak_bytes,
            "memory_bytes": need.total_bytes,
        }

    def _p90(self) -> dict[str, Any]:
        """What one page in ten says more than, where all pages say the same."""
        output = self.outputs[0]
        if len(self.outputs) > 1 or not isinstance(output, Steps) or output.p90 is None:
            return {}
        return {"output_tokens_p90": output.p90}

    def _on_device(
        self,
        device: Device,
        counted: Mapping[str, Any],
        kinds: Sequence[PageKind[Any]],
        passes: Sequence[tuple[int, int]],
        unknown: str | None,
    ) -> tuple[Mapping[str, Any], str | None]:
        """A row's figures on a device, and why some are missing. unknown: why output tokens are."""
        try:
            times = SharedTimes(StageTimes(self.model, device), self._asked_for(passes))
            most, alone = (
                compute_throughput(
                    self.model,
                    device,
                    kinds,
                    batch_size=batch,
                    runaway_share=self.comparison.runaway_share,
                    price_per_hour=self.comparison.prices.get(device.name),
                    times=times,
                )
                for batch in (None, 1)
            )
        except DoesNotFit as error:
            return {**counted, "fits": "no"}, str(error)
        except ModelMeterError as error:
            return counted, str(error)
        told = {**counted, "fits": "yes", **estimates(alone, {"ttft_s": "ttft_s"})}
        if unknown is not None:
            return told, unknown
        return {**told, **estimates(alone, {"page_latency_s": "alone_s"}), **_at_once(most)}, None

    def _asked_for(self, passes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """All decodes that times are asked for: of runaway pages, to the model's last position, too."""
        if not self.comparison.runaway_share:
            return list(passes)
        limit = longest_sequence(self.model)
        return [*passes, *((seq_len, limit - seq_len) for seq_len, _ in passes)]


def _quantised(model: CostModel) -> dict[str, str]:
    """The scheme that packs a model's weights, and the type of its cache, where that is another."""
    chosen = model.config.precision
    kv = [] if chosen.kv is None else [f"KV {chosen.kv}"]
    told = [*([] if chosen.name == UNQUANTISED else [chosen.name]), *kv]
    return {"precision": ", ".join(told)} if told else {}


def _at_once(most: Throughput) -> dict[str, Any]:
    """Of as many pages at once as fit."""
    needed = ceil(most.device_pages_per_s * most.host_s)
    return {
        "batch_size": most.batch_size,
        "limited_by": most.limited_by,
        "host_workers_needed": max(needed, 1),
        **estimates(most, {name: name for name in AT_ONCE}),
    }


def _plain(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)
