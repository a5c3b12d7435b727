"""What is asked of a service, in words: pages in a period, times, prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.plan import Demand, Prices, ServiceLevel
from modelmeter.plan.demand import HOURS_A_MONTH, parse_seconds

PRICES = """\
currency: EUR
per: hour
date: 2026-11-20
source: our contract
prices:
  H100-SXM: 2.5
  L40S: 0.9
"""


@pytest.mark.parametrize(
    ("text", "a_second"),
    [
        ("7/second", 7.0),
        ("3,600/hour", 1.0),
        ("43_200/day", 0.5),
        ("2.6298e6/month", 1.0),
        ("1.5 a minute", 0.025),
        ("31557600 per year", 1.0),
    ],
)
def test_pages_in_a_period(text: str, a_second: float) -> None:
    assert Demand.parse(text).rate == pytest.approx(a_second, rel=1e-12)
    assert Demand.parse(text, 3).rate == pytest.approx(3 * a_second, rel=1e-12)
    assert Demand.parse(text, 3).pages_a_month == pytest.approx(a_second * 730.5 * 3600, rel=1e-12)


def test_a_month_is_the_twelfth_part_of_a_year() -> None:
    assert HOURS_A_MONTH == 365.25 * 24 / 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30e6", "names no period; write 30e6/month"),
        ("30e6/fortnight", "the period fortnight is unknown"),
        ("many/month", "is no number of pages in a period"),
        ("0/month", "0 pages a month need no device"),
        ("-5/month", "is no number of pages"),
    ],
)
def test_what_is_no_demand(text: str, said: str) -> None:
    with pytest.raises(ModelMeterError, match=said):
        Demand.parse(text)


@pytest.mark.parametrize("factor", [0.5, float("nan"), float("inf")])
def test_a_peak_is_no_trough(factor: float) -> None:
    with pytest.raises(ModelMeterError, match="is no peak"):
        Demand.parse("1/second", factor)


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("500ms", 0.5), ("2 min", 120), ("1.5h", 5400)])
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds("--ttft", text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60", "--ttft 60 has no unit; write 60s"),
        ("soon", "is no time"),
        ("5m", "is no time"),
        ("0s", "leaves no time"),
    ],
)
def test_what_is_no_time(text: str, said: str) -> None:
    with pytest.raises(ModelMeterError, match=said):
        parse_seconds("--ttft", text)


def test_a_percentile_that_is_not_told() -> None:
    with pytest.raises(ModelMeterError, match="--percentile 97 is not told; there are 50, 90, 95, 99"):
        ServiceLevel(percentile=97)


def test_prices_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(PRICES)
    prices = Prices.read(tmp_path / "prices.yaml")
    assert prices.an_hour == {"H100-SXM": 2.5, "L40S": 0.9}
    assert (prices.currency, prices.date, prices.source) == ("EUR", "2026-11-20", "our contract")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("currency: EUR\n", "", "currency is missing; a price without it says nothing"),
        ("per: hour\n", "", "per is missing; a price without it says nothing"),
        ("per: hour", "per: month", "per=month is unknown"),
        ("date: 2026-11-20", "date: 20-11-2026", "is no day"),
        ("source: our contract\n", "", "source is missing"),
        ("  L40S: 0.9", "  L40S: -1", r"prices\.L40S=-1 is too small"),
        ("  L40S: 0.9", "  L40S: cheap", r"prices\.L40S='cheap' is no number"),
    ],
)
def test_prices_that_say_too_little(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PRICES
    (tmp_path / "prices.yaml").write_text(PRICES.replace(old, new))
    with pytest.raises(ModelMeterError, match=said):
        Prices.read(tmp_path / "prices.yaml")
