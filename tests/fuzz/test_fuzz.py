"""A few seconds of the fuzz driver; `make fuzz` is the rest. And that its judge sees each kind of fault."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import driver, mutations, streams
from tests.fuzz.classes import CLASSES
from tests.fuzz.faults import FAULTS
from tests.fuzz.judge import CRASHED, GOOD, HUNG

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the judge uses Linux's files in memory")

CASES = 150


def test_a_few_cases_of_every_class() -> None:
    counts, failures = driver.fuzz(CASES, workers=1)
    assert failures == []
    assert {name for name, _ in counts} == {*CLASSES, streams.NAME}
    assert sum(counts.values()) == sum(driver.shares(CASES).values())
    assert all(verdict in GOOD for _, verdict in counts)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name: str) -> None:
    _, expected = FAULTS[name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.faults", name],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if name in ("no end", "the end of the process"):
        assert driver.died(done.returncode).verdict == expected
        assert expected in (CRASHED, HUNG)
    else:
        assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_a_number_is_a_case() -> None:
    """The same values for the same number, whatever was drawn before."""
    values = [[mutations.value(driver.case_generator("images", number)) for number in range(50)] for _ in range(2)]
    assert repr(values[0]) == repr(values[1])
    assert len({repr(value) for value in values[0]}) > 10


def test_what_is_damaged_differs() -> None:
    good = bytes(range(256))
    changed = [mutations.data(random.Random(seed), good) for seed in range(100)]
    assert sum(each != good for each in changed) > 95
    assert len(set(changed)) > 90
