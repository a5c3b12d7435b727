"""What a page asks of Qwen2-VL's vision: one grid of patches at the page's own size, within limits.

The rule is `smart_resize` of transformers 5.23; MinerU2.5 finds the regions of a page in a square picture of it first,
then recognises each region in a pass of its own, cut out of the page.
Source of what is done to a region before the rule: `resize_by_need` of the published client, mineru_vl_utils.

    >>> Workload().layout(1275, 1650)
    MergedGrid(columns=46, rows=59)
    >>> MODES["layout"].layout(1275, 1650)
    MergedGrid(columns=37, rows=37)
    >>> MODES["region"].layout(1000, 12)
    MergedGrid(columns=50, rows=1)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.image_rule import Step, least_edge
from modelmeter.models.common.regions import RegionGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(RegionGridWorkload):
    """layout_image_size: pixels a side of the square that a page is stretched to first, whatever its shape.

    None: the page comes as it is, or as a region does: padded to max_image_edge_ratio, its longer side over the shorter
    one, and then scaled up until its shorter side has min_image_edge pixels; None leaves either out. regions: of a page
    whose layout is found in such a square. The other knobs are the preprocessing's.
    """

    layout_image_size: int | None = None
    min_image_edge: int | None = None
    max_image_edge_ratio: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.regions and self.layout_image_size is None:
            raise ModelMeterError(
                "workload: regions are recognised after a pass that finds them; take workload=layout, or give a region "
                "as a page with workload=region."
            )

    @property
    def of_region(self) -> Self:
        """What is done to a region that was cut out of a page."""
        return replace(super().of_region, layout_image_size=None)

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The square, or what is done to a page or region of its own size."""
        if self.layout_image_size is not None:
            return self.layout_image_size, self.layout_image_size
        ratio, edge = self.max_image_edge_ratio, self.min_image_edge
        if ratio is not None and max(width, height) > ratio * min(width, height):
            longest = max(width, height)
            width, height = max(width, math.ceil(longest / ratio)), max(height, math.ceil(longest / ratio))
        if edge is not None and min(width, height) < edge:
            scale = edge / min(width, height)
            width, height = math.ceil(width * scale), math.ceil(height * scale)
        return width, height

    def scaling(self) -> tuple[Step, ...]:
        """The same as steps of the image rule."""
        if self.layout_image_size is not None:
            return ({"do": "stretch", "width": self.layout_image_size, "height": self.layout_image_size},)
        ratio, edge = self.max_image_edge_ratio, self.min_image_edge
        padded = () if ratio is None else ({"do": "pad_to_ratio", "ratio": ratio},)
        return padded if edge is None else (*padded, least_edge(edge, whole="up"))

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        if self.layout_image_size is not None:
            side = self.layout_image_size
            return np.full_like(widths, side), np.full_like(heights, side)
        sides = np.stack((widths, heights))
        ratio, edge = self.max_image_edge_ratio, self.min_image_edge
        if ratio is not None:
            least = np.ceil(sides.max(0) / ratio).astype(np.int64)
            sides = np.where(sides.max(0) > ratio * sides.min(0), np.maximum(sides, least), sides)
        if edge is not None:
            shortest = sides.min(0)
            scaled = np.ceil(sides * (edge / shortest)).astype(np.int64)
            sides = np.where(shortest < edge, scaled, sides)
        return sides[0], sides[1]


#: the limits of a picture, pixels: 4 to 2,048 tokens
_LIMITS: Final[Mapping[str, Any]] = {
    "min_pixels": 3_136,
    "max_pixels": 1_605_632,
    "min_image_edge": 28,
    "max_image_edge_ratio": 50,
}

MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {
        "page": Workload(),
        "layout": Workload(layout_image_size=1036, **_LIMITS),
        "region": Workload(**_LIMITS),
    }
)
"""A page at its own size, MinerU2.5's layout pass, and its pass over a region."""
