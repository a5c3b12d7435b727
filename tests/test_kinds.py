"""What a value may be: each kind takes its own, and names what it refuses."""

import re
from fractions import Fraction
from typing import Any

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.kinds import Choice, Either, Flag, ListOf, Maybe, Number, Record, Some, Text, Whole

COUNT = Whole(1, 10**20)
RATE = Number(Fraction(1, 2), Fraction(100), "it is a share")
PAIR = Record({"a": COUNT, "b": Maybe(Flag()), "c": COUNT}, "a pair", defaults={"c": 7}, missing="count it")

TAKEN = {
    "whole": (COUNT, 10**20, 10**20),
    "whole_beyond_floats": (COUNT, str(2**53 + 1), 2**53 + 1),
    "number": (RATE, 0.7, Fraction(7, 10)),
    "whole_as_number": (RATE, 100, Fraction(100)),
    "flag": (Flag(), False, False),
    "text": (Text(3), "é頁x", "é頁x"),
    "prompt": (Text(9, printable=False), "a\nb", "a\nb"),
    "choice": (Choice(("a", "b")), "b", "b"),
    "word": (Either(("max",), COUNT), "max", "max"),
    "other_than_words": (Either(("max",), COUNT), 3, 3),
    "list": (ListOf(COUNT, 0, 2), (1, 2), [1, 2]),
    "record": (PAIR, {"a": 1}, {"a": 1, "b": None, "c": 7}),
    "some": (Some(("x", "y", "z"), COUNT, "a"), {"z": 1, "x": 2}, {"x": 2, "z": 1}),
}


@pytest.mark.parametrize("kind, given, read", TAKEN.values(), ids=TAKEN)
def test_what_a_kind_takes(kind: Any, given: Any, read: Any) -> None:
    assert kind.read("f: v", given) == read


REFUSED = {
    "bool_is_no_number": (COUNT, True, "v=True is no whole number"),
    "float_is_no_whole_number": (COUNT, 1.0, "v=1.0 is no whole number"),
    "short_digits_are_text": (COUNT, "12", "v='12' is no whole number"),
    "digits_of_another_script": (COUNT, "١" * 20, "is no whole number"),
    "too_small": (COUNT, 0, "v=0 is too small; give 1 or more"),
    "too_large": (
        COUNT,
        10**6000,
        "v=a whole number of some 6001 digits is too large; give 100,000,000,000,000,000,000",
    ),
    "infinity": (RATE, float("inf"), "v=inf is no number"),
    "not_a_number": (RATE, float("nan"), "v=nan is no number"),
    "bool": (RATE, True, "v=True is no number"),
    "number_too_small": (RATE, 0.4, "v=0.4 is too small; give 0.5 or more"),
    "number_too_large": (RATE, 10**400, "is too large; give 100 or less (it is a share)"),
    "flag": (Flag(), 1, "v=1 is neither true nor false"),
    "text": (Text(3), 5, "v=5 is no text"),
    "long_text": (Text(3), "x" * 4, "v='xxxx' has 4 characters; give 3 or less"),
    "blank_text": (Text(3, least=1), "  ", "v='  ' is no text"),
    "escape_sequence": (Text(30), "\x1b[31m", r"v='\x1b[31m' has characters that do not print"),
    "sign": (Text(30, without="/<"), "</a>", "v='</a>' has / <; leave that out"),
    "start": (Text(30, start="https?://"), "javascript:x", "v='javascript:x' begins with no https?://"),
    "choice": (Choice(("last", "all")), "lst", 'v=lst is unknown; did you mean "last"?'),
    "choice_of_another_kind": (Choice(("last", "all")), ["all"], "v=['all'] is no text; the options are last, all"),
    "either": (Either(("max",), COUNT), {}, "v={} is no whole number"),
    "no_list": (ListOf(COUNT, 0, 2), "ab", "v='ab' is no list"),
    "long_list": (ListOf(COUNT, 1, 2), [1, 2, 3], "v has 3 entries; give 1 to 2"),
    "entry": (ListOf(COUNT, 0, 2), [1, -1], "v[1]=-1 is too small"),
    "no_mapping": (PAIR, [1], "v holds [1]; a pair is a mapping of its keys"),
    "unknown_key": (PAIR, {"a": 1, "bb": 1}, 'v.bb is no key of a pair; did you mean "b"?'),
    "missing_key": (PAIR, {"b": True}, "v.a is missing; count it"),
    "null": (PAIR, {"a": 1, "c": None}, "v.c is missing; count it"),
    "value_of_a_key": (PAIR, {"a": None}, "v.a is missing"),
    "none_of_some": (Some(("xx", "yy"), COUNT, "these"), {"xy": 1}, "v.xy is no key of these; the options are xx, yy."),
}


@pytest.mark.parametrize("kind, given, text", REFUSED.values(), ids=REFUSED)
def test_what_a_kind_refuses(kind: Any, given: Any, text: str) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(f"f: {text}" if text.startswith("v") else text)):
        kind.read("f: v", given)
