"""N requests in flight, and a new one whenever one ends: what published benchmarks of servers measure.

A request is prepared by the host, prefilled, and decoded among the others; while a page is prefilled the others wait.
With f = (N - 1) / N, the share of the others in the load that a request meets (Schweitzer's approximation of mean
value analysis), X requests a second, and b requests in a decode step:

    decode        D = steps(b) + p (b - 1)          each of the b - 1 others is prefilled once while this one decodes
    requests/s    X = (b - 1) / (f D)               b - 1 others are in a step at once
    prefill       R = p / (1 - f X p) + step / 2    behind others' prefills, and half a step on average
    preparation   H = h (w - 1) / w + (h / w) / (1 - f X h / w)    w workers, by Seidmann's approximation
    Little's law  X (H + R + D) = N

h: seconds of a worker for a page; p: seconds of a prefill; steps(b): seconds of all of a request's steps with b at
once, linear between whole numbers. The left side of the last line grows with b, so b is found by halving. One request
alone waits for nobody: host and device times add.

Left out: the beginning of a run, when all N arrive at once, and its end, when fewer than N are left; how lengths
scatter.

    >>> loop = ClosedLoop(in_flight=1, workers=1, page_s=0.2, prefill_s=0.05, steps_s=lambda batch: 0.75, steps=500)
    >>> loop.solve().requests_per_s
    1.0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, inf
from typing import Final

#: halvings until b has the digits of a float
_HALVINGS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a closed loop comes to: seconds of a request, and what leaves a second. batch: requests in a decode step."""

    requests_per_s: float
    ttft_s: float
    decode_s: float
    batch: float

    @property
    def latency_s(self) -> float:
        """From a request's arrival to its last token."""
        return self.ttft_s + self.decode_s


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Requests that are all alike. page_s: of one of `workers`; steps_s: of all `steps`, by requests in a step."""

    in_flight: int
    workers: int
    page_s: float
    prefill_s: float
    steps_s: Callable[[int], float]
    steps: int | float

    def solve(self) -> Loop:
        """Where the loop settles."""
        if self.in_flight == 1:
            ttft, decode = self.page_s + self.prefill_s, self._steps(1.0)
            return Loop(requests_per_s=1 / (ttft + decode), ttft_s=ttft, decode_s=decode, batch=1.0)
        if not self.steps:
            return self._without_steps()
        low, high = 1.0, float(self.in_flight)
        for _ in range(_HALVINGS):
            batch = (low + high) / 2
            requests, ttft, decode = self._at(batch)
            if requests * (ttft + decode) < self.in_flight:
                low = batch
            else:
                high = batch
        requests, _, decode = self._at(low)
        # the approximation may pass what the device can do by a little: never more than with all of them in each step
        requests = min(requests, 1 / (self.prefill_s + self._steps(self.in_flight) / self.in_flight))
        # what is in no step waits to be prepared or prefilled
        return Loop(requests_per_s=requests, ttft_s=self.in_flight / requests - decode, decode_s=decode, batch=low)

    @property
    def _others(self) -> float:
        return (self.in_flight - 1) / self.in_flight

    def _at(self, batch: float) -> tuple[float, float, float]:
        """Requests a second, seconds to the first token and of decode, with so many requests in a step."""
        steps = self._steps(batch)
        decode = steps + self.prefill_s * (batch - 1)
        requests = (batch - 1) / (self._others * decode)
        waiting = self._prepared(requests) + self._prefilled(requests) + steps / self.steps / 2
        return requests, waiting, decode

    def _prepared(self, requests: float) -> float:
        each = self.page_s / self.workers
        return self.page_s - each + self._queued(each, requests)

    def _prefilled(self, requests: float) -> float:
        return self._queued(self.prefill_s, requests)

    def _queued(self, seconds: float, requests: float) -> float:
        """Seconds at a place where one request at a time is served, others' waiting included."""
        free = 1 - self._others * requests * seconds
        return seconds / free if free > 0 else inf

    def _steps(self, batch: float) -> float:
        whole = min(floor(batch), self.in_flight)
        first = self.steps_s(whole)
        if batch == whole:
            return first
        return first + (batch - whole) * (self.steps_s(whole + 1) - first)

    def _without_steps(self) -> Loop:
        """Requests that are prefilled and done: by halving the requests a second."""
        low, high = 0.0, self.in_flight / (self.page_s + self.prefill_s)
        for _ in range(_HALVINGS):
            requests = (low + high) / 2
            if requests * (self._prepared(requests) + self._prefilled(requests)) < self.in_flight:
                low = requests
            else:
                high = requests
        return Loop(requests_per_s=low, ttft_s=self.in_flight / low, decode_s=0.0, batch=1.0)
