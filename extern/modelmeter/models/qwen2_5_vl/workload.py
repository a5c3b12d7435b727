"""What a page asks of Qwen2.5-VL's vision: one grid of patches at the page's own size, within limits.

The rule is `smart_resize` of transformers 5.23; olmOCR renders a page to 1288 pixels before it.

    >>> Workload().layout(1275, 1650)
    MergedGrid(columns=46, rows=59)
    >>> MODES["olmocr"].layout(1275, 1650)
    MergedGrid(columns=36, rows=46)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from modelmeter.models.common.image_rule import Step
from modelmeter.models.common.merged_grid import MergedGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(MergedGridWorkload):
    """target_longest_image_dim: pixels that a page's longer side is scaled to first, up or down, its shape kept.

    None: the page comes as it is. The other knobs are the preprocessing's.
    """

    target_longest_image_dim: int | None = None

    window: ClassVar[int] = 4

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Both sides times the target over the longer one, rounded half to even."""
        target, longer = self.target_longest_image_dim, max(width, height)
        if target is None:
            return width, height
        return round(width * target / longer), round(height * target / longer)

    def scaling(self) -> tuple[Step, ...]:
        """The same as a step of the image rule."""
        target = self.target_longest_image_dim
        return () if target is None else ({"do": "longest_side", "pixels": target},)

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        target = self.target_longest_image_dim
        if target is None:
            return widths, heights
        longer = np.maximum(widths, heights)
        width, height = (np.rint(side * target / longer).astype(np.int64) for side in (widths, heights))
        return width, height


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {
        "page": Workload(),
        "olmocr": Workload(target_longest_image_dim=1288),
        "infinity_parser": Workload(min_pixels=200_704, max_pixels=1_806_336),
    }
)
"""A page at its own size, as olmOCR's pipeline renders it, and within the limits that Infinity-Parser recommends."""
