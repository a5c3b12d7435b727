"""How long stages take on a device: estimates from their kernels, with intervals; of a bound, the roofline.

Device time of a stage = sum over its kernels, one after another, of the time of their class (`kernel_time`) with the
constants of the device's file. Experts are hit as even choices hit them unless the user said how many
(`CostModel.for_times`). Where the modelled code is the least that any could run (execution=serving), the time is a
bound and no estimate: the roofline at the device's figures as `Roofline` has it, without a width.

Classes that need a word:

- moe: a grouped GEMM apart (transformers) is one of the two of a fused block: it pays half of the block's overhead,
  and its own bytes and FLOPs. What sorts and sums around it are operators of their own there, with their own overheads.
- attention over a cache: tables have timed the write of new keys and values with it. In a walk that is an operator of
  its own, so its time as a copy is taken off.
- fused attention moves 2 bytes an element here, as in its tables, whatever its type is.
- all_reduce, all_gather: how much more than two devices slow each other over PCIe is the host's (`collectives`): what
  they take where they do so most is a width that all of them have in common.

The interval, meant to hold nine of ten measured times. Errors have three parts. What all kernels of a class have in
common (another engine's kernels, another driver) does not average out: its size is the median error of the class on
rows that no fit has seen. What is each shape's own averages out over the distinct kernels of a stage: it is the class's
90th percentile, weighted as independent errors are. What a pass is beside its kernels, each timed alone (clocks, gaps,
what lies in the cache), is `PASS_ERROR` of the whole. These, and the classes, add as independent errors do; the same
error of two stages adds in full. The interval is value / (1 + r) to value * (1 + r), r the relative width.
reports/timing/stages.md has how often it held what was measured.

    >>> times = StageTimes(cost_model, load_device("H100-SXM"))
    >>> times.stage("prefill", cost_model.workload.layout(1275, 1650)).value

Left out: gaps between stages, clocks that fall under load, kernels that run beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import hypot
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter import kernel_classes as classes
from modelmeter.devices import kernel_time
from modelmeter.devices.collectives import CROWDING_MOST, least_link_bytes
from modelmeter.devices.decode import yields_several
from modelmeter.devices.device import Device
from modelmeter.devices.kernel_laws import Kernels, evaluated, kernels_of, single
from modelmeter.devices.kernel_time import FITTED, DeviceRates, Errors
from modelmeter.devices.packed import OF_PACKED, beside, packed_constants
from modelmeter.devices.roofline import check_float32, peak_of
from modelmeter.errors import ModelMeterError, near
from modelmeter.kernels import kernel_of
from modelmeter.shape_tensor import Tape
from modelmeter.walk import OperatorRecord, Walk

if TYPE_CHECKING:
    from modelmeter.models.common.contract import TimedModel, Varied

Array = Any

#: seconds for which a host issues one operator of eager code, the views and the Python around it included
OPERATOR_S: Final = 25e-6
#: by how much hosts differ: another one took this many times as long
HOSTS_DIFFER: Final = 1.25
OPERATOR_SOURCE: Final = (
    "transformers 5.23 under torch 2.11: a page's vision, prefill of text and decode step took the host of an H100 "
    "25.4 us for each operator that is counted here, that of an H200 31.1; an operator alone 13.8 and 13.1 "
    "(reports/calibration)"
)

#: how far a pass is from the sum of its kernels: the stages of an H100 (reports/timing/stages.md), whose kernels a
#: table has timed one by one, were within this for two of three
PASS_ERROR: Final = 0.1
#: what such widths are of, beside the classes of kernels
PASS: Final = "pass"

#: stages whose layouts are asked for
PAGE_STAGES: Final = ("vision", "prefill")


class NoConstants(ModelMeterError):
    """A device has no constants for a class of kernels that a model runs."""


# -- estimates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds of a device, by class of kernel.

    by_class: seconds. widths: how far those of a class, and of all together (`PASS`), may be off, in seconds.
    launches: kernels that run.
    """

    by_class: Mapping[str, float]
    widths: Mapping[str, float]
    launches: int

    @property
    def value(self) -> float:
        """The estimate."""
        return sum(self.by_class.values())

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value / (1 + self._relative)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value * (1 + self._relative)

    @property
    def _relative(self) -> float:
        """The width of all classes together, as independent errors add, over the estimate."""
        return hypot(*self.widths.values()) / self.value if self.value else 0.0

    def __add__(self, later: Estimate) -> Estimate:
        """This, then `later`, on the same device: errors of one class are the same error."""
        return Estimate(
            by_class=_added(self.by_class, later.by_class),
            widths=_added(self.widths, later.widths),
            launches=self.launches + later.launches,
        )

    def __mul__(self, factor: float) -> Estimate:
        """So many times this; launches are rounded."""
        return Estimate(
            by_class={name: seconds * factor for name, seconds in self.by_class.items()},
            widths={name: seconds * factor for name, seconds in self.widths.items()},
            launches=round(self.launches * factor),
        )

    __rmul__ = __mul__


@dataclass(frozen=True, kw_only=True)
class IssuedTime:
    """Seconds of a stage whose operators a host issues: it takes the longer of host and device.

    host_s: of the host, 0 where it replays a graph.
    """

    device: Estimate
    host_s: float

    @property
    def value(self) -> float:
        """The estimate."""
        return max(self.device.value, self.host_s)

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return max(self.device.low, self.host_s / HOSTS_DIFFER)

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return max(self.device.high, self.host_s * HOSTS_DIFFER)

    @property
    def waits_for(self) -> str:
        """Which of both takes longer: "host" or "device"."""
        return "host" if self.host_s > self.device.value else "device"


#: no time at all
NO_TIME: Final = Estimate(by_class={}, widths={}, launches=0)


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {
        name: one.get(name, 0.0) + other.get(name, 0.0) for name in (*one, *(key for key in other if key not in one))
    }


@dataclass(frozen=True, kw_only=True)
class EstimateArrays:
    """Estimates of many pages, an array of each figure; see `Estimate`."""

    by_class: Mapping[str, Array]
    widths: Mapping[str, Array]
    launches: Array

    @property
    def value(self) -> Array:
        """The estimates."""
        return sum(self.by_class.values(), np.zeros(len(self.launches)))

    @property
    def low(self) -> Array:
        """The lower ends of the intervals."""
        return self.value / (1 + self._relative)

    @property
    def high(self) -> Array:
        """The upper ends of the intervals."""
        return self.value * (1 + self._relative)

    @property
    def _relative(self) -> Array:
        value = self.value
        squares = sum((width**2 for width in self.widths.values()), np.zeros(len(value)))
        return np.divide(np.sqrt(squares), value, out=np.zeros(len(value)), where=value > 0)

    def __len__(self) -> int:
        return len(self.launches)

    def mapped(self, function: Callable[[Array], Array]) -> EstimateArrays:
        """A function of each figure's array."""
        return EstimateArrays(
            by_class={name: function(each) for name, each in self.by_class.items()},
            widths={name: function(each) for name, each in self.widths.items()},
            launches=function(self.launches),
        )

    def one(self, index: int) -> Estimate:
        """The estimate of one page."""
        return self._picked(lambda each: each[index])

    def weighted(self, weights: Sequence[float] | Array) -> Estimate:
        """The sum over all pages, each so many times."""
        times = np.asarray(weights, float)
        return self._picked(lambda each: each @ times)

    def _picked(self, pick: Callable[[Array], Any]) -> Estimate:
        return Estimate(
            by_class={name: float(pick(each)) for name, each in self.by_class.items()},
            widths={name: float(pick(each)) for name, each in self.widths.items()},
            launches=round(float(pick(self.launches))),
        )


class _Sums:
    """Seconds and widths of pages by class, as they come."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.by_class: dict[str, Array] = {}
        self.widths: dict[str, Array] = {}
        self.launches = np.zeros(pages)

    def add(self, pages: Array, kernel_class: str, seconds: Array, launches: Array) -> None:
        self._put(self.by_class, pages, kernel_class, seconds)
        self.launches[pages] += launches

    def widen(self, pages: Array, name: str, widths: Array) -> None:
        self._put(self.widths, pages, name, widths)

    def _put(self, sums: dict[str, Array], pages: Array, name: str, values: Array) -> None:
        sums.setdefault(name, np.zeros(self.pages))[pages] += values

    def arrays(self) -> EstimateArrays:
        return EstimateArrays(by_class=self.by_class, widths=self.widths, launches=self.launches)


# -- kernels to seconds ---------------------------------------------------------------------------------------------


def _gemm(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    named = {name: np.maximum(sizes[name], 1) for name in ("rows", "columns", "batch")}
    return kernel_time.gemm_seconds(values, rates, flops=sizes["flops"], nbytes=sizes["nbytes"], **named)


def _moe(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    hit = sizes["weight_bytes"] / sizes["expert_bytes"]
    return kernel_time.moe_seconds(
        values,
        rates,
        flops=sizes["flops"],
        weight_bytes=sizes["weight_bytes"],
        activation_bytes=sizes["activation_bytes"],
        rows_an_expert=np.maximum(sizes["rows"] / hit, 1),
        misaligned=sizes["width"] % kernel_time.ALIGNED_WIDTH != 0,
        of_a_block=sizes["of_a_block"],
    )


def _prefill_attention(causal: bool) -> Callable[..., Array]:
    def seconds(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
        named = {name: sizes[name] for name in ("batch", "heads", "kv_heads", "length", "head_dim")}
        return kernel_time.prefill_attention_seconds(
            values, rates, causal=causal, before=sizes.get("before", 0), **named
        )

    return seconds


def _generation(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    named = {name: sizes[name] for name in ("batch", "heads", "kv_heads", "keys", "head_dim")}
    return kernel_time.generation_attention_seconds(values, rates, **named)


def _types(kernels: Kernels) -> tuple[str, str]:
    """The type that kernels multiply in, and how they take packed weights, or the type of keys and values; or ""."""
    dtype, _, packed = kernels.dtype.partition(" ")
    return dtype, packed


def _bias_attention(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    return kernel_time.bias_attention_seconds(values, rates, flops=sizes["flops"], nbytes=sizes["nbytes"])


def _convolution(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    named = {name: sizes[name] for name in ("flops", "nbytes", "channels", "depth")}
    return kernel_time.convolution_seconds(values, rates, **named)


def _moving(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    return kernel_time.moving_seconds(values, rates, nbytes=sizes["nbytes"])


def _collective(
    kernel_class: str, values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array], **crowding: float
) -> Array:
    named = {name: sizes[name] for name in ("message_bytes", "ranks")}
    return kernel_time.SECONDS[kernel_class](values, rates, **named, **crowding)


def _strided(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    return kernel_time.strided_seconds(values, rates, nbytes=sizes["nbytes"], elements=sizes["elements"])


#: seconds of a kernel of each class, from the constants, the device's rates and the kernel's sizes
SECONDS: Final[Mapping[str, Callable[..., Array]]] = MappingProxyType(
    {
        classes.GEMM: _gemm,
        classes.MOE: _moe,
        classes.CONTEXT_ATTENTION: _prefill_attention(causal=True),
        classes.ENCODER_ATTENTION: _prefill_attention(causal=False),
        classes.GENERATION_ATTENTION: _generation,
        classes.BIAS_ATTENTION: _bias_attention,
        classes.ELEMENTWISE: _moving,
        classes.COPY: _moving,
        classes.STRIDED: _strided,
        classes.CONVOLUTION: _convolution,
        **{name: partial(_collective, name) for name in classes.COLLECTIVES},
    }
)
#: classes whose tables have timed, with the kernel, the write of new keys and values into the cache
_WITH_A_WRITE: Final = (classes.CONTEXT_ATTENTION, classes.GENERATION_ATTENTION)


def _write(values: Mapping[str, float], rates: DeviceRates, sizes: Mapping[str, Array]) -> Array:
    """Seconds of a copy of an attention's new keys and values, as of bfloat16: an operator of its own in a walk."""
    elements = 2 * sizes["batch"] * sizes["kv_heads"] * sizes.get("length", 1) * sizes["head_dim"]
    return kernel_time.moving_seconds(values, rates, nbytes=2 * 2 * elements)


#: classes whose time does not depend on a peak of GEMMs
_WITHOUT_PRODUCTS: Final = (classes.ELEMENTWISE, classes.COPY, classes.STRIDED, *classes.COLLECTIVES)


class StageTimes:
    """The times of a model's stages on one device. Safe to share between threads.

    float32: the peak that float32 GEMMs run at, "fp32" or "tf32". Raises `ModelMeterError` where the device has no
    constants for a class of kernels that the model runs.
    """

    def __init__(self, model: TimedModel, device: Device, *, float32: str = "fp32") -> None:
        check_float32("StageTimes", float32)
        self.model = model.for_times()
        self.device = device
        self.float32 = float32
        #: whether times are a bound: what the device takes at least
        self.bound = model.bound_alone
        self._check_constants()

    def _check_constants(self) -> None:
        """Raise `NoConstants` where a step, or a page, runs kernels of a class that the device has none for."""
        self.step(1)
        try:
            self.stage("prefill", self.model.workload.examples()[0])
        except NoConstants:
            raise
        except ModelMeterError:
            return  # a page that cannot be walked says so when it is asked for

    # -- stages ----------------------------------------------------------------------------------------------------

    def stage(self, stage: str, layout: Any) -> Estimate:
        """Device seconds of "vision" or "prefill" (vision included) of pages of this layout, `batch_size` at once."""
        return self.stages(stage, [layout]).one(0)

    def stages(self, stage: str, layouts: Sequence[Any], cached: int = 0) -> EstimateArrays:
        """The same of many layouts, without a walk of each. cached: positions of a prefill that a cache has already."""
        if stage not in PAGE_STAGES:
            raise ModelMeterError(f"StageTimes: stage {stage} is unknown; {near(stage, PAGE_STAGES)}")
        if stage == "vision":
            return self._times([self.model.vision_over(layout) for layout in layouts])
        return self._times([self.model.prefill_over(self.model.seq_len(layout), layout, cached) for layout in layouts])

    def prompt(self, tokens: int, cached: int = 0) -> Estimate:
        """Device seconds of the prefill of a prompt without an image. cached: of its positions, as in `stages`."""
        return self._times([self.model.prefill_over(tokens, None, cached)]).one(0)

    def step(self, context: int, *, batch: int | None = None, generated: int = 0) -> Estimate:
        """Device seconds of one decode step of `batch` pages with `context` tokens before it.

        generated: how many of these came from steps; it matters to a model alone that attends to them differently.
        """
        return self._times([self._at_once(batch).step_over(context - generated, generated)]).one(0)

    def decode(self, seq_len: int, steps: int, *, batch: int | None = None) -> Estimate:
        """Device seconds of `steps` decode steps of `batch` pages after a prefill of `seq_len` tokens each."""
        return self.decode_many([seq_len], steps, batch=batch).one(0)

    def decode_many(
        self, seq_lens: Sequence[int] | Array, steps: int | Sequence[int] | Array, *, batch: int | None = None
    ) -> EstimateArrays:
        """The same after each of several prefills, of as many steps each or of its own number."""
        starts = np.asarray(seq_lens, np.int64)
        counts = np.broadcast_to(np.asarray(steps, np.int64), starts.shape)
        if (counts < 0).any() or (starts < 0).any():
            raise ModelMeterError(
                f"StageTimes: steps={counts.min()} after seq_len={starts.min()} tokens; both are 0 or more."
            )
        model = self._at_once(batch)
        if model.steps_by_context:
            return self._by_context(model, starts, counts)
        return self._by_runs(model, starts, counts)

    def _at_once(self, batch: int | None) -> TimedModel:
        return self.model if batch is None or batch == self.model.batch_size else self.model.batched(batch)

    def _by_context(self, model: TimedModel, starts: Array, counts: Array) -> EstimateArrays:
        """Sums over steps: differences of the running sum over all contexts; of those that are reached, the steps."""
        used = counts > 0
        first = int(starts[used].min()) if used.any() else 0
        last = int((starts + counts)[used].max()) if used.any() else 0
        steps = self._times([model.step_over(context, 0) for context in range(first, last)])
        begin, end = np.where(used, starts - first, 0), np.where(used, starts + counts - first, 0)
        if yields_several(model):
            places = [begin[page] + self._offsets(model, int(counts[page])) for page in range(len(starts))]
            owners = np.repeat(np.arange(len(starts)), [len(each) for each in places])
            reached = np.concatenate(places)
            return steps.mapped(lambda each: np.bincount(owners, weights=each[reached], minlength=len(starts)))

        def summed(each: Array) -> Array:
            running = np.concatenate(([0.0], np.cumsum(each)))
            return running[end] - running[begin]

        return steps.mapped(summed)

    @staticmethod
    def _offsets(model: TimedModel, tokens: int) -> Array:
        """Tokens that came from steps before each of the steps that `tokens` tokens take."""
        each = [run.first + run.period * np.arange(run.count) for run in model.decode_runs(tokens)]
        return np.concatenate([*each, np.zeros(0, np.int64)]).astype(np.int64)

    def _by_runs(self, model: TimedModel, starts: Array, counts: Array) -> EstimateArrays:
        """Sums over steps, run by run: of a run whose first and last step are alike, one step so many times."""
        runs = [
            (page, start, run)
            for page, (start, steps) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True))
            for run in model.decode_runs(steps)
        ]
        last = [(start, run.first + run.period * (run.count - 1)) for _, start, run in runs]
        ends = (
            self._times([model.step_over(start, run.first) for _, start, run in runs]),
            self._times([model.step_over(*each) for each in last]),
        )
        alike = np.ones(len(runs), dtype=bool)
        for name, seconds in ends[0].by_class.items():
            alike &= seconds == ends[1].by_class[name]
        taken = [
            (page, start, run.first + run.period * number, run.count if whole else 1)
            for (page, start, run), whole in zip(runs, alike.tolist(), strict=True)
            for number in range(1 if whole else run.count)
        ]
        steps = self._times([model.step_over(start, generated) for _, start, generated, _ in taken])
        owners = np.array([page for page, *_ in taken], np.int64)
        times = np.array([count for *_, count in taken], float)
        return steps.mapped(lambda each: np.bincount(owners, weights=each * times, minlength=len(starts)))

    def issued(self, stage: str, device: Estimate, *, operator_s: float = OPERATOR_S) -> IssuedTime:
        """A stage's time with the host that issues its operators, from its device time."""
        return IssuedTime(device=device, host_s=self.host_s(stage, device.launches, operator_s=operator_s))

    def host_s(self, stage: str, launches: Any, *, operator_s: float = OPERATOR_S) -> Any:
        """Seconds for which a host issues the operators of a stage; launches: their number, or an array of numbers.

        Code that replays the stage as a graph, and code that nobody runs, costs the host nothing.
        """
        return launches * (0.0 if self.bound or self.model.graphed(stage) else operator_s)

    # -- times of kernels ------------------------------------------------------------------------------------------

    def walk(self, walk: Walk) -> Estimate:
        """The time of a walk of one page, or of a part of one."""
        sums = _Sums(1)
        self._add(sums, np.zeros(1, np.int64), kernels_of(walk))
        return sums.arrays().one(0)

    def operators(self, walk: Walk) -> list[tuple[OperatorRecord, float]]:
        """Every operator of a walk in order, with its seconds; together they are the walk's."""
        known: dict[object, float] = {}
        times = []
        for record in walk.records():
            kernel = kernel_of(record)
            key = kernel.kernel_class, kernel.dtype, tuple(kernel.sizes.values())
            if key not in known:
                known[key] = float(self._seconds(single(kernel))[0, 0])
            times.append((record, known[key]))
        return times

    def _times(self, stages: Sequence[Varied]) -> EstimateArrays:
        sums = _Sums(len(stages))
        kinds: dict[Hashable, list[int]] = {}
        for number, stage in enumerate(stages):
            kinds.setdefault(stage.kind, []).append(number)
        for kind, numbers in kinds.items():
            places = np.array(numbers)
            first = stages[numbers[0]].sizes
            values = {name: np.array([stages[each].sizes[name] for each in numbers], np.int64) for name in first}

            def walk(page: int, tape: Tape, numbers: list[int] = numbers) -> Walk:
                return stages[numbers[page]].walk(tape)[0]

            for pages, kernels in evaluated(self.model.kernel_laws, kind, values, len(numbers), walk):
                self._add(sums, places[pages], kernels)
        return sums.arrays()

    def _add(self, sums: _Sums, pages: Array, kernels: Sequence[Kernels]) -> None:
        """Add all kernels of pages."""
        classes_run: dict[str, list[tuple[str, Array, Array, Array]]] = {}
        for each in kernels:
            seconds = self._seconds(each)
            part = _types(each)[1], each.count, seconds * each.count, self._doubt(each, seconds) * each.count
            classes_run.setdefault(each.kernel_class, []).append(part)
        for name, parts in classes_run.items():
            seconds = sum(part.sum(axis=1) for _, _, part, _ in parts)
            launches = sum(count.sum(axis=1) for _, count, _, _ in parts)
            sums.add(pages, name, seconds, launches)
            known = [
                (errors, part, doubt)
                for packed, _, part, doubt in ([] if self.bound else parts)
                if (errors := self._errors(name, packed)) is not None
            ]
            if known:
                common = sum((errors.median * (part + doubt) + doubt).sum(axis=1) for errors, part, doubt in known)
                squares = sum(errors.p90**2 * (part**2).sum(axis=1) for errors, part, _ in known)
                sums.widen(pages, name, np.sqrt(common**2 + squares))
                sums.widen(pages, PASS, PASS_ERROR * seconds)

    def _errors(self, kernel_class: str, packed: str) -> Errors | None:
        """The errors of kernels of a class, over packed weights those of their own constants and of the class's."""
        errors = self.device.kernels[kernel_class].errors
        if not packed or kernel_class not in OF_PACKED or errors is None:
            return errors
        own = packed_constants(kernel_class, packed, self.device.name)
        if own.origin == FITTED:
            return own.errors
        return Errors(
            rows=own.errors.rows,
            median=hypot(errors.median, own.errors.median),
            p90=hypot(errors.p90, own.errors.p90),
        )

    def _seconds(self, kernels: Kernels) -> Array:
        """Seconds of one of each of these kernels."""
        if self.bound:
            return self._bound(kernels)
        if kernels.kernel_class in classes.COLLECTIVES:
            self.device.linked()  # refused in words where there is no link
        constants = self.device.kernels.get(kernels.kernel_class)
        if constants is None:
            raise NoConstants(_lacking(self.device, kernels.kernel_class))
        peak = next(iter(self.device.matmul_flops_per_s))
        dtype, packed = _types(kernels)
        if kernels.kernel_class not in _WITHOUT_PRODUCTS:
            peak = peak_of(dtype, self.float32)
        rates = self.device.rates(peak)
        values = constants.values
        if kernels.kernel_class in OF_PACKED and packed:
            factors = packed_constants(kernels.kernel_class, packed, self.device.name).factors
            values = beside(kernels.kernel_class, values, factors)
        seconds = SECONDS[kernels.kernel_class](values, rates, kernels.sizes)
        if kernels.kernel_class in _WITH_A_WRITE and classes.COPY in self.device.kernels:
            write = _write(self.device.kernels[classes.COPY].values, rates, kernels.sizes)
            seconds = np.maximum(seconds - write, 0.0)
        return seconds

    def _doubt(self, kernels: Kernels, seconds: Array) -> Array:
        """Of collectives, the seconds more that each takes where devices slow each other most; of others none."""
        if self.bound or kernels.kernel_class not in classes.COLLECTIVES:
            return 0.0
        values = self.device.kernels[kernels.kernel_class].values
        rates = self.device.rates(next(iter(self.device.matmul_flops_per_s)))
        most = _collective(kernels.kernel_class, values, rates, kernels.sizes, crowding=CROWDING_MOST)
        return most - seconds

    def _bound(self, kernels: Kernels) -> Array:
        """The roofline of each of these kernels, as `Roofline` has it."""
        device, sizes = self.device, kernels.sizes
        seconds = np.maximum(
            sizes["vector_flops"] / float(device.vector_rate), sizes["nbytes"] / float(device.bandwidth)
        )
        if sizes["flops"].any():
            rate = float(device.matmul_rate(peak_of(_types(kernels)[0], self.float32)))
            seconds = np.maximum(seconds, sizes["flops"] / rate)
        if kernels.kernel_class in classes.COLLECTIVES:
            link = device.linked()
            named = {name: sizes[name] for name in ("message_bytes", "ranks")}
            nbytes = least_link_bytes(kernels.kernel_class, link, **named)
            seconds = np.maximum(seconds, nbytes / float(link.bandwidth_bytes_per_s))
        return seconds + float(device.kernel_launch_s or 0)


def _lacking(device: Device, kernel_class: str) -> str:
    has = ", ".join(device.kernels) or "none"
    collective = kernel_class in classes.COLLECTIVES
    how = "as a device that is linked alike has it" if collective else "write them with modelmeter calibrate --from"
    return (
        f"device {device.name} has no constants of {kernel_class} kernels (it has {has}), so times on it cannot be "
        f"estimated; add kernels.{kernel_class} to {device.file}, {how}, or take execution=serving, whose bound needs "
        "none."
    )
