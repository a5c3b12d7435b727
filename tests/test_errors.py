"""The user's error, and the hint for a misspelt name."""

import pytest

from modelmeter.errors import ModelMeterError, near

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
