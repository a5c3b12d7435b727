"""Seconds that pages take an engine on a device: its kernels, and the host wherever the device waits for it.

Every figure comes three times: the estimate, and the low and the high end of its interval (`Cases`). A stage of eager
code takes the longer of its kernels and of the host that issues them; one that is replayed as a graph its kernels
alone. To a prefill come the host's seconds for each pass that its tokens need, to a step the host's seconds for a step,
or the n-gram processor's, which runs while the device does, where those are longer. A bound has no host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from modelmeter.devices.host import step_comparisons
from modelmeter.devices.stage_time import HOSTS_DIFFER, OPERATOR_S, Estimate, EstimateArrays

if TYPE_CHECKING:
    from modelmeter.models.common.engines import HostSchema
    from modelmeter.models.common.request import Request
    from modelmeter.models.common.runs import StepRun

Array = Any

#: the estimate, and the ends of its interval
CASES: Final = ("value", "low", "high")
#: by how much the host that issues operators may be faster or slower, by case
ISSUED: Final = np.array([1, 1 / HOSTS_DIFFER, HOSTS_DIFFER])
#: what a stage waits for that is no kernel
HOST: Final = "host"


class Times(Protocol):
    """Device seconds of stages: `StageTimes`, or what stands for it."""

    bound: bool

    def stages(self, stage: str, layouts: Sequence[Any], cached: int = 0) -> EstimateArrays:
        """Of "prefill" of requests with pages of these layouts, over so many positions of a cache."""
        ...

    def prompt(self, tokens: int, cached: int = 0) -> Estimate:
        """Of the prefill of a prompt without an image, over so many positions of a cache."""
        ...

    def decode_many(self, seq_lens: Array, steps: Array, *, batch: int | None = None) -> EstimateArrays:
        """Of so many steps after each prefill, of `batch` pages at once."""
        ...


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Seconds of pages [3, pages], a row a case; and of their estimates, by class of kernel [pages], the host's too."""

    cases: Array
    by_class: Mapping[str, Array]

    def mixed(self, other: Seconds, share: float) -> Seconds:
        """The mean of these and of others, which have this share."""

        def both(one: Array, two: Array) -> Array:
            return (1 - share) * one + share * two

        classes = {**self.by_class, **other.by_class}
        none = np.zeros(self.cases.shape[1])
        by_class = {name: both(self.by_class.get(name, none), other.by_class.get(name, none)) for name in classes}
        return Seconds(cases=both(self.cases, other.cases), by_class=by_class)

    def mean(self, shares: Sequence[float]) -> tuple[Array, dict[str, float]]:
        """Of the average page [3], and by class."""
        weights = np.asarray(shares)
        return self.cases @ weights, {name: float(each @ weights) for name, each in self.by_class.items()}


class Service:
    """What pages take of an engine on a device.

    runs: those of the steps that so many tokens take. graphed: stages that are replayed as graphs; tokens_a_pass: at
    most. request: what requests hold, whose prefix a share of them finds in the cache.
    """

    def __init__(
        self,
        times: Times,
        host: HostSchema,
        *,
        runs: Callable[[int], Sequence[StepRun]],
        graphed: Sequence[str],
        tokens_a_pass: int | None,
        request: Request,
    ) -> None:
        self.times = times
        self.runs = runs
        self.host = host
        self.graphed = graphed
        self.tokens_a_pass = tokens_a_pass
        self.request = request
        spread = 0.0 if times.bound else host.spread
        self.spread = np.array([1, 1 / (1 + spread), 1 + spread])

    def page_s(self, images: float, texts: float) -> Array:
        """Seconds of a worker for a request on average [3]: with images so many, without one so many."""
        host = self.host
        return (images * self.request.pages * host.seconds_per_page + texts * host.seconds_per_text) * self.spread

    def prefills(self, layouts: Sequence[Any], seq_lens: Sequence[int]) -> Seconds:
        """Of the prefill of each request; a layout of None is a prompt without an image.

        The mean over those that find the prefix in the cache and those that do not.
        """
        missed = self._prefills(layouts, seq_lens, 0)
        if not self.request.hit_share:
            return missed
        hit = self._prefills(layouts, seq_lens, self.request.cached_tokens)
        return missed.mixed(hit, float(self.request.hit_share))

    def _prefills(self, layouts: Sequence[Any], seq_lens: Sequence[int], cached: int) -> Seconds:
        pages = [number for number, layout in enumerate(layouts) if layout is not None]
        device = _Device(len(layouts))
        if pages:
            device.put(pages, self.times.stages("prefill", [layouts[number] for number in pages], cached))
        for number, layout in enumerate(layouts):
            if layout is None:
                device.put([number], self.times.prompt(seq_lens[number], cached))
        passes = 1 if self.tokens_a_pass is None else -(-(np.asarray(seq_lens) - cached) // self.tokens_a_pass)
        waits = np.broadcast_to(passes * self.host.seconds_per_prefill, (len(layouts),))
        return self._seconds("prefill", device, np.zeros(len(layouts)), waits)

    def decodes(self, seq_lens: Sequence[int], steps: Sequence[int], batch: int) -> Seconds:
        """Of all decode steps of each page, with `batch` such pages at once."""
        counts = np.asarray(steps, np.int64)
        return self._decodes(seq_lens, counts, batch, [self._compared(count) for count in counts.tolist()])

    def steps(self, contexts: Sequence[int], batch: int, generated: int) -> Seconds:
        """Of one decode step at each context, as it is on average among `generated` steps."""
        counts = np.ones(len(contexts), np.int64)
        return self._decodes(contexts, counts, batch, [self._compared(generated) / generated] * len(contexts))

    def _compared(self, steps: int) -> float:
        """Comparisons of the n-gram processor in so many steps of a page."""
        host = self.host
        if not host.ngram or self.times.bound:
            return 0.0
        return step_comparisons(host.ngram_size, host.ngram_window, steps)

    def _decodes(self, seq_lens: Sequence[int], counts: Array, batch: int, compared: Sequence[float]) -> Seconds:
        device = _Device(len(counts))
        device.put(range(len(counts)), self.times.decode_many(np.asarray(seq_lens, np.int64), counts, batch=batch))
        beside = batch * np.asarray(compared) * self.host.seconds_per_comparison
        waits = np.zeros(len(counts))
        if self.host.seconds_per_step:
            run = [sum(run.count for run in self.runs(count)) for count in counts.tolist()]
            waits += np.asarray(run) * self.host.seconds_per_step
        return self._seconds("decode", device, beside, waits)

    def _seconds(self, stage: str, device: _Device, beside: Array, waits: Array) -> Seconds:
        """Kernels, or the host where that is longer (`beside` it), and then what the device waits for."""
        cases = device.cases
        by_class = dict(device.by_class)
        if not self.times.bound:
            cases = np.maximum(cases, np.outer(self.spread, beside))
            if stage not in self.graphed:
                cases = np.maximum(cases, np.outer(ISSUED, device.launches * OPERATOR_S))
            cases = cases + np.outer(self.spread, waits)
            by_class[HOST] = cases[0] - device.cases[0]
        return Seconds(cases=cases, by_class=by_class)


class _Device:
    """Device seconds of pages, put together from estimates of some of them."""

    def __init__(self, pages: int) -> None:
        self.cases = np.zeros((len(CASES), pages))
        self.launches = np.zeros(pages)
        self.by_class: dict[str, Array] = {}

    def put(self, pages: Sequence[int], estimates: EstimateArrays | Estimate) -> None:
        places = list(pages)
        for row, case in enumerate(CASES):
            self.cases[row, places] = getattr(estimates, case)
        self.launches[places] = estimates.launches
        for name, seconds in estimates.by_class.items():
            self.by_class.setdefault(name, np.zeros(len(self.launches)))[places] = seconds
