"""No figure moves by one: the golden costs are what `costs.py` gives now."""

import json

import pytest

from tests.golden.costs import GOLDEN, configurations, costs

COSTS = json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_there_are_forty_configurations() -> None:
    assert len(COSTS) == 40
    assert list(COSTS) == [" ".join(overrides) for overrides in configurations()]


@pytest.mark.parametrize("overrides", list(configurations()), ids=" ".join)
def test_every_figure_is_what_it_was(overrides: list[str]) -> None:
    assert json.loads(json.dumps(costs(overrides))) == COSTS[" ".join(overrides)]
