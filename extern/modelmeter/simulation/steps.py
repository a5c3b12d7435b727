"""Seconds of an engine's steps, of a model on a device: what prefills and decode steps are predicted to take.

A prompt's part in a step takes its share of the prompt's prefill. A step of decoding is a function of how many decode
and of their mean context, whichever is longest, piecewise linear between the numbers at which it is asked for: so a run
of steps, each a token further, is a closed sum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

from modelmeter.simulation.scheduler import Chunk, Decoding

#: contexts at which a step is asked for, from the shortest to the longest
CONTEXTS: Final = 17
#: batches at which a step is asked for: all up to the first, then by this factor
FEW: Final = 8
GROWTH: Final = 1.25


def batches(most: int) -> list[int]:
    """The numbers of requests in a step at which its time is asked for, the largest of them `most` or more."""
    numbers = list(range(1, FEW + 1))
    while numbers[-1] < most:
        numbers.append(ceil(numbers[-1] * GROWTH))
    return numbers


class ModelSteps:
    """Steps of one model on one device.

    prefills: positions and seconds of the prefill of each kind of request. decode_s: seconds of one step for a batch,
    at each of several contexts. shortest, longest: contexts that requests have. most: requests in a step.
    """

    def __init__(
        self,
        prefills: Sequence[tuple[int, float]],
        decode_s: Callable[[int, Sequence[int]], Sequence[float]],
        *,
        shortest: int,
        longest: int,
        most: int,
    ) -> None:
        self._token_s = [seconds / positions for positions, seconds in prefills]
        self._decode_s = decode_s
        span = max(1, longest - shortest)
        self._contexts = sorted({shortest + round(span * place / (CONTEXTS - 1)) for place in range(CONTEXTS)})
        self._batches = batches(most)
        self._asked: dict[int, Sequence[float]] = {}
        self._curves: dict[int, list[float]] = {}

    def step(self, chunks: Sequence[Chunk], decoding: Decoding) -> float:
        """One step; see `StepTimes`."""
        batch, context, _ = decoding
        prompts = sum(self._token_s[each.kind] * each.new for each in chunks)
        return prompts + (self._at(batch, context / batch) if batch else 0.0)

    def run(self, decoding: Decoding, steps: int) -> float:
        """A run of steps; see `StepTimes`."""
        batch, context, _ = decoding
        mean, left, total = context / batch, steps, 0.0
        while left:
            place = self._piece(mean)
            ends = self._contexts[place + 1] if place + 2 < len(self._contexts) else None
            count = left if ends is None else min(left, max(1, ceil(ends - mean)))
            first, last = self._at(batch, mean), self._at(batch, mean + count - 1)
            total += count * (first + last) / 2
            mean, left = mean + count, left - count
        return total

    def _piece(self, mean: float) -> int:
        """Which piece of the curve a context lies on; those beyond its ends lie on the first and the last."""
        return min(max(bisect_right(self._contexts, mean) - 1, 0), len(self._contexts) - 2)

    def _at(self, batch: int, mean: float) -> float:
        curve = self._curve(batch)
        if len(curve) == 1:
            return curve[0]
        place = self._piece(mean)
        low, high = self._contexts[place : place + 2]
        return curve[place] + (mean - low) / (high - low) * (curve[place + 1] - curve[place])

    def _curve(self, batch: int) -> list[float]:
        """Seconds of a step of `batch` requests at each context."""
        if batch not in self._curves:
            place = bisect_right(self._batches, batch) - 1
            low = self._batches[place]
            curve = list(self._of(low))
            if low != batch:
                high = self._batches[place + 1]
                share = (batch - low) / (high - low)
                curve = [one + share * (other - one) for one, other in zip(curve, self._of(high), strict=True)]
            self._curves[batch] = curve
        return self._curves[batch]

    def _of(self, batch: int) -> Sequence[float]:
        if batch not in self._asked:
            self._asked[batch] = [float(each) for each in self._decode_s(batch, self._contexts)]
        return self._asked[batch]
