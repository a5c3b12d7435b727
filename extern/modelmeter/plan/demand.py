"""What is asked of a service: pages in a period, at the peak how many times as many, and how long each may take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Final

from modelmeter.errors import ModelMeterError, near, shown
from modelmeter.quantities import number
from modelmeter.simulation.load import PERCENTILES

#: seconds of a period; a year has 365.25 days, a month is the twelfth part of it: 730.5 hours
PERIODS: Final = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_629_800,
    "year": 31_557_600,
}
HOURS_A_MONTH: Final = PERIODS["month"] / PERIODS["hour"]

#: seconds of what a time is given in
_UNITS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_PAGES: Final = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?) *(?:/|a|per)? *([a-z]*)")
_TIME: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)")

#: what a limit is on, and its option
LIMITS: Final = {"latency_s": "--max-latency", "ttft_s": "--ttft"}


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Pages that arrive at random: `pages` in each `period`, and at the peak `peak_factor` times as many a second."""

    pages: Fraction
    period: str
    peak_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.period not in PERIODS:
            raise ModelMeterError(f"plan: the period {self.period} is unknown; {near(self.period, PERIODS)}")
        if self.pages <= 0:
            raise ModelMeterError(
                f"plan: {float(self.pages):g} pages a {self.period} need no device; give more than 0."
            )
        if not (self.peak_factor >= 1 and isfinite(self.peak_factor)):
            raise ModelMeterError(
                f"plan: --peak-factor {self.peak_factor:g} is no peak; it is the busiest rate over the mean one, "
                "1 or more."
            )

    @classmethod
    def parse(cls, text: str, peak_factor: float = 1.0) -> Demand:
        """Of words such as 30e6/month.

        >>> Demand.parse("30e6/month").mean_rate
        11.407711613050422
        """
        found = _PAGES.fullmatch(text.strip())
        if found is None:
            raise ModelMeterError(f"plan: --pages {text} is no number of pages in a period; write it as in 30e6/month.")
        number, period = found.groups()
        if not period:
            raise ModelMeterError(f"plan: --pages {text} names no period; write {text}/month, or /day, /hour, /second.")
        return cls(pages=Fraction(re.sub("[_,]", "", number)), period=period, peak_factor=peak_factor)

    @property
    def words(self) -> str:
        """In words.

        >>> Demand.parse("30e6/month").words, Demand.parse("1/second").words, Demand.parse("0.5/hour").words
        ('30,000,000 pages a month', '1 page a second', '0.5 pages an hour')
        """
        page, a = "page" if self.pages == 1 else "pages", "an" if self.period == "hour" else "a"
        return f"{number(float(self.pages))} {page} {a} {self.period}"

    @property
    def mean_rate(self) -> float:
        """Pages a second, spread evenly."""
        return float(self.pages / PERIODS[self.period])

    @property
    def rate(self) -> float:
        """Pages a second at the peak."""
        return self.mean_rate * self.peak_factor

    @property
    def pages_a_month(self) -> float:
        """Pages in a month."""
        return self.mean_rate * PERIODS["month"]


@dataclass(frozen=True, kw_only=True)
class ServiceLevel:
    """Seconds within which `percentile` of 100 pages have to be: their last token, and their first; None: no limit."""

    latency_s: float | None = None
    ttft_s: float | None = None
    percentile: int = 95

    def __post_init__(self) -> None:
        if self.percentile not in PERCENTILES:
            raise ModelMeterError(
                f"plan: --percentile {self.percentile} is not told; there are {', '.join(map(str, PERCENTILES))}."
            )

    @property
    def limits(self) -> dict[str, float]:
        """Seconds by what is limited."""
        given = {"latency_s": self.latency_s, "ttft_s": self.ttft_s}
        return {name: seconds for name, seconds in given.items() if seconds is not None}


def parse_seconds(option: str, text: str) -> float:
    """A time such as 60s, 500ms or 2min, in seconds, above 0.

    >>> parse_seconds("--ttft", "500ms")
    0.5
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or (found[2] and found[2] not in _UNITS):
        raise ModelMeterError(f"plan: {option} {shown(text)} is no time; write it as in 60s, 500ms, 2min or 1h.")
    if not found[2]:
        raise ModelMeterError(f"plan: {option} {text} has no unit; write {text}s for seconds.")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not seconds > 0:
        raise ModelMeterError(f"plan: {option} {text} leaves no time; give more than 0.")
    return seconds
