"""Times as ratios: two sides measured in turns in one run, so that a machine's other work falls on both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

#: rounds of a comparison: an odd number, so that a median is one of them
ROUNDS: Final = 21

Side = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Two sides: the median seconds of each, and the median over the rounds of the second's seconds by the first's."""

    name: str
    first: str
    second: str
    rounds: int
    first_seconds: float
    second_seconds: float
    ratio: float

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def seconds_of(side: Side) -> float:
    """Seconds of one call, the garbage collector held off."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        side()
        return time.perf_counter() - start
    finally:
        gc.enable()


def alternating(
    name: str,
    sides: dict[str, Callable[[], Side]],
    *,
    rounds: int = ROUNDS,
    seconds: Callable[[Side], float] = seconds_of,
) -> Ratio:
    """Time two sides in turns, the one that goes first changing from round to round.

    sides: two titles, and for each what prepares a call, which is not timed, and gives it.
    """
    (first, prepare_first), (second, prepare_second) = sides.items()
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):  # the first round warms up both sides, and is dropped
        if number % 2:
            one = seconds(prepare_first())
            other = seconds(prepare_second())
        else:
            other = seconds(prepare_second())
            one = seconds(prepare_first())
        times.append((one, other))
    kept = times[1:]
    return Ratio(
        name=name,
        first=first,
        second=second,
        rounds=len(kept),
        first_seconds=median(one for one, _ in kept),
        second_seconds=median(other for _, other in kept),
        ratio=median(other / one for one, other in kept),
    )
