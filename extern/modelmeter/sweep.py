"""Every combination of models, pages, settings, output tokens, devices and batches: what each costs and takes.

A `Sweep` says what is varied; `compute` makes a `Point` of each combination, in the order of the axes, the last one
running fastest. One cost model is composed for each configuration, and its laws serve all pages of it; one set of times
serves all pages and batches of a device. A point that cannot be answered keeps its place, with the reason.

Counts are exact, of one page, or of `runtime.batch_size` pages in one pass. Times, where there is a device, are
estimates of pages that are prefilled one at a time and decode together: so many as `batch` or else `runtime.batch_size`
says, or the most that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.devices import Device, PageKind, Throughput, compute_throughput
from modelmeter.devices.engine import timed_assumptions
from modelmeter.devices.page_memory import DoesNotFit
from modelmeter.devices.shared_times import SharedTimes
from modelmeter.devices.stage_time import StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.engines import served
from modelmeter.models.common.stage_cost import WITH_TOTAL

if TYPE_CHECKING:
    from modelmeter.models.common.assumption import Assumption
    from modelmeter.models.common.contract import CostModel, ModelPackage, PageCost
    from modelmeter.models.common.vram import Vram
    from modelmeter.page_sizes import PageSize

#: axes that are no keys of the configuration
PAGE: Final = "page"
MODEL: Final = "model"
DEVICE: Final = "device"
OUTPUT_TOKENS: Final = "output_tokens"
BATCH: Final = "batch"

#: the key that says how many pages one pass has, and how many decode together where `BATCH` says nothing
BATCH_SIZE: Final = "runtime.batch_size"

#: figures of `StageCost` that a point has of every stage
COUNTED: Final = ("tensor_core_flops", "cuda_core_flops", "io_bytes")
#: figures of `Throughput` that a point has with both ends of their interval
TIMED: Final = (
    "page_latency_s",
    "pages_per_s",
    "pages_per_day",
    "ttft_s",
    "tpot_s",
    "output_tokens_per_s",
    "cost_per_1000_pages",
)


class Axis(NamedTuple):
    """What is varied, and its values in words."""

    key: str
    values: Sequence[str]


class Asked(NamedTuple):
    """A model that is asked for: the name that it was given, its package, and overrides that come with the name."""

    name: str
    package: ModelPackage
    overrides: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is varied. batches: None: the most that fit. prices: of an hour, by the device's name."""

    pages: Sequence[tuple[str, PageSize]]
    models: Sequence[Asked]
    settings: Sequence[Axis]
    output_tokens: Sequence[int]
    devices: Sequence[Device] = ()
    batches: Sequence[int] | None = None
    prices: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def axes(self) -> list[Axis]:
        """All that has a value at every point, in the order in which points run."""
        return [
            Axis(PAGE, [name for name, _ in self.pages]),
            Axis(MODEL, [each.name for each in self.models]),
            *self.settings,
            *([Axis(DEVICE, [device.name for device in self.devices])] if self.devices else []),
            Axis(OUTPUT_TOKENS, list(map(str, self.output_tokens))),
            *([] if self.batches is None else [Axis(BATCH, list(map(str, self.batches)))]),
        ]

    @property
    def points(self) -> int:
        """How many combinations there are."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def varied(self) -> list[Axis]:
        """The axes that have several values."""
        return [axis for axis in self.axes if len(axis.values) > 1]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination. settings: its value on every axis. figures: by name, None where there is none.

    refused: why it has no figures, or no times.
    """

    settings: Mapping[str, str]
    figures: Mapping[str, Any]
    refused: str | None = None


class Result(NamedTuple):
    """The points of a sweep, and what stands behind their figures."""

    sweep: Sweep
    points: Sequence[Point]
    assumptions: Sequence[Assumption]
    engines: Sequence[str]
    bound: bool


def typed(value: str) -> int | float | str:
    """An axis' value as a number where it is one.

    >>> typed("8"), typed("0.5"), typed("H100-SXM")
    (8, 0.5, 'H100-SXM')
    """
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def compute(sweep: Sweep, heard: Callable[[int], None] = lambda done: None) -> Result:
    """All points. heard: is told how many are done. Raises `ModelMeterError` where every point is refused."""
    found: dict[tuple[str, ...], Point] = {}
    assumptions: dict[Assumption, None] = {}
    engines: dict[str, None] = {}
    bound = False
    combinations = list(product(*(axis.values for axis in sweep.settings)))
    for asked, values in product(sweep.models, combinations):
        chosen = {MODEL: asked.name} | {axis.key: value for axis, value in zip(sweep.settings, values, strict=True)}
        overrides = [*asked.overrides, *(f"{key}={value}" for key, value in chosen.items() if key != MODEL)]
        try:
            configured = _Configured(sweep, asked.package, overrides)
        except ModelMeterError as error:
            settled = _refused(sweep, chosen, str(error))
        else:
            settled = configured.points(chosen)
            assumptions |= dict.fromkeys(configured.assumptions())
            engines[configured.model.engine.name] = None
            bound = bound or configured.model.bound_alone
        for point in settled:
            found[tuple(point.settings[axis.key] for axis in sweep.axes)] = point
            heard(len(found))
    points = [found[values] for values in product(*(axis.values for axis in sweep.axes))]
    if all(point.refused is not None and not point.figures for point in points):
        raise ModelMeterError(*dict.fromkeys(str(point.refused) for point in points))
    return Result(sweep, points, list(assumptions), list(engines), bound)


def _refused(sweep: Sweep, chosen: Mapping[str, str], reason: str, **more: Any) -> Iterator[Point]:
    """The points of a part of the sweep, which have no figures, or these alone."""
    open_axes = [axis for axis in sweep.axes if axis.key not in chosen]
    for values in product(*(axis.values for axis in open_axes)):
        settings = {**chosen, **{axis.key: value for axis, value in zip(open_axes, values, strict=True)}}
        yield Point(settings=settings, figures=dict(more), refused=reason)


class _Configured:
    """The points of one configuration."""

    def __init__(self, sweep: Sweep, package: ModelPackage, overrides: Sequence[str]) -> None:
        self.sweep = sweep
        if not sweep.devices:
            self.model: CostModel = package.load_cost_model(overrides)
            return
        overrides = served(overrides, package.EXECUTIONS)
        self.model = self.timed = package.load_cost_model(overrides).for_times()
        if self.model.batch_size > 1:  # of times: pages that decode together
            alone = [each for each in overrides if each.partition("=")[0].strip() != BATCH_SIZE]
            self.timed = package.load_cost_model(alone).for_times()

    def assumptions(self) -> Sequence[Assumption]:
        """What stands behind the figures."""
        return timed_assumptions(self.model) if self.sweep.devices else self.model.assumptions()

    def points(self, chosen: Mapping[str, str]) -> Iterator[Point]:
        """Pages and output tokens, and on every device."""
        sweep = self.sweep
        costs: dict[tuple[str, int], tuple[PageCost, Vram]] = {}
        for (name, size), steps in product(sweep.pages, sweep.output_tokens):
            at = {**chosen, PAGE: name, OUTPUT_TOKENS: str(steps)}
            try:
                page = self.model.page(size.width, size.height, steps)
                costs[name, steps] = page, self.model.vram(size.width, size.height, steps)
            except ModelMeterError as error:
                yield from _refused(sweep, at, str(error))
                continue
            if not sweep.devices:
                yield Point(settings=at, figures=counts(page, costs[name, steps][1].total_bytes))
        for device in sweep.devices if costs else ():
            yield from self._on_device({**chosen, DEVICE: device.name}, device, costs)

    def _on_device(
        self, chosen: Mapping[str, str], device: Device, costs: Mapping[tuple[str, int], tuple[PageCost, Vram]]
    ) -> Iterator[Point]:
        passes = [(each.seq_len, said) for (_, steps), (page, _) in costs.items() for each, said in page.passes(steps)]
        times, why = None, ""
        try:
            times = SharedTimes(StageTimes(self.timed, device), passes)
        except ModelMeterError as error:
            why = str(error)
        batches: Sequence[int | None] = self.sweep.batches or [
            self.model.batch_size if chosen.get(BATCH_SIZE) else None
        ]
        for (name, steps), (page, vram) in costs.items():
            for batch in batches:
                at = {**chosen, PAGE: name, OUTPUT_TOKENS: str(steps)}
                if self.sweep.batches is not None:
                    at[BATCH] = str(batch)
                figures = counts(page, vram.total_bytes)
                if times is None:
                    yield Point(settings=at, figures=figures, refused=why)
                    continue
                kind: PageKind[Any] = PageKind(page=self._alone(page), output_tokens=steps)
                try:
                    result = compute_throughput(
                        self.timed,
                        device,
                        [kind],
                        batch_size=batch,
                        price_per_hour=self.sweep.prices.get(device.name),
                        times=times,
                    )
                except DoesNotFit as error:
                    yield Point(settings=at, figures={**figures, "fits": "no"}, refused=str(error))
                except ModelMeterError as error:
                    yield Point(settings=at, figures=figures, refused=str(error))
                else:
                    figures["memory_bytes"] = result.memory.total_bytes
                    yield Point(settings=at, figures={**figures, "fits": "yes", **timed(result)})

    def _alone(self, page: PageCost) -> PageCost:
        """The same page of the model that is timed."""
        return page if self.timed is self.model else self.timed.layout_cost(page.layout)


def counts(page: PageCost, memory_bytes: int) -> dict[str, Any]:
    """What a page costs, and what it needs of a device's memory."""
    total = page.total
    return {
        "image_tokens": page.tokens.total,
        "prefill_tokens": page.seq_len,
        **{f"{stage}_{name}": getattr(page.stages()[stage], name) for name in COUNTED for stage in WITH_TOTAL},
        "weight_bytes": total.weight_bytes,
        "kv_bytes": total.kv_bytes,
        "activation_peak_bytes": total.activation_peak_bytes,
        "memory_bytes": memory_bytes,
    }


def timed(result: Throughput) -> dict[str, Any]:
    """What a device makes of a page, each estimate with both ends of its interval."""
    names = [name for name in TIMED if name != "pages_per_day" or result.output_tokens]
    return {
        "batch_size": result.batch_size,
        "limited_by": result.limited_by,
        **estimates(result, {name: name for name in names}),
    }


def estimates(result: Throughput, names: Mapping[str, str]) -> dict[str, float]:
    """Figures of a result under other names, without those that it lacks; of an estimate both ends of its interval."""
    figures: dict[str, float] = {}
    for name, told in names.items():
        if getattr(result, name) is not None:
            value, low, high = result.interval(name)
            figures |= {told: value, **({} if result.bound else {f"{told}_low": low, f"{told}_high": high})}
    return figures
