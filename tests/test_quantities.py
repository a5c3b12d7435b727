"""Figures as text, and JSON that loses no digit."""

import json

import pytest

from modelmeter.quantities import exact, readable
from modelmeter.report.json_document import SCHEMA_VERSION, json_text
from modelmeter.report.page_tables import exact_figure, readable_figure

READABLE = {
    "zero": (0, "0"),
    "small": (999, "999"),
    "thousand": (1000, "1.000 k"),
    "digits_are_rounded": (1_234_567, "1.235 M"),
    "up_to_the_next_prefix": (999_950, "1.000 M"),
    "not_yet": (999_949, "999.9 k"),
    "tens": (34_600_554_880, "34.60 G"),
    "hundreds": (856_948_736, "856.9 M"),
    "negative": (-56_094_720, "-56.09 M"),
    "the_last_prefix": (10**30, "1.000 Q"),
    "beyond_the_prefixes": (10**33, "1.000e+33"),
}


@pytest.mark.parametrize("value, text", READABLE.values(), ids=READABLE)
def test_readable(value: int, text: str) -> None:
    assert readable(value) == text


def test_exact() -> None:
    assert exact(2**64) == "18,446,744,073,709,551,616"


def test_figures_carry_their_unit() -> None:
    assert (readable_figure(56_094_720, "B"), readable_figure(7, "B"), readable_figure(7, "")) == (
        "56.09 MB",
        "7 B",
        "7",
    )
    assert (exact_figure(56_094_720, "B"), exact_figure(1234, "")) == ("56,094,720 B", "1,234")


def test_json_keeps_every_digit_at_every_depth() -> None:
    document = json.loads(json_text("test", {"a": [{"b": (2**53, 2**53 + 1)}], "c": True, 3: -(2**60), "d": None}))
    assert document == {
        "schema_version": SCHEMA_VERSION,
        "command": "test",
        "a": [{"b": [2**53, str(2**53 + 1)]}],
        "c": True,
        "3": str(-(2**60)),
        "d": None,
    }
