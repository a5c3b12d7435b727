"""Ways to serve a load: a model by an engine on replicas of one GPU or several, and how many of these hold the limits.

A way has the fewest replicas, the load spread evenly over them, whose simulation (`simulation.load`) holds every limit
at the asked percentile, found between two bounds: fewer serve less than arrives, or so nearly that the tail never
settles; and one that is nearly idle is as fast as it gets. The same search with steps and host at the slow end of their
interval says up to how many it may take.

Ways are searched in the order of what they cost at least, which follows from their capacity alone. Once `top` of them
are found, those that cost more at least are not simulated: they have `fewest`, a bound, in place of `replicas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, floor, inf, isinf
from typing import Any, Final, NamedTuple

from modelmeter.devices import Device, PageKind
from modelmeter.devices.page_memory import DoesNotFit
from modelmeter.devices.pages import ServedModel
from modelmeter.errors import ModelMeterError
from modelmeter.plan.demand import HOURS_A_MONTH, Demand, ServiceLevel
from modelmeter.plan.prices import Prices
from modelmeter.quality import Quality
from modelmeter.search import efficient, largest
from modelmeter.simulation.load import FAST, FULL, SLOW, VALUE, Outcome, Replica

#: requests that a replica is simulated with
REQUESTS: Final = 2_000
#: of a replica's capacity, below which it is taken to be as fast as it gets
IDLE: Final = 1e-3
#: of a replica's capacity, up to which its tail settles; beyond, how long the peak lasts decides the tail
STEADY: Final = 0.95
#: of the host's workers at what a replica serves, where nobody says how many there are
HOST_BUSY: Final = 0.8
#: what ways may be sorted by
MONEY: Final = "money"
GPUS: Final = "gpus"
#: of a way's settings, the GPUs of a replica that its model is split over
SPLIT: Final = "tensor_parallel"


class Candidate(NamedTuple):
    """A model by an engine, with its pages, or why there is none.

    settings: model, mode and engine. workers_given: whether somebody says how many workers the host has.
    """

    settings: Mapping[str, str]
    model: ServedModel[Any] | None
    kinds: Sequence[PageKind[Any]] = ()
    workers_given: bool = False
    quality: Quality | None = None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked. spare: GPUs beside the replicas. top: ways that are found before dearer ones are pruned.

    runaway_share: of pages whose output runs to the model's last position.
    """

    demand: Demand
    level: ServiceLevel = field(default_factory=ServiceLevel)
    spare: int = 0
    prices: Prices = field(default_factory=Prices)
    requests: int = REQUESTS
    seed: int = 0
    top: int | None = 5
    runaway_share: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("spare", 0), ("requests", 1)):
            if getattr(self, name) < least:
                raise ModelMeterError(f"plan: --{name} {getattr(self, name)} is too few; give {least} or more.")


class Serves(NamedTuple):
    """What is known of a replica before anything is simulated.

    capacity: requests a second, as predicted and at the slow and the fast end. limited_by: device or host. host_s:
    seconds of a worker for the average page, device_s: of the device.
    """

    capacity: float
    slow: float
    fast: float
    limited_by: str
    workers: int
    host_s: float
    device_s: float


class Found(NamedTuple):
    """The fewest replicas that hold the limits, what one of them comes to, and what one fewer would not hold.

    decided_by: limits by name; none: the capacity.
    """

    replicas: int
    outcome: Outcome
    decided_by: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A candidate on a device.

    serves: None where it is `refused`; too_large: since a page does not fit the device. fewest: replicas by capacity
    alone. found: as predicted; None where it was not searched, or where `short` says what an idle replica takes, by
    limit. slow_replicas: at the slow end; None: not searched, infinite: no number of them holds the limits there.
    devices: GPUs of a replica, over which the model is split.
    """

    settings: Mapping[str, str]
    device: Device
    quality: Quality | None
    refused: str | None = None
    too_large: bool = False
    serves: Serves | None = None
    fewest: int = 0
    found: Found | None = None
    short: Mapping[str, float] = field(default_factory=dict)
    slow_replicas: float | None = None
    devices: int = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All ways, those that hold the limits first, the best first; then those that come nearest, then the others."""

    question: Question
    ways: Sequence[Way]

    @cached_property
    def holding(self) -> list[Way]:
        """Ways that hold the limits."""
        return [way for way in self.ways if way.found is not None]

    @property
    def best(self) -> Way | None:
        """The first of them."""
        return next(iter(self.holding), None)

    @property
    def by(self) -> str:
        """What they are sorted by."""
        return _by(self.question, self.ways)

    @cached_property
    def efficient(self) -> list[Way]:
        """Of the ways that hold the limits those that no other beats in cost, latency and published quality together.

        Where some have a published figure, those without one take no part.
        """
        judged = any(way.quality is not None for way in self.holding)
        ways = [way for way in self.holding if way.quality is not None or not judged]
        key = _key(self.question, self.by)
        points = [
            (
                key(way),
                _tail(self.question, way),
                0.0 if way.quality is None else way.quality.value * (-1 if way.quality.better == "higher" else 1),
            )
            for way in ways
        ]
        return [way for way, best in zip(ways, efficient(points), strict=True) if best]

    def gpus(self, way: Way) -> int:
        """Whole GPUs, the spare ones among them; the least of a way that was not searched."""
        return _gpus(self.question, way, way.fewest if way.found is None else way.found.replicas)

    def gpus_slow(self, way: Way) -> int | None:
        """Whole GPUs at the slow end of the interval; None where no number of them holds the limits there."""
        slow = way.slow_replicas
        return None if slow is None or isinf(slow) else _gpus(self.question, way, int(slow))

    def money(self, way: Way, gpus: float | None = None) -> float | None:
        """A month of so many GPUs around the clock; None without a price."""
        price = self.question.prices.an_hour.get(way.device.name)
        return None if price is None else price * (self.gpus(way) if gpus is None else gpus) * HOURS_A_MONTH

    def money_for_1000(self, way: Way) -> float | None:
        """What 1,000 pages cost, all GPUs paid around the clock; None without a price."""
        money = self.money(way)
        return None if money is None else 1000 * money / self.question.demand.pages_a_month

    def load(self, way: Way) -> float:
        """Share of the replicas' capacity that the peak takes."""
        assert way.serves is not None and way.found is not None
        return self.question.demand.rate / (way.found.replicas * way.serves.capacity)

    def energy_kwh(self, way: Way) -> float | None:
        """A month of all GPUs at their power limit, so at most; None where the device's file has none."""
        watts = way.device.power_watts
        return None if watts is None else self.gpus(way) * float(watts) * HOURS_A_MONTH / 1000


def compute(
    question: Question,
    candidates: Sequence[Candidate],
    devices: Sequence[Device],
    heard: Callable[[int], None] = lambda done: None,
) -> Plan:
    """All ways. heard: is told how many are done. Raises `ModelMeterError` where all of them are refused."""
    searched: dict[int, _Search] = {}
    ways: list[Way] = []
    for candidate in candidates:
        for device in devices:
            way, search = _opened(question, candidate, device)
            if search is not None:
                searched[len(ways)] = search
            ways.append(way)
            heard(len(ways) - len(searched))
    if not searched:
        raise ModelMeterError(*dict.fromkeys(str(way.refused) for way in ways))
    key = _key(question, _by(question, ways))
    costs: list[float] = []
    for done, number in enumerate(sorted(searched, key=lambda number: key(ways[number])), len(ways) - len(searched)):
        bound = inf if question.top is None or len(costs) < question.top else sorted(costs)[question.top - 1]
        if key(ways[number]) <= bound:
            ways[number] = searched[number].answer(ways[number])
            if ways[number].found is not None:
                costs.append(key(ways[number]))
        heard(done + 1)
    return Plan(
        question=question, ways=sorted(ways, key=lambda way: (*_rank(question, way), key(way), _tail(question, way)))
    )


def _by(question: Question, ways: Sequence[Way]) -> str:
    """Money where all that serve have a price."""
    priced = all(way.device.name in question.prices.an_hour for way in ways if way.serves is not None)
    return MONEY if priced else GPUS


def _key(question: Question, by: str) -> Callable[[Way], float]:
    def key(way: Way) -> float:
        if way.serves is None:
            return inf
        gpus = _gpus(question, way, way.fewest if way.found is None else way.found.replicas)
        return gpus * (question.prices.an_hour[way.device.name] if by == MONEY else 1)

    return key


def _gpus(question: Question, way: Way, replicas: int) -> int:
    """Whole GPUs of so many replicas of a way, and the spare ones."""
    return replicas * way.devices + question.spare


def _tail(question: Question, way: Way) -> float:
    """The latency at the percentile, by which ways of one cost are sorted."""
    return 0.0 if way.found is None else way.found.outcome.times()["latency_s"].percentiles[question.level.percentile]


def _rank(question: Question, way: Way) -> tuple[int, float]:
    """Ways that hold the limits, those that were not searched, those that come nearest, the others."""
    if way.found is not None:
        return 0, 0.0
    if way.short:
        return 2, max(seconds / question.level.limits[name] for name, seconds in way.short.items())
    return (1, 0.0) if way.serves is not None else (3, 0.0)


def _opened(question: Question, candidate: Candidate, device: Device) -> tuple[Way, _Search | None]:
    """A way as far as it is known without a simulation."""
    way = Way(
        settings={**candidate.settings, "device": device.name},
        device=device,
        quality=candidate.quality,
        refused=candidate.refused,
        devices=1 if candidate.model is None else candidate.model.devices,
    )
    if candidate.model is None:
        return way, None
    try:
        replica = _replica(question, candidate.model, candidate, device)
    except ModelMeterError as error:
        return replace(way, refused=str(error), too_large=isinstance(error, DoesNotFit)), None
    value, fast, slow = (replica.rates[case] for case in (VALUE, FAST, SLOW))
    serves = Serves(
        capacity=value.pages_per_s,
        slow=slow.pages_per_s,
        fast=fast.pages_per_s,
        limited_by=value.limited_by,
        workers=replica.workers,
        host_s=replica.host_s,
        device_s=value.page_s,
    )
    fewest = _fewest(question, serves.capacity)
    return replace(way, serves=serves, fewest=fewest), _Search(question, replica)


def _replica(question: Question, model: ServedModel[Any], candidate: Candidate, device: Device) -> Replica:
    """With as many workers as keep the host below `HOST_BUSY`, unless somebody says how many there are."""
    model.request.check_one_page("plan")
    replica = Replica(model, device, candidate.kinds, runaway_share=question.runaway_share)
    rate = min(replica.rates[VALUE].device_pages_per_s, question.demand.rate)
    workers = ceil(rate * replica.host_s / HOST_BUSY)
    return replica if candidate.workers_given else replica.with_workers(max(1, workers))


def _fewest(question: Question, capacity: float) -> int:
    """Replicas that serve more than arrives, and whose tail settles where there is a limit on it."""
    return floor(question.demand.rate / ((STEADY if question.level.limits else FULL) * capacity)) + 1


class _Search:
    """The search for one way."""

    def __init__(self, question: Question, replica: Replica) -> None:
        self.question = question
        self.replica = replica
        self._outcomes: dict[tuple[int, int], Outcome] = {}

    def answer(self, way: Way) -> Way:
        """The way with its replicas, or with what it falls short of."""
        found, short = self._replicas(VALUE)
        if found is None:
            return replace(way, short=short)
        slow, _ = self._replicas(SLOW)
        return replace(way, found=found, slow_replicas=inf if slow is None else slow.replicas)

    def _replicas(self, case: int) -> tuple[Found | None, Mapping[str, float]]:
        """The fewest replicas that hold all limits; or, by limit, what an idle one takes."""
        rate, capacity = self.question.demand.rate, self.replica.rates[case].pages_per_s
        least = _fewest(self.question, capacity)
        most = max(least, ceil(rate / (IDLE * capacity)))
        if self._short(case, least):
            short = self._short(case, most)
            if short:
                return None, short
        fails = largest(lambda more: bool(self._short(case, least + more - 1)), most - least)
        replicas = least + fails
        decided = [] if not fails else list(self._short(case, replicas - 1))
        return Found(replicas, self._outcome(case, replicas), decided), {}

    def _short(self, case: int, replicas: int) -> dict[str, float]:
        """The limits that so many replicas do not hold, and the seconds that they take instead."""
        limits = self.question.level.limits
        if not limits:
            return {}
        times = self._outcome(case, replicas).times()
        percentile = self.question.level.percentile
        taken = {name: times[name].percentiles[percentile] for name in limits}
        return {name: seconds for name, seconds in taken.items() if seconds > limits[name]}

    def _outcome(self, case: int, replicas: int) -> Outcome:
        if (case, replicas) not in self._outcomes:
            self._outcomes[case, replicas] = self.replica.outcome(
                case,
                rate=self.question.demand.rate / replicas,
                requests=self.question.requests,
                seed=self.question.seed,
            )
        return self._outcomes[case, replicas]
