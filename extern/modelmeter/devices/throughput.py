"""Pages a second, latency and cost of a device, from the costs of pages. The definitions are in docs/throughput.md.

Modelled is one device, or several that a model is split over, with an engine that always has pages waiting:
`batch_size` pages decode together, one token each a step, and whenever one ends, the next is prefilled alone while the
others wait. So a page takes the device its prefill, and of each of its decode steps the share 1 / batch_size. Its host
prepares pages meanwhile, and the slower of the two decides; a page alone waits for both.

    device seconds of a page = prefill + sum over its output tokens of step(batch_size, context) / batch_size
    pages a second = min(1 / device seconds, host.workers / host.seconds_per_page)

Such a batch is called continuous. A static one, whose pages are all prefilled together, is `CostModel.largest_batch`.
With `in_flight`, N requests in a closed loop stand beside it (`closed_loop`): what published benchmarks measure.

A mix of pages is the mean over it. A page of several passes takes the sum of theirs: one runs after the other, and of
each place in a batch a pass at a time. Times are estimates with an interval (`stage_time`), or, with `engine=best`, the
roofline, a bound; every figure is computed from the estimate and from both ends.

    >>> from modelmeter.devices import PageKind, compute_throughput, load_device
    >>> kinds = [PageKind(page=cost_model.page(1275, 1650), output_tokens=1000)]
    >>> result = compute_throughput(cost_model, load_device("A100-40G"), kinds)
    >>> result.batch_size, result.pages_per_day
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelmeter.devices import throughput_text
from modelmeter.devices.closed_loop import ClosedLoop, Loop
from modelmeter.devices.decode import yields_several
from modelmeter.devices.device import Device, bundled_devices
from modelmeter.devices.engine import Limits
from modelmeter.devices.page_memory import LONGEST, MEAN, DoesNotFit, Memory, MemoryNeed
from modelmeter.devices.pages import Page, PageKind, Prepared, ServedModel, exact, prepared, share_of
from modelmeter.devices.roofline import check_float32
from modelmeter.errors import ModelMeterError
from modelmeter.kernel_classes import COLLECTIVES
from modelmeter.memory import amount

if TYPE_CHECKING:
    from modelmeter.devices.service import Service, Times

#: where a figure comes from: counted from the model's shapes, estimated from constants of kernels and of the host, the
#: bound that the device's peaks set, read in an engine's code, fitted to published figures, carried over from other
#: devices or engines, assumed here for want of better, measured on a device, or stated by the user
ANALYTIC: Final = "analytic"
ESTIMATE: Final = "estimate"
BOUND: Final = "bound"
ASSUMED: Final = "assumed"
GIVEN: Final = "given"
ORIGINS: Final = (ANALYTIC, ESTIMATE, BOUND, "read", "fitted", "carried", ASSUMED, "measured", GIVEN)

SECONDS_A_DAY: Final = 86_400
SECONDS_AN_HOUR: Final = 3_600

#: what decides the pages a second
DEVICE: Final = "device"
HOST: Final = "host"
BOTH: Final = "device and host, one after the other"
CLIENT: Final = "client, host and device, one after the other"

NOT_MODELLED: Final = (
    "the arrival of requests: there is always a page waiting, or a fixed number in flight",
    "the beginning and the end of a run, when not all places are taken",
    "rendering of PDFs, the network, transfers between host and device",
    "several processes on one device, a host between a step and its proposals, which prefixes a cache still has",
)


# -- the result -----------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """One figure of a result: its name as in docs/throughput.md, its value, the interval, its unit, its origin."""

    name: str
    value: int | float | str
    unit: str
    origin: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class KindTime:
    """The pages of one kind: device seconds of one of them, and of its prefill and decode, on average over the kind."""

    label: str
    count: int
    seq_len: int
    output_tokens: Fraction
    prefill_s: float
    decode_s: float

    @property
    def page_s(self) -> float:
        """Device seconds of a page."""
        return self.prefill_s + self.decode_s


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What follows from seconds of the average page; docs/throughput.md defines each figure.

    prefill_s: of its prefill; steps_s: of all its decode steps, `batch_size` pages in each; host_s: of a worker of
    `workers`; client_s: of a client that sends batches and waits for them, None of one that keeps pages in flight.
    alone: whether one page at a time was asked for, so that none waits while another is computed. devices: over which
    the model is split; price_per_hour: of one of them. pages_per_request: with several, all seconds, the batch and the
    output tokens are of requests; rates of pages are of pages.
    """

    prefill_s: float
    steps_s: float
    host_s: float
    workers: int
    client_s: float | None
    batch_size: int
    alone: bool
    output_tokens: float
    pages: int
    price_per_hour: float | None
    devices: int
    pages_per_request: int = 1

    @property
    def decode_s(self) -> float:
        """Device seconds of the average page's decode."""
        return self.steps_s / self.batch_size

    @property
    def page_s(self) -> float:
        """Device seconds of the average page."""
        return self.prefill_s + self.decode_s

    @property
    def device_pages_per_s(self) -> float:
        """Pages a second that the device alone allows."""
        return self.pages_per_request / self.page_s

    @property
    def host_pages_per_s(self) -> float | None:
        """Pages a second that the host alone allows; None: a host that takes no time."""
        return self.pages_per_request * self.workers / self.host_s if self.host_s else None

    @property
    def pages_per_s(self) -> float:
        """Pages a second: the slower of device and host, or all one after another where nothing overlaps."""
        if self.client_s is not None:
            return self.pages_per_request * self.batch_size / self.batch_s
        if self.alone:
            return self.pages_per_request / (self.host_s + self.page_s)
        return min(self.device_pages_per_s, self.host_pages_per_s or self.device_pages_per_s)

    @property
    def requests_per_s(self) -> float:
        """Requests a second."""
        return self.pages_per_s / self.pages_per_request

    @property
    def batch_s(self) -> float:
        """Seconds of a batch that is encoded, sent, and waited for: its pages are prepared, prefilled, and decoded."""
        more = (self.batch_size - 1) * max(self.host_s / self.workers, self.prefill_s)
        return self.batch_size * (self.client_s or 0.0) + self.host_s + more + self.prefill_s + self.steps_s

    @property
    def limited_by(self) -> str:
        """What decides the pages a second."""
        if self.client_s is not None:
            return CLIENT
        if self.alone and self.host_s:
            return BOTH
        host = self.host_pages_per_s
        return HOST if host is not None and host < self.device_pages_per_s else DEVICE

    @property
    def pages_per_day(self) -> float:
        """Pages in 24 hours."""
        return SECONDS_A_DAY * self.pages_per_s

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens a second, of all pages together."""
        return self.output_tokens * self.requests_per_s

    @property
    def ttft_s(self) -> float:
        """Time to first token: a page is prepared and prefilled, nothing waiting before it."""
        return self.host_s + self.prefill_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token: a decode step at this batch; None if there is none."""
        return self.steps_s / self.output_tokens if self.output_tokens else None

    @property
    def tpot_interleaved_s(self) -> float | None:
        """The same with the other pages' prefills in between."""
        if not self.output_tokens:
            return None
        return (self.steps_s + (self.batch_size - 1) * self.prefill_s) / self.output_tokens

    @property
    def page_latency_s(self) -> float:
        """From a page's arrival to its last token."""
        return self.host_s + self.batch_size * self.page_s

    @property
    def corpus_s(self) -> float:
        """Seconds of all pages."""
        return self.pages / self.pages_per_s

    @property
    def cost_per_1000_pages(self) -> float | None:
        """Of all devices, in the currency of the price; None without a price."""
        if self.price_per_hour is None:
            return None
        return self.devices * self.price_per_hour * 1000 / self.pages_per_s / SECONDS_AN_HOUR


class Interval(NamedTuple):
    """An estimate and the ends of its interval; those of a bound are all the same."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Concurrency:
    """A closed loop of `in_flight` requests: the estimate, and then with short and long times of device and host.

    All four: a slow host leaves fewer requests in a step, which is then shorter.
    """

    in_flight: int
    loops: tuple[Loop, ...]
    output_tokens: float

    def figures(self, origin: str) -> tuple[Figure, ...]:
        """What a benchmark of a server prints."""
        each = {
            "requests_per_s": ("requests/s", [loop.requests_per_s for loop in self.loops]),
            "output_tokens_per_s": ("tokens/s", [loop.requests_per_s * self.output_tokens for loop in self.loops]),
            "ttft_s": ("s", [loop.ttft_s for loop in self.loops]),
            "tpot_s": ("s", [loop.decode_s / self.output_tokens for loop in self.loops] if self.output_tokens else []),
            "latency_s": ("s", [loop.latency_s for loop in self.loops]),
        }
        return tuple(
            Figure(name, values[0], unit, origin, min(values), max(values))
            for name, (unit, values) in each.items()
            if values
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Throughput(Rates):
    """What a device makes of a workload. fast, slow: the same at the ends of the interval.

    engine: its name; bound: whether times are one. prefill_classes, decode_classes: seconds of the average page by
    class of kernel, and of the host where the device waits for it. origins: of the constants of classes on this device.
    host_origin: of the host's seconds; regions_prepared: whether seconds of regions are among them, which are assumed.
    without_runaway: the same without pages whose output runs to the limit. yields_several: a decode step may yield
    several tokens, so that there are fewer than output tokens.
    """

    device: Device
    engine: str
    yields_several: bool
    limits: Limits
    bound: bool
    fast: Rates
    slow: Rates
    float32: str
    batch_given: bool
    cache: str
    memory: MemoryNeed
    prefill_classes: Mapping[str, float]
    decode_classes: Mapping[str, float]
    origins: Mapping[str, str]
    host_origin: str
    regions_prepared: bool
    ngram: bool
    kinds: tuple[KindTime, ...]
    outputs_assumed: bool
    runaway_share: Fraction
    without_runaway: Throughput | None
    concurrency: Concurrency | None

    def __repr__(self) -> str:
        return throughput_text.line(self)

    def __str__(self) -> str:
        return throughput_text.text(self)

    def _repr_html_(self) -> str:
        return throughput_text.html(self)

    @property
    def origin(self) -> str:
        """Of every time and rate."""
        return BOUND if self.bound else ESTIMATE

    def interval(self, name: str) -> Interval:
        """A figure of `Rates` and the ends of its interval."""
        value, *ends = (getattr(each, name) for each in (self, self.fast, self.slow))
        return Interval(value, min(value, *ends), max(value, *ends))

    def share(self, stage: str, kernel_class: str) -> float:
        """The share of "prefill" or "decode" in kernels of a class, or in waiting for the host."""
        seconds = self.prefill_classes if stage == "prefill" else self.decode_classes
        total = sum(seconds.values())
        return seconds.get(kernel_class, 0.0) / total if total else 0.0

    def mostly(self, stage: str) -> str | None:
        """The class that takes most of a stage; None of one that takes no time."""
        seconds = self.prefill_classes if stage == "prefill" else self.decode_classes
        return max(seconds, key=lambda name: seconds[name]) if any(seconds.values()) else None

    @property
    def max_len_sequences(self) -> float | None:
        """How many sequences of the engine's longest fit its pool; None without a pool."""
        return None if self.memory.pool is None else self.memory.pool.tokens / self.limits.max_model_len

    def figures(self) -> tuple[Figure, ...]:
        """Every figure, with its unit and origin: results first, then memory, then what went in."""
        device, memory = self.device, self.memory
        day = [("pages_per_day", "pages/day")] if self.output_tokens else []
        names = [
            ("pages_per_s", "pages/s"),
            *day,
            *([("requests_per_s", "requests/s")] if self.pages_per_request > 1 else []),
            ("device_pages_per_s", "pages/s"),
            *([] if self.host_pages_per_s is None else [("host_pages_per_s", "pages/s")]),
            ("output_tokens_per_s", "tokens/s"),
            *((name, "s") for name in ("page_s", "prefill_s", "decode_s", "ttft_s")),
            *([("tpot_s", "s"), ("tpot_interleaved_s", "s")] if self.output_tokens else []),
            ("page_latency_s", "s"),
            *([("corpus_s", "s")] if self.pages > 1 else []),
            *([("cost_per_1000_pages", "currency")] if self.cost_per_1000_pages is not None else []),
        ]
        rows = [self._estimated(name, unit) for name, unit in names]
        rows.insert(1 + len(day), Figure("limited_by", self.limited_by, "", self.origin))
        for stage, seconds in (("prefill", self.prefill_classes), ("decode", self.decode_classes)):
            rows += [
                Figure(f"{stage}_share_{name}", self.share(stage, name), "", self.origin)
                for name in sorted(seconds, key=lambda name: -seconds[name])
                if seconds[name]
            ]
        rows += [
            *([Figure("devices", self.devices, "devices", GIVEN)] if self.devices > 1 else []),
            Figure("batch_size", self.batch_size, f"{self._each}s", GIVEN if self.batch_given else ANALYTIC),
            Figure("weight_bytes", memory.weight_bytes, "bytes", ANALYTIC),
            Figure("cache_bytes", memory.cache_bytes, "bytes", ANALYTIC),
        ]
        if memory.pool is None:
            rows.append(Figure("activation_bytes", memory.activation_bytes, "bytes", ANALYTIC))
        else:
            most, origin = self.limits.max_num_seqs, GIVEN if self.limits.seqs_given else "read"
            rows += [
                Figure("kv_pool_tokens", memory.pool.tokens, "tokens", ESTIMATE),
                Figure("max_model_len_sequences", self.max_len_sequences or 0.0, "sequences", ESTIMATE),
                *([] if most is None else [Figure("max_num_seqs", most, "sequences", origin)]),
            ]
        rows += [
            *([Figure("load_bytes", memory.load_bytes, "bytes", ANALYTIC)] if memory.load_bytes else []),
            Figure("memory_bytes", device.memory_bytes, "bytes", GIVEN),
            Figure("reserve_bytes", memory.reserve_bytes, "bytes", ASSUMED if memory.pool is None else ESTIMATE),
            Figure("pages", self.pages, "pages", GIVEN),
            Figure(
                "output_tokens",
                self.output_tokens,
                f"{'tokens' if self.yields_several else 'decode steps'}/{self._each}",
                ASSUMED if self.outputs_assumed else GIVEN,
            ),
            Figure("runaway_share", float(self.runaway_share), "of pages", GIVEN),
        ]
        if self.without_runaway is not None:
            slower = self.page_s / self.without_runaway.page_s - 1
            rows.append(Figure("runaway_cost", slower, "of page_s", self.origin))
        if self.host_s:
            rows += [
                Figure(
                    "host_s", self.host_s, f"s/{self._each}", ASSUMED if self.regions_prepared else self.host_origin
                ),
                Figure("host_workers", self.workers, "workers", self.host_origin),
            ]
        if self.bound:
            rows += [
                Figure(f"efficiency_{name}", float(efficiency.factor), "of the peak", efficiency.origin)
                for name, efficiency in device.efficiency.items()
            ]
            launch_s = 0.0 if device.kernel_launch_s is None else float(device.kernel_launch_s)
            rows.append(Figure("kernel_launch_s", launch_s, "s", device.kernel_launch_origin))
        if self.price_per_hour is not None:
            rows.append(Figure("price_per_hour", self.price_per_hour, "currency/hour", GIVEN))
        return tuple(rows)

    @property
    def _each(self) -> str:
        """What seconds and the batch are of."""
        return "page" if self.pages_per_request == 1 else "request"

    def _estimated(self, name: str, unit: str) -> Figure:
        value, low, high = self.interval(name)
        return Figure(name, value, unit, self.origin, low, high)

    def assumptions(self) -> tuple[str, ...]:
        """What is assumed, a sentence each."""
        cache = {
            LONGEST: "every page of a batch has room for the longest page's cache, so nothing is ever preempted",
            MEAN: "a paged cache holds the average page at its average moment; no page is preempted",
        }
        return (
            *(self.device.assumptions() if self.bound else self._constants()),
            *self._host(),
            *self._reserve(),
            cache[self.cache],
            "a continuous batch: pages are prefilled one at a time, so one page's activations count, not the batch's",
            *self._few(),
        )

    def _few(self) -> list[str]:
        if self.pages == 1 or self.fills_batch:
            return []
        return [
            f"all pages (corpus_s) are taken at the rate of a batch of {self.batch_size:,}; {self.pages:,} pages never "
            "fill it, so they take longer"
        ]

    @property
    def fills_batch(self) -> bool:
        """Whether there are as many pages as are in the batch, whose rate all of them are taken at."""
        return self.pages >= self.batch_size * self.pages_per_request

    def _constants(self) -> list[str]:
        """Where the constants of the classes come from."""
        by_origin: dict[str, list[str]] = {}
        for name, origin in self.origins.items():
            by_origin.setdefault(origin, []).append(name)
        listed = "; ".join(f"{', '.join(names)} {origin}" for origin, names in by_origin.items())
        return [f"times are estimates from constants of kernels of {self.device.name}: {listed}"]

    def _host(self) -> list[str]:
        if not self.host_s:
            return ["the host takes no time"] if not self.bound else []
        workers = "one worker" if self.workers == 1 else f"one of {self.workers} workers"
        told = [
            f"the host takes {self.host_s:.3g} s of {workers} a page "
            f"({self.host_origin}; host.seconds_per_page, host.workers; modelmeter host measures yours)"
        ]
        if self.regions_prepared:
            told.append("the host cuts the regions out of a page and prepares them in the seconds of a page once more")
        if self.ngram:
            told.append("the n-gram processor of the engine's recipe runs for every token (host.ngram=false: without)")
        return told

    def _reserve(self) -> list[str]:
        pool = self.memory.pool
        if pool is not None:
            return [
                f"engine={self.engine} takes {100 * (self.limits.utilization or 0):.3g} % of the memory "
                f"(engine.gpu_memory_utilization), {amount(self.limits.reserve_bytes)} of it neither weights nor cache "
                f"(engine.reserve_bytes)"
            ]
        if not self.memory.reserve_bytes:
            return []
        return [
            f"{amount(self.memory.reserve_bytes)} of the memory are left free for the device's context, the libraries' "
            "workspaces and the allocator's rounding (runtime.reserve_bytes)"
        ]


# -- computing it ---------------------------------------------------------------------------------------------------


def compute_throughput(
    model: ServedModel[Page],
    device: Device,
    kinds: Iterable[PageKind[Page]],
    *,
    batch_size: int | None = None,
    in_flight: int | None = None,
    outputs_assumed: bool = False,
    runaway_share: float | Fraction = 0,
    price_per_hour: float | Fraction | None = None,
    float32: str = "fp32",
    cache: str = LONGEST,
    times: Times | None = None,
) -> Throughput:
    """What `device` makes of pages of these kinds under `model`, the cost model of one page at a time.

    batch_size: pages that decode together, each by a pass at a time; None: the most that fit, or a serial client's.
    in_flight: requests of a closed loop beside it. outputs_assumed: whether output tokens are an estimate, as of a
    class of pages. runaway_share: share of pages that repeat until the model's positions are used up. price_per_hour:
    of the device; else its file's. float32: the peak of float32 GEMMs, "fp32" or "tf32". cache: room for each page's
    cache, "longest" or "mean". times: of stages; None: `StageTimes`.
    Raises `DoesNotFit`, and `ModelMeterError` for what cannot be answered.
    """
    check_float32("throughput", float32)
    given = tuple(kinds)
    runaway = share_of("runaway_share", runaway_share)
    pages = prepared(given, model, runaway)
    price = device.price_per_hour if price_per_hour is None else exact("price_per_hour", price_per_hour)
    if price is not None and price < 0:
        raise ModelMeterError(f"throughput: price_per_hour={float(price):g} is negative.")
    memory = Memory(model, pages, cache)
    serial = model.client.name != "overlapped"
    if serial and batch_size is None:
        batch_size = model.client.batch_size
    batch = memory.checked_batch(device, batch_size, pages, float32, "batch_size")
    if in_flight is not None:
        memory.checked_batch(device, in_flight, pages, float32, "concurrency")
    limits = memory.limits(device)
    times = times or stage_times(model, device, float32)
    work = _Work(service_of(model, times, limits), pages)
    prefill, steps = work.prefill, work.steps(batch)

    def rates(case: int) -> dict[str, Any]:
        return {
            "prefill_s": float(prefill.cases[case]),
            "steps_s": float(steps.cases[case]),
            "host_s": float(work.host[case]),
            "workers": model.host.workers,
            "client_s": model.request.pages * model.client.seconds_per_page if serial else None,
            "batch_size": batch,
            "alone": batch_size == 1,
            "output_tokens": float(work.output_tokens),
            "pages": sum(kind.count for kind in given),
            "pages_per_request": model.request.pages,
            "price_per_hour": None if price is None else float(price),
            "devices": model.devices,
        }

    return Throughput(
        **rates(0),
        fast=Rates(**rates(1)),
        slow=Rates(**rates(2)),
        device=device,
        engine=model.engine.name,
        yields_several=yields_several(model),
        limits=limits,
        bound=times.bound,
        float32=float32,
        batch_given=batch_size is not None,
        cache=cache,
        memory=memory.need(batch, device),
        prefill_classes=prefill.by_class,
        decode_classes={name: seconds / batch for name, seconds in steps.by_class.items()},
        origins={}
        if times.bound
        else {
            name: each.origin
            for name, each in device.kernels.items()
            if name not in COLLECTIVES or name in prefill.by_class  # of a model on one device none runs
        },
        host_origin=_host_origin(model),
        regions_prepared=work.regions_prepared,
        ngram=model.host.ngram and not times.bound,
        kinds=work.kinds(batch),
        outputs_assumed=outputs_assumed,
        runaway_share=runaway,
        without_runaway=compute_throughput(
            model,
            device,
            given,
            batch_size=batch_size,
            in_flight=in_flight,
            price_per_hour=price_per_hour,
            float32=float32,
            cache=cache,
            times=times,
        )
        if runaway
        else None,
        concurrency=None if in_flight is None else work.loop(in_flight, model.host.workers),
    )


def stage_times(model: Any, device: Device, float32: str) -> Times:
    """The times of the model's stages on a device, or their bounds."""
    from modelmeter.devices.stage_time import StageTimes

    return StageTimes(model, device, float32=float32)


def service_of(model: ServedModel[Any], times: Times, limits: Limits) -> Service:
    """What pages take of the model's engine and host."""
    from modelmeter.devices.service import Service

    graphed = [stage for stage in ("prefill", "decode") if model.graphed(stage)]
    most = limits.max_num_batched_tokens
    return Service(
        times, model.host, runs=model.decode_runs, graphed=graphed, tokens_a_pass=most, request=model.request
    )


def _host_origin(model: ServedModel[Any]) -> str:
    """Where the host's seconds a page come from."""
    from modelmeter.models.common.engines import GIVEN as SAID
    from modelmeter.models.common.engines import origin_of

    origins = [
        origin_of("host", key, getattr(model.host, key), model.engine.name)
        for key in ("seconds_per_page", "seconds_per_text", "workers")
    ]
    return SAID if SAID in origins else origins[0]


class _Mean(NamedTuple):
    """Seconds of the average page: [3] by case, and the estimate by class."""

    cases: Any
    by_class: dict[str, float]


class _Work:
    """All pages of a workload on one device: seconds of each kind and of the mean, by the pages in a step."""

    def __init__(self, service: Service, pages: Sequence[Prepared[Any]]) -> None:
        self.service = service
        self.pages = pages
        #: a row for every number of output tokens of every kind
        self.rows = [(number, each) for number, page in enumerate(pages) for each in page.outputs]
        #: the passes of each kind
        self.by_kind = [list(each) for _, each in groupby(range(len(pages)), lambda place: pages[place].number)]
        layouts = [getattr(page.page, "layout", None) for page in pages]
        firsts = [(pages[each[0]].share, len(each), layouts[each[0]] is not None) for each in self.by_kind]
        self.regions_prepared = any(has_image and passes > 1 for _, passes, has_image in firsts)
        #: seconds of a worker for the average page, by case; regions take as long as their page again
        self.host = service.page_s(
            float(sum(share * min(passes, 2) for share, passes, has_image in firsts if has_image)),
            float(sum(share for share, _, has_image in firsts if not has_image)),
        )
        self._prefills = service.prefills(layouts, [page.page.seq_len for page in pages])
        self.output_tokens = sum((each.share * each.output_tokens for _, each in self.rows), Fraction(0))
        self._decoded: dict[int, Any] = {}

    @property
    def prefill(self) -> _Mean:
        """Of the average page's prefill."""
        return _Mean(*self._prefills.mean([float(page.share) for page in self.pages]))

    def steps(self, batch: int) -> _Mean:
        """Of all of the average page's steps, with so many pages in each."""
        return _Mean(*self._decodes(batch).mean([float(each.share) for _, each in self.rows]))

    def _decodes(self, batch: int) -> Any:
        if batch not in self._decoded:
            seq_lens = [self.pages[number].page.seq_len for number, _ in self.rows]
            steps = [each.output_tokens for _, each in self.rows]
            self._decoded[batch] = self.service.decodes(seq_lens, steps, batch)
        return self._decoded[batch]

    def kinds(self, batch: int) -> tuple[KindTime, ...]:
        """The pages of each kind."""
        decoded = [0.0] * len(self.pages)
        for (number, each), seconds in zip(self.rows, self._decodes(batch).cases[0].tolist(), strict=True):
            decoded[number] += float(each.share / self.pages[number].share) * seconds / batch
        prefilled = self._prefills.cases[0].tolist()
        told = []
        for places in self.by_kind:
            passes = [self.pages[place] for place in places]
            kind, of_all = passes[0].kind, passes[0].share
            said = sum((share * tokens for each in passes for tokens, share in each.outputs), Fraction(0))
            told.append(
                KindTime(
                    label=kind.label,
                    count=kind.count,
                    seq_len=kind.page.seq_len,
                    output_tokens=said / of_all,
                    prefill_s=sum(prefilled[place] for place in places),
                    decode_s=sum(decoded[place] for place in places),
                )
            )
        return tuple(told)

    def loop(self, in_flight: int, workers: int) -> Concurrency:
        """A closed loop of average pages, for each case of the device and of the host."""

        def solved(device: int, host: int) -> Loop:
            return ClosedLoop(
                in_flight=in_flight,
                workers=workers,
                page_s=float(self.host[host]),
                prefill_s=float(self.prefill.cases[device]),
                steps_s=lambda batch: float(self.steps(batch).cases[device]),
                steps=float(self.output_tokens),
            ).solve()

        loops = tuple(solved(*each) for each in ((0, 0), (1, 1), (1, 2), (2, 1), (2, 2)))
        return Concurrency(in_flight=in_flight, loops=loops, output_tokens=float(self.output_tokens))


def smallest_device(
    model: ServedModel[Page],
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
    pages = prepared(tuple(kinds), model, share_of("runaway_share", runaway_share))
    memory = Memory(model, pages, cache)
    given = bundled_devices() if devices is None else devices
    device, refused = memory.first_to_run(given, batch_size, pages, float32)
    if device is None:
        raise DoesNotFit(f"no device runs {batch_size} such pages at once: {'; '.join(refused) or 'none was given'}.")
    return device
