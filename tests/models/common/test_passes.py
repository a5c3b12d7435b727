"""Pages of several passes: how they share output, and what declared regions may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Place
from modelmeter.models.common.passes import PassTokens, Regions, pass_names, split


@given(st.integers(0, 10**6), st.lists(st.integers(0, 50), min_size=1, max_size=9).filter(any))
def test_shares_of_the_output_sum_to_it_and_are_within_one_of_their_weight(steps: int, weights: list[int]) -> None:
    shares = split(steps, weights)
    assert sum(shares) == steps
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - steps * weight / sum(weights)) < 1 + 1e-9
        assert share == 0 if weight == 0 else share >= 0


def test_passes_in_their_order() -> None:
    regions = Regions(((30, 20), (10, 5, 7, 9)), None)
    passes = regions.passes("square", ["first", "second"], [12, 3])
    assert [each[:3] for each in passes] == [
        ("layout", "square", 0),
        ("regions", "first", 12),
        ("regions", "second", 3),
    ]
    assert [each.place for each in passes] == [None, None, Place(7, 9, 10, 5)]
    assert pass_names(passes) == ["layout", "regions.0", "regions.1"]
    shared = Regions(((30, 20),), (1, 4)).passes("square", ["first"], [12])
    assert [each.weight for each in shared] == [1, 4]
    assert Regions((), None).passes("square", [], []) == ()
    assert regions.reach == (30, 20)
    assert Regions(((10, 5, 7, 90),), None).reach == (17, 95)
    assert PassTokens(5, 7).total == 12 == sum(PassTokens(5, 7).by_view().values())


REFUSED = {
    "a side of 0": (((0, 4),), None, r"regions\[0\]=\[0, 4\] is no region"),
    "three numbers": (((3, 4), (3, 4, 5)), None, r"regions\[1\]=\[3, 4, 5\] is no region"),
    "shares of one pass": ((), (1,), "output_shares says how passes share the output tokens"),
    "too few shares": (((3, 4),), (1,), "give 2 numbers, the layout pass's first"),
    "no weight": (((3, 4),), (0, 0), "not all of them 0"),
}


@pytest.mark.parametrize(("sides", "shares", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_region_is_refused(
    sides: tuple[tuple[int, ...], ...], shares: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ModelMeterError, match=message):
        Regions(sides, shares)


def test_regions_lie_on_their_page() -> None:
    regions = Regions(((30, 20), (10, 5, 20, 15)), None)
    regions.check(30, 20)
    with pytest.raises(ModelMeterError, match=r"regions\[0\]=\[30, 20\] is not within the page of 29 x 99 pixels"):
        regions.check(29, 99)
    below = Regions(((10, 5, 20, 16),), None)
    with pytest.raises(ModelMeterError, match=r"regions\[0\]=\[10, 5, 20, 16\], which reaches to 30 x 21, is not"):
        below.check(30, 20)
