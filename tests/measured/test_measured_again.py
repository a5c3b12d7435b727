"""A tenth of the measurements made again, another tenth every day: the modules still do what is stored.

MEASURED_PART=0 to 9 takes the tenth of that number. `make measured-changed` takes what a commit has changed.
"""

import os

import pytest

from tests.measured import stored
from tests.measured.cases import CASES, Case
from tests.measured.measuring import measure

PARTS = 10
#: set for all of pytest's processes by tests/conftest.py
PART = int(os.environ["MEASURED_PART"])


@pytest.mark.parametrize("case", CASES[PART::PARTS], ids=lambda case: f"part {PART}: {case.model} {case.name}")
def test_the_modules_do_what_is_stored(case: Case) -> None:
    assert measure(case) == stored.load(case.model)[case.name].stages
