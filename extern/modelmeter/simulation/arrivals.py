"""Where requests come from: a trace, arrivals at random, or a closed loop; each behind the workers that prepare it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from modelmeter.errors import ModelMeterError
from modelmeter.simulation.scheduler import Request


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a request asks for: positions of its prefill, tokens that it yields, image tokens among its positions.

    host_s: seconds of one worker that prepares it. kind: of its prefill's time.
    """

    prompt: int
    outputs: int
    images: int = 0
    host_s: float = 0.0
    kind: int = 0

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.outputs < 1:
            raise ModelMeterError(
                f"simulation: a request of {self.prompt} positions and {self.outputs} output tokens is none; give 1 or "
                "more of both."
            )
        if not (self.host_s >= 0 and isfinite(self.host_s)):
            raise ModelMeterError(f"simulation: host_s={self.host_s} is no time; give seconds, 0 or more.")

    def request(self, number: int, arrival_s: float) -> Request:
        """The request that it is when it arrives."""
        return Request(number, arrival_s, self.prompt, self.outputs, self.images, self.kind)


class HostWorkers:
    """Workers that prepare one page at a time each, first come first served."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ModelMeterError(f"simulation: host.workers={workers} is less than 1; give 1 or more.")
        self.busy_s = 0.0
        self._free_at = [0.0] * workers

    def ready(self, arrival_s: float, seconds: float) -> float:
        """When a page is prepared that arrives now, behind all that arrived before."""
        begin = max(arrival_s, heapq.heappop(self._free_at))
        heapq.heappush(self._free_at, begin + seconds)
        self.busy_s += seconds
        return begin + seconds


class Arrivals:
    """Requests whose arrivals are known from the start. Raises `ModelMeterError` for times that go back."""

    def __init__(self, jobs: Sequence[Job], times: Sequence[float], workers: int = 1) -> None:
        if len(jobs) != len(times):
            raise ModelMeterError(f"simulation: {len(jobs)} requests and {len(times)} arrivals; give as many of both.")
        self.host = HostWorkers(workers)
        self._ready: list[tuple[float, int, Request]] = []
        before = 0.0
        for number, (job, arrival) in enumerate(zip(jobs, times, strict=True)):
            if not (arrival >= before and isfinite(arrival)):
                raise ModelMeterError(
                    f"simulation: request {number} arrives at {arrival:g} s, and the one before it at {before:g} s; "
                    "order the trace by its times, seconds since its beginning."
                )
            before = arrival
            request = job.request(number, arrival)
            request.ready_s = self.host.ready(arrival, job.host_s)
            self._ready.append((request.ready_s, number, request))
        self._ready.sort(key=lambda each: each[:2], reverse=True)

    def next_ready(self) -> float | None:
        """When the next one is prepared."""
        return self._ready[-1][0] if self._ready else None

    def take(self, now: float) -> Iterator[Request]:
        """Those that are prepared by `now`."""
        while self._ready and self._ready[-1][0] <= now:
            yield self._ready.pop()[2]

    def done(self, request: Request) -> None:
        """Nobody waits for it."""


class ClosedLoop:
    """`in_flight` requests at a time, and the next one whenever one ends."""

    def __init__(self, jobs: Iterable[Job], in_flight: int, workers: int = 1) -> None:
        if in_flight < 1:
            raise ModelMeterError(f"simulation: {in_flight} requests in flight; give 1 or more.")
        self.host = HostWorkers(workers)
        self._jobs = enumerate(jobs)
        self._ready: list[tuple[float, int, Request]] = []
        for _ in range(in_flight):
            self._send(0.0)

    def next_ready(self) -> float | None:
        """When the next one is prepared, of those that were sent."""
        return self._ready[0][0] if self._ready else None

    def take(self, now: float) -> Iterator[Request]:
        """Those that are prepared by `now`."""
        while self._ready and self._ready[0][0] <= now:
            yield heapq.heappop(self._ready)[2]

    def done(self, request: Request) -> None:
        """The next one is sent."""
        assert request.done_s is not None
        self._send(request.done_s)

    def _send(self, now: float) -> None:
        number, job = next(self._jobs, (0, None))
        if job is not None:
            request = job.request(number, now)
            request.ready_s = self.host.ready(now, job.host_s)
            heapq.heappush(self._ready, (request.ready_s, number, request))


def poisson(rate: float, requests: int, seed: int) -> list[float]:
    """Arrivals at random, `rate` a second: seconds since the beginning of each of `requests`."""
    if not (rate > 0 and isfinite(rate)):
        raise ModelMeterError(f"simulation: {rate} requests a second is no rate; give a number above 0.")
    source = random.Random(seed)
    times, now = [], 0.0
    for _ in range(requests):
        now += source.expovariate(rate)
        times.append(now)
    return times
