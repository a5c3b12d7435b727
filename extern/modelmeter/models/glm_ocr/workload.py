"""What a page asks of GLM-OCR's vision: one grid of patches at the page's own size, within limits.

The rule is `smart_resize` of transformers 5.23 (`image_processing_pil_glm46v`): a side shorter than a token's is made
as long first, and the limits are those of an area in which a page stands once for each frame of a patch. The published
pipeline cuts the regions that a detector has found out of a page, and each goes through the same rule.

    >>> Workload().layout(1275, 1650)
    MergedGrid(columns=46, rows=59)
    >>> Workload().layout(2550, 3300)
    MergedGrid(columns=68, rows=88)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from modelmeter.models.common.image_rule import Step, least_edge
from modelmeter.models.common.regions import RegionGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(RegionGridWorkload):
    """The knobs are the preprocessing's; min_pixels and max_pixels: of the two frames that a page stands for."""

    min_pixels: int = 12_544
    max_pixels: int = 9_633_792

    frames: ClassVar[int] = 2
    detector: ClassVar[str] = "PP-DocLayoutV3"

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Both sides made larger alike where one is shorter than a token's."""
        factor = self.token_side
        if min(width, height) >= factor:
            return width, height
        scale = max(factor / height, factor / width)
        return int(width * scale), int(height * scale)

    def scaling(self) -> tuple[Step, ...]:
        """The same as a step of the image rule."""
        return (least_edge(self.token_side, whole="down"),)

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        sides, factor = np.stack((widths, heights)), self.token_side
        shortest = sides.min(0)
        enlarged = (sides * (factor / shortest)).astype(np.int64)
        sides = np.where(shortest < factor, enlarged, sides)
        return sides[0], sides[1]


MODES: Final[Mapping[str, Workload]] = MappingProxyType({"page": Workload()})
"""A page, or a region that was cut out of one, at its own size."""
