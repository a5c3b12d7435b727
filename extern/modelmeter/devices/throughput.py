"""Pages a second, latency and cost of a device, from the costs of pages. The definitions are in docs/throughput.md.

Modelled is one device that always has pages waiting: `batch_size` pages decode together, one token each a step, and
whenever one ends, the next is prefilled alone while the others wait. So a page takes the device its prefill, and of
each of its decode steps the share 1 / batch_size.

Such a batch is called continuous. A static one, whose pages are all prefilled together, is `CostModel.largest_batch`.

    device seconds of a page = prefill + sum over its output tokens of step(batch_size, context) / batch_size

A mix of pages is the mean over it. Weights are read once a step, whatever the batch; how many experts are read, and
how the cache grows, is in the model's own walks at that batch. The sums are exact (see `roofline.py`).

    >>> from modelmeter.devices import PageKind, compute_throughput, load_device
    >>> kinds = [PageKind(page=cost_model.page(1275, 1650), output_tokens=1000)]
    >>> result = compute_throughput(cost_model, load_device("A100-40G"), kinds)
    >>> result.batch_size, float(result.pages_per_day)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar

from modelmeter.devices.decode import decode_time
from modelmeter.devices.device import ASSUMED, MEASURED, Device, bundled_devices
from modelmeter.devices.roofline import BOUNDS, Roofline, StageTime
from modelmeter.errors import ModelMeterError, near
from modelmeter.memory import RESERVE_BYTES, amount, reserve_on, smaller_reserve
from modelmeter.search import largest
from modelmeter.walk import Walk

if TYPE_CHECKING:
    from modelmeter.models.common.runs import Run

ANALYTIC: Final = "analytic"
GIVEN: Final = "given"
#: where a figure comes from: computed from the model and the device's figures, measured on a device, assumed here for
#: want of better, or stated by the user
ORIGINS: Final = (ANALYTIC, MEASURED, ASSUMED, GIVEN)

SECONDS_A_DAY: Final = 86_400
SECONDS_AN_HOUR: Final = 3_600

#: which cache every page of a batch is given room for: that of the longest page at its end, or that of the average
#: page at its average moment
LONGEST: Final = "longest"
MEAN: Final = "mean"
CACHES: Final = (LONGEST, MEAN)

NOT_MODELLED: Final = (
    "queueing and the arrival of requests: there is always a page waiting",
    "work of the host: reading, rendering and resizing pages, tokenising, sampling",
    "transfers between host and device, and the network",
    "overlap of prefill and decode, and of operators with each other",
)


class DoesNotFit(ModelMeterError):
    """A workload needs more memory than the device has."""


# -- what is asked of a cost model ----------------------------------------------------------------------------------


class StageFigures(Protocol):
    """Bytes of one stage, as `StageCost` has them."""

    @property
    def weight_bytes(self) -> int:
        """Parameters resident."""
        ...

    @property
    def resident_peak_bytes(self) -> int:
        """The live set at its largest, the given cache included, weights not."""
        ...

    @property
    def kv_bytes(self) -> int:
        """Cache held at the end."""
        ...


class PageFigures(Protocol):
    """One page's prompt, image tokens included, and its prefill."""

    @property
    def seq_len(self) -> int:
        """Positions before the first output token."""
        ...

    @property
    def prefill(self) -> StageFigures:
        """The pass that yields the first token, vision included."""
        ...


Page = TypeVar("Page", bound=PageFigures)
PageIn = TypeVar("PageIn", bound=PageFigures, contravariant=True)
PageOut = TypeVar("PageOut", bound=PageFigures, covariant=True)


class CostModel(Protocol[PageIn]):
    """A model whose stages can be walked, for any number of pages at once."""

    @property
    def max_position_embeddings(self) -> int:
        """Positions that a page and its output tokens may take together."""
        ...

    @property
    def batch_size(self) -> int:
        """Pages at once."""
        ...

    @property
    def reserve_bytes(self) -> int | None:
        """Device memory that is left free: assumed; None: what the kind of the device leaves."""
        ...

    @property
    def load_bytes(self) -> int:
        """Device memory that loading takes at its peak, beside the weights as they stay."""
        ...

    def batched(self, pages: int) -> Self:
        """The same model for `pages` pages at once."""
        ...

    @property
    def steps_by_context(self) -> bool:
        """Whether a decode step depends on the tokens before it alone, not on where they came from."""
        ...

    def decode_runs(self, steps: int) -> Sequence[Run]:
        """The runs of a page's decode steps."""
        ...

    def step(self, context: int, generated: int = 0) -> StageFigures:
        """One decode step with `context` tokens before it, of which the last `generated` came from steps before it."""
        ...

    def stage_walk(self, stage: str, *, page: PageIn | None = None, context: int = 0, generated: int = 0) -> Walk:
        """The operators of "prefill" of a page, or of one "decode" step."""
        ...


# -- the workload ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PageKind(Generic[PageOut]):
    """Pages of one kind: the cost of one of them, how many there are, and what they say.

    output_tokens: decode steps of each page, or several numbers with their weights, {800: 0.7, 1500: 0.3}.
    label: the document type, where the user tells types apart.
    """

    page: PageOut
    output_tokens: int | Mapping[int, float | Fraction]
    count: int = 1
    label: str = ""


class _Share(NamedTuple):
    """Output tokens of some pages of a kind, and their share of all pages."""

    output_tokens: int
    share: Fraction


@dataclass(frozen=True, kw_only=True)
class _Kind(Generic[PageOut]):
    kind: PageKind[PageOut]
    share: Fraction
    outputs: tuple[_Share, ...]


def _exact(who: str, value: Any) -> Fraction:
    """A number exactly as it is written."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (1e400, -1e400):
        raise ModelMeterError(f"throughput: {who}={value!r} is no number.")
    return Fraction(repr(value))


def _share(who: str, value: Any) -> Fraction:
    """A share from 0 up to, but not including, 1."""
    share = _exact(who, value)
    if not 0 <= share < 1:
        raise ModelMeterError(f"throughput: {who}={float(share):g} is no share; give a number from 0 to below 1.")
    return share


def _outputs(kind: PageKind[Any]) -> list[tuple[int, Fraction]]:
    """Numbers of output tokens with weights that sum to 1."""
    who = f"output_tokens of {kind.label}" if kind.label else "output_tokens"
    given = kind.output_tokens
    weights = given if isinstance(given, Mapping) else {given: 1}
    if not weights:
        raise ModelMeterError(f"throughput: {who} is empty; give a number, or numbers with their weights.")
    outputs = []
    for tokens, weight in weights.items():
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            raise ModelMeterError(
                f"throughput: {who}={tokens!r} is no number of tokens; give a whole number from 0 on."
            )
        exact = _exact(f"weight of {who} {tokens}", weight)
        if exact <= 0:
            raise ModelMeterError(
                f"throughput: the weight of {who} {tokens} is {float(exact):g}; weights are positive."
            )
        outputs.append((tokens, exact))
    total = sum(weight for _, weight in outputs)
    return [(tokens, weight / total) for tokens, weight in outputs]


def _prepared(
    kinds: Sequence[PageKind[Page]], model: CostModel[Page], runaway_share: Fraction
) -> tuple[_Kind[Page], ...]:
    """The kinds with their shares of all pages, runaway pages told apart; everything held against the model's limit."""
    if not kinds:
        raise ModelMeterError("throughput: the corpus has no page; give at least one PageKind.")
    if model.batch_size != 1:
        raise ModelMeterError(
            f"throughput: the cost model is one of {model.batch_size} pages at once (runtime.batch_size); give the "
            "model of one page, and the batch as batch_size."
        )
    for kind in kinds:
        if isinstance(kind.count, bool) or not isinstance(kind.count, int) or kind.count < 1:
            raise ModelMeterError(
                f"throughput: count={kind.count!r} of {kind.label or 'a page'} is no number of pages."
            )
    total = sum(kind.count for kind in kinds)
    limit = model.max_position_embeddings
    prepared = []
    for kind in kinds:
        share = Fraction(kind.count, total)
        room = limit - kind.page.seq_len
        outputs = [_Share(tokens, share * weight * (1 - runaway_share)) for tokens, weight in _outputs(kind)]
        longest = max(each.output_tokens for each in outputs)
        if longest > room:
            raise ModelMeterError(
                f"throughput: {kind.label or 'a page'} of {kind.page.seq_len} positions has no room for "
                f"{longest} output tokens: the model has {limit} positions; up to {room} fit."
            )
        if runaway_share:
            outputs.append(_Share(room, share * runaway_share))
        prepared.append(_Kind(kind=kind, share=share, outputs=tuple(outputs)))
    return tuple(prepared)


# -- memory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes that a batch needs: weights, the cache of every page, what a pass holds besides at its peak, a reserve.

    load_bytes: beside the weights while they are brought there, before there is any cache.
    """

    weight_bytes: int
    cache_bytes: int
    activation_bytes: int
    reserve_bytes: int
    load_bytes: int

    @property
    def total_bytes(self) -> int:
        """All that is there at once: cache and activations, or what loading takes where that is more."""
        return self.weight_bytes + max(self.cache_bytes + self.activation_bytes, self.load_bytes) + self.reserve_bytes


class _Memory(Generic[Page]):
    """How much memory a batch of a workload needs: in decode, and while one page is prefilled beside the others."""

    def __init__(self, model: CostModel[Page], kinds: Sequence[_Kind[Page]], cache: str) -> None:
        if cache not in CACHES:
            raise ModelMeterError(f"throughput: cache={cache} is unknown; {near(cache, CACHES)}")
        self.model = model
        prefills = [each.kind.page.prefill for each in kinds]
        self.weight_bytes = max(prefill.weight_bytes for prefill in prefills)
        self.prefill_peak_bytes = max(prefill.resident_peak_bytes for prefill in prefills)
        self.before = self._longest(kinds) if cache == LONGEST else self._mean(kinds)
        if self.before is None:
            self.page_cache_bytes = max(prefill.kv_bytes for prefill in prefills)
        else:
            self.page_cache_bytes = model.step(*self.before).kv_bytes

    def _longest(self, kinds: Sequence[_Kind[Page]]) -> tuple[int, int] | None:
        """Tokens before the last step that holds most, and how many of them came from steps; None: no page has one."""
        last = {
            (each.kind.page.seq_len + output.output_tokens - 1, output.output_tokens - 1)
            for each in kinds
            for output in each.outputs
            if output.output_tokens
        }
        if self.model.steps_by_context or not last:
            return max(last, default=None)
        return max(sorted(last), key=lambda before: self.model.step(*before).resident_peak_bytes)

    @staticmethod
    def _mean(kinds: Sequence[_Kind[Page]]) -> tuple[int, int] | None:
        """The same before a step on average over all steps of all pages, rounded up.

        Where a cache stops growing it holds no more than that at its average moment.
        """
        steps = tokens = generated = Fraction(0)
        for each in kinds:
            for count, share in each.outputs:
                steps += share * count
                tokens += share * each.kind.page.seq_len * count
                generated += share * (count * (count - 1) // 2)
        if not steps:
            return None
        context = ceil((tokens + generated) / steps)
        return context, min(ceil(generated / steps), context)

    def need(self, batch_size: int, device_kind: str) -> MemoryNeed:
        """What `batch_size` pages at once need on a device of a kind."""
        cache_bytes = batch_size * self.page_cache_bytes
        peaks = [self.prefill_peak_bytes + cache_bytes - self.page_cache_bytes]
        if self.before is not None:
            peaks.append(self.model.batched(batch_size).step(*self.before).resident_peak_bytes)
        return MemoryNeed(
            weight_bytes=self.weight_bytes,
            cache_bytes=cache_bytes,
            activation_bytes=max(*peaks, cache_bytes) - cache_bytes,
            reserve_bytes=reserve_on(device_kind, self.model.reserve_bytes),
            load_bytes=self.model.load_bytes,
        )

    def fits(self, batch_size: int, device: Device) -> bool:
        """Whether `device` holds `batch_size` pages at once."""
        return self.need(batch_size, device.kind).total_bytes <= device.memory_bytes

    def largest_batch(self, device: Device) -> int:
        """The most pages at once that fit, 0 if not even one does; 1 for pages without steps."""
        limit = 1 if self.before is None else None
        return largest(lambda batch_size: self.fits(batch_size, device), limit)


# -- the result -----------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """One figure of a result: its name as in docs/throughput.md, its value, its unit, and where it comes from."""

    name: str
    value: int | float | str
    unit: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class KindTime:
    """The pages of one kind: device seconds of one of them, and of its prefill and decode, on average over the kind."""

    label: str
    count: int
    seq_len: int
    output_tokens: Fraction
    prefill_s: Fraction
    decode_s: Fraction

    @property
    def page_s(self) -> Fraction:
        """Device seconds of a page."""
        return self.prefill_s + self.decode_s


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What a device makes of a workload. Seconds and rates are exact; docs/throughput.md defines each.

    prefill_s, decode_s: device seconds of the average page; steps_s: seconds of all decode steps of the average page.
    prefill_bounds, decode_bounds: of these, by what bounds the operators. without_runaway: the same without runaways.
    """

    device: Device
    float32: str
    batch_size: int
    batch_given: bool
    cache: str
    memory: MemoryNeed
    pages: int
    output_tokens: Fraction
    prefill_s: Fraction
    decode_s: Fraction
    steps_s: Fraction
    prefill_bounds: Mapping[str, Fraction]
    decode_bounds: Mapping[str, Fraction]
    kinds: tuple[KindTime, ...]
    runaway_share: Fraction
    without_runaway: Throughput | None
    price_per_hour: Fraction | None

    @property
    def page_s(self) -> Fraction:
        """Device seconds of the average page."""
        return self.prefill_s + self.decode_s

    @property
    def pages_per_s(self) -> Fraction:
        """Pages a second."""
        return 1 / self.page_s

    @property
    def pages_per_day(self) -> Fraction:
        """Pages in 24 hours."""
        return SECONDS_A_DAY / self.page_s

    @property
    def output_tokens_per_s(self) -> Fraction:
        """Output tokens a second, of all pages together."""
        return self.output_tokens / self.page_s

    @property
    def ttft_s(self) -> Fraction:
        """Time to first token: a page's prefill, nothing waiting before it."""
        return self.prefill_s

    @property
    def tpot_s(self) -> Fraction | None:
        """Time per output token: a decode step at this batch; None if there is none."""
        return self.steps_s / self.output_tokens if self.output_tokens else None

    @property
    def tpot_interleaved_s(self) -> Fraction | None:
        """The same with the other pages' prefills in between."""
        if not self.output_tokens:
            return None
        return (self.steps_s + (self.batch_size - 1) * self.prefill_s) / self.output_tokens

    @property
    def page_latency_s(self) -> Fraction:
        """From a page's prefill to its last token."""
        return self.batch_size * self.page_s

    @property
    def corpus_s(self) -> Fraction:
        """Device seconds of all pages."""
        return self.pages * self.page_s

    @property
    def cost_per_1000_pages(self) -> Fraction | None:
        """In the currency of the price; None without a price."""
        if self.price_per_hour is None:
            return None
        return self.price_per_hour * 1000 * self.page_s / SECONDS_AN_HOUR

    def share(self, stage: str, bound: str) -> float:
        """The share of "prefill" or "decode" in operators bound by `bound`."""
        seconds = self.prefill_bounds if stage == "prefill" else self.decode_bounds
        total = sum(seconds.values())
        return float(seconds[bound] / total) if total else 0.0

    def figures(self) -> tuple[Figure, ...]:
        """Every figure, with its unit and origin: results first, then memory, then what went in."""
        device, memory = self.device, self.memory
        rows = [
            Figure("pages_per_s", float(self.pages_per_s), "pages/s", ANALYTIC),
            Figure("pages_per_day", float(self.pages_per_day), "pages/day", ANALYTIC),
            Figure("output_tokens_per_s", float(self.output_tokens_per_s), "tokens/s", ANALYTIC),
            Figure("page_s", float(self.page_s), "s", ANALYTIC),
            Figure("prefill_s", float(self.prefill_s), "s", ANALYTIC),
            Figure("decode_s", float(self.decode_s), "s", ANALYTIC),
            Figure("ttft_s", float(self.ttft_s), "s", ANALYTIC),
        ]
        for name, seconds in (("tpot_s", self.tpot_s), ("tpot_interleaved_s", self.tpot_interleaved_s)):
            if seconds is not None:
                rows.append(Figure(name, float(seconds), "s", ANALYTIC))
        rows.append(Figure("page_latency_s", float(self.page_latency_s), "s", ANALYTIC))
        if self.pages > 1:
            rows.append(Figure("corpus_s", float(self.corpus_s), "s", ANALYTIC))
        if self.cost_per_1000_pages is not None:
            rows.append(Figure("cost_per_1000_pages", float(self.cost_per_1000_pages), "currency", ANALYTIC))
        for stage in ("prefill", "decode"):
            rows += [Figure(f"{stage}_share_{bound}", self.share(stage, bound), "", ANALYTIC) for bound in BOUNDS]
        rows += [
            Figure("batch_size", self.batch_size, "pages", GIVEN if self.batch_given else ANALYTIC),
            Figure("weight_bytes", memory.weight_bytes, "bytes", ANALYTIC),
            Figure("cache_bytes", memory.cache_bytes, "bytes", ANALYTIC),
            Figure("activation_bytes", memory.activation_bytes, "bytes", ANALYTIC),
            *([Figure("load_bytes", memory.load_bytes, "bytes", ANALYTIC)] if memory.load_bytes else []),
            Figure("memory_bytes", device.memory_bytes, "bytes", GIVEN),
            Figure("reserve_bytes", memory.reserve_bytes, "bytes", ASSUMED),
            Figure("pages", self.pages, "pages", GIVEN),
            Figure("output_tokens", float(self.output_tokens), "tokens/page", GIVEN),
            Figure("runaway_share", float(self.runaway_share), "of pages", GIVEN),
        ]
        if self.without_runaway is not None:
            slower = float(self.page_s / self.without_runaway.page_s - 1)
            rows.append(Figure("runaway_cost", slower, "of page_s", ANALYTIC))
        rows += [
            Figure(f"derating_{name}", float(derating.factor), "of the peak", derating.origin)
            for name, derating in device.derating.items()
        ]
        launch_s = 0.0 if device.kernel_launch_s is None else float(device.kernel_launch_s)
        rows.append(Figure("kernel_launch_s", launch_s, "s", device.kernel_launch_origin))
        if self.price_per_hour is not None:
            rows.append(Figure("price_per_hour", float(self.price_per_hour), "currency/hour", GIVEN))
        return tuple(rows)

    def assumptions(self) -> tuple[str, ...]:
        """What is assumed, a sentence each."""
        cache = {
            LONGEST: "every page of a batch has room for the longest page's cache, so nothing is ever preempted",
            MEAN: "a paged cache holds the average page at its average moment; no page is preempted",
        }
        reserve = (
            f"{amount(self.memory.reserve_bytes)} of the memory are left free for the device's context, the libraries' "
            "workspaces and the allocator's rounding (runtime.reserve_bytes)"
        )
        return (
            *self.device.assumptions(),
            *([reserve] if self.memory.reserve_bytes else []),
            cache[self.cache],
            "a continuous batch: pages are prefilled one at a time, so one page's activations count, not the batch's",
        )


# -- computing it ---------------------------------------------------------------------------------------------------


def compute_throughput(
    model: CostModel[Page],
    device: Device,
    kinds: Iterable[PageKind[Page]],
    *,
    batch_size: int | None = None,
    runaway_share: float | Fraction = 0,
    price_per_hour: float | Fraction | None = None,
    float32: str = "fp32",
    cache: str = LONGEST,
) -> Throughput:
    """What `device` makes of pages of these kinds under `model`, the cost model of one page at a time.

    batch_size: pages that decode together; None: the most that fit. runaway_share: share of pages that repeat until the
    model's positions are used up. price_per_hour: of the device; else its file's. float32: the peak of float32
    products, "fp32" or "tf32". cache: room for each page's cache, "longest" or "mean".
    Raises `DoesNotFit`, and `ModelMeterError` for what cannot be answered.
    """
    given = tuple(kinds)
    runaway = _share("runaway_share", runaway_share)
    prepared = _prepared(given, model, runaway)
    price = device.price_per_hour if price_per_hour is None else _exact("price_per_hour", price_per_hour)
    if price is not None and price < 0:
        raise ModelMeterError(f"throughput: price_per_hour={float(price):g} is negative.")
    roofline = Roofline(device, float32=float32)
    memory = _Memory(model, prepared, cache)
    batch = _checked_batch(memory, device, batch_size, prepared, float32)

    steps = _step_times(roofline, model.batched(batch), prepared)
    prefill = _Sum(roofline.ticks_per_s)
    decode = _Sum(roofline.ticks_per_s)
    times = []
    for each in prepared:
        before = decode.seconds
        page_prefill = roofline.stage(model.stage_walk("prefill", page=each.kind.page))
        prefill.add(page_prefill, each.share)
        for tokens, share in each.outputs:
            if steps is not None and tokens:
                decode.add(steps(each.kind.page.seq_len, tokens), share)
        times.append(
            KindTime(
                label=each.kind.label,
                count=each.kind.count,
                seq_len=each.kind.page.seq_len,
                output_tokens=sum((share * tokens for tokens, share in each.outputs), Fraction(0)) / each.share,
                prefill_s=page_prefill.exact_seconds,
                decode_s=(decode.seconds - before) / each.share / batch,
            )
        )
    return Throughput(
        device=device,
        float32=float32,
        batch_size=batch,
        batch_given=batch_size is not None,
        cache=cache,
        memory=memory.need(batch, device.kind),
        pages=sum(kind.count for kind in given),
        output_tokens=sum((share * tokens for each in prepared for tokens, share in each.outputs), Fraction(0)),
        prefill_s=prefill.seconds,
        decode_s=decode.seconds / batch,
        steps_s=decode.seconds,
        prefill_bounds=prefill.bounds,
        decode_bounds={bound: seconds / batch for bound, seconds in decode.bounds.items()},
        kinds=tuple(times),
        runaway_share=runaway,
        without_runaway=compute_throughput(
            model,
            device,
            given,
            batch_size=batch_size,
            price_per_hour=price_per_hour,
            float32=float32,
            cache=cache,
        )
        if runaway
        else None,
        price_per_hour=price,
    )


class _Sum:
    """Stage times, each with its share of all pages, summed exactly."""

    def __init__(self, ticks_per_s: int) -> None:
        self.ticks_per_s = ticks_per_s
        self.bounds = dict.fromkeys(BOUNDS, Fraction(0))

    def add(self, time: StageTime, share: Fraction) -> None:
        for bound, ticks in zip(BOUNDS, (time.compute_ticks, time.memory_ticks, time.launch_ticks), strict=True):
            self.bounds[bound] += share * Fraction(ticks, self.ticks_per_s)

    @property
    def seconds(self) -> Fraction:
        return sum(self.bounds.values(), Fraction(0))


def _step_times(
    roofline: Roofline, model: CostModel[Page], kinds: Sequence[_Kind[Page]]
) -> Callable[[int, int], StageTime] | None:
    """The time of a page's decode steps by its prefill and their number; None if no page has a step.

    Where a step depends on the tokens before it alone, all contexts that the pages reach share one law.
    """
    ends = [
        (each.kind.page.seq_len, each.kind.page.seq_len + output.output_tokens - 1)
        for each in kinds
        for output in each.outputs
        if output.output_tokens
    ]
    if not ends:
        return None
    if not model.steps_by_context:
        return partial(decode_time, roofline, model)
    first = min(start for start, _ in ends)
    far = max(*(last for _, last in ends), first + 1)
    walks = [model.stage_walk("decode", context=context) for context in (first, first + 1, far)]
    return roofline.steps(walks[0], walks[1], walks[2], first, far).total


def _checked_batch(
    memory: _Memory[Page], device: Device, batch_size: int | None, kinds: Sequence[_Kind[Page]], float32: str
) -> int:
    """The batch that was asked for, if it fits, or the largest that does."""
    if batch_size is None:
        batch = memory.largest_batch(device)
        if batch:
            return batch
    elif isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ModelMeterError(f"throughput: batch_size={batch_size!r} is no number of pages; give 1 or more.")
    elif memory.fits(batch_size, device):
        return batch_size
    raise DoesNotFit(_does_not_fit(memory, device, batch_size or 1, kinds, float32))


def _does_not_fit(
    memory: _Memory[Page], device: Device, batch_size: int, kinds: Sequence[_Kind[Page]], float32: str
) -> str:
    """By how much a batch is too large for a device, and what would fit."""
    need = memory.need(batch_size, device.kind)
    smaller = memory.largest_batch(device) if batch_size > 1 else 0
    ways = [f"a batch of up to {smaller} fits"] if smaller else []
    reserve = smaller_reserve(need.total_bytes, need.reserve_bytes, device.memory_bytes)
    if reserve is not None:
        ways.append(reserve)
    larger, _ = _first_to_run(memory, bundled_devices(), batch_size, kinds, float32)
    if larger is not None:
        ways.append(f"the smallest bundled device that runs that is {larger.name}")
    if not need.load_bytes:
        ways.append("fewer output tokens or a mode with fewer tokens need less")
        parts = f"cache {_gb(need.cache_bytes)}, activations {_gb(need.activation_bytes)}"
    else:
        ways.append("runtime.load=direct needs less")
        parts = (
            f"cache {_gb(need.cache_bytes)} and activations {_gb(need.activation_bytes)}, or loading "
            f"{_gb(need.load_bytes)}"
        )
    return (
        f"device {device.name}: {batch_size} page{'s at once need' if batch_size > 1 else ' at once needs'} "
        f"{amount(need.total_bytes)}: weights {_gb(need.weight_bytes)}, {parts}, reserve {_gb(need.reserve_bytes)}; "
        f"that is {_gb(need.total_bytes - device.memory_bytes)} more than its {amount(device.memory_bytes)}; "
        f"{'; '.join(ways)}."
    )


def _first_to_run(
    memory: _Memory[Page],
    devices: Iterable[Device],
    batch_size: int,
    kinds: Sequence[_Kind[Page]],
    float32: str,
) -> tuple[Device | None, list[str]]:
    """The device with the least memory that holds the batch and has the peaks for it; why smaller ones do not."""
    walk = memory.model.stage_walk("prefill", page=kinds[0].kind.page)  # any page's: all compute in the same types
    needs = {kind: memory.need(batch_size, kind).total_bytes for kind in RESERVE_BYTES}
    refused = []
    for device in sorted(devices, key=lambda device: (device.memory_bytes, device.name)):
        lacking = needs[device.kind] - device.memory_bytes
        if lacking > 0:
            refused.append(f"{device.name} lacks {_gb(lacking)}")
            continue
        roofline = Roofline(device, float32=float32)
        try:
            roofline.stage(walk)
        except ModelMeterError as error:
            refused.append(str(error).split(";")[0])
            continue
        return device, refused
    return None, refused


def _gb(nbytes: int) -> str:
    return f"{nbytes / 10**9:.3f} GB"


def smallest_device(
    model: CostModel[Page],
    kinds: Iterable[PageKind[Page]],
    *,
    devices: Iterable[Device] | None = None,
    batch_size: int = 1,
    runaway_share: float | Fraction = 0,
    float32: str = "fp32",
    cache: str = LONGEST,
) -> Device:
    """The device with the least memory that runs `batch_size` such pages at once, of the bundled ones or of `devices`.

    A device without a peak for a type that the model computes in does not run it.
    """
    prepared = _prepared(tuple(kinds), model, _share("runaway_share", runaway_share))
    memory = _Memory(model, prepared, cache)
    given = bundled_devices() if devices is None else devices
    device, refused = _first_to_run(memory, given, batch_size, prepared, float32)
    if device is None:
        raise DoesNotFit(f"no device runs {batch_size} such pages at once: {'; '.join(refused) or 'none was given'}.")
    return device
