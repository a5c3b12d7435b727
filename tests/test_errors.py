"""The user's error, and the hint for a misspelt name."""

import pickle

import pytest

from modelmeter.errors import ModelMeterError, near, shown

CASES = {  # what was written, the options, the hint
    "one_close": ("gundan", ["tiny", "gundam"], 'did you mean "gundam"?'),
    "nearest_first": ("gundam_n", ["gundam", "tiny", "gundam_m"], 'did you mean "gundam_m" or "gundam"?'),
    "other_case": ("GUNDAM", ["tiny", "gundam"], 'did you mean "gundam"?'),
    "option_keeps_its_case": ("tiny", ["TINY", "gundam"], 'did you mean "TINY"?'),
    "none_close": ("xyz", ["tiny", "gundam"], "the options are tiny, gundam."),
    "empty_name": ("", ["tiny", "gundam"], "the options are tiny, gundam."),
    "no_options": ("tiny", [], "there are no options."),
}


@pytest.mark.parametrize("name, options, hint", CASES.values(), ids=CASES)
def test_near(name: str, options: list[str], hint: str) -> None:
    assert near(name, options) == hint


def test_near_takes_what_can_be_walked_only_once() -> None:
    assert near("gundan", iter(["tiny", "gundam"])) == 'did you mean "gundam"?'
    assert near("xyz", iter(["tiny", "gundam"])) == "the options are tiny, gundam."


def test_error_is_a_value_error() -> None:
    assert issubclass(ModelMeterError, ValueError)
    assert str(ModelMeterError("what to do")) == "what to do"


REFUSED = {  # what came, what the message then says
    "line_ends": (["page a\nb\r.png"], r"page a\nb\r.png"),
    "escape_sequence": (["page \x1b]0;title\x07.png"], r"page \x1b]0;title\x07.png"),
    "lone_surrogate": (["page \udcff.png"], r"page \udcff.png"),
    "right_to_left_override": (["page \u202egnp.exe"], r"page \u202egnp.exe"),
    "printable_of_any_script": (["page 頁 é.png"], "page 頁 é.png"),
    "several_lines": (["one", "two", "three"], "one\ntwo\nthree"),
    "too_many_lines": (["one", "two", "three", "four"], "one\ntwo\nand 2 more."),
}


@pytest.mark.parametrize("lines, text", REFUSED.values(), ids=REFUSED)
def test_error_says_only_what_prints(lines: list[str], text: str) -> None:
    assert str(ModelMeterError(*lines)) == text


@pytest.mark.parametrize("lines", [["9" * 100_000 + "; give less."], ["\udcff" * 100_000] * 7], ids=["one", "seven"])
def test_error_is_at_most_three_lines_and_a_thousand_characters(lines: list[str]) -> None:
    said = str(ModelMeterError(*lines))
    assert len(said) <= 900
    assert said.count("\n") <= 2


def test_long_error_keeps_who_and_what_to_do() -> None:
    said = str(ModelMeterError(f"runtime: head={'x' * 5000} is unknown; the options are all, last."))
    assert said.startswith("runtime: head=x")
    assert said.endswith("x is unknown; the options are all, last.")


def test_error_comes_whole_out_of_another_process() -> None:
    error = ModelMeterError("one a\nb", "two")
    again = pickle.loads(pickle.dumps(error))
    assert (again.lines, str(again)) == (error.lines, str(error))


DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]

SHOWN = {  # a value, how it is shown
    "text": ("gundam", "'gundam'"),
    "unprintable": ("\x1b[31m", r"'\x1b[31m'"),
    "whole_number": (2**64, "18446744073709551616"),
    "more_digits_than_python_writes": (-(10**6000), "a whole number of some 6001 digits"),
    "deep": (DEEP, "[[[[...]]]]"),
    "wide": (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"),
    "nothing": (None, "None"),
}


@pytest.mark.parametrize("value, text", SHOWN.values(), ids=SHOWN)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, {"x" * 1000: ["y" * 1000] * 1000}], ids=["text", "nested"])
def test_shown_is_short(value: object) -> None:
    assert len(shown(value)) == 100
