"""What a page asks of PaddleOCR-VL's vision: one grid of patches at the page's own size, or at each region's.

The published pipeline has a detector find the regions of a page, and this model recognises each; the detector is no
part of the model. The rule is `smart_resize` of transformers 5.23 (`image_processing_pil_paddleocr_vl`), which scales
a page up first until both of its sides have a token's pixels.

    >>> MODES["page"].layout(1275, 1650)
    MergedGrid(columns=46, rows=59)
    >>> MODES["page"].layout(1000, 12)
    MergedGrid(columns=92, rows=2)
    >>> MODES["page"].layout(640, 480).columns, MODES["region"].layout(1654, 2339)
    (23, MergedGrid(columns=30, rows=42))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from modelmeter.models.common.image_rule import Step
from modelmeter.models.common.regions import RegionGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload(RegionGridWorkload):
    """The knobs are the preprocessing's, and the regions that are declared of a page."""

    min_pixels: int = 147_384
    max_pixels: int = 2_822_400

    detector: ClassVar[str] = "PP-DocLayout"

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The page, scaled up until its height and then its width has a token's pixels."""
        side = self.token_side
        if height < side:
            width, height = round((width * side) / height), side
        if width < side:
            width, height = side, round((height * side) / width)
        return width, height

    def scaling(self) -> tuple[Step, ...]:
        """The same as steps of the image rule."""
        return tuple({"do": "least_side", "side": each, "pixels": self.token_side} for each in ("height", "width"))

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        side = self.token_side
        widths = np.where(heights < side, np.rint(widths * side / heights).astype(np.int64), widths)
        heights = np.maximum(heights, side)
        heights = np.where(widths < side, np.rint(heights * side / widths).astype(np.int64), heights)
        return np.maximum(widths, side), heights


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {"page": Workload(), "region": Workload(min_pixels=112_896, max_pixels=1_003_520)}
)
"""The published processor's limits, and those that the pipeline sets for regions from PaddleOCR-VL-1.5 on."""
