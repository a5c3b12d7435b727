"""Workloads whose pages have regions that another network finds: no pass goes over the whole page."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.merged_grid import REFUSED, MergedGrid
from modelmeter.models.common.regions import RegionGridWorkload, check_one_pass, whole_page_alone

ALONE = whole_page_alone("Finder")


@dataclass(frozen=True, kw_only=True)
class Found(RegionGridWorkload):
    """Regions of a page that "Finder" found, each at its own size."""

    detector: ClassVar[str] = "Finder"

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def all_scaled(self, widths: Any, heights: Any) -> Any:
        return widths, heights


#: 10 x 2 and 3 x 4 tokens of 28 pixels
SIDES = ((280, 56), (84, 112, 20, 30))


def test_a_page_is_its_regions_alone() -> None:
    found = Found(regions=SIDES)
    assert [each[:3] for each in found.passes(found.layout(300, 200))] == [
        ("regions", MergedGrid(10, 2), 20),
        ("regions", MergedGrid(3, 4), 12),
    ]
    assert found.layout(300, 200) == found.layout(9000, 142) == MergedGrid(32, 1)  # 9000 x 142 is no page of one pass
    with pytest.raises(ModelMeterError, match=r"regions\[0\]=\[280, 56\] is not within the page of 279 x 142"):
        found.layout(279, 142)
    indices, layouts = found.layouts([300, 279, 9000, 300], [142, 142, 142, 141])
    assert [layouts[index] for index in indices] == [(32, 1), REFUSED, (32, 1), REFUSED]
    with pytest.raises(ModelMeterError, match="reach to 280 x 142 pixels"):
        found.layout_of(REFUSED)


def test_shares_are_those_of_the_regions() -> None:
    found = Found(regions=SIDES, output_shares=(3, 1))
    assert [each.weight for each in found.passes(found.layout(300, 200))] == [3, 1]
    with pytest.raises(ModelMeterError, match=r"\[3, 1, 0\] for 2 regions; give 2 numbers, one for each, not all"):
        Found(regions=SIDES, output_shares=(3, 1, 0))


def test_what_is_not_counted_is_said() -> None:
    layout, tokens = Found(regions=SIDES).assumptions(ALONE)
    assert (layout.label, tokens.label) == ("regions declared", "shared by image tokens")
    assert "none over the whole page; Finder, which finds them, is not counted" in layout.text
    assert "layout pass" not in layout.text + tokens.text
    assert Found().assumptions(ALONE) == (ALONE,)
    assert (Found().passes(MergedGrid(3, 4)), Found().layout(300, 200)) == ((), MergedGrid(11, 7))
    with pytest.raises(ModelMeterError, match=r"verify: workload.regions makes .* run one; take a region as a page\."):
        check_one_pass("verify", Found(regions=SIDES), "take a region as a page")


def test_a_workload_of_a_configuration() -> None:
    values = vars(Found()) | {"regions": [[280, 56], [84, 112, 20, 30]], "output_shares": [3, 1]}
    assert Found.of(values) == Found(regions=SIDES, output_shares=(3, 1))
