"""What a page asks of Qwen2-VL's vision: one grid of patches at the page's own size, within limits.

The rule is `smart_resize` of transformers 5.23; MinerU2.5 finds the regions of a page in a square picture of it first.

    >>> Workload().layout(1275, 1650)
    MergedGrid(columns=46, rows=59)
    >>> MODES["layout"].layout(1275, 1650)
    MergedGrid(columns=37, rows=37)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from modelmeter.models.common.merged_grid import MergedGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(MergedGridWorkload):
    """layout_image_size: pixels a side of the square that a page is stretched to first, whatever its shape.

    None: the page comes as it is. The other knobs are the preprocessing's.
    """

    layout_image_size: int | None = None

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The square, or the page as it is."""
        side = self.layout_image_size
        return (width, height) if side is None else (side, side)

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        side = self.layout_image_size
        return (widths, heights) if side is None else (np.full_like(widths, side), np.full_like(heights, side))


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {"page": Workload(), "layout": Workload(layout_image_size=1036, max_pixels=1_605_632)}
)
"""A page at its own size, and MinerU2.5's layout pass."""
