"""Requests with several pages, and prefills over a cache, are those that the real modules were measured to run."""

import pytest

from tests.measured.account import compared, flat
from tests.measured.recorded import recorded
from tests.measured.series import requests


def wrong(name: str) -> list[str]:
    """What of a case's stages is not what was measured."""
    ours, theirs = requests.walked(requests.CASES[name]), recorded("requests", name)
    told = [] if list(ours) == list(theirs) else [f"stages {list(ours)}, measured {list(theirs)}"]
    for stage in ours.keys() & theirs.keys():
        analytic, measured = flat(ours[stage]), flat(compared(theirs[stage]))
        told += [
            f"{stage}: {figure}: {analytic.get(figure)}, measured {measured.get(figure)}"
            for figure in sorted(analytic | measured)
            if analytic.get(figure) != measured.get(figure)
        ]
    return told


@pytest.mark.parametrize("name", requests.CASES)
def test_a_request_is_what_the_modules_do(name: str) -> None:
    assert wrong(name) == []
