"""What a page asks of Qwen3-VL's vision: one grid of patches at the page's own size, within limits.

The rule is `smart_resize` of transformers 5.23; Chandra's client scales a page image before it, by the code of
`load_image` and `scale_to_fit` in github.com/datalab-to/chandra, whose floats are kept.

    >>> Workload().layout(1275, 1650)
    MergedGrid(columns=40, rows=52)
    >>> MODES["chandra"].layout(640, 480)
    MergedGrid(columns=43, rows=32)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from modelmeter.errors import ModelMeterError
from modelmeter.models.common.image_rule import Step, least_edge
from modelmeter.models.common.merged_grid import MergedGridWorkload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: how far from a whole number two ways to take a root may be apart
_NEAR: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Workload(MergedGridWorkload):
    """min_image_dim: pixels that a page's shorter side is scaled up to first; None: it is not.

    fit_min_pixels, fit_max_pixels: area that a page is then scaled to, its shape kept; None: it is not. The other knobs
    are the preprocessing's.
    """

    patch_size: int = 16
    min_pixels: int = 65_536
    max_pixels: int = 16_777_216
    min_image_dim: int | None = None
    fit_min_pixels: int | None = None
    fit_max_pixels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fit_min_pixels and self.fit_max_pixels and self.fit_min_pixels > self.fit_max_pixels:
            raise ModelMeterError(
                f"Workload: fit_min_pixels={self.fit_min_pixels} exceeds fit_max_pixels={self.fit_max_pixels}; give a "
                f"fit_min_pixels of at most {self.fit_max_pixels}."
            )

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The page as the client gives it to the preprocessing."""
        least, lower, upper = self.min_image_dim, self.fit_min_pixels, self.fit_max_pixels
        if least is not None and min(width, height) < least:
            scale = least / min(width, height)
            width, height = int(width * scale), int(height * scale)
        area = width * height
        if upper is not None and area > upper:
            scale = (upper / area) ** 0.5
            return math.floor(width * scale), math.floor(height * scale)
        if lower is not None and area < lower:
            scale = (lower / area) ** 0.5
            return math.ceil(width * scale), math.ceil(height * scale)
        return width, height

    def scaling(self) -> tuple[Step, ...]:
        """The same as steps of the image rule."""
        least, limits = self.min_image_dim, (self.fit_min_pixels, self.fit_max_pixels)
        enlarged = () if least is None else (least_edge(least, whole="down"),)
        area = {"do": "fit_area", "least": limits[0], "most": limits[1]}
        return enlarged if limits == (None, None) else (*enlarged, area)

    def all_scaled(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of many pages."""
        import numpy as np

        sides = np.stack((widths, heights))
        least, lower, upper = self.min_image_dim, self.fit_min_pixels, self.fit_max_pixels
        if least is not None:
            shorter = sides.min(0)
            sides = np.where(shorter < least, (sides * (least / shorter)).astype(np.int64), sides)
        area = sides[0] * sides[1]
        close = np.zeros(area.shape, bool)
        for limit, beyond, whole in (
            (upper, area > (upper or 0), np.floor),
            (lower, area < (lower or 0), np.ceil),
        ):
            if limit is not None:
                exact = sides[:, beyond] * np.sqrt(limit / area[beyond])
                close[beyond] = (np.abs(exact - np.rint(exact)) < _NEAR).any(0)
                sides[:, beyond] = whole(exact).astype(np.int64)
        for page in np.flatnonzero(close):
            sides[:, page] = self.scaled(int(widths[page]), int(heights[page]))
        return sides[0], sides[1]


MODES: Final[Mapping[str, Workload]] = MappingProxyType(
    {
        "page": Workload(),
        "chandra": Workload(min_image_dim=1024, fit_min_pixels=28 * 28, fit_max_pixels=3072 * 2048),
    }
)
"""A page at its own size, and as Chandra's client scales it."""
