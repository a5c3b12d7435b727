"""A tenth of the models' measurements made again and a thirtieth of the series', every day others.

They say that the modules still do what is stored. MEASURED_PART=0 to 29 takes the day of that number. `make
measured-changed` takes what a commit has changed.
"""

import os

import pytest

from tests.measured import recorded, stored
from tests.measured.cases import CASES, Case
from tests.measured.measuring import measure
from tests.measured.recorded import SERIES

#: set for all of pytest's processes by tests/conftest.py
PART = int(os.environ["MEASURED_PART"])
DAYS, DAYS_OF_SERIES = 10, 30
OF_SERIES = [(name, case) for name in SERIES for case in recorded.load(name).measured][PART::DAYS_OF_SERIES]


@pytest.mark.parametrize("case", CASES[PART % DAYS :: DAYS], ids=lambda case: f"part {PART}: {case.model} {case.name}")
def test_the_modules_do_what_is_stored(case: Case) -> None:
    assert measure(case) == stored.load(case.model)[case.name].stages


@pytest.mark.parametrize("name, case", OF_SERIES, ids=[f"part {PART}: {' '.join(each)}" for each in OF_SERIES])
def test_the_parts_do_what_is_stored(name: str, case: str) -> None:
    assert recorded.measure_anew(name, case) == recorded.load(name).measured[case]
