"""Pages of a merged grid whose regions are declared: what is done to each, and to the page.

A published pipeline finds the regions of a page and recognises each in a pass of its own. Either a pass of the model
over the whole page finds them, which runs first and is counted, or a detector of its own does, which is another network
and is not: then a page with regions is its regions' passes alone. Which regions a page has is declared
(`passes.Regions`), as no width and height tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.assumption import Assumption
from modelmeter.models.common.contract import Layouts
from modelmeter.models.common.merged_grid import REFUSED, MergedGrid, MergedGridWorkload
from modelmeter.models.common.passes import PagePass, Regions
from modelmeter.models.common.tiles import page_sides
from modelmeter.page_sizes import check_side

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass
class RegionsSchema:
    """What the group `workload` has of a model whose pages may have regions."""

    regions: list[list[int]] = field(default_factory=list)
    regions_from: str | None = None
    output_shares: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class RegionGridWorkload(MergedGridWorkload):
    """A page of a merged grid, or its regions. regions, output_shares: as `passes.Regions` has them.

    regions_from: the table or typical page that they come from, where they were not listed.
    """

    regions: tuple[tuple[int, ...], ...] = ()
    regions_from: str | None = None
    output_shares: tuple[int, ...] | None = None

    #: the network that finds a page's regions, which is not counted; "": a pass of the model itself does
    detector: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.declared  # refuses what is no region, and shares that fit none

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The workload of a configuration, whose lists are tuples here."""
        regions, shares = values["regions"], values["output_shares"]
        own = {"regions": tuple(map(tuple, regions)), "output_shares": shares and tuple(shares)}
        return cls(**{**values, **own})

    @property
    def declared(self) -> Regions:
        """The regions of each page."""
        return Regions(self.regions, self.output_shares, self.detector, self.regions_from)

    @property
    def of_region(self) -> Self:
        """What is done to a region that was cut out of a page."""
        return replace(self, regions=(), regions_from=None, output_shares=None)

    def passes(self, layout: MergedGrid) -> tuple[PagePass, ...]:
        """The passes of a page of this layout, if there are regions."""
        layouts = self._of_regions()
        whole = None if self.detector else layout
        return self.declared.passes(whole, layouts, [each.columns * each.rows for each in layouts])

    def _of_regions(self) -> list[MergedGrid]:
        """The grid of each region."""
        workload = self.of_region
        return [workload.layout(*side[:2]) for side in self.regions]

    def assumptions(self, whole_page: Assumption) -> tuple[Assumption, ...]:
        """Which regions are counted. whole_page: what is said of a page without any."""
        return self.declared.assumptions() if self.regions else (whole_page,)

    def layout(self, width: int, height: int) -> MergedGrid:
        """The grid of a page of `width` x `height` pixels; raises `ModelMeterError` for sizes that it takes not.

        Of regions alone it is one row of all their tokens, whatever the page: nothing else of it goes through the
        model.
        """
        if not (self.regions and self.detector):
            layout = super().layout(width, height)
            self.declared.check(width, height)
            return layout
        check_side("layout", "width", width)
        check_side("layout", "height", height)
        self.declared.check(width, height)
        return self._regions_alone()

    def _regions_alone(self) -> MergedGrid:
        return MergedGrid(sum(each.columns * each.rows for each in self._of_regions()), 1)

    def layouts(self, widths: ArrayLike, heights: ArrayLike) -> Layouts:
        """The same for many pages at once; a page that a declared region is not within is `REFUSED`."""
        import numpy as np

        if self.regions and self.detector:
            all_w, _ = page_sides("layouts", widths, heights)
            found = Layouts(np.zeros_like(all_w), [self._regions_alone()])
        else:
            found = super().layouts(widths, heights)
        right, bottom = self.declared.reach
        outside = (np.asarray(widths) < right) | (np.asarray(heights) < bottom)
        if not outside.any():
            return found
        return Layouts(np.where(outside, len(found.layouts), found.indices), [*found.layouts, REFUSED])

    def layout_of(self, fields: Sequence[int]) -> MergedGrid:
        """The grid with these columns and rows; raises `ModelMeterError` for that of a page which is refused."""
        if self.regions and MergedGrid(*fields) == REFUSED:
            right, bottom = self.declared.reach
            raise ModelMeterError(
                f"layout: workload.regions reach to {right} x {bottom} pixels, which is not within the page; regions "
                "are declared in pixels of the page."
            )
        return super().layout_of(fields)


def whole_page_alone(detector: str) -> Assumption:
    """What is said of a whole page, whose published pipeline cuts it into regions first."""
    return Assumption(
        figure="layout",
        label="one pass over the whole page",
        text=f"the published pipeline has {detector}, a network of its own, find the regions of a page, and recognises "
        "each in a pass; neither that network nor any region is counted (workload.regions declares them, "
        "[[width, height], ...] in pixels of the page)",
    )


def check_one_pass(who: str, workload: RegionGridWorkload, way: str) -> None:
    """Raise `ModelMeterError` where regions are declared: the real modules run one pass. way: what to do instead."""
    if workload.regions:
        raise ModelMeterError(
            f"{who}: workload.regions makes a page several passes, and the real modules run one; {way}."
        )
